"""Who was logged out: a cookie is dead although it still opens."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from atproto_oauth_asgi.exceptions import LoggedOut
from atproto_oauth_asgi.models import OAuthSession
from atproto_oauth_asgi.sessions.lifecycle import OpenedSession, record_key
from atproto_oauth_asgi.sessions.lifetime import LONGEST_COOKIE_S
from atproto_oauth_asgi.stores.base import Record, RecordStore
from atproto_oauth_asgi.stores.recent import Recent

_KIND = "tombstone"
_CURRENT_FOR_S = 2.0
_ANSWERS_KEPT = 10_000
# Clocks of hosts are less apart than this.
_CLOCKS_APART_S = 3600.0


class Tombstones:
    """Keeps them for all who share the store, as long as a cookie could live."""

    def __init__(self, store: RecordStore, *, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._alive: Recent[str, float] = Recent(_ANSWERS_KEPT)
        self._burials = 0

    async def check(self, opened: OpenedSession) -> None:
        """Check that nobody has logged this session out.

        Raises:
            LoggedOut: somebody has.
            StoreError: the store does not answer.
        """
        session = opened.session
        asked_at, burials = self._clock(), self._burials
        self._alive.pop(session.session_id, None)
        if await self._store.load(_KIND, _key_of(session)):
            raise LoggedOut("the session was logged out")
        everywhere = await self._store.load(_KIND, _account_key(session.did))
        if everywhere is not None and _is_ended_by(everywhere, opened):
            raise LoggedOut("the account was logged out everywhere")
        if burials == self._burials:
            # Else somebody has logged out meanwhile: this answer counts for now only.
            self._alive[session.session_id] = asked_at

    async def generation(self, did: str) -> str:
        """Return which generation of the account's sessions begins now.

        A log-out everywhere ends one and begins another. It is a name and no time, as
        the clocks of hosts differ; empty where there was no such log-out.

        Raises:
            StoreError: the store does not answer.
        """
        record = await self._store.load(_KIND, _account_key(did))
        return "" if record is None else _name_in(record)

    async def check_lately(self, opened: OpenedSession) -> None:
        """Check the same; an answer of the last two seconds will do.

        A log-out through this process is known at once.
        """
        if not self.are_current(opened.session):
            await self.check(opened)

    def are_current(self, session: OAuthSession) -> bool:
        """Return whether the last two seconds have told that nobody has done so."""
        checked_at = self._alive.get(session.session_id)
        return checked_at is not None and (
            0 <= self._clock() - checked_at < _CURRENT_FOR_S
        )

    async def bury(self, opened: OpenedSession) -> None:
        """Write that a session was logged out.

        Raises:
            StoreError: the store does not answer.
        """
        key = _key_of(opened.session)
        await self._store.save(_KIND, key, b"1", expires_at=opened.ends_at)
        self._burials += 1
        self._alive.pop(opened.session.session_id, None)

    async def bury_account(self, did: str) -> None:
        """Write that all sessions that an account has by now are logged out.

        Raises:
            StoreError: the store does not answer.
        """
        await self._store.save(
            _KIND,
            _account_key(did),
            secrets.token_urlsafe(8).encode(),
            expires_at=self._clock() + LONGEST_COOKIE_S,
        )
        self._burials += 1
        self._alive.clear()


def _key_of(session: OAuthSession) -> str:
    return record_key(session.session_id)


def _account_key(did: str) -> str:
    return record_key("did", did)


def _name_in(record: Record) -> str:
    return record.value.decode("ascii", "replace")


def _is_ended_by(everywhere: Record, opened: OpenedSession) -> bool:
    """Return whether a session is of a generation that has ended.

    One that began much later is not, whatever it is called: workers that share no store
    give different names, and would end each other's sessions for as long as they keep
    the record.
    """
    if _name_in(everywhere) == opened.generation:
        return False
    ended_at = everywhere.expires_at - LONGEST_COOKIE_S
    return opened.session.created_at.timestamp() < ended_at + _CLOCKS_APART_S
