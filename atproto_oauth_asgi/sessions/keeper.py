"""Where a client's sessions are kept, if the application named a place."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from typing import Protocol

import anyio

from atproto_oauth_asgi.exceptions import (
    OAuthError,
    SessionError,
    SessionExpired,
    SessionRevoked,
    StoreError,
)
from atproto_oauth_asgi.models import OAuthSession
from atproto_oauth_asgi.sessions.marks import Mark
from atproto_oauth_asgi.stores.base import SessionStore
from atproto_oauth_asgi.stores.locks import Lease, ProcessLocks

OnSessionUpdated = Callable[[OAuthSession], Awaitable[None] | None]
"""Is told of a renewed session; a plain function runs in a thread of its own."""

IsUsable = Callable[[OAuthSession], bool]

_PROCESS_LEASE_S = 300.0


class KeptSessions(Protocol):
    """A place that sessions are kept in."""

    async def save_new(self, session: OAuthSession) -> None:
        """Keep a session that has just begun."""

    async def save_renewed(
        self, session: OAuthSession, *, was_kept: bool, mark: Mark | None = None
    ) -> None:
        """Keep a session that was renewed, and that was kept here before or not.

        Raises:
            SessionError: it was ended meanwhile.
        """

    async def mark(self, session: OAuthSession) -> Mark | None:
        """Say that its refresh token is about to be sent, where that can be said.

        Raises:
            RefreshUnavailable: somebody else is about to send it, or has done so.
            SessionError: it has ended.
        """

    async def unmark(self, session: OAuthSession, mark: Mark) -> None:
        """Say that the token was sent, and that nothing definite came of it."""

    async def find(
        self, did: str, session_id: str | None, is_usable: IsUsable
    ) -> OAuthSession | None:
        """Return the newest state of a session, or of the account's newest one.

        Of several, one that is usable is preferred.

        Raises:
            SessionError: why there is none, where that is known.
        """

    async def would_keep(self, session: OAuthSession) -> bool:
        """Return whether a renewed session would find its place here."""

    async def end(self, session: OAuthSession, *, code: str) -> OAuthSession | None:
        """Forget a session; return the state of it that was kept.

        ``code`` is that of the ``SessionError`` that tells why.
        """

    def lock(self, session: OAuthSession) -> AbstractAsyncContextManager[Lease | None]:
        """Return a context that one renewal of a session is in at a time."""


class OnePerAccount:
    """Sessions in an application's ``SessionStore``: the last one of each account."""

    def __init__(self, store: SessionStore) -> None:
        self._store = store
        self._locks = ProcessLocks()

    async def save_new(self, session: OAuthSession) -> None:
        """Keep a session that has just begun, in place of an older one."""
        await self._store.save_session(session)

    async def save_renewed(
        self, session: OAuthSession, *, was_kept: bool, mark: Mark | None = None
    ) -> None:
        """Keep a renewed session, unless a later one of the account has come.

        Raises:
            SessionRevoked: it is gone, so that somebody has logged out.
        """
        del mark
        kept = await self._load(session.did)
        if kept is None and was_kept:
            raise SessionRevoked("the session was ended while it was renewed")
        if kept is None or _is_same(kept, session):
            await self._store.save_session(session)

    async def find(
        self, did: str, session_id: str | None, is_usable: IsUsable
    ) -> OAuthSession | None:
        """Return the account's session, if it is the one that is asked for."""
        del is_usable
        kept = await self._load(did)
        if kept is None or not (kept.session_id and session_id):
            return kept
        return kept if kept.session_id == session_id else None

    async def mark(self, session: OAuthSession) -> Mark | None:
        """Return None: such a store cannot compare before it writes."""
        del session
        return None

    async def unmark(self, session: OAuthSession, mark: Mark) -> None:
        """Do nothing: there are no marks here."""

    async def would_keep(self, session: OAuthSession) -> bool:
        """Return whether no later session of the account is here."""
        kept = await self._load(session.did)
        return kept is None or _is_same(kept, session)

    async def end(self, session: OAuthSession, *, code: str) -> OAuthSession | None:
        """Forget a session; a later one of the same account stays."""
        del code
        kept = await self._load(session.did)
        if kept is None or not _is_same(kept, session):
            return None
        await self._store.delete_session(session.did)
        return kept

    async def _load(self, did: str) -> OAuthSession | None:
        kept = await self._store.get_session(did)
        if kept is not None and kept.did != did:
            raise StoreError("the session store gave another account's session")
        return kept

    def lock(self, session: OAuthSession) -> AbstractAsyncContextManager[Lease | None]:
        """Return a context for this process only: such a store knows no locks."""
        return self._locks.lock(session.did, _PROCESS_LEASE_S)


