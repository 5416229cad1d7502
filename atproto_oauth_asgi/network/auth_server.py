"""The conversation with an authorization server: push, redeem, revoke.

Every request is a form with a DPoP proof and, for confidential clients, an assertion
that is made anew for every attempt.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol
from urllib.parse import urlencode

import httpx

from atproto_oauth_asgi.dpop import (
    NonceCache,
    ProofSigner,
    read_nonce,
    send_with_nonce_retry,
)
from atproto_oauth_asgi.exceptions import (
    AuthorizationServerError,
    OAuthError,
    OAuthTokenError,
)
from atproto_oauth_asgi.models import AuthServerMetadata, TokenResponse
from atproto_oauth_asgi.network.client_identity import ClientIdentity
from atproto_oauth_asgi.network.fetch import Fetcher
from atproto_oauth_asgi.network.server_clocks import ServerClocks
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


class TokenServer(Protocol):
    """What is to be known of a server once a login has begun there."""

    @property
    def issuer(self) -> str:
        """Its issuer."""

    @property
    def token_endpoint(self) -> str:
        """Where codes and refresh tokens are redeemed."""

    @property
    def revocation_endpoint(self) -> str | None:
        """Where tokens are revoked, if it can do that."""


@dataclass(frozen=True, slots=True)
class SessionKeys:
    """The keys of one session: proofs are made with one, assertions with the other.

    Attributes:
        dpop: signs proofs.
        kid: names the client key; None for a public client.
    """

    dpop: ProofSigner
    kid: str | None


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
        self._clocks = ServerClocks(clock)

    @property
    def client_id(self) -> str:
        """The client in whose name it speaks."""
        return self._identity.client_id

    def newest_nonce(self, server: TokenServer) -> str | None:
        """Return the DPoP nonce that the server's token endpoint gave last."""
        return self._nonces.get(server.token_endpoint)

    def recall_nonce(self, server: TokenServer, nonce: str | None) -> None:
        """Take a nonce that another process learnt, unless a newer one is known."""
        self._nonces.recall(server.token_endpoint, nonce)

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
        with self._clocks.named_in_refusals(server.issuer):
            request_uri = parse_par_response(response.status_code, response.content)
        self._check_nonce(response, AuthorizationServerError)
        return request_uri

    async def redeem(
        self,
        server: TokenServer,
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
            with self._clocks.named_in_refusals(server.issuer):
                tokens = parse_token_response(response.status_code, response.content)
            if nonce_required:
                self._check_nonce(response, OAuthTokenError)
            elif read_nonce(response.headers) is None:
                # The old token is used up: refusing the new ones would help nobody.
                _log.warning("no DPoP-Nonce with tokens: issuer=%s", server.issuer)
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

    def is_older_key(self, kid: str | None) -> bool:
        """Return whether a session's client key is not the one that signs new logins."""
        return kid not in {None, self._identity.signing_kid}

    async def revoke(
        self,
        server: TokenServer,
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
            _log.warning("server cannot revoke tokens: issuer=%s", server.issuer)
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
        server: TokenServer,
        tokens: Sequence[tuple[str, str]],
        keys: SessionKeys,
    ) -> None:
        """Revoke (hint, token) pairs; a failure is logged and does not matter."""
        for hint, token in tokens:
            try:
                await self.revoke(server, token, keys, hint=hint)
            except OAuthError as error:
                _log.warning(
                    "refused tokens not revoked: issuer=%s code=%s",
                    server.issuer,
                    error.code,
                )

    async def _send(
        self,
        server: TokenServer,
        endpoint: str,
        form: Mapping[str, str],
        keys: SessionKeys,
        *,
        what: str,
    ) -> httpx.Response:
        async def send(nonce: str | None, ahead_s: float) -> httpx.Response:
            now = self._clock() + ahead_s
            proof = keys.dpop.sign("POST", endpoint, now=now, nonce=nonce)
            client = self._identity.form(server.issuer, keys.kid, ahead_s=ahead_s)
            return await self._fetcher.fetch(
                "POST",
                endpoint,
                what=what,
                headers={
                    "Content-Type": "application/x-www-form-urlencoded",
                    "Accept": "application/json",
                    "DPoP": proof,
                },
                content=urlencode({**form, **client}).encode("ascii"),
                max_body_bytes=_MAX_ANSWER_BYTES,
            )

        async def attempt(nonce: str | None) -> httpx.Response:
            return await self._clocks.send_dated(server.issuer, partial(send, nonce))

        return await send_with_nonce_retry(attempt, url=endpoint, nonces=self._nonces)

    def _check_nonce(
        self, response: httpx.Response, error: type[AuthorizationServerError]
    ) -> None:
        """Refuse an answer without a nonce. Spec: atproto OAuth, "DPoP"."""
        if self._allow_missing_nonce or read_nonce(response.headers) is not None:
            return
        message = "the authorization server sent no DPoP-Nonce"
        raise error(message, error="malformed_response")
