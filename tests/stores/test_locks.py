"""A lease ends on whichever clock says so first; locks leave nothing behind."""

from __future__ import annotations

from datetime import UTC, datetime

import anyio
import pytest

from atproto_oauth_asgi.exceptions import StoreError
from atproto_oauth_asgi.stores.locks import (
    Lease,
    ProcessLocks,
    lock_within,
    unix_now,
)
from tests.stores.contract import ManualClock


def test_lease_when_machine_was_suspended_then_has_ended() -> None:
    """The monotonic clock stands still meanwhile; the wall clock tells."""
    wall, monotonic = ManualClock(), ManualClock(5.0)
    lease = Lease(30.0, clock=wall, monotonic=monotonic)
    wall.advance(31)
    assert lease.remaining_s() == -1.0


def test_lease_when_wall_clock_is_set_back_then_ends_in_time() -> None:
    """A corrected clock gives nobody more time than was agreed."""
    wall, monotonic = ManualClock(), ManualClock(5.0)
    lease = Lease(30.0, clock=wall, monotonic=monotonic)
    wall.advance(-3600)
    monotonic.advance(20)
    assert lease.remaining_s() == 10.0
    monotonic.advance(20)
    assert lease.remaining_s() == -10.0


def test_lease_when_made_without_clocks_then_runs_down() -> None:
    """The clocks of the machine are the default, and in step with the world."""
    lease = Lease(30.0)
    assert 29.0 < lease.remaining_s() <= 30.0
    assert abs(unix_now() - datetime.now(UTC).timestamp()) < 1


@pytest.mark.anyio
async def test_process_locks_when_all_have_left_then_remember_nothing() -> None:
    """Locks of names that nobody uses any more take no memory."""
    locks = ProcessLocks()
    for number in range(100):
        async with locks.lock(str(number), 30.0):
            assert len(locks._leases) == 1
    assert locks._leases == {}


@pytest.mark.anyio
@pytest.mark.covers("STORE-11")
async def test_process_locks_when_holders_never_leave_then_are_forgotten() -> None:
    """A holder whose event loop is gone leaves nothing behind after its lease."""
    clock = ManualClock()
    locks = ProcessLocks(clock=clock, monotonic=clock)
    stuck = [locks.lock(str(number), 30.0) for number in range(1000)]
    for each in stuck:
        await each.__aenter__()
        clock.advance(1)
        assert len(locks._leases) <= 64
    assert locks._leases["999"].remaining_s() == 29.0
    for each in stuck:
        await each.__aexit__(None, None, None)
    assert "999" not in locks._leases


@pytest.mark.anyio
@pytest.mark.covers("DOS-A13", "STORE-08", "STORE-11")
async def test_dos_a13_when_a_holder_died_then_waiters_give_up_and_others_get_on() -> (
    None
):
    """A thousand wait for a lock that nobody gives back; it is free in the end."""
    clock = ManualClock()
    locks = ProcessLocks(clock=clock, monotonic=clock)
    dead = locks.lock("a", 30.0)
    await dead.__aenter__()
    gave_up = 0
    entered: list[int] = []

    async def wait() -> None:
        nonlocal gave_up
        try:
            async with lock_within(0.1, locks.lock("a", 30.0)):
                pytest.fail("two are inside")
        except StoreError:
            gave_up += 1

    async def come_later(number: int) -> None:
        async with lock_within(60, locks.lock("a", 30.0)):
            entered.append(number)

    with anyio.fail_after(15):
        async with anyio.create_task_group() as tasks:
            for _ in range(1000):
                tasks.start_soon(wait)
    assert gave_up == 1000
    clock.advance(30)
    async with anyio.create_task_group() as tasks:
        for number in range(10):
            tasks.start_soon(come_later, number)
    assert sorted(entered) == list(range(10))
    await dead.__aexit__(None, None, None)
    assert locks._leases == {}


@pytest.mark.anyio
async def test_lock_within_when_entered_then_the_body_has_all_its_time() -> None:
    """The limit is for waiting; what the body raises goes through as it is."""
    locks = ProcessLocks()
    async with lock_within(0.01, locks.lock("a", 30.0)) as lease:
        await anyio.sleep(0.03)
        assert lease.remaining_s() > 20
    with pytest.raises(TimeoutError):
        async with lock_within(1, locks.lock("a", 30.0)):
            raise TimeoutError
    assert locks._leases == {}
