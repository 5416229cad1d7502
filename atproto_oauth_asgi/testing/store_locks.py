"""What the lock of every ``RecordStore`` promises, as tests."""

from __future__ import annotations

from contextlib import AsyncExitStack

import anyio
import anyio.lowlevel
import pytest

from atproto_oauth_asgi.stores.base import RecordStore
from atproto_oauth_asgi.stores.locks import Lease

_PATIENCE_S = 10.0
_GLIMPSE_S = 0.1


def expect(holds: object, promise: str) -> None:
    """Fail with the promise unless it holds.

    Raises:
        AssertionError: it does not.
    """
    if not holds:
        raise AssertionError(promise)


class ManualClock:
    """Unix seconds that pass when they are told to."""

    def __init__(self, now: float = 1_790_000_000.0) -> None:
        self.now: float = now

    def __call__(self) -> float:
        """Return the time."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


@pytest.mark.anyio
class LockContract:
    """The part of ``RecordStoreContract`` that is about ``lock``."""

    lease_s: float = 30.0

    async def pass_time(self, clock: ManualClock, seconds: float) -> None:
        """Let time pass for the stores; where it cannot be set, sleep."""
        clock.advance(seconds)

    async def _enters(self, store: RecordStore, key: str, *, wait_s: float) -> bool:
        """Whether the lock is had within this time; it is left at once."""
        with anyio.move_on_after(wait_s):
            async with store.lock(key, self.lease_s):
                return True
        return False

    async def _enter_and_leave(self, store: RecordStore) -> None:
        async with store.lock("a", self.lease_s):
            await anyio.lowlevel.checkpoint()

    async def test_lock_when_many_wait_then_one_is_inside_at_a_time(
        self, stores: tuple[RecordStore, RecordStore]
    ) -> None:
        """All get in, one after the other; another name is another lock."""
        inside: list[int] = []
        left: list[int] = []

        async def enter(number: int) -> None:
            async with stores[number % 2].lock("a", self.lease_s):
                inside.append(number)
                await anyio.sleep(0.001)
                expect(inside == [number], "one is inside")
                inside.remove(number)
                left.append(number)

        lock = stores[0].lock("b", self.lease_s)
        async with lock, anyio.create_task_group() as tasks:
            for number in range(8):
                tasks.start_soon(enter, number)
        expect(sorted(left) == list(range(8)), "all have been inside")

    async def test_lock_when_names_are_odd_then_each_is_a_lock(
        self, stores: tuple[RecordStore, RecordStore]
    ) -> None:
        """A name is no pattern and no other name's prefix."""
        names = ("", "*", "%", "a", "A", "a\0", "a:b", "'; --", "\u00e9", "\ud800")
        async with AsyncExitStack() as held:
            with anyio.fail_after(_PATIENCE_S):
                for number, name in enumerate(names):
                    lock = stores[number % 2].lock(name, self.lease_s)
                    await held.enter_async_context(lock)

    async def test_lock_when_waiter_is_cancelled_then_others_get_on(
        self, stores: tuple[RecordStore, RecordStore]
    ) -> None:
        """Waiting ends at a deadline, and leaves nothing locked."""
        one, other = stores
        async with one.lock("a", self.lease_s):
            for store in stores:
                entered = await self._enters(store, "a", wait_s=_GLIMPSE_S)
                expect(not entered, "one is inside")
        entered = await self._enters(other, "a", wait_s=_PATIENCE_S)
        expect(entered, "nobody is inside")

    async def test_lock_when_entering_is_cancelled_at_any_time_then_is_free(
        self, stores: tuple[RecordStore, RecordStore]
    ) -> None:
        """Wherever a cancellation hits the entering, nothing is held afterwards."""
        for step in range(12):
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._enter_and_leave, stores[0])
                    await anyio.sleep(step / 4000)
                    scope.cancel()
            entered = await self._enters(stores[1], "a", wait_s=_PATIENCE_S)
            expect(entered, "nobody is inside")

    async def test_lock_when_deadline_is_for_entering_then_body_outlives_it(
        self, stores: tuple[RecordStore, RecordStore]
    ) -> None:
        """A caller may limit the waiting alone: no scope of the store stays open."""
        async with AsyncExitStack() as held:
            with anyio.fail_after(_PATIENCE_S) as scope:
                await held.enter_async_context(stores[0].lock("a", self.lease_s))
            scope.cancel()
            await anyio.lowlevel.checkpoint()

    async def test_lock_when_body_fails_then_is_free(
        self, stores: tuple[RecordStore, RecordStore]
    ) -> None:
        """An error or a cancellation inside gives the lock back, and goes on."""
        with pytest.raises(KeyError):
            async with stores[0].lock("a", self.lease_s):
                raise KeyError
        entered = await self._enters(stores[1], "a", wait_s=_PATIENCE_S)
        expect(entered, "an error has left the lock")
        with anyio.CancelScope() as scope:
            async with stores[0].lock("a", self.lease_s):
                scope.cancel()
                await anyio.sleep(1)
        expect(scope.cancelled_caught, "a cancellation goes on")
        entered = await self._enters(stores[1], "a", wait_s=_PATIENCE_S)
        expect(entered, "a cancellation has left the lock")

    async def test_lock_when_lease_ends_then_others_enter_and_stay(
        self, stores: tuple[RecordStore, RecordStore], clock: ManualClock
    ) -> None:
        """A holder that hangs jams nobody, and frees nothing when it leaves late."""
        one, other = stores
        async with AsyncExitStack() as late, AsyncExitStack() as current:
            old = await late.enter_async_context(one.lock("a", self.lease_s))
            expect(
                not await self._enters(other, "a", wait_s=_GLIMPSE_S), "one is inside"
            )
            await self.pass_time(clock, self.lease_s)
            expect(old.remaining_s() <= 0, "the holder can see that it has lost it")
            with anyio.fail_after(_PATIENCE_S):
                new = await current.enter_async_context(other.lock("a", self.lease_s))
            await late.aclose()
            expect(new.remaining_s() > 0, "the next one has all its time")
            for store in stores:
                entered = await self._enters(store, "a", wait_s=_GLIMPSE_S)
                expect(not entered, "leaving late has freed nothing")

    async def test_lock_when_held_then_lease_runs_down(
        self, stores: tuple[RecordStore, RecordStore], clock: ManualClock
    ) -> None:
        """The holder can see how long it may rely on the lock."""
        lease_s = self.lease_s
        async with stores[0].lock("a", lease_s) as lease:
            expect(isinstance(lease, Lease), "a lease is given")
            left = lease.remaining_s()
            expect(0.5 * lease_s < left <= lease_s, "it lasts as long as was asked")
            await self.pass_time(clock, 0.6 * lease_s)
            expect(lease.remaining_s() <= 0.4 * lease_s + 0.001, "it runs down")
            await self.pass_time(clock, 0.6 * lease_s)
            expect(lease.remaining_s() <= 0, "it ends")

    async def test_lock_when_held_then_records_are_untouched(
        self, stores: tuple[RecordStore, RecordStore], clock: ManualClock
    ) -> None:
        """Locks have names of their own; the holder uses the store meanwhile."""
        one, other = stores
        await one.save("session", "k", b"v", expires_at=clock() + 9, owner="k")
        async with one.lock("k", self.lease_s):
            expect(await one.load("lock", "k") is None, "a lock is no record")
            with anyio.fail_after(_PATIENCE_S):
                for store in stores:
                    await store.save("session", "k", b"w", expires_at=clock() + 9)
                await other.delete("session", "k")
        expect(await one.load("session", "k") is None, "leaving brings nothing back")
