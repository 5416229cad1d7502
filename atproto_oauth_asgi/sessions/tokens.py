"""The tokens of a session at its server: checked, renewed, ended."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from atproto_oauth_asgi.dpop import ProofSigner
from atproto_oauth_asgi.exceptions import (
    AccountMoved,
    ClientKeyRetired,
    ConfigurationError,
    DiscoveryError,
    IdentityError,
    OAuthError,
    OAuthTokenError,
    RefreshUnavailable,
    SessionExpired,
    SessionRevoked,
    TransportError,
)
from atproto_oauth_asgi.models import AuthServerMetadata, OAuthSession, TokenResponse
from atproto_oauth_asgi.network.account import AccountLocator
from atproto_oauth_asgi.network.auth_server import (
    UNUSABLE_TOKENS,
    AuthServerClient,
    SessionKeys,
)
from atproto_oauth_asgi.network.beside import time_limit
from atproto_oauth_asgi.protocol.identifiers import Did
from atproto_oauth_asgi.protocol.token import build_refresh_form
from atproto_oauth_asgi.scopes import ScopesSet
from atproto_oauth_asgi.stores.locks import Lease

_log = logging.getLogger("atproto_oauth_asgi")
_VERIFIED_FOR_S = 24 * 3600.0
SEND_BUDGET_S = 12.0
"""How long a refresh token may be under way, with all retries."""

_SAVE_BUDGET_S = 8.0

BeforeSend = Callable[[], Awaitable[None]]
"""Is awaited right before a refresh token goes out; what it raises keeps it here."""


async def nothing_to_do() -> None:
    """Be the ``BeforeSend`` of who has nothing to check."""


def check_lease(lease: Lease | None) -> None:
    """Check that nobody else gets the lock before an answer could be saved.

    Raises:
        RefreshUnavailable: a process that was frozen, or a machine that is very slow.
    """
    needed_s = SEND_BUDGET_S + _SAVE_BUDGET_S
    if lease is not None and lease.remaining_s() <= needed_s:
        message = "this process was held up for too long to renew the tokens"
        raise RefreshUnavailable(message)


class TokenRenewal:
    """Renews and revokes; every call is one conversation, none is repeated here."""

    def __init__(
        self,
        accounts: AccountLocator,
        server: AuthServerClient,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._accounts = accounts
        self._server = server
        self._clock = clock

    async def renew(
        self, session: OAuthSession, before_send: BeforeSend = nothing_to_do
    ) -> OAuthSession:
        """Trade the refresh token; return the session with its new tokens.

        Raises:
            SessionExpired: there is no refresh token.
            SessionRevoked: the server ended the session.
            AccountMoved: the account lives behind another server now.
            ClientKeyRetired: the session's client key is gone.
            RefreshUnavailable: nothing definite was learnt; the session lives.

        Spec: RFC 6749 section 6, atproto OAuth "Tokens and Session Lifetime".
        """
        if session.refresh_token is None:
            raise SessionExpired("the session has no refresh token")
        try:
            return await self._renew(session, session.refresh_token, before_send)
        except (DiscoveryError, IdentityError, TransportError) as error:
            message = f"the tokens could not be renewed now ({error.code})"
            raise RefreshUnavailable(message) from error
        except (SessionRevoked, AccountMoved, ClientKeyRetired) as error:
            _log.warning(
                "session ended: did=%s issuer=%s code=%s: %s",
                session.did,
                session.authserver_iss,
                error.code,
                error,
            )
            raise

    async def revoke(self, session: OAuthSession) -> None:
        """End the session at its server.

        The refresh token is sent where there is one: revoking a rotated access
        token ends nothing.

        Raises:
            AuthorizationServerError: the server refused.
            DiscoveryError, TransportError: it could not be asked.
        """
        server = await self._accounts.server(session.authserver_iss)
        hint = "access_token" if session.refresh_token is None else "refresh_token"
        await self._server.revoke(
            server,
            session.refresh_token or session.access_token,
            _keys_of(session),
            hint=hint,
        )

    async def _renew(
        self, session: OAuthSession, refresh_token: str, before_send: BeforeSend
    ) -> OAuthSession:
        self._server.check_key(session.kid)
        if self._server.is_older_key(session.kid):
            # What taking that key away would end.
            _log.info("older client key: did=%s kid=%s", session.did, session.kid)
        verified = await self._verify(session)
        server = await self._accounts.server(session.authserver_iss)
        await before_send()
        began_at = self._clock()
        try:
            with time_limit(SEND_BUDGET_S, what="renewing the tokens"):
                tokens = await self._server.redeem(
                    server,
                    build_refresh_form(refresh_token),
                    _keys_of(session),
                    nonce_required=False,
                )
        except OAuthTokenError as error:
            raise _judge(error) from error
        await self._check_same_account(session, tokens, server)
        return verified.replace(
            access_token=tokens.access_token,
            refresh_token=tokens.refresh_token or refresh_token,
            scope=_no_wider(tokens.scope, session.scope),
            expires_at=expiry(tokens, began_at),
            renewals=session.renewals + 1,
        )

    async def _verify(self, session: OAuthSession) -> OAuthSession:
        """Return the session with the account's PDS, if its server is still the same.

        Unreachable is not contradicted: somebody else's outage must not end a
        session, so the last answer counts for a day.
        """
        asked_at = self._clock()
        try:
            document = await self._accounts.verify(
                Did(session.did),
                pds_url=session.pds_url,
                issuer=session.authserver_iss,
            )
        except TransportError as error:
            if not _was_verified_lately(session, now=asked_at):
                raise
            _log.info("account not checked: did=%s code=%s", session.did, error.code)
            return session
        verified_at = datetime.fromtimestamp(asked_at, UTC)
        return session.replace(pds_url=document.pds_url, verified_at=verified_at)

    async def _check_same_account(
        self, session: OAuthSession, tokens: TokenResponse, server: AuthServerMetadata
    ) -> None:
        if tokens.sub == session.did:
            return
        await self._server.revoke_quietly(
            server,
            to_revoke(tokens),
            _keys_of(session),
        )
        raise SessionRevoked("the server gave tokens of another account")


def _was_verified_lately(session: OAuthSession, *, now: float) -> bool:
    if session.verified_at is None:
        return False
    return now - session.verified_at.timestamp() < _VERIFIED_FOR_S


def _keys_of(session: OAuthSession) -> SessionKeys:
    return SessionKeys(ProofSigner(session.dpop_private_key), session.kid)


def to_revoke(tokens: TokenResponse) -> list[tuple[str, str]]:
    """Return what to revoke to undo a token answer, as (hint, token)."""
    if tokens.refresh_token is not None:
        return [("refresh_token", tokens.refresh_token)]
    return [("access_token", tokens.access_token)]


def expiry(tokens: TokenResponse, began_at: float) -> datetime | None:
    """Return when the tokens end, counted from before they were asked for."""
    if tokens.expires_in is None:
        return None
    return datetime.fromtimestamp(began_at, UTC) + timedelta(seconds=tokens.expires_in)


def _judge(error: OAuthTokenError) -> OAuthError:
    """Tell the answers that end a session from those that end nothing."""
    if error.error == "invalid_grant":
        return SessionRevoked("the server ended the session")
    if error.error == UNUSABLE_TOKENS:
        return SessionRevoked("the server gave tokens that must not be used")
    return RefreshUnavailable(f"the server did not renew the tokens ({error.error})")


def _no_wider(scope: str, granted: str) -> str:
    """Return the scope, without what was never granted; a server may respell it."""
    known, allowed = set(granted.split()), ScopesSet(granted)
    return " ".join(
        value for value in scope.split() if value in known or _brings(allowed, value)
    )


def _brings(allowed: ScopesSet, value: str) -> bool:
    try:
        return allowed.allows(value)
    except ConfigurationError:
        return False
