"""P-256 keys: make, import, export, sign (RFC 7517, 7518, 7638).

This is the one place that knows ECDSA. A signature here is a JWS signature:
``r`` and ``s`` as 32 bytes each (RFC 7518 section 3.4).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from typing import Any, TypeAlias

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from atproto_oauth_asgi.crypto.encoding import b64url, b64url_decode
from atproto_oauth_asgi.exceptions import ConfigurationError

PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey
"""A P-256 private key, held by OpenSSL."""

_CURVE = ec.SECP256R1()
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_COORDINATE_BYTES = 32
_PUBLIC_MEMBERS = frozenset({"kty", "crv", "x", "y"})

_encode_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def generate_private_key() -> PrivateKey:
    """Return a new P-256 private key."""
    return ec.generate_private_key(_CURVE)


def check_private_key(key: object) -> None:
    """Accept P-256 private keys only.

    Raises:
        ConfigurationError: anything else. The message does not show the key.
    """
    curve = key.curve if isinstance(key, ec.EllipticCurvePrivateKey) else None
    if not isinstance(curve, ec.SECP256R1):
        message = "a client or DPoP key must be a private key on the curve P-256"
        raise ConfigurationError(message)


def export_private_key(key: PrivateKey) -> str:
    """Return the key as 128 characters, secret: base64url of ``d``, ``x``, ``y``.

    The point stands beside the scalar because loading is cheaper with it.
    """
    numbers = key.private_numbers()
    public = numbers.public_numbers
    return b64url(b"".join(map(_octets, (numbers.private_value, public.x, public.y))))


def import_private_key(text: str) -> PrivateKey:
    """Return the key that ``export_private_key`` wrote.

    Raises:
        ValueError: the text is anything else, or the point is not the scalar's.
    """
    data = b64url_decode(text)
    if len(data) != 3 * _COORDINATE_BYTES:
        message = "not an exported private key"
        raise ValueError(message)
    d, x, y = (int.from_bytes(data[at : at + 32], "big") for at in (0, 32, 64))
    if not 0 < d < _ORDER:
        message = "the private value is out of range"
        raise ValueError(message)
    # cryptography checks that the point is on the curve and belongs to the scalar.
    point = ec.EllipticCurvePublicNumbers(x, y, _CURVE)
    return ec.EllipticCurvePrivateNumbers(d, point).private_key()


def load_client_key(value: object) -> PrivateKey:
    """Return the P-256 private key that an operator configured.

    Args:
        value: a private key object, a private JWK as a mapping or as JSON text, or
            unencrypted PEM as text or bytes.

    Raises:
        ConfigurationError: anything else. No message shows key material.
    """
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if isinstance(value, str):
        value = _parse_key_text(value.strip())
    if isinstance(value, Mapping):
        value = _import_jwk(dict(value))
    check_private_key(value)
    return value  # type: ignore[return-value]


def public_jwk(key: PrivateKey) -> dict[str, str]:
    """Return the bare public JWK: ``kty``, ``crv``, ``x``, ``y``.

    Spec: RFC 7518 section 6.2.1 (coordinates have their full length).
    """
    x, y = public_coordinates(key)
    return {"crv": "P-256", "kty": "EC", "x": x, "y": y}


def public_coordinates(key: PrivateKey) -> tuple[str, str]:
    """Return ``x`` and ``y`` as they stand in a JWK. Spec: RFC 7518 section 6.2.1."""
    numbers = key.public_key().public_numbers()
    return b64url(_octets(numbers.x)), b64url(_octets(numbers.y))


def private_jwk(key: PrivateKey, kid: str | None = None) -> dict[str, str]:
    """Return the private JWK, secret. Spec: RFC 7518 section 6.2.2."""
    d = b64url(_octets(key.private_numbers().private_value))
    jwk = {**public_jwk(key), "d": d}
    return jwk if kid is None else {**jwk, "kid": kid}


def thumbprint(key: PrivateKey) -> str:
    """Return the SHA-256 thumbprint of the public key. Spec: RFC 7638."""
    return _thumbprint_of(public_jwk(key))


class Signer:
    """Signs with one key; nothing is computed twice."""

    __slots__ = ("_algorithm", "_sign")

    def __init__(self, key: PrivateKey) -> None:
        check_private_key(key)
        self._sign = key.sign
        self._algorithm = _es256()

    def sign(self, signing_input: bytes) -> bytes:
        """Return the 64 bytes of an ES256 signature. Spec: RFC 7518 section 3.4."""
        r, s = decode_dss_signature(self._sign(signing_input, self._algorithm))
        return r.to_bytes(_COORDINATE_BYTES, "big") + s.to_bytes(
            _COORDINATE_BYTES, "big"
        )


class JwtSigner:
    """Makes JWTs that share one header, which is encoded once.

    Args:
        key: what signs.
        header: JOSE header members; ``alg`` is always ES256 and need not be named. As
            JSON text they are taken as they are.

    Raises:
        ConfigurationError: the key is not a P-256 private key.
        ValueError: the header names another ``alg``, or its ``jwk`` has members
            besides ``kty``, ``crv``, ``x``, ``y``.
    """

    __slots__ = ("_head", "_signer")

    def __init__(self, key: PrivateKey, header: Mapping[str, Any] | str) -> None:
        self._signer = Signer(key)
        text = header if isinstance(header, str) else _encode_header(header)
        self._head = b64url(text.encode()) + "."

    def sign(self, claims: Mapping[str, Any]) -> str:
        """Return a signed JWT with these claims. Spec: RFC 7515 section 7.1."""
        signing_input = self._head + b64url(_encode_json(claims).encode())
        signature = self._signer.sign(signing_input.encode("ascii"))
        return f"{signing_input}.{b64url(signature)}"


@cache
def _es256() -> ec.ECDSA:
    # One object for all signatures: making it anew costs 6 % of a signature. The first
    # one asks OpenSSL what it can do, so it is not made at import.
    return ec.ECDSA(hashes.SHA256())


def _thumbprint_of(members: Mapping[str, str]) -> str:
    text = _encode_json(dict(sorted(members.items())))
    return b64url(sha256(text.encode()).digest())


def _octets(number: int) -> bytes:
    return number.to_bytes(_COORDINATE_BYTES, "big")


def _encode_header(header: Mapping[str, Any]) -> str:
    if header.get("alg", "ES256") != "ES256":
        message = "the only signature algorithm is ES256"
        raise ValueError(message)
    if not _PUBLIC_MEMBERS.issuperset(header.get("jwk", ())):
        message = "a header carries the bare public key"
        raise ValueError(message)
    return _encode_json({"alg": "ES256", **header})


def _parse_key_text(text: str) -> object:
    try:
        if text.startswith("{"):
            return json.loads(text)
        return _load_pem(text.encode("latin-1"))
    except (ValueError, TypeError, RecursionError, UnsupportedAlgorithm):
        message = "a client key must be a private JWK or unencrypted private PEM"
        # The cause is left out, here and below: it may quote the key.
        raise ConfigurationError(message) from None


def _load_pem(data: bytes) -> object:
    # It comes with every format there is, those of SSH included.
    from cryptography.hazmat.primitives import serialization

    return serialization.load_pem_private_key(data, password=None)


def _import_jwk(members: dict[str, Any]) -> object:
    from joserfc.errors import JoseError
    from joserfc.jwk import ECKey

    _check_jwk_members(members)
    try:
        return ECKey.import_key(members).private_key
    except (JoseError, ValueError, TypeError, KeyError):
        message = "a client key's JWK is not valid"
        raise ConfigurationError(message) from None


def _check_jwk_members(members: Mapping[str, Any]) -> None:
    wanted = {"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig"}
    problems = [
        f"a client key's JWK must have {name} {value}"
        for name, value in wanted.items()
        # `alg` and `use` are optional in a JWK.
        if members.get(name, None if name in {"kty", "crv"} else value) != value
    ]
    if "d" not in members:
        problems.append("a client key's JWK must be private (it has no d)")
    if problems:
        raise ConfigurationError(problems)
