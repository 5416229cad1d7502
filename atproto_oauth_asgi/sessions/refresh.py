"""One refresh at a time, and its outcome for everybody who comes late.

Refresh tokens work once: the reference server ends the whole session when it sees
one twice. In cookie mode many requests carry the same token at the same moment, and
the response that brings the new one can be lost. So a refresh happens under a lock,
and what came out of it is kept in the store under a hash of the old cookie value. (Not
of the old token: a server that does not change it would make an outcome its own
successor.)
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress

import anyio

from atproto_oauth_asgi.exceptions import (
    OAuthError,
    RefreshInterrupted,
    RefreshUnavailable,
    SessionError,
    SessionExpired,
    SessionRevoked,
    StoreError,
)
from atproto_oauth_asgi.models import OAuthSession
from atproto_oauth_asgi.network.beside import run_shielded
from atproto_oauth_asgi.sessions.lifecycle import (
    OpenedSession,
    SealedSessions,
    record_key,
)
from atproto_oauth_asgi.sessions.outcomes import LEASE_S, Mark, Outcomes
from atproto_oauth_asgi.sessions.pauses import Pauses
from atproto_oauth_asgi.sessions.tokens import BeforeSend, check_lease
from atproto_oauth_asgi.stores.base import RecordStore
from atproto_oauth_asgi.stores.locks import Lease, lock_within

_log = logging.getLogger("atproto_oauth_asgi")

_SOONEST_AGAIN_S = 1.0
_LONGEST_CHAIN = 100
_LOCK_WAIT_S = 20.0
_LOGOUT_LOCK_S = 2.0
_REVOCATION_BUDGET_S = 5.0

Send = Callable[[OAuthSession, BeforeSend], Awaitable[OAuthSession]]
"""Renews a session."""


class RefreshCoordinator:
    """Renews sessions, for all requests of all tasks that share the store."""

    def __init__(
        self,
        *,
        store: RecordStore,
        sessions: SealedSessions,
        send: Send,
        revoke: Callable[[OAuthSession], Awaitable[None]],
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._send = send
        self._revoke = revoke
        self._clock = clock
        self._pauses = Pauses(clock=clock)
        self._outcomes = Outcomes(store=store, sessions=sessions, clock=clock)

    async def refresh(
        self, opened: OpenedSession, *, may_send: bool = True
    ) -> OpenedSession:
        """Return what the session has become: adopted, or refreshed now.

        Raises:
            RefreshUnavailable: not now; the session lives. Also when a refresh
                would have to be sent and ``may_send`` is False.
            SessionError: the session has ended.
            StoreError: the store does not answer.
        """
        newest = await self._newest(opened)
        if newest is not opened:
            await self.check_alive(newest.session)
            if not (may_send and newest.is_due(self._clock())):
                return newest
        if newest.session.refresh_token is None:
            raise SessionExpired("the session has no refresh token")
        if not may_send:
            message = "the response has begun, new tokens could not reach the browser"
            raise RefreshUnavailable(message)
        self._pauses.check(_outcome_key(newest))
        self._check_not_too_soon(newest)
        lock = self._lock(newest.session)
        async with lock_within(_LOCK_WAIT_S, lock, error=RefreshUnavailable) as lease:
            return await self._refresh_alone(newest, lease)

    async def newest(self, opened: OpenedSession) -> OpenedSession:
        """Return what the session has become by now; nothing is sent.

        Raises:
            RefreshUnavailable: that cannot be read here.
            SessionError: the session has ended.
            StoreError: the store does not answer.
        """
        newest = await self._newest(opened)
        await self.check_alive(newest.session)
        return newest

    async def confirm(self, opened: OpenedSession) -> None:
        """Note that a browser has a refreshed cookie: the outcome may go soon."""
        await self._outcomes.confirm(opened)

    async def check_alive(self, session: OAuthSession) -> None:
        """Check that nobody has logged this session out.

        Raises:
            SessionRevoked: somebody has.
        """
        if await self._store.load("tombstone", record_key(session.session_id)):
            raise SessionRevoked("the session was logged out")

    async def end(self, opened: OpenedSession) -> None:
        """Log a session out: here at once, at its server if that answers in time.

        The tombstone comes first: a refresh that is under way finds it, and revokes
        what it was given. The lock makes this the newest token's revocation, as
        revoking one that was rotated ends nothing.

        Raises:
            StoreError: the store does not answer, and the cookie must be kept for
                another try.
        """
        await self._bury(opened.session)
        session = opened.session
        _log.info("logged out: did=%s issuer=%s", session.did, session.authserver_iss)
        # Somebody who has clicked "log out" may close the browser at once.
        await run_shielded(lambda: self._revoke_newest(opened))

    async def _revoke_newest(self, opened: OpenedSession) -> None:
        session = opened.session
        async with AsyncExitStack() as held:
            with anyio.move_on_after(_LOGOUT_LOCK_S), suppress(StoreError):
                await held.enter_async_context(self._lock(session))
            try:
                opened = await self._newest(opened)
            except (RefreshUnavailable, StoreError) as error:
                _log.warning("older tokens revoked: did=%s: %s", session.did, error)
            except SessionError:
                return
            await self.revoke_quietly(opened.session)

    async def _bury(self, session: OAuthSession) -> None:
        """Write the tombstone of a session; it lives as long as a cookie could."""
        await self._store.save(
            "tombstone",
            record_key(session.session_id),
            b"1",
            expires_at=self._clock() + self._sessions.remaining_s(session),
        )

    async def _newest(self, opened: OpenedSession) -> OpenedSession:
        """Return the last of the outcomes that follow; the session if there is none.

        Raises:
            RefreshUnavailable: the browser has missed too many of them.
            SessionError: the last one is that the session has ended.
        """
        for _ in range(_LONGEST_CHAIN):
            later = await self._outcomes.find(_outcome_key(opened))
            if later is None:
                return opened
            opened = later
        raise RefreshUnavailable("this cookie was renewed too often already")

    async def _refresh_alone(
        self, opened: OpenedSession, lease: Lease
    ) -> OpenedSession:
        """Return what the session has become, while nobody else renews it."""
        newest, key = await self._newest(opened), _outcome_key(opened)
        await self.check_alive(newest.session)
        if newest is not opened:
            return newest
        self._pauses.check(key)
        # Half a refresh is a session lost: nobody may break it off.
        return await run_shielded(lambda: self._refresh_now(opened, key, lease))

    async def _refresh_now(
        self, opened: OpenedSession, key: str, lease: Lease
    ) -> OpenedSession:
        marks: list[Mark] = []

        async def before_send() -> None:
            marks.append(await self._outcomes.mark(key, opened.session))
            check_lease(lease)

        try:
            session = await self._send(opened.session, before_send)
        except OAuthError as error:
            later = await self._note_failure(error, opened, key=key, marks=marks)
            if later is not None:
                return later
            raise _as_told(error, marks) from error
        # Nothing comes between the answer and the save.
        renewed = self._sessions.seal(session, follows=key)
        counts = await self._outcomes.keep(key, renewed, version=_version(marks))
        self._pauses.forget(key)
        await self._check_still_alive(counts.session)
        return counts

    async def _check_still_alive(self, session: OAuthSession) -> None:
        """Revoke the new tokens if somebody has logged out while they were fetched."""
        try:
            await self.check_alive(session)
        except SessionRevoked:
            await self.revoke_quietly(session)
            raise

    async def revoke_quietly(self, session: OAuthSession) -> None:
        """Revoke tokens that nobody will use; a server that fails is only logged."""
        try:
            with anyio.move_on_after(_REVOCATION_BUDGET_S) as budget:
                await self._revoke(session)
        except OAuthError as error:
            _log.warning("revocation failed: did=%s code=%s", session.did, error.code)
        else:
            if budget.cancelled_caught:
                _log.warning("revocation took too long: did=%s", session.did)

    async def _note_failure(
        self, error: OAuthError, opened: OpenedSession, *, key: str, marks: list[Mark]
    ) -> OpenedSession | None:
        """Note what went wrong; return what others have made of the session."""
        if _is_end(error):
            return await self._outcomes.end(
                key,
                opened.session,
                code=_as_told(error, marks).code,
                version=_version(marks),
            )
        self._pauses.begin(key)
        for mark in marks:
            await self._outcomes.unmark(key, opened.session, mark)
        return None

    def _check_not_too_soon(self, opened: OpenedSession) -> None:
        """Refuse to renew renewed tokens that a PDS refuses all the same."""
        if opened.follows is None:
            return
        now = self._clock()
        age_s = now - opened.sealed_at
        if not opened.is_due(now) and 0 <= age_s < _SOONEST_AGAIN_S:
            raise RefreshUnavailable("the tokens were renewed a moment ago")

    def _lock(self, session: OAuthSession) -> AbstractAsyncContextManager[Lease]:
        return self._store.lock(record_key("refresh", session.session_id), LEASE_S)


def _version(marks: list[Mark]) -> int:
    # None was set if the tokens had come already, and could not be kept.
    return marks[-1].version if marks else 0


def _is_end(error: OAuthError) -> bool:
    return isinstance(error, SessionError) and not isinstance(error, RefreshUnavailable)


def _as_told(error: OAuthError, marks: list[Mark]) -> OAuthError:
    """Return the error that the caller gets."""
    if isinstance(error, SessionRevoked) and any(m.was_interrupted for m in marks):
        message = "the session ended, as an earlier renewal of it was cut off"
        return RefreshInterrupted(message)
    if isinstance(error, SessionError):
        return error
    return RefreshUnavailable("the tokens could not be renewed now")


def _outcome_key(opened: OpenedSession) -> str:
    return record_key("outcome", opened.value)
