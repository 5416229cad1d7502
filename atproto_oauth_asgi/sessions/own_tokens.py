"""The tokens of a client that renews them by itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

from atproto_oauth_asgi.exceptions import RefreshUnavailable
from atproto_oauth_asgi.models import OAuthSession
from atproto_oauth_asgi.network.beside import run_shielded
from atproto_oauth_asgi.sessions.keeper import SessionKeeper


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
        session = await self._told()
        expires_at = session.expires_at
        if expires_at is not None and self._clock() >= expires_at.timestamp():
            return await self.renew(session)
        return session

    async def renew(self, stale: OAuthSession) -> OAuthSession:
        """Return a renewed session, after the application has been told of it.

        Raises:
            RefreshUnavailable: nobody would keep the new tokens.
            SessionError: as ``OAuthClient.refresh_session``.
        """
        async with self._lock:
            if self._session is not stale:
                return await self._told()
            if not await self._keeper.would_keep(stale):
                message = "nobody would keep new tokens; pass on_session_updated"
                raise RefreshUnavailable(message)
            await run_shielded(lambda: self._renew(stale))
            return self._session

    async def _renew(self, stale: OAuthSession) -> None:
        # A used token must never be sent again, whatever becomes of the rest.
        self._session = await self._refresh(stale)
        self._is_told = False
        await self._tell()

    async def _told(self) -> OAuthSession:
        """Return the session, once the application has been told of its tokens."""
        if not self._is_told:
            await run_shielded(self._tell)
        return self._session

    async def _tell(self) -> None:
        await self._keeper.tell(self._session)
        self._is_told = True
