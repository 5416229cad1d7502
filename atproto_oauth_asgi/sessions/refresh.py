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
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

import anyio

from atproto_oauth_asgi.exceptions import (
    AccountMoved,
    ClientKeyRetired,
    OAuthError,
    RefreshUnavailable,
    SessionError,
    SessionExpired,
    SessionRevoked,
)
from atproto_oauth_asgi.models import OAuthSession
from atproto_oauth_asgi.network.beside import run_shielded
from atproto_oauth_asgi.sessions.lifecycle import (
    OpenedSession,
    SealedSessions,
    record_key,
)
from atproto_oauth_asgi.stores.base import RecordStore

_log = logging.getLogger("atproto_oauth_asgi")

_LEASE_S = 60.0
_SOONEST_AGAIN_S = 1.0
_LONGEST_CHAIN = 100
_LOGOUT_LOCK_S = 2.0
_REVOCATION_BUDGET_S = 5.0
_KEPT_AFTER_CONFIRMATION_S = 300.0
_LONGEST_PAUSE_S = 60.0
_FAILURES_KEPT = 10_000
_CONFIRMATIONS_KEPT = 10_000
_ENDED = b"ended:"
_ENDINGS: dict[bytes, type[SessionError]] = {
    ending.code.encode(): ending
    for ending in (SessionExpired, SessionRevoked, AccountMoved, ClientKeyRetired)
}


@dataclass(frozen=True, slots=True)
class _Pause:
    """After a failure: how long, in seconds, and until when not to ask again."""

    length_s: float
    until: float


class RefreshCoordinator:
    """Renews sessions, for all requests of all tasks that share the store."""

    def __init__(
        self,
        *,
        store: RecordStore,
        sessions: SealedSessions,
        send: Callable[[OAuthSession], Awaitable[OAuthSession]],
        revoke: Callable[[OAuthSession], Awaitable[None]],
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._send = send
        self._revoke = revoke
        self._clock = clock
        self._pauses: OrderedDict[str, _Pause] = OrderedDict()
        self._confirmed: OrderedDict[str, None] = OrderedDict()

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
        self._check_pause(_outcome_key(newest))
        self._check_not_too_soon(newest)
        async with self._store.lock(_lock_key(newest.session), _LEASE_S):
            return await self._refresh_alone(newest)

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
        key = opened.follows
        if key is None or key in self._confirmed:
            return
        record = await self._store.load("outcome", key)
        if record is not None:
            expires_at = self._clock() + _KEPT_AFTER_CONFIRMATION_S
            await self._store.save(
                "outcome",
                key,
                record.value,
                expires_at=min(record.expires_at, expires_at),
                if_version=record.version,
            )
        self._confirmed[key] = None
        if len(self._confirmed) > _CONFIRMATIONS_KEPT:
            self._confirmed.popitem(last=False)

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
            with anyio.move_on_after(_LOGOUT_LOCK_S):
                lock = self._store.lock(_lock_key(session), _LEASE_S)
                await held.enter_async_context(lock)
            try:
                opened = await self._newest(opened)
            except RefreshUnavailable as error:
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
            later = await self._outcome(_outcome_key(opened))
            if later is None:
                return opened
            opened = later
        raise RefreshUnavailable("this cookie was renewed too often already")

    async def _outcome(self, key: str) -> OpenedSession | None:
        record = await self._store.load("outcome", key)
        if record is None:
            return None
        if record.value.startswith(_ENDED):
            ending = _ENDINGS.get(record.value.removeprefix(_ENDED), SessionExpired)
            raise ending("the session has ended")
        opened = self._sessions.open(record.value.decode("ascii"))
        if opened is None or opened.follows != key:
            # Sealed with a newer secret, or by a clock that is ahead: not an ending.
            raise RefreshUnavailable("the renewed session cannot be read here now")
        return opened

    async def _refresh_alone(self, opened: OpenedSession) -> OpenedSession:
        """Return what the session has become, while nobody else renews it."""
        newest, key = await self._newest(opened), _outcome_key(opened)
        await self.check_alive(newest.session)
        if newest is not opened:
            return newest
        self._check_pause(key)
        # Half a refresh is a session lost: nobody may break it off.
        return await run_shielded(lambda: self._refresh_now(opened, key))

    async def _refresh_now(self, opened: OpenedSession, key: str) -> OpenedSession:
        try:
            session = await self._send(opened.session)
        except SessionError as error:
            await self._note_failure(error, key=key, session=opened.session)
            raise
        except OAuthError as error:
            self._pause(key)
            message = "the tokens could not be renewed now"
            raise RefreshUnavailable(message) from error
        # Nothing comes between the answer and the save.
        renewed = self._sessions.seal(session, follows=key)
        await self._keep(key, renewed.value.encode("ascii"), session)
        self._pauses.pop(key, None)
        await self._check_still_alive(session)
        return renewed

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
        self, error: SessionError, *, key: str, session: OAuthSession
    ) -> None:
        code = error.code.encode()
        if code in _ENDINGS:
            await self._keep(key, _ENDED + code, session)
        else:
            self._pause(key)

    async def _keep(self, key: str, value: bytes, session: OAuthSession) -> None:
        expires_at = self._clock() + self._sessions.remaining_s(session)
        await self._store.save("outcome", key, value, expires_at=expires_at)

    def _pause(self, key: str) -> None:
        before = self._pauses.pop(key, None)
        length_s = min(_LONGEST_PAUSE_S, before.length_s * 2 if before else 1.0)
        self._pauses[key] = _Pause(length_s, self._clock() + length_s)
        if len(self._pauses) > _FAILURES_KEPT:
            self._pauses.popitem(last=False)

    def _check_not_too_soon(self, opened: OpenedSession) -> None:
        """Refuse to renew renewed tokens that a PDS refuses all the same."""
        if opened.follows is None:
            return
        now = self._clock()
        age_s = now - opened.sealed_at
        if not opened.is_due(now) and 0 <= age_s < _SOONEST_AGAIN_S:
            raise RefreshUnavailable("the tokens were renewed a moment ago")

    def _check_pause(self, key: str) -> None:
        pause = self._pauses.get(key)
        # A clock that was set back must not make a pause of hours.
        if pause and 0 < pause.until - self._clock() <= pause.length_s:
            message = "renewing the tokens failed a moment ago; it is tried again soon"
            raise RefreshUnavailable(message)


def _outcome_key(opened: OpenedSession) -> str:
    return record_key("outcome", opened.value)


def _lock_key(session: OAuthSession) -> str:
    return record_key("refresh", session.session_id)
