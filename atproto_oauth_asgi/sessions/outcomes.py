"""What came out of refreshes, in the store, under a hash of the old cookie value.

Right before a refresh token is sent a mark takes the outcome's place. Whoever finds a
mark under the lock knows that somebody was killed or cut off in between: the token may
have been used, and nobody knows what for.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import anyio

from atproto_oauth_asgi.crypto.sealing import MAX_CLOCK_STEP_S
from atproto_oauth_asgi.exceptions import (
    AccountMoved,
    ClientKeyRetired,
    RefreshInterrupted,
    RefreshUnavailable,
    SessionError,
    SessionExpired,
    SessionRevoked,
    StoreError,
)
from atproto_oauth_asgi.models import OAuthSession
from atproto_oauth_asgi.sessions.lifecycle import OpenedSession, SealedSessions
from atproto_oauth_asgi.stores.base import Record, RecordStore

LEASE_S = 30.0
"""How long a refresh may take, from the lock to the save."""

_KIND = "outcome"
_STARTED, _TRIED, _ENDED = b"started:", b"tried", b"ended:"
_ENDINGS: dict[bytes, type[SessionError]] = {
    ending.code.encode(): ending
    for ending in (
        SessionExpired,
        SessionRevoked,
        RefreshInterrupted,
        AccountMoved,
        ClientKeyRetired,
    )
}
_KEPT_AFTER_CONFIRMATION_S = 300.0
_CONFIRMATIONS_KEPT = 10_000
_UNSAVED_KEPT = 1000
_WAITS_TO_SAVE_S = (0.05, 0.2, 0.75)


@dataclass(frozen=True, slots=True)
class Mark:
    """That a refresh is about to be sent.

    Attributes:
        version: of the record that says so.
        was_interrupted: whether an earlier one was, with the same token.
    """

    version: int
    was_interrupted: bool


class Outcomes:
    """Finds and keeps outcomes, for all who share the store."""

    def __init__(
        self,
        *,
        store: RecordStore,
        sessions: SealedSessions,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._clock = clock
        self._confirmed: OrderedDict[str, None] = OrderedDict()
        self._unsaved: OrderedDict[str, tuple[OpenedSession, int]] = OrderedDict()

    async def find(self, key: str) -> OpenedSession | None:
        """Return what a refresh has brought; None if there was none, or no end of it.

        Raises:
            RefreshUnavailable: it cannot be read here.
            SessionError: it brought the end of the session.
            StoreError: the store does not answer.
        """
        if key in self._unsaved:
            renewed, version = self._unsaved[key]
            return await self.keep(key, renewed, version=version)
        record = await self._store.load(_KIND, key)
        await self._save_another()
        if record is None or _is_mark(record):
            return None
        if record.value.startswith(_ENDED):
            ending = _ENDINGS.get(record.value.removeprefix(_ENDED), SessionExpired)
            raise ending("the session has ended")
        opened = self._sessions.open(record.value.decode("ascii"))
        if opened is None or opened.follows != key:
            # Sealed with a newer secret, or by a clock that is ahead: not an ending.
            raise RefreshUnavailable("the renewed session cannot be read here now")
        return opened

    async def mark(self, key: str, session: OAuthSession) -> Mark:
        """Say that the session's refresh token is about to be sent.

        Raises:
            RefreshUnavailable: somebody else is about to send it, or has done so.
            StoreError: the store does not answer.
        """
        record = await self._store.load(_KIND, key)
        version = None
        if record is None or (_is_mark(record) and not self._is_fresh(record)):
            version = await self._save(
                key,
                _STARTED + repr(self._clock()).encode(),
                session,
                if_version=0 if record is None else record.version,
            )
        if version is None:
            raise RefreshUnavailable("the tokens are being renewed by somebody else")
        return Mark(version, was_interrupted=record is not None)

    async def unmark(self, key: str, session: OAuthSession, mark: Mark) -> None:
        """Say that the token was sent, and that nothing definite came of it.

        Raises:
            StoreError: the store does not answer.
        """
        await self._save(key, _TRIED, session, if_version=mark.version)

    async def keep(
        self, key: str, renewed: OpenedSession, *, version: int
    ) -> OpenedSession:
        """Keep what a refresh has brought, in place of its mark; return what counts.

        That is what somebody else has kept, if this one was so slow that others took it
        for dead.

        Raises:
            SessionError: others found the session ended meanwhile.
            StoreError: the store does not answer. What was brought is remembered here,
                and kept when somebody asks for it.
        """
        self._unsaved[key] = (renewed, version)
        if len(self._unsaved) > _UNSAVED_KEPT:
            self._unsaved.popitem(last=False)
        is_saved = await self._save_patiently(key, renewed, version)
        self._unsaved.pop(key, None)
        return renewed if is_saved else await self.find(key) or renewed

    async def end(
        self, key: str, session: OAuthSession, *, code: str, version: int
    ) -> OpenedSession | None:
        """Keep that a refresh has brought the end of the session.

        Returns:
            What somebody else has kept meanwhile, and what counts then.

        Raises:
            StoreError: the store does not answer.
        """
        value = _ENDED + code.encode()
        if await self._save_over_marks(key, value, session, version=version):
            return None
        return await self.find(key)

    async def confirm(self, opened: OpenedSession) -> None:
        """Note that a browser has a refreshed cookie: the outcome may go soon."""
        key = opened.follows
        if key is None or key in self._confirmed:
            return
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
        self._confirmed[key] = None
        if len(self._confirmed) > _CONFIRMATIONS_KEPT:
            self._confirmed.popitem(last=False)

    async def _save_another(self) -> None:
        """Save what could not be saved, as soon as the store answers again.

        Another process that is asked first would take it for lost.
        """
        if self._unsaved:
            key, (renewed, version) = next(iter(self._unsaved.items()))
            with suppress(StoreError):
                await self._save_renewed(key, renewed, version)
                self._unsaved.pop(key, None)

    def _is_fresh(self, mark: Record) -> bool:
        """Return whether the one who has set a mark may still be about to send."""
        _, _, started_at = mark.value.partition(_STARTED)
        if not started_at:
            return False
        # A clock that was set back must not make it fresh for hours.
        age_s = self._clock() - float(started_at)
        return -MAX_CLOCK_STEP_S <= age_s < LEASE_S

    async def _save_patiently(
        self, key: str, renewed: OpenedSession, version: int
    ) -> bool:
        """Return whether it was saved; somebody else's outcome is never replaced."""
        for wait_s in _WAITS_TO_SAVE_S:
            try:
                return await self._save_renewed(key, renewed, version)
            except StoreError:
                await anyio.sleep(wait_s)
        return await self._save_renewed(key, renewed, version)

    async def _save_renewed(
        self, key: str, renewed: OpenedSession, version: int
    ) -> bool:
        value = renewed.value.encode("ascii")
        return await self._save_over_marks(key, value, renewed.session, version=version)

    async def _save_over_marks(
        self, key: str, value: bytes, session: OAuthSession, *, version: int
    ) -> bool:
        """Return whether an outcome was saved, in place of a mark or of nothing."""
        if await self._save(key, value, session, if_version=version) is not None:
            return True
        # Our mark is gone, or there was none: any other mark is worth less than this.
        record = await self._store.load(_KIND, key)
        if record is not None and not _is_mark(record):
            return False
        known = 0 if record is None else record.version
        return await self._save(key, value, session, if_version=known) is not None

    async def _save(
        self,
        key: str,
        value: bytes,
        session: OAuthSession,
        *,
        if_version: int | None = None,
    ) -> int | None:
        expires_at = self._clock() + self._sessions.remaining_s(session)
        return await self._store.save(
            _KIND, key, value, expires_at=expires_at, if_version=if_version
        )


def _is_mark(record: Record) -> bool:
    return record.value == _TRIED or record.value.startswith(_STARTED)
