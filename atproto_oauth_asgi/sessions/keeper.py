"""Where a client's sessions are kept, if the application named a place."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from typing import Protocol

import anyio

from atproto_oauth_asgi.exceptions import OAuthError, SessionError, SessionExpired
from atproto_oauth_asgi.models import OAuthSession
from atproto_oauth_asgi.stores.base import SessionStore

OnSessionUpdated = Callable[[OAuthSession], Awaitable[None] | None]
"""Is told of a renewed session; awaited if it can be."""


class KeptSessions(Protocol):
    """A place that sessions are kept in."""

    async def save_new(self, session: OAuthSession) -> None:
        """Keep a session that has just begun."""

    async def save_renewed(self, session: OAuthSession) -> None:
        """Keep a session that was renewed.

        Raises:
            SessionError: it was ended meanwhile.
        """

    async def find(self, did: str, session_id: str | None) -> OAuthSession | None:
        """Return the newest state of a session, or of the account's newest one.

        Raises:
            SessionError: why there is none, where that is known.
        """

    async def end(self, session: OAuthSession, *, code: str) -> None:
        """Forget a session; ``code`` is that of the ``SessionError`` that tells why."""

    def lock(self, session: OAuthSession) -> AbstractAsyncContextManager[object]:
        """Return a context that one renewal of a session is in at a time."""


class OnePerAccount:
    """Sessions in an application's ``SessionStore``: the last one of each account."""

    def __init__(self, store: SessionStore) -> None:
        self._store = store

    async def save_new(self, session: OAuthSession) -> None:
        """Keep a session that has just begun, in place of an older one."""
        await self._store.save_session(session)

    async def save_renewed(self, session: OAuthSession) -> None:
        """Keep a renewed session, unless a later one of the account has come."""
        kept = await self._store.get_session(session.did)
        if kept is None or kept.session_id == session.session_id:
            await self._store.save_session(session)

    async def find(self, did: str, session_id: str | None) -> OAuthSession | None:
        """Return the account's session, if it is the one that is asked for."""
        kept = await self._store.get_session(did)
        if kept is None or session_id not in {None, kept.session_id}:
            return None
        return kept

    async def end(self, session: OAuthSession, *, code: str) -> None:
        """Forget a session; a later one of the same account stays."""
        del code
        if await self.find(session.did, session.session_id) is not None:
            await self._store.delete_session(session.did)

    def lock(self, session: OAuthSession) -> AbstractAsyncContextManager[object]:
        """Return a context that excludes nobody: such a store knows no locks."""
        del session
        return nullcontext()


class SessionKeeper:
    """Tells the application's store and hook of new, renewed and ended sessions."""

    def __init__(
        self, kept: KeptSessions | None, on_updated: OnSessionUpdated | None
    ) -> None:
        self._kept = kept
        self._on_updated = on_updated

    @property
    def keeps_anything(self) -> bool:
        """Whether renewed tokens would be kept by anybody."""
        return self._kept is not None or self._on_updated is not None

    async def begin(
        self,
        session: OAuthSession,
        *,
        revoke: Callable[[OAuthSession], Awaitable[None]],
    ) -> None:
        """Keep a new session; one that cannot be kept is revoked."""
        if self._kept is None:
            return
        try:
            await self._kept.save_new(session)
        except BaseException:
            with anyio.CancelScope(shield=True), suppress(OAuthError):
                await revoke(session)
            raise

    async def save(self, session: OAuthSession) -> None:
        """Keep a renewed session; its tokens are not used before that.

        Raises:
            SessionError: it was ended meanwhile.
        """
        if self._kept is not None:
            await self._kept.save_renewed(session)

    async def tell(self, session: OAuthSession) -> None:
        """Tell the hook of a renewed session; its tokens are not used before that."""
        if self._on_updated is not None:
            told = self._on_updated(session)
            if told is not None:
                await told

    async def newest(self, session: OAuthSession) -> OAuthSession:
        """Return what the session has become by now, as far as anybody knows.

        Raises:
            SessionError: it has ended.
        """
        if self._kept is None:
            return session
        return await self._kept.find(session.did, session.session_id) or session

    async def find(self, did: str, session_id: str | None) -> OAuthSession:
        """Return a kept session.

        Raises:
            SessionError: why there is none.
        """
        found = self._kept and await self._kept.find(did, session_id)
        if not found:
            raise SessionExpired("no session of this account is kept")
        return found

    async def end(self, session: OAuthSession, *, why: SessionError) -> None:
        """Forget a session; a later one of the same account stays."""
        if self._kept is not None:
            await self._kept.end(session, code=why.code)

    def lock(self, session: OAuthSession) -> AbstractAsyncContextManager[object]:
        """Return a context that one renewal of a session is in at a time."""
        return nullcontext() if self._kept is None else self._kept.lock(session)
