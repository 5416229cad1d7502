"""The conversation with an authorization server: push, redeem, revoke.

Every request is a form with a DPoP proof and, for confidential clients, an assertion
that is made anew for every attempt.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

import httpx

from atproto_oauth_asgi.config import ClientKey, find_key_problems
from atproto_oauth_asgi.crypto.keys import JwtSigner
from atproto_oauth_asgi.dpop import (
    NonceCache,
    ProofSigner,
    read_nonce,
    send_with_nonce_retry,
)
from atproto_oauth_asgi.exceptions import (
    AuthorizationServerError,
    ClientKeyRetired,
    ConfigurationError,
    OAuthError,
    OAuthTokenError,
    UnsupportedAuthServerError,
)
from atproto_oauth_asgi.models import AuthServerMetadata, TokenResponse
from atproto_oauth_asgi.network.fetch import Fetcher
from atproto_oauth_asgi.protocol.client_auth import (
    build_assertion_claims,
    build_client_auth_form,
)
from atproto_oauth_asgi.protocol.oauth_error import parse_refusal
from atproto_oauth_asgi.protocol.par import parse_par_response
from atproto_oauth_asgi.protocol.token import (
    build_revocation_form,
    parse_token_response,
    read_tokens_to_revoke,
)

_log = logging.getLogger("atproto_oauth_asgi")
_MAX_ANSWER_BYTES = 64 * 1024
UNUSABLE_TOKENS = "unusable_tokens"
"""The ``error`` of an answer whose tokens were revoked because of what it says."""


@dataclass(frozen=True, slots=True)
class SessionKeys:
    """The keys of one session: proofs are made with one, assertions with the other.

    Attributes:
        dpop: signs proofs.
        kid: names the client key; None for a public client.
    """

    dpop: ProofSigner
    kid: str | None


class ClientIdentity:
    """Who the client is, and how it proves it.

    Raises:
        ConfigurationError: the keys do not go together.
    """

    def __init__(
        self, client_id: str, keys: Sequence[ClientKey], *, clock: Callable[[], float]
    ) -> None:
        if problems := find_key_problems(keys, client_id=client_id):
            raise ConfigurationError(problems)
        self.client_id = client_id
        self._clock = clock
        self._signers = {
            item.kid: JwtSigner(item.private_key, {"alg": "ES256", "kid": item.kid})
            for item in keys
            if item.use != "retired"
        }
        self.signing_kid = next((k.kid for k in keys if k.use == "sign"), None)

    def check_supported(self, server: AuthServerMetadata) -> None:
        """Check that the server takes the way this client proves itself.

        Raises:
            UnsupportedAuthServerError: it does not; there is no falling back.
        """
        method = "none" if self.signing_kid is None else "private_key_jwt"
        if method not in server.token_endpoint_auth_methods_supported:
            message = f"the authorization server does not support {method}"
            raise UnsupportedAuthServerError(message)

    def check_key(self, kid: str | None) -> None:
        """Check that the client key of a session is still there; None needs none.

        Raises:
            ClientKeyRetired: it is not configured any more.
        """
        if kid is not None and kid not in self._signers:
            message = "the client key that this session is bound to is gone"
            raise ClientKeyRetired(message)

    def form(self, issuer: str, kid: str | None) -> dict[str, str]:
        """Return the form fields that name the client, with a new assertion.

        Raises:
            ClientKeyRetired: the key is not configured any more.
        """
        if kid is None:
            return build_client_auth_form(self.client_id, None)
        self.check_key(kid)
        claims = build_assertion_claims(
            client_id=self.client_id,
            issuer=issuer,
            now=self._clock(),
            jti=secrets.token_urlsafe(16),
        )
        assertion = self._signers[kid].sign(claims)
        return build_client_auth_form(self.client_id, assertion)


class AuthServerClient:
    """Speaks to authorization servers in the name of one client."""

    def __init__(
        self,
        fetcher: Fetcher,
        *,
        identity: ClientIdentity,
        nonces: NonceCache,
        clock: Callable[[], float],
        allow_missing_nonce: bool,
    ) -> None:
        self._fetcher = fetcher
        self._identity = identity
        self._nonces = nonces
        self._clock = clock
        self._allow_missing_nonce = allow_missing_nonce

    async def push(
        self,
        server: AuthServerMetadata,
        form: Mapping[str, str],
        keys: SessionKeys,
    ) -> str:
        """Push an authorization request and return its ``request_uri``.

        Raises:
            AuthorizationServerError: the server refused.
            TransportError: it did not answer.

        Spec: RFC 9126.
        """
        self._identity.check_supported(server)
        endpoint = server.pushed_authorization_request_endpoint
        response = await self._send(server, endpoint, form, keys, what="PAR endpoint")
        request_uri = parse_par_response(response.status_code, response.content)
        self._check_nonce(response, AuthorizationServerError)
        return request_uri

    async def redeem(
        self,
        server: AuthServerMetadata,
        form: Mapping[str, str],
        keys: SessionKeys,
        *,
        nonce_required: bool,
    ) -> TokenResponse:
        """Trade a code or a refresh token for tokens.

        Tokens that come in an answer that must be refused are revoked, and the
        ``error`` is ``UNUSABLE_TOKENS`` then.

        Raises:
            ClientKeyRetired: the session's client key is gone; nothing was sent.
            OAuthTokenError: the server refused, or its answer must not be used.
            TransportError: it did not answer.
        """
        response = await self._send(
            server,
            server.token_endpoint,
            form,
            keys,
            what="token endpoint",
        )
        try:
            tokens = parse_token_response(response.status_code, response.content)
            if nonce_required:
                self._check_nonce(response, OAuthTokenError)
            elif read_nonce(response.headers) is None:
                # The old token is used up: refusing the new ones would help nobody.
                _log.warning("no DPoP-Nonce in an answer of %s", server.issuer)
        except OAuthTokenError as error:
            found = read_tokens_to_revoke(response.content)
            if not response.is_success or not found:
                raise
            await self.revoke_quietly(server, found, keys)
            raise OAuthTokenError(str(error), error=UNUSABLE_TOKENS) from error
        return tokens

    def check_key(self, kid: str | None) -> None:
        """Check that requests of a session could be made; as ``ClientIdentity``.

        Raises:
            ClientKeyRetired: its client key is not configured any more.
        """
        self._identity.check_key(kid)

    async def revoke(
        self,
        server: AuthServerMetadata,
        token: str,
        keys: SessionKeys,
        *,
        hint: str,
    ) -> None:
        """Ask the server to end a token and the session it belongs to.

        The reference server answers 200 to anything, so success means no more than
        that it was asked properly.

        Raises:
            AuthorizationServerError: the server refused.
            TransportError: it did not answer.

        Spec: RFC 7009.
        """
        if server.revocation_endpoint is None:
            _log.warning("tokens not revoked: %s cannot revoke", server.issuer)
            return
        form = build_revocation_form(token, hint=hint)
        response = await self._send(
            server,
            server.revocation_endpoint,
            form,
            keys,
            what="revocation endpoint",
        )
        if not response.is_success:
            refusal = parse_refusal(response.status_code, response.content)
            message = f"the server did not revoke the token ({refusal.error})"
            raise AuthorizationServerError(message, error=refusal.error)

    async def revoke_quietly(
        self,
        server: AuthServerMetadata,
        tokens: Sequence[tuple[str, str]],
        keys: SessionKeys,
    ) -> None:
        """Revoke (hint, token) pairs; a failure is logged and does not matter."""
        for hint, token in tokens:
            try:
                await self.revoke(server, token, keys, hint=hint)
            except OAuthError as error:
                _log.warning("revoking refused tokens failed: %s", error.code)

    async def _send(
        self,
        server: AuthServerMetadata,
        endpoint: str,
        form: Mapping[str, str],
        keys: SessionKeys,
        *,
        what: str,
    ) -> httpx.Response:
        async def attempt(nonce: str | None) -> httpx.Response:
            proof = keys.dpop.sign("POST", endpoint, now=self._clock(), nonce=nonce)
            fields = {**form, **self._identity.form(server.issuer, keys.kid)}
            return await self._fetcher.fetch(
                "POST",
                endpoint,
                what=what,
                headers={
                    "Content-Type": "application/x-www-form-urlencoded",
                    "Accept": "application/json",
                    "DPoP": proof,
                },
                content=urlencode(fields).encode("ascii"),
                max_body_bytes=_MAX_ANSWER_BYTES,
            )

        return await send_with_nonce_retry(attempt, url=endpoint, nonces=self._nonces)

    def _check_nonce(
        self, response: httpx.Response, error: type[AuthorizationServerError]
    ) -> None:
        """Refuse an answer without a nonce. Spec: atproto OAuth, "DPoP"."""
        if self._allow_missing_nonce or read_nonce(response.headers) is not None:
            return
        message = "the authorization server sent no DPoP-Nonce"
        raise error(message, error="malformed_response")
