"""Leases, and locks among the tasks and threads of one process."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
)
from datetime import UTC, datetime
from threading import Lock
from typing import TypeVar

import anyio
import anyio.lowlevel

from atproto_oauth_asgi.exceptions import OAuthError, StoreError
from atproto_oauth_asgi.stores.forks import begin_anew_in_children

_L = TypeVar("_L", bound="Lease | None")

_FIRST_WAIT_S = 0.001
_LONGEST_WAIT_S = 0.05
_MIN_SWEEP_SIZE = 64


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


@asynccontextmanager
async def lock_within(
    wait_s: float,
    lock: AbstractAsyncContextManager[_L],
    *,
    error: type[OAuthError] = StoreError,
) -> AsyncIterator[_L]:
    """Hold a lock of a store, and wait for it so long and no longer.

    Raises:
        OAuthError: ``error``, as somebody else has held it all the time.
    """
    async with AsyncExitStack() as held:
        try:
            with anyio.fail_after(wait_s):
                lease = await held.enter_async_context(lock)
        except TimeoutError as late:
            raise error("somebody else has held the lock for too long") from late
        yield lease


class ProcessLocks:
    """Locks with leases, for all tasks, threads and event loops of this process.

    Waiting is asking again and again: no event loop has to be alive for another one to
    get on. A forked child begins with none held.

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
        self._sweep_size = _MIN_SWEEP_SIZE
        self.begin_anew()
        begin_anew_in_children(self)

    def begin_anew(self) -> None:
        """Be free of all holders: in a forked child, those of the parent never leave."""
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
            if len(self._leases) >= self._sweep_size:
                self._sweep()
        return lease

    def _sweep(self) -> None:
        """Forget the leases of holders that will never leave: their loop is gone."""
        alive = {
            key: each for key, each in self._leases.items() if each.remaining_s() > 0
        }
        self._leases = alive
        self._sweep_size = max(_MIN_SWEEP_SIZE, 2 * len(alive))

    def _release(self, key: str, lease: Lease) -> None:
        with self._guard:
            if self._leases.get(key) is lease:
                del self._leases[key]
