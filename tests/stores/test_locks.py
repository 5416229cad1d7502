"""A lease ends on whichever clock says so first; locks leave nothing behind."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from atproto_oauth_asgi.stores.locks import Lease, ProcessLocks, unix_now
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
