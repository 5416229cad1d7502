"""Sessions of an application's own: renewed once for all who ask, kept, and ended."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

from atproto_oauth_asgi.exceptions import (
    OAuthError,
    RefreshUnavailable,
    SessionError,
    SessionRevoked,
    StoreError,
)
from atproto_oauth_asgi.models import OAuthSession
from atproto_oauth_asgi.network.beside import run_shielded
from atproto_oauth_asgi.sessions.keeper import SessionKeeper
from atproto_oauth_asgi.sessions.lifecycle import age_of, record_key
from atproto_oauth_asgi.sessions.lineage import Lineage, tokens_key
from atproto_oauth_asgi.sessions.marks import Mark, as_interrupted
from atproto_oauth_asgi.sessions.patience import patiently
from atproto_oauth_asgi.sessions.tokens import (
    BeforeSend,
    TokenRenewal,
    check_lease,
    nothing_to_do,
)
from atproto_oauth_asgi.stores.locks import Lease, ProcessLocks, lock_within
from atproto_oauth_asgi.stores.recent import Recent

_LOCK_WAIT_S = 20.0
# Only a thread that has died holds a lock of the process for longer.
_PROCESS_LEASE_S = 300.0
_UNSAVED_KEPT = 1000


class SharedRenewal:
    """Renews sessions: one request for everybody who asks with the same tokens.

    It may be shared by tasks, threads and event loops; processes that share a
    ``RecordStore`` exclude each other as well.
    """

    def __init__(
        self,
        renewal: TokenRenewal,
        keeper: SessionKeeper,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._renewal = renewal
        self._keeper = keeper
        self._clock = clock
        self._lineage = Lineage()
        self._unsaved: Recent[str, tuple[OAuthSession, bool]] = Recent(_UNSAVED_KEPT)
        self._locks = ProcessLocks()

    async def renew(
        self, session: OAuthSession, before_send: BeforeSend = nothing_to_do
    ) -> OAuthSession:
        """Return the session with new tokens, saved where sessions are kept.

        Raises:
            SessionExpired, SessionRevoked, AccountMoved, ClientKeyRetired: it ended.
            RefreshUnavailable: not now; the session lives, and so do its tokens.
            StoreError: the store does not answer. Tokens that came all the same are
                remembered here, and saved when somebody asks again.
        """
        async with self._alone(session) as lease:
            # Half a refresh is a session lost: nobody may break it off.
            return await run_shielded(
                lambda: self._renew_alone(session, before_send, lease)
            )

    async def end(self, session: OAuthSession) -> None:
        """Revoke the newest tokens of a session, and forget it in any case.

        Raises:
            AuthorizationServerError: the server refused.
            ClientKeyRetired, DiscoveryError, TransportError: it could not be asked.
            StoreError: the store does not answer.
        """
        async with self._alone(session):
            if self._keeper.has_store:
                await run_shielded(lambda: self._end_alone(session))
            else:
                await self._end_alone(session)

    @asynccontextmanager
    async def _alone(self, session: OAuthSession) -> AsyncIterator[Lease | None]:
        """Be the only one who renews or ends this session; waiting may be cancelled."""
        name = record_key("session", session.did, session.session_id)
        in_process = self._locks.lock(name, _PROCESS_LEASE_S)
        async with (
            lock_within(_LOCK_WAIT_S, in_process, error=RefreshUnavailable),
            lock_within(
                _LOCK_WAIT_S, self._keeper.lock(session), error=RefreshUnavailable
            ) as lease,
        ):
            yield lease

    async def _renew_alone(
        self, session: OAuthSession, before_send: BeforeSend, lease: Lease | None
    ) -> OAuthSession:
        newest = self._lineage.newest(session)
        try:
            kept = await self._keeper.find_this(newest)
        except SessionError as ending:
            await self._drop(newest, ending)
            raise
        unsaved = self._unsaved.pop(tokens_key(newest), None)
        if kept is not None and _is_later(kept, newest):
            self._lineage.note(newest, kept)
            newest = kept
        elif unsaved is not None:
            await self._save(newest, was_kept=unsaved[1])
        if newest is not session and not self._has_ended(newest):
            return newest
        return await self._send(newest, before_send, lease, was_kept=kept is not None)

    async def _send(
        self,
        session: OAuthSession,
        before_send: BeforeSend,
        lease: Lease | None,
        *,
        was_kept: bool,
    ) -> OAuthSession:
        marks: list[Mark] = []

        async def ready() -> None:
            await before_send()
            mark = await self._keeper.mark(session)
            marks.extend([] if mark is None else [mark])
            check_lease(lease)

        try:
            renewed = await self._renewal.renew(session, ready)
        except RefreshUnavailable:
            await self._unmark(session, marks)
            raise
        except SessionError as error:
            return await self._judge(session, as_interrupted(error, marks))
        self._lineage.note(session, renewed)
        await self._save(renewed, was_kept=was_kept, mark=marks[-1] if marks else None)
        return renewed

    async def _unmark(self, session: OAuthSession, marks: Sequence[Mark]) -> None:
        # Left alone, a mark only makes others wait until its lease is over.
        with suppress(SessionError, StoreError):
            for mark in marks:
                await self._keeper.unmark(session, mark)

    async def _judge(self, session: OAuthSession, error: SessionError) -> OAuthSession:
        """Return what another process has just made of a session, or end it."""
        kept = await self._keeper.find_this(session)
        if kept is not None and _is_later(kept, session):
            self._lineage.note(session, kept)
            return kept
        self._lineage.note(session, error)
        await self._keeper.end(session, why=error)
        raise error

    async def save_another(self) -> None:
        """Save what could not be saved, as soon as the store answers again.

        Another process that is asked first would take it for lost.
        """
        if self._unsaved:
            key, (session, was_kept) = next(iter(self._unsaved.items()))
            # One that always fails keeps no other from its turn, nor anybody waiting.
            self._unsaved.move_to_end(key)
            with suppress(SessionError, StoreError):
                await self._save_now(session, was_kept=was_kept)

    async def _save(
        self, renewed: OAuthSession, *, was_kept: bool, mark: Mark | None = None
    ) -> None:
        self._unsaved[tokens_key(renewed)] = (renewed, was_kept)
        await patiently(lambda: self._save_now(renewed, was_kept=was_kept, mark=mark))

    async def _save_now(
        self, renewed: OAuthSession, *, was_kept: bool, mark: Mark | None = None
    ) -> None:
        try:
            await self._keeper.save(renewed, was_kept=was_kept, mark=mark)
        except SessionError as error:
            await self._drop(renewed, error)
            raise
        self._unsaved.pop(tokens_key(renewed), None)

    async def _drop(self, session: OAuthSession, ending: SessionError) -> None:
        """Revoke tokens that came too late: the session was logged out meanwhile."""
        self._lineage.note(session, ending)
        if self._unsaved.pop(tokens_key(session), None) is not None:
            with suppress(OAuthError):
                await self._renewal.revoke(session)

    async def _end_alone(self, session: OAuthSession) -> None:
        """End it here first: who renews it meanwhile finds that, and revokes."""
        ending = SessionRevoked("the session was ended")
        newest, problem = await self._find_newest(session)
        self._lineage.note(newest, ending)
        try:
            await self._keeper.end(newest, why=ending)
        except StoreError as error:
            problem = error
        await self._renewal.revoke(newest)
        if problem is not None:
            raise problem

    async def _find_newest(
        self, session: OAuthSession
    ) -> tuple[OAuthSession, StoreError | None]:
        """Return what is known of a session, and what kept from knowing more."""
        with suppress(SessionError):
            session = self._lineage.newest(session)
        try:
            kept = await self._keeper.find_this(session)
        except SessionError:
            return session, None
        except StoreError as error:
            return session, error
        is_later = kept is not None and _is_later(kept, session)
        return (kept if kept is not None and is_later else session), None

    def _has_ended(self, session: OAuthSession) -> bool:
        """Return whether an access token that was adopted is of no use any more."""
        expires_at = session.expires_at
        return expires_at is not None and self._clock() >= expires_at.timestamp()


def _is_later(kept: OAuthSession, session: OAuthSession) -> bool:
    """Return whether somebody else who keeps the session here has renewed it."""
    is_other = tokens_key(kept) != tokens_key(session)
    return is_other and age_of(kept) >= age_of(session)
