"""Where a client's sessions are kept, if the application named a place."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress

import anyio

from atproto_oauth_asgi.exceptions import OAuthError
from atproto_oauth_asgi.models import OAuthSession
from atproto_oauth_asgi.stores.base import SessionStore

OnSessionUpdated = Callable[[OAuthSession], Awaitable[None]]


class SessionKeeper:
    """Tells the application's store and hook of new, renewed and ended sessions."""

    def __init__(
        self, store: SessionStore | None, on_updated: OnSessionUpdated | None
    ) -> None:
        self._store = store
        self._on_updated = on_updated

    @property
    def keeps_anything(self) -> bool:
        """Whether renewed tokens would be kept by anybody."""
        return self._store is not None or self._on_updated is not None

    async def begin(
        self,
        session: OAuthSession,
        *,
        revoke: Callable[[OAuthSession], Awaitable[None]],
    ) -> None:
        """Keep a new session; one that cannot be kept is revoked."""
        try:
            await self._save(session)
        except BaseException:
            with anyio.CancelScope(shield=True), suppress(OAuthError):
                await revoke(session)
            raise

    async def update(self, session: OAuthSession) -> None:
        """Keep a renewed session; its tokens are not used before this returns."""
        kept = await self._kept(session.did)
        if kept is None or kept.session_id == session.session_id:
            await self._save(session)
        if self._on_updated is not None:
            await self._on_updated(session)

    async def _save(self, session: OAuthSession) -> None:
        if self._store is not None:
            await self._store.save_session(session)

    async def end(self, session: OAuthSession) -> None:
        """Forget a session; a later one of the same account stays."""
        kept = await self._kept(session.did)
        is_this_one = kept is not None and kept.session_id == session.session_id
        if self._store is not None and is_this_one:
            await self._store.delete_session(session.did)

    async def _kept(self, did: str) -> OAuthSession | None:
        """Return the store's one session of an account, which may be a later one."""
        return None if self._store is None else await self._store.get_session(did)
