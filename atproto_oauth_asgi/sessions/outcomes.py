"""What came out of refreshes in cookie mode, for browsers that have missed it.

An outcome lies in the store under the session and the number of renewals it had before.
(Not under a hash of the old token: a server that does not change it would make an
outcome its own successor.) Right before a refresh token is sent a mark takes its place.

Once a browser has shown the newer cookie, the outcome goes five minutes later. What
stays is the number that the session has reached, so that a token which is known to be
used is not sent for a cookie that comes out of a backup.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress

from atproto_oauth_asgi.exceptions import (
    AccountMoved,
    ClientKeyRetired,
    LoggedOut,
    RefreshInterrupted,
    RefreshUnavailable,
    SessionError,
    SessionExpired,
    SessionRevoked,
    StoreError,
)
from atproto_oauth_asgi.sessions.lifecycle import (
    OpenedSession,
    Past,
    Reference,
    SealedSessions,
    record_key,
)
from atproto_oauth_asgi.sessions.marks import (
    TRIED,
    Mark,
    is_fresh,
    is_mark,
    read_number,
    started,
)
from atproto_oauth_asgi.sessions.patience import patiently
from atproto_oauth_asgi.sessions.revocation import Revoke, revoke_quietly
from atproto_oauth_asgi.stores.base import Record, RecordStore
from atproto_oauth_asgi.stores.recent import Recent

_KIND, _REACHED = "outcome", "reached"
_ENDED = "ended:"
ENDINGS: dict[str, type[SessionError]] = {
    ending.code: ending
    for ending in (
        SessionExpired,
        SessionRevoked,
        LoggedOut,
        RefreshInterrupted,
        AccountMoved,
        ClientKeyRetired,
    )
}
_KEPT_AFTER_CONFIRMATION_S = 300.0
_CONFIRMATIONS_KEPT = 10_000
_UNSAVED_KEPT = 1000
_TRIES = 5


class CookieOutrun(SessionExpired):
    """A browser has shown a later cookie of the session; this one is of no use."""


Fit = Callable[[OpenedSession], Awaitable[OpenedSession | Reference]]
"""Gives what fits into cookies: a session, or a reference to one put elsewhere."""

Check = Callable[[OpenedSession], Awaitable[None]]
"""Raises ``LoggedOut`` for a session that somebody has logged out."""


class Outcomes:
    """Finds and keeps outcomes, for all who share the store."""

    def __init__(  # noqa: PLR0913 - what it puts together
        self,
        *,
        store: RecordStore,
        sessions: SealedSessions,
        fit: Fit,
        check: Check,
        revoke: Revoke,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._fit = fit
        self._check = check
        self._revoke = revoke
        self._clock = clock
        self._confirmed: Recent[tuple[str, int], None] = Recent(_CONFIRMATIONS_KEPT)
        self._unsaved: Recent[str, _Unsaved] = Recent(_UNSAVED_KEPT)

    async def find(self, before: OpenedSession) -> OpenedSession | Reference | None:
        """Return what a session has become; None if nobody has renewed it to an end.

        Raises:
            RefreshUnavailable: it cannot be read here.
            SessionError: it ended, or its tokens were used long ago.
            StoreError: the store does not answer.
        """
        key = outcome_key(before)
        if key in self._unsaved:
            renewed, _, version = self._unsaved[key]
            return await self.keep(before, renewed, version=version)
        record = await self._store.load(_KIND, key)
        await self._save_another()
        if record is None:
            await self._check_not_used(before)
            return None
        text = _text(record)
        if is_mark(text):
            return None
        if text.startswith(_ENDED):
            ending = ENDINGS.get(text.removeprefix(_ENDED), SessionExpired)
            raise ending("the session has ended")
        return self._open(text, before)

    async def mark(self, opened: OpenedSession) -> Mark:
        """Say that the session's refresh token is about to be sent.

        Raises:
            RefreshUnavailable: somebody else is about to send it, or has done so.
            StoreError: the store does not answer.
        """
        now = self._clock()
        record = await self._store.load(_KIND, outcome_key(opened))
        version = None
        if record is None or _is_old_mark(record, now=now):
            version = await self._save(
                opened,
                started(now),
                if_version=0 if record is None else record.version,
            )
        if version is None:
            raise RefreshUnavailable("the tokens are being renewed by somebody else")
        return Mark(version, was_interrupted=record is not None)

    async def unmark(self, opened: OpenedSession, mark: Mark) -> None:
        """Say that the token was sent, and that nothing definite came of it.

        Raises:
            StoreError: the store does not answer.
        """
        await self._save(opened, TRIED, if_version=mark.version)

    async def keep(
        self, before: OpenedSession, renewed: OpenedSession, *, version: int
    ) -> OpenedSession | Reference:
        """Keep what a session has become, in place of its mark; return what counts.

        That is what somebody else has kept, if this one was so slow that others took it
        for dead. What fits into no cookie is put elsewhere first.

        Raises:
            SessionError: others found the session ended meanwhile, or have ended it;
                what was brought has been revoked.
            StoreError: the store does not answer. What was brought is remembered here,
                and kept when somebody asks for it.
        """
        key = outcome_key(before)
        unsaved = self._unsaved[key] = (renewed, before, version)
        fitting, is_saved = await patiently(lambda: self._save_renewed(unsaved))
        if is_saved:
            return fitting
        try:
            return await self.find(before) or fitting
        except (CookieOutrun, RefreshUnavailable):
            # The session lives, maybe with these very tokens.
            raise
        except SessionError:
            await revoke_quietly(self._revoke, renewed.session)
            raise

    async def end(
        self, opened: OpenedSession, *, code: str, version: int
    ) -> OpenedSession | Reference | None:
        """Keep that a refresh has brought the end of the session.

        Returns:
            What somebody else has kept meanwhile, and what counts then.

        Raises:
            StoreError: the store does not answer.
        """
        if await self._save_over_marks(opened, _ENDED + code, version=version):
            return None
        return await self.find(opened)

    async def confirm(self, opened: OpenedSession) -> None:
        """Note that a browser has a renewed cookie: the outcome may go soon.

        Raises:
            StoreError: the store does not answer.
        """
        if self.has_confirmed(opened):
            return
        session = opened.session
        key = _key(session.session_id, session.renewals - 1)
        await self._note_reached(opened)
        record = await self._store.load(_KIND, key)
        if record is not None:
            expires_at = self._clock() + _KEPT_AFTER_CONFIRMATION_S
            await self._store.save(
                _KIND,
                key,
                record.value,
                expires_at=min(record.expires_at, expires_at),
                if_version=record.version,
            )
        self._confirmed[_state_of(opened)] = None

    def has_confirmed(self, opened: OpenedSession) -> bool:
        """Return whether that was noted, or there is no outcome to note it of."""
        return opened.session.renewals == 0 or _state_of(opened) in self._confirmed

    async def _note_reached(self, opened: OpenedSession) -> None:
        """Write how often a session was renewed; a smaller number is overwritten."""
        key, renewals = record_key(opened.session.session_id), opened.session.renewals
        for _ in range(_TRIES):
            record = await self._store.load(_REACHED, key)
            if record is not None and read_number(record) >= renewals:
                return
            version = await self._store.save(
                _REACHED,
                key,
                b"%d" % renewals,
                expires_at=opened.ends_at,
                if_version=0 if record is None else record.version,
            )
            if version is not None:
                return

    async def _check_not_used(self, opened: OpenedSession) -> None:
        """Check that no browser has shown a later cookie, whose outcome is gone now."""
        session = opened.session
        record = await self._store.load(_REACHED, record_key(session.session_id))
        if record is not None and read_number(record) > session.renewals:
            raise CookieOutrun("this cookie is older than one that came after it")

    async def _save_another(self) -> None:
        """Save what could not be saved, as soon as the store answers again.

        Another process that is asked first would take it for lost.
        """
        if self._unsaved:
            key, unsaved = next(iter(self._unsaved.items()))
            # One that always fails keeps no other from its turn.
            self._unsaved.move_to_end(key)
            with suppress(SessionError, StoreError):
                await self._save_renewed(unsaved)

    def _open(self, text: str, before: OpenedSession) -> OpenedSession | Reference:
        found = self._sessions.read(text)
        if found is None or isinstance(found, Past) or not _continues(found, before):
            # Sealed with a newer secret, or by a clock that is ahead: not an ending.
            raise RefreshUnavailable("the renewed session cannot be read here now")
        return found

    async def _save_renewed(
        self, unsaved: _Unsaved
    ) -> tuple[OpenedSession | Reference, bool]:
        """Return what fits, and if it was saved; no outcome of others is replaced.

        However late that is: who has logged out meanwhile stays logged out.
        """
        renewed, before, version = unsaved
        key = outcome_key(before)
        try:
            fitting = await self._fit(renewed)
            text = fitting.value
            is_saved = await self._save_over_marks(before, text, version=version)
            await self._check(renewed)
        except SessionError:
            self._unsaved.pop(key, None)
            await revoke_quietly(self._revoke, renewed.session)
            raise
        self._unsaved.pop(key, None)
        return fitting, is_saved

    async def _save_over_marks(
        self, before: OpenedSession, text: str, *, version: int
    ) -> bool:
        """Return whether an outcome was saved, in place of a mark or of nothing."""
        if await self._save(before, text, if_version=version) is not None:
            return True
        # Our mark is gone, or there was none: any other mark is worth less than this.
        record = await self._store.load(_KIND, outcome_key(before))
        if record is not None and not is_mark(_text(record)):
            return False
        known = 0 if record is None else record.version
        return await self._save(before, text, if_version=known) is not None

    async def _save(
        self, before: OpenedSession, text: str, *, if_version: int
    ) -> int | None:
        return await self._store.save(
            _KIND,
            outcome_key(before),
            text.encode("ascii"),
            expires_at=before.ends_at,
            if_version=if_version,
        )


# What a session has become, what it was, and the version of the mark.
_Unsaved = tuple[OpenedSession, OpenedSession, int]


def outcome_key(opened: OpenedSession) -> str:
    """Return where the outcome of the session's next refresh lies."""
    return _key(opened.session.session_id, opened.session.renewals)


def _key(session_id: str, renewals: int) -> str:
    return record_key("outcome", session_id, str(renewals))


def _state_of(opened: OpenedSession) -> tuple[str, int]:
    return opened.session.session_id, opened.session.renewals


def _continues(found: OpenedSession | Reference, before: OpenedSession) -> bool:
    """Return whether this is the same session, later; a record may have been moved."""
    if isinstance(found, Reference):
        return found.session_id == before.session.session_id
    is_same = found.session.session_id == before.session.session_id
    return is_same and found.session.renewals > before.session.renewals


def _text(record: Record) -> str:
    return record.value.decode("ascii", "replace")


def _is_old_mark(record: Record, *, now: float) -> bool:
    text = _text(record)
    return is_mark(text) and not is_fresh(text, now=now)