class SessionKeeper:
    """Tells the application's store and hook of new, renewed and ended sessions."""

    def __init__(
        self, kept: KeptSessions | None, on_updated: OnSessionUpdated | None
    ) -> None:
        self._kept = kept
        self._on_updated = on_updated

    @property
    def has_store(self) -> bool:
        """Whether sessions are kept."""
        return self._kept is not None

    async def would_keep(self, session: OAuthSession) -> bool:
        """Return whether anybody would keep the tokens of a renewed session."""
        if self._on_updated is not None:
            return True
        return self._kept is not None and await self._kept.would_keep(session)

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

    async def mark(self, session: OAuthSession) -> Mark | None:
        """Say that a session's refresh token is about to be sent.

        Raises:
            RefreshUnavailable: somebody else is about to send it, or has done so.
            SessionError: it has ended.
        """
        return None if self._kept is None else await self._kept.mark(session)

    async def unmark(self, session: OAuthSession, mark: Mark) -> None:
        """Say that the token was sent, and that nothing definite came of it."""
        if self._kept is not None:
            await self._kept.unmark(session, mark)

    async def save(
        self, session: OAuthSession, *, was_kept: bool, mark: Mark | None = None
    ) -> None:
        """Keep a renewed session; its tokens are not used before that.

        Raises:
            SessionError: it was ended meanwhile.
        """
        if self._kept is not None:
            await self._kept.save_renewed(session, was_kept=was_kept, mark=mark)

    async def tell(self, session: OAuthSession) -> None:
        """Tell the hook of a renewed session; its tokens are not used before that."""
        if self._on_updated is None:
            return
        told: object
        if inspect.iscoroutinefunction(self._on_updated):
            told = self._on_updated(session)
        else:
            hook: Callable[[OAuthSession], object] = self._on_updated
            told = await anyio.to_thread.run_sync(hook, session)
        if inspect.isawaitable(told):
            await told

    async def find_this(self, session: OAuthSession) -> OAuthSession | None:
        """Return the state of this session that is kept, if it is.

        Raises:
            SessionError: it has ended.
        """
        if self._kept is None:
            return None
        return await self._kept.find(session.did, session.session_id, lambda _: True)

    async def find(
        self, did: str, session_id: str | None, *, is_usable: IsUsable
    ) -> OAuthSession:
        """Return a kept session; see ``KeptSessions.find``.

        Raises:
            SessionError: why there is none.
        """
        found = self._kept and await self._kept.find(did, session_id, is_usable)
        if not found:
            raise SessionExpired("no session of this account is kept")
        return found

    async def end(
        self, session: OAuthSession, *, why: SessionError
    ) -> OAuthSession | None:
        """Forget a session; return the state of it that was kept.

        A later one of the same account stays.
        """
        return (
            None if self._kept is None else await self._kept.end(session, code=why.code)
        )

    def lock(self, session: OAuthSession) -> AbstractAsyncContextManager[Lease | None]:
        """Return a context that one renewal of a session is in at a time."""
        return nullcontext() if self._kept is None else self._kept.lock(session)


def _is_same(kept: OAuthSession, session: OAuthSession) -> bool:
    """Return whether these are one session; a store may have lost the ids."""
    if not (kept.session_id and session.session_id):
        return True
    return kept.session_id == session.session_id
