"""A store in one file, for all processes of a machine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

from atproto_oauth_asgi.stores import sqlite_rows
from atproto_oauth_asgi.stores.base import Record
from atproto_oauth_asgi.stores.locks import Lease, ProcessLocks, unix_now
from atproto_oauth_asgi.stores.sqlite_lane import SQLiteLane
from atproto_oauth_asgi.stores.sqlite_lock import SQLiteLock


class SQLiteStore:
    """A ``RecordStore`` in an SQLite file: all processes of the machine share it.

    It works on asyncio and trio, on several event loops and from several threads, and
    before and after a fork. The file is opened on first use. It is made for this user
    alone; one that others may write to is refused.

    Args:
        path: of the file, on a disk of this machine. No other program uses it.
        private_directory: the directory belongs to the store: it is made where it is
            missing, and nobody else may enter it.
        timeout_s: how long a call may wait for the others, then ``StoreError``.
        clock: gives Unix seconds, the same to all who share the file; called in
            threads.
        monotonic: gives seconds that never go back; for the leases of locks.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        private_directory: bool = False,
        timeout_s: float = 2.0,
        clock: Callable[[], float] = unix_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path: Path = Path(path).absolute()
        self._clock = clock
        self._monotonic = monotonic
        # Reading waits for nobody who writes.
        self._reading, self._writing = (
            SQLiteLane(
                self.path, timeout_s=timeout_s, private_directory=private_directory
            )
            for _ in range(2)
        )
        self._queue = ProcessLocks(clock=clock, monotonic=monotonic)

    async def load(self, kind: str, key: str) -> Record | None:
        """Return the record; as ``RecordStore.load``."""
        work = partial(sqlite_rows.load, kind=kind, key=key, clock=self._clock)
        return await self._reading.run(work)

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
        work = partial(
            sqlite_rows.save,
            kind=kind,
            key=key,
            value=value,
            expires_at=expires_at,
            owner=owner,
            if_version=if_version,
            clock=self._clock,
        )
        return await self._writing.run(work)

    async def take(self, kind: str, key: str) -> Record | None:
        """Return the record and delete it; as ``RecordStore.take``."""
        work = partial(sqlite_rows.take, kind=kind, key=key, clock=self._clock)
        return await self._writing.run(work)

    async def delete(self, kind: str, key: str) -> None:
        """Delete the record; as ``RecordStore.delete``."""
        await self._writing.run(partial(sqlite_rows.delete, kind=kind, key=key))

    async def keys(self, kind: str, owner: str) -> list[str]:
        """Return the keys of an owner's records; as ``RecordStore.keys``."""
        work = partial(sqlite_rows.keys, kind=kind, owner=owner, clock=self._clock)
        return await self._reading.run(work)

    async def owned_keys(self, kind: str) -> list[str]:
        """Return the keys of records that have an owner; see ``ListsOwnedKeys``."""
        work = partial(sqlite_rows.owned_keys, kind=kind, clock=self._clock)
        return await self._reading.run(work)

    def lock(self, key: str, lease_s: float) -> AbstractAsyncContextManager[Lease]:
        """Return a context for one at a time; as ``RecordStore.lock``."""
        return SQLiteLock(
            key=key,
            lease_s=lease_s,
            lane=self._writing,
            queue=self._queue,
            clock=self._clock,
            monotonic=self._monotonic,
        )

    async def aclose(self) -> None:
        """Close the file; a later call opens it again."""
        await self._reading.close()
        await self._writing.close()
