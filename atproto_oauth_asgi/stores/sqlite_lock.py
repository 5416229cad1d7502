"""The locks of a ``SQLiteStore``: rows with a random token of the holder and an end."""

from __future__ import annotations

import logging
import secrets
import sqlite3
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from types import TracebackType

import anyio

from atproto_oauth_asgi.exceptions import StoreError
from atproto_oauth_asgi.stores.locks import Lease, ProcessLocks, unix_now
from atproto_oauth_asgi.stores.sqlite_file import transaction
from atproto_oauth_asgi.stores.sqlite_lane import SQLiteLane
from atproto_oauth_asgi.stores.sqlite_rows import as_blob

_log = logging.getLogger("atproto_oauth_asgi")

_FIRST_WAIT_S = 0.002
_LONGEST_WAIT_S = 0.05
_JITTER_STEPS = 1000
_SWEEP = 16

_FREE = "DELETE FROM locks WHERE name = ? AND ends_at <= ?"
_ENTER = "INSERT OR IGNORE INTO locks (name, token, ends_at) VALUES (?, ?, ?)"
_LEAVE = "DELETE FROM locks WHERE name = ? AND token = ?"
_SWEEP_ENDED = """DELETE FROM locks WHERE name IN
    (SELECT name FROM locks WHERE ends_at <= ? LIMIT ?)"""


@dataclass(slots=True, kw_only=True)
class SQLiteLock:
    """One entering of a lock; as ``RecordStore.lock``.

    Of the waiting tasks of a process one asks the file; the others stand in a queue of
    the process. The queue decides nothing: the row does.
    """

    key: str
    lease_s: float
    lane: SQLiteLane
    queue: ProcessLocks
    clock: Callable[[], float] = unix_now
    monotonic: Callable[[], float] = time.monotonic
    _token: bytes = field(default_factory=lambda: secrets.token_bytes(16), repr=False)
    _inside: AsyncExitStack = field(default_factory=AsyncExitStack)
    _may_hold: bool = False
    _has_left: bool = False

    async def __aenter__(self) -> Lease:
        async with AsyncExitStack() as entering:
            queue = self.queue.lock(self.key, self.lease_s)
            await entering.enter_async_context(queue)
            entering.push_async_callback(self._leave)
            lease = await self._acquire()
            self._inside = entering.pop_all()
        return lease

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._inside.aclose()

    async def _acquire(self) -> Lease:
        wait_s = _FIRST_WAIT_S
        while (lease := await self._try_acquire()) is None:
            jitter = 0.5 + secrets.randbelow(_JITTER_STEPS) / _JITTER_STEPS
            await anyio.sleep(wait_s * jitter)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
        return lease

    async def _try_acquire(self) -> Lease | None:
        lease = Lease(self.lease_s, clock=self.clock, monotonic=self.monotonic)
        # Stays set where no answer comes: a cancelled task may leave its thread behind.
        self._may_hold = True
        try:
            self._may_hold = await self.lane.run(self._ask)
        except StoreError:
            self._may_hold = False
            raise
        return lease if self._may_hold else None

    async def _leave(self) -> None:
        if not self._may_hold:
            return
        self._has_left = True
        try:
            with anyio.CancelScope(shield=True):
                await self.lane.run(self._give_back)
        except StoreError as error:
            _log.warning("lock not given back, it ends with its lease: %s", error)

    def _ask(self, connection: sqlite3.Connection) -> bool:
        """Take the lock if it is free, and its holder to be still wants it."""
        with transaction(connection):
            if self._has_left:
                return False
            name, now = as_blob(self.key), self.clock()
            connection.execute(_SWEEP_ENDED, (now, _SWEEP))
            connection.execute(_FREE, (name, now))
            row = (name, self._token, now + self.lease_s)
            return connection.execute(_ENTER, row).rowcount == 1

    def _give_back(self, connection: sqlite3.Connection) -> None:
        connection.execute(_LEAVE, (as_blob(self.key), self._token))
