"""Stores in the memory of one process: for development, tests and single workers.

They work on asyncio and trio, on several event loops and from several threads; they
start no task. What has expired is removed while something else is saved. Where there is
a quota, what was saved longest ago makes room.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from threading import RLock
from typing import Generic, TypeVar

from typing_extensions import override

from atproto_oauth_asgi.models import OAuthSession, OAuthState
from atproto_oauth_asgi.stores.base import Record, SessionStore, StateStore
from atproto_oauth_asgi.stores.forks import begin_anew_in_children
from atproto_oauth_asgi.stores.locks import Lease, ProcessLocks, unix_now

_K = TypeVar("_K")
_V = TypeVar("_V")
_MIN_SWEEP_SIZE = 64


class MemoryStateStore(StateStore):
    """Logins in progress, in memory.

    Args:
        state_ttl_seconds: how long a login may take.
        max_states: how many are kept; beyond, the oldest make room.
        clock: gives seconds; any that never go back.
    """

    def __init__(
        self,
        state_ttl_seconds: float = 600,
        *,
        max_states: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ttl_s = state_ttl_seconds
        self._states: _ExpiringDict[str, OAuthState] = _ExpiringDict(clock, max_states)

    @override
    async def save_state(self, state: OAuthState) -> None:
        """Keep a login under ``state.state``."""
        self._states.put(state.state, state, self._states.clock() + self._ttl_s)

    @override
    async def get_state(self, state_key: str) -> OAuthState | None:
        """Return the login, or None if it is unknown, deleted or expired."""
        return self._states.get(state_key)

    @override
    async def delete_state(self, state_key: str) -> None:
        """Forget the login; one that is not there is no error."""
        self._states.pop(state_key)

    @override
    async def take_state(self, state_key: str) -> OAuthState | None:
        """Return the login and forget it: of several callers one gets it."""
        return self._states.pop(state_key)


class MemorySessionStore(SessionStore):
    """One session per account, in memory."""

    def __init__(self) -> None:
        self._sessions: dict[str, OAuthSession] = {}

    @override
    async def save_session(self, session: OAuthSession) -> None:
        """Keep the session under ``session.did``, in place of an older one."""
        self._sessions[session.did] = session

    @override
    async def get_session(self, did: str) -> OAuthSession | None:
        """Return the account's session, or None if there is none."""
        return self._sessions.get(did)

    @override
    async def delete_session(self, did: str) -> None:
        """Forget the account's session; one that is not there is no error."""
        self._sessions.pop(did, None)


class MemoryStore:
    """A ``RecordStore`` in memory: other processes and hosts do not see it.

    Args:
        max_records: how many are kept; beyond, those that were saved longest ago make
            room. None keeps all until they expire, as sessions want it.
        clock: gives Unix seconds.
        monotonic: gives seconds that never go back; for the leases of locks.
    """

    def __init__(
        self,
        *,
        max_records: int | None = None,
        clock: Callable[[], float] = unix_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rows: _ExpiringDict[tuple[str, str], _Row] = _ExpiringDict(
            clock, max_records
        )
        self._locks = ProcessLocks(clock=clock, monotonic=monotonic)
        self._last_version = 0

    async def load(self, kind: str, key: str) -> Record | None:
        """Return the record; as ``RecordStore.load``."""
        row = self._rows.get((kind, key))
        return None if row is None else row.record

    async def save(  # noqa: PLR0913 (one of the six methods that are fixed)
        self,
        kind: str,
        key: str,
        value: bytes,
        *,
        expires_at: float,
        owner: str | None = None,
        if_version: int | None = None,
    ) -> int | None:
        """Create or replace a record; as ``RecordStore.save``."""
        with self._rows.guard:
            row = self._rows.get((kind, key))
            version = row.record.version if row else 0
            if if_version not in {None, version}:
                return None
            self._last_version += 1
            record = Record(
                value=value, version=self._last_version, expires_at=expires_at
            )
            self._rows.put((kind, key), _Row(record=record, owner=owner), expires_at)
            return record.version

    async def take(self, kind: str, key: str) -> Record | None:
        """Return the record and delete it; as ``RecordStore.take``."""
        row = self._rows.pop((kind, key))
        return None if row is None else row.record

    async def delete(self, kind: str, key: str) -> None:
        """Delete the record; as ``RecordStore.delete``."""
        self._rows.pop((kind, key))

    async def keys(self, kind: str, owner: str) -> list[str]:
        """Return the keys of an owner's records; as ``RecordStore.keys``."""
        return [
            key
            for (row_kind, key), row in self._rows.items()
            if row_kind == kind and row.owner == owner
        ]

    async def owned_keys(self, kind: str) -> list[str]:
        """Return the keys of records that have an owner; see ``ListsOwnedKeys``."""
        return [
            key
            for (row_kind, key), row in self._rows.items()
            if row_kind == kind and row.owner is not None
        ]

    def lock(self, key: str, lease_s: float) -> AbstractAsyncContextManager[Lease]:
        """Return a context for one at a time; as ``RecordStore.lock``."""
        return self._locks.lock(key, lease_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    record: Record
    owner: str | None


@dataclass(slots=True, eq=False, weakref_slot=True)
class _ExpiringDict(Generic[_K, _V]):
    """Values that are gone when their time has come, or when there are too many.

    Sweeping waits until the number of values has doubled since the last time, so that
    it costs little per value and memory stays within twice what is alive.
    """

    clock: Callable[[], float]
    max_items: int | None = None
    guard: RLock = field(default_factory=RLock)
    _items: dict[_K, tuple[float, _V]] = field(default_factory=dict)
    _sweep_size: int = _MIN_SWEEP_SIZE

    def __post_init__(self) -> None:
        begin_anew_in_children(self)

    def begin_anew(self) -> None:
        # In a forked child nobody is left who would give it back.
        self.guard = RLock()

    def __len__(self) -> int:
        return len(self._items)

    def get(self, key: _K) -> _V | None:
        with self.guard:
            return self._alive(self._items.get(key))

    def pop(self, key: _K) -> _V | None:
        with self.guard:
            return self._alive(self._items.pop(key, None))

    def put(self, key: _K, value: _V, expires_at: float) -> None:
        with self.guard:
            self._items.pop(key, None)
            self._items[key] = (expires_at, value)
            if self.max_items is not None and len(self._items) > self.max_items:
                del self._items[next(iter(self._items))]
            if len(self._items) >= self._sweep_size:
                self._items = {each: self._items[each] for each, _ in self.items()}
                self._sweep_size = max(_MIN_SWEEP_SIZE, 2 * len(self._items))

    def items(self) -> list[tuple[_K, _V]]:
        now = self.clock()
        with self.guard:
            return [
                (key, value)
                for key, (expires_at, value) in self._items.items()
                if expires_at > now
            ]

    def _alive(self, item: tuple[float, _V] | None) -> _V | None:
        if item is None or item[0] <= self.clock():
            return None
        return item[1]
