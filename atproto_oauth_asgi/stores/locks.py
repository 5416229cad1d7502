"""Leases, and locks among the tasks and threads of one process."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from threading import Lock

import anyio
import anyio.lowlevel

_FIRST_WAIT_S = 0.001
_LONGEST_WAIT_S = 0.05


def unix_now() -> float:
    """Return the time as Unix seconds: the clock of who was given no other."""
    return datetime.now(UTC).timestamp()


class Lease:
    """How long the holder of a lock may rely on it.

    The end is looked up on two clocks and the earlier one counts: the wall clock goes
    on while the machine is suspended, the monotonic one is not turned back.

    Args:
        lease_s: seconds, from now.
        clock: gives Unix seconds.
        monotonic: gives seconds that never go back.
    """

    __slots__ = ("_clock", "_ends_at", "_ends_at_monotonic", "_monotonic")

    def __init__(
        self,
        lease_s: float,
        *,
        clock: Callable[[], float] = unix_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._ends_at = clock() + lease_s
        self._ends_at_monotonic = monotonic() + lease_s

    def remaining_s(self) -> float:
        """Return the seconds that are left; 0 or less: others may be inside."""
        wall = self._ends_at - self._clock()
        return min(wall, self._ends_at_monotonic - self._monotonic())


class ProcessLocks:
    """Locks with leases, for all tasks, threads and event loops of this process.

    Waiting is asking again and again: no event loop has to be alive for another one to
    get on.

    Args:
        clock: gives Unix seconds.
        monotonic: gives seconds that never go back.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = unix_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._leases: dict[str, Lease] = {}
        self._guard = Lock()

    @asynccontextmanager
    async def lock(self, key: str, lease_s: float) -> AsyncIterator[Lease]:
        """Hold the lock of this name; as ``RecordStore.lock``."""
        lease = await self._acquire(key, lease_s)
        try:
            yield lease
        finally:
            self._release(key, lease)

    async def _acquire(self, key: str, lease_s: float) -> Lease:
        await anyio.lowlevel.checkpoint_if_cancelled()
        wait_s = _FIRST_WAIT_S
        while (lease := self._try_acquire(key, lease_s)) is None:
            await anyio.sleep(wait_s)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
        return lease

    def _try_acquire(self, key: str, lease_s: float) -> Lease | None:
        lease = Lease(lease_s, clock=self._clock, monotonic=self._monotonic)
        with self._guard:
            held = self._leases.get(key)
            if held is not None and held.remaining_s() > 0:
                return None
            self._leases[key] = lease
        return lease

    def _release(self, key: str, lease: Lease) -> None:
        with self._guard:
            if self._leases.get(key) is lease:
                del self._leases[key]
