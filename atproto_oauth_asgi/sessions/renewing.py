"""Sessions of an application's own: renewed once for all who ask, and kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress

import anyio

from atproto_oauth_asgi.exceptions import (
    OAuthError,
    RefreshUnavailable,
    SessionError,
    SessionRevoked,
)
from atproto_oauth_asgi.models import OAuthSession
from atproto_oauth_asgi.network.beside import run_shielded
from atproto_oauth_asgi.network.cache import SharedCache
from atproto_oauth_asgi.sessions.keeper import SessionKeeper
from atproto_oauth_asgi.sessions.lifecycle import last_renewed, record_key
from atproto_oauth_asgi.sessions.tokens import TokenRenewal

_OUTCOME_KEPT_S = 60.0
_OUTCOMES_KEPT = 1000


class SharedRenewal:
    """Renews sessions: one request for everybody who asks with the same tokens."""

    def __init__(
        self,
        renewal: TokenRenewal,
        keeper: SessionKeeper,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._renewal = renewal
        self._keeper = keeper
        self._outcomes: SharedCache[OAuthSession] = SharedCache(
            clock=clock, lifetime_s=_OUTCOME_KEPT_S, max_entries=_OUTCOMES_KEPT
        )
        self._unsaved: OrderedDict[str, OAuthSession] = OrderedDict()

    async def renew(self, session: OAuthSession) -> OAuthSession:
        """Return the session with new tokens, saved where sessions are kept.

        Raises:
            SessionExpired, SessionRevoked, AccountMoved, ClientKeyRetired: it ended.
            RefreshUnavailable: not now; the session lives, and so do its tokens.
            StoreError: the store does not answer. Tokens that came all the same are
                remembered here, and saved when somebody asks again.
        """
        tokens = (session.access_token, session.refresh_token or "")
        key = record_key(session.did, *tokens)
        # Half a refresh is a session lost: nobody may break it off.
        return await run_shielded(
            lambda: self._outcomes.get(key, lambda: self._renew_alone(session, key))
        )

    async def end(self, session: OAuthSession) -> None:
        """Revoke the newest tokens of a session, and forget it in any case.

        Raises:
            AuthorizationServerError: the server refused.
            ClientKeyRetired, DiscoveryError, TransportError: it could not be asked.
            StoreError: the store does not answer.
        """
        await run_shielded(lambda: self._end_alone(session))

    async def _end_alone(self, session: OAuthSession) -> None:
        async with self._keeper.lock(session):
            with suppress(SessionError):
                newest = await self._keeper.newest(session)
                session = newest if _is_later(newest, session) else session
            try:
                await self._renewal.revoke(session)
            finally:
                await self._keeper.end(session, why=SessionRevoked())

    async def _renew_alone(self, session: OAuthSession, key: str) -> OAuthSession:
        async with self._keeper.lock(session):
            renewed = self._unsaved.get(key)
            if renewed is None:
                newest = await self._keeper.newest(session)
                if _is_later(newest, session):
                    return newest
                try:
                    renewed = await self._renewal.renew(session)
                except RefreshUnavailable:
                    raise
                except SessionError as error:
                    return await self._judge(session, error)
            await self._save(renewed, key)
            return renewed

    async def _judge(self, session: OAuthSession, error: SessionError) -> OAuthSession:
        """Return what another process has just made of a session, or end it."""
        newest = await self._keeper.newest(session)
        if _is_later(newest, session):
            return newest
        await self._keeper.end(session, why=error)
        raise error

    async def _save(self, renewed: OAuthSession, key: str) -> None:
        self._unsaved[key] = renewed
        if len(self._unsaved) > _OUTCOMES_KEPT:
            self._unsaved.popitem(last=False)
        try:
            await self._keeper.save(renewed)
        except SessionError:
            # Logged out while it was renewed: the new tokens are nobody's.
            with suppress(OAuthError):
                await self._renewal.revoke(renewed)
            self._unsaved.pop(key, None)
            raise
        self._unsaved.pop(key, None)


class OwnTokens:
    """The tokens of a ``pds_client``: renewed once they are refused."""

    def __init__(
        self,
        session: OAuthSession,
        *,
        refresh: Callable[[OAuthSession], Awaitable[OAuthSession]],
        keeper: SessionKeeper,
        clock: Callable[[], float],
    ) -> None:
        self._clock = clock
        self._session = session
        self._refresh = refresh
        self._keeper = keeper
        self._is_told = True
        self._lock = anyio.Lock()

    async def current(self) -> OAuthSession:
        """Return the newest session, told of, and renewed if its access token has ended.

        Raises:
            RefreshUnavailable, SessionError: as ``renew``.
        """
        if not self._is_told:
            await run_shielded(self._tell)
        expires_at = self._session.expires_at
        if expires_at is not None and self._clock() >= expires_at.timestamp():
            return await self.renew(self._session)
        return self._session

    async def renew(self, stale: OAuthSession) -> OAuthSession:
        """Return a renewed session, after the application has been told of it.

        Raises:
            RefreshUnavailable: nobody would keep the new tokens.
            SessionError: as ``OAuthClient.refresh_session``.
        """
        async with self._lock:
            if self._session is not stale:
                return self._session
            if not self._keeper.keeps_anything:
                message = "the tokens have ended; pass on_session_updated to renew them"
                raise RefreshUnavailable(message)
            await run_shielded(lambda: self._renew(stale))
            return self._session

    async def _renew(self, stale: OAuthSession) -> None:
        # A used token must never be sent again, whatever becomes of the rest.
        self._session = await self._refresh(stale)
        self._is_told = False
        await self._tell()

    async def _tell(self) -> None:
        await self._keeper.tell(self._session)
        self._is_told = True


def _is_later(newest: OAuthSession, session: OAuthSession) -> bool:
    """Return whether somebody else who keeps the session here has renewed it."""
    is_older = last_renewed(newest) < last_renewed(session)
    return newest.refresh_token != session.refresh_token and not is_older
