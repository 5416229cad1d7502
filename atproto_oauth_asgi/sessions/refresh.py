"""One refresh at a time, and its outcome for everybody who comes late.

Refresh tokens work once: the reference server ends the whole session when it sees
one twice. In cookie mode many requests carry the same token at the same moment, and
the response that brings the new one can be lost. So a refresh happens under a lock,
and what came out of it is kept in the store.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress

import anyio

from atproto_oauth_asgi.exceptions import (
    OAuthError,
    RefreshUnavailable,
    SessionError,
    SessionExpired,
    StoreError,
)
from atproto_oauth_asgi.models import OAuthSession
from atproto_oauth_asgi.network.beside import run_shielded
from atproto_oauth_asgi.sessions.lifecycle import (
    OpenedSession,
    Reference,
    SealedSessions,
    record_key,
)
from atproto_oauth_asgi.sessions.marks import LEASE_S, Mark, as_interrupted
from atproto_oauth_asgi.sessions.outcomes import (
    CookieOutrun,
    Fit,
    Outcomes,
    outcome_key,
)
from atproto_oauth_asgi.sessions.pauses import Pauses
from atproto_oauth_asgi.sessions.revocation import Revoke, revoke_quietly
from atproto_oauth_asgi.sessions.tokens import BeforeSend, check_lease
from atproto_oauth_asgi.sessions.tombstones import Tombstones
from atproto_oauth_asgi.stores.base import RecordStore
from atproto_oauth_asgi.stores.locks import Lease, lock_within

_log = logging.getLogger("atproto_oauth_asgi")

LOCK_WAIT_S = 20.0
"""How long a refresh waits for its turn."""

LOGOUT_LOCK_S = 2.0
"""How long a log-out waits for a refresh that is under way."""

_LONGEST_CHAIN = 100

Send = Callable[[OAuthSession, BeforeSend], Awaitable[OAuthSession]]
"""Renews a session."""


class RefreshCoordinator:
    """Renews sessions of cookies, for all requests of all who share the store."""

    def __init__(  # noqa: PLR0913 - what it puts together
        self,
        *,
        store: RecordStore,
        sessions: SealedSessions,
        send: Send,
        revoke: Revoke,
        fit: Fit,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._send = send
        self._revoke = revoke
        self._clock = clock
        self._pauses = Pauses(clock=clock)
        self.tombstones: Tombstones = Tombstones(store, clock=clock)
        self._outcomes = Outcomes(
            store=store,
            sessions=sessions,
            fit=fit,
            check=self.tombstones.check,
            revoke=revoke,
            clock=clock,
        )

    async def refresh(
        self, opened: OpenedSession, *, may_send: bool = True
    ) -> OpenedSession | Reference:
        """Return what the session has become: adopted, or refreshed now.

        Raises:
            RefreshUnavailable: not now; the session lives. Also when a refresh
                would have to be sent and ``may_send`` is False.
            SessionError: the session has ended.
            StoreError: the store does not answer.
        """
        try:
            newest = await self._newest(opened)
        except CookieOutrun as error:
            if may_send:
                raise
            # As in a long WebSocket: the session goes on, in what the browser has now.
            raise RefreshUnavailable(str(error)) from error
        if newest is not opened:
            await self.tombstones.check(opened)
        if isinstance(newest, Reference):
            return newest
        if newest is not opened and not (may_send and newest.is_due(self._clock())):
            return newest
        if newest.session.refresh_token is None:
            raise SessionExpired("the session has no refresh token")
        if not may_send:
            message = "the response has begun, new tokens could not reach the browser"
            raise RefreshUnavailable(message)
        self._pauses.check(outcome_key(newest))
        self._pauses.check_not_too_soon(newest)
        lock = self._lock(newest.session)
        async with lock_within(LOCK_WAIT_S, lock, error=RefreshUnavailable) as lease:
            return await self._refresh_alone(newest, lease)

    async def newest(self, opened: OpenedSession) -> OpenedSession | Reference:
        """Return what the session has become by now; nothing is sent.

        Raises:
            RefreshUnavailable: that cannot be read here.
            SessionError: the session has ended.
            StoreError: the store does not answer.
        """
        newest = await self._newest(opened)
        await self.tombstones.check(opened)
        return newest

    def knows(self, opened: OpenedSession) -> bool:
        """Return whether the store need not be asked about a session that was opened."""
        return self.tombstones.are_current(opened.session) and (
            self._outcomes.has_confirmed(opened)
        )

    async def confirm(self, opened: OpenedSession) -> None:
        """Note that a browser has a renewed cookie: the outcome may go soon.

        Raises:
            StoreError: the store does not answer.
        """
        await self._outcomes.confirm(opened)

    async def end(self, opened: OpenedSession) -> Reference | None:
        """Log a session out: here at once, at its server if that answers in time.

        The tombstone comes first: a refresh that is under way finds it, and revokes
        what it was given. The lock makes this the newest token's revocation, as
        revoking one that was rotated ends nothing.

        Returns:
            Where the session lies if it was moved into the store: it goes on there.

        Raises:
            StoreError: the store does not answer, and the cookie must be kept for
                another try.
        """
        await self.tombstones.bury(opened)
        # Somebody who has clicked "log out" may close the browser at once.
        return await run_shielded(lambda: self._revoke_newest(opened))

    async def _revoke_newest(self, opened: OpenedSession) -> Reference | None:
        session = opened.session
        async with AsyncExitStack() as held:
            with anyio.move_on_after(LOGOUT_LOCK_S), suppress(StoreError):
                await held.enter_async_context(self._lock(session))
            try:
                newest = await self._newest(opened)
            except (RefreshUnavailable, StoreError) as error:
                _log.warning("older tokens revoked: did=%s: %s", session.did, error)
                newest = opened
            except SessionError:
                return None
            if isinstance(newest, Reference):
                return newest
            await revoke_quietly(self._revoke, newest.session)
        return None

    async def _newest(self, opened: OpenedSession) -> OpenedSession | Reference:
        """Return the last of the outcomes that follow; the session if there is none.

        Raises:
            RefreshUnavailable: the browser has missed too many of them.
            SessionError: the last one is that the session has ended.
        """
        for _ in range(_LONGEST_CHAIN):
            later = await self._outcomes.find(opened)
            if later is None:
                return opened
            if isinstance(later, Reference):
                return later
            opened = later
        raise RefreshUnavailable("this cookie was renewed too often already")

    async def _refresh_alone(
        self, opened: OpenedSession, lease: Lease
    ) -> OpenedSession | Reference:
        """Return what the session has become, while nobody else renews it."""
        newest = await self.newest(opened)
        if newest is not opened:
            return newest
        self._pauses.check(outcome_key(opened))
        # Half a refresh is a session lost: nobody may break it off.
        return await run_shielded(lambda: self._refresh_now(opened, lease))

    async def _refresh_now(
        self, opened: OpenedSession, lease: Lease
    ) -> OpenedSession | Reference:
        marks: list[Mark] = []

        async def before_send() -> None:
            marks.append(await self._outcomes.mark(opened))
            check_lease(lease)

        try:
            session = await self._send(opened.session, before_send)
        except OAuthError as error:
            told = _as_told(error, marks)
            later = await self._note_failure(told, opened, marks=marks)
            if later is not None:
                return later
            raise told from error
        # Nothing comes between the answer and the save.
        renewed = self._sessions.seal_renewed(opened, session)
        counts = await self._outcomes.keep(opened, renewed, version=_version(marks))
        self._pauses.forget(outcome_key(opened))
        return counts

    async def _note_failure(
        self, error: OAuthError, opened: OpenedSession, *, marks: list[Mark]
    ) -> OpenedSession | Reference | None:
        """Note what went wrong; return what others have made of the session."""
        if not isinstance(error, RefreshUnavailable):
            version = _version(marks)
            return await self._outcomes.end(opened, code=error.code, version=version)
        self._pauses.begin(outcome_key(opened))
        for mark in marks:
            await self._outcomes.unmark(opened, mark)
        return None

    def _lock(self, session: OAuthSession) -> AbstractAsyncContextManager[Lease]:
        return self._store.lock(record_key("refresh", session.session_id), LEASE_S)


def _version(marks: list[Mark]) -> int:
    # None was set if the tokens had come already, and could not be kept.
    return marks[-1].version if marks else 0


def _as_told(error: OAuthError, marks: list[Mark]) -> OAuthError:
    """Return the error that the caller gets."""
    if isinstance(error, SessionError):
        return as_interrupted(error, marks)
    return RefreshUnavailable("the tokens could not be renewed now")
