"""RFC 9449 and RFC 7523, seen from the server: proofs and assertions, verified.

The signatures are checked by joserfc, which has no part in making them.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from atproto_oauth_asgi.crypto.encoding import b64url
from atproto_oauth_asgi.testing.refusals import (
    Refusal,
    bad_grant,
    bad_proof,
    bad_request,
)

_NONCE_S = 60
_OLDEST_PROOF_S, _NEWEST_PROOF_S = 190, 180
_OLDEST_ASSERTION_S = 60
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_JWT_DOTS = 2
_UNREADABLE = (JoseError, ValueError, KeyError, TypeError)


class Nonces:
    """A new nonce every minute; the one before and the one after count as well."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.rotate()

    def rotate(self) -> None:
        """Make every nonce handed out so far invalid."""
        self._secret = secrets.token_bytes(32)

    @property
    def next(self) -> str:
        """The nonce to hand out."""
        return self._at(1)

    def is_valid(self, nonce: object) -> bool:
        """Return whether a proof may hold this nonce."""
        return nonce in {self._at(-1), self._at(0), self._at(1)}

    def _at(self, step: int) -> str:
        number = int(self._clock() // _NONCE_S) + step
        return b64url(hmac.digest(self._secret, str(number).encode(), "sha256"))


class Verifier:
    """Verifies what clients sign; no ``jti`` counts twice."""

    def __init__(self, clock: Callable[[], float], nonces: Nonces) -> None:
        self._clock = clock
        self._nonces = nonces
        self._jtis: set[tuple[str, str]] = set()

    def check_proof(
        self, proof: str, *, method: str, url: str, access_token: str | None = None
    ) -> str:
        """Return the thumbprint of the key that made a proof.

        Raises:
            Refusal: the proof is not one for this request, or lacks a nonce.

        Spec: RFC 9449 section 4.3.
        """
        key, claims = _read_proof(proof)
        self._check_age(claims.get("iat"))
        jti = claims.get("jti")
        if not isinstance(jti, str) or not jti:
            raise bad_proof('DPoP "jti" missing')
        if claims.get("htm") != method or _plain(claims.get("htu")) != _plain(url):
            raise bad_proof("DPoP htm or htu mismatch")
        if not self._nonces.is_valid(claims.get("nonce")):
            raise Refusal("use_dpop_nonce", "Authorization server requires nonce")
        if claims.get("ath") != (access_token and _hash(access_token)):
            raise bad_proof("DPoP ath mismatch")
        if not self._is_new("proof", jti):
            raise bad_proof("DPoP proof replayed")
        return key.thumbprint()

    def check_assertion(
        self,
        form: Mapping[str, str],
        *,
        client_id: str,
        issuer: str,
        keys: Iterable[Mapping[str, Any]],
    ) -> str:
        """Return which key made a client assertion: its name and its thumbprint.

        Raises:
            Refusal: it does not authenticate this client.

        Spec: RFC 7523 section 3.
        """
        text = form.get("client_assertion", "")
        is_typed = form.get("client_assertion_type") == _ASSERTION_TYPE
        if not is_typed or text.count(".") != _JWT_DOTS:
            raise bad_request("private_key_jwt requires a client_assertion")
        kid, key, claims = _read_assertion(text, keys)
        wanted = {"iss": client_id, "sub": client_id, "aud": issuer}
        # RFC 7519 section 4.1.3: one audience may stand alone, or in a list.
        found = {**claims, "aud": issuer} if claims.get("aud") == [issuer] else claims
        if any(found.get(name) != value for name, value in wanted.items()):
            raise Refusal("invalid_client", "the assertion is for somebody else")
        self._check_times(claims)
        jti = claims.get("jti")
        if not isinstance(jti, str) or not jti:
            raise Refusal("invalid_client", 'missing required "jti" claim')
        if not self._is_new(f"assertion of {client_id}", jti):
            raise bad_grant("private_key_jwt jti reused")
        return f"{kid} {key.thumbprint()}"

    def _check_age(self, iat: object) -> None:
        if not isinstance(iat, int):
            raise bad_proof("DPoP iat missing")
        if not -_OLDEST_PROOF_S <= iat - self._clock() <= _NEWEST_PROOF_S:
            raise bad_proof("DPoP iat out of range")

    def _check_times(self, claims: Mapping[str, Any]) -> None:
        # As strict as the reference server: nothing may lie ahead.
        now, iat = self._clock(), claims.get("iat")
        if not isinstance(iat, int) or not now - _OLDEST_ASSERTION_S <= iat <= now:
            raise Refusal("invalid_client", "iat: it should be in the recent past")
        if claims.get("nbf", now) > now or claims.get("exp", now + 1) <= now:
            raise Refusal("invalid_client", "the assertion does not count now")

    def _is_new(self, kind: str, jti: str) -> bool:
        is_new = (kind, jti) not in self._jtis
        self._jtis.add((kind, jti))
        return is_new


def _read_proof(proof: str) -> tuple[ECKey, dict[str, Any]]:
    try:
        header = jws.extract_compact(proof.encode()).headers()
        if header["typ"] != "dpop+jwt" or "d" in header["jwk"]:
            raise bad_proof("DPoP header is wrong")
        key = ECKey.import_key(header["jwk"])
        return key, jwt.decode(proof, key, algorithms=["ES256"]).claims
    except _UNREADABLE as error:
        raise bad_proof("DPoP proof cannot be verified") from error


def _read_assertion(
    text: str, keys: Iterable[Mapping[str, Any]]
) -> tuple[str, ECKey, dict[str, Any]]:
    try:
        kid = jws.extract_compact(text.encode()).headers()["kid"]
        (jwk,) = (dict(each) for each in keys if each.get("kid") == kid)
        key = ECKey.import_key(jwk)
        return kid, key, jwt.decode(text, key, algorithms=["ES256"]).claims
    except _UNREADABLE as error:
        message = "the client assertion cannot be verified"
        raise Refusal("invalid_client", message) from error


def _plain(url: object) -> str:
    text = url if isinstance(url, str) else ""
    scheme, _, rest = text.partition("?")[0].partition("#")[0].partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme.lower()}://{host.lower()}{slash}{path}"


def _hash(access_token: str) -> str:
    return b64url(hashlib.sha256(access_token.encode()).digest())
