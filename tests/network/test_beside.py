from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from atproto_oauth_asgi.exceptions import (
    AccountMoved,
    OAuthTokenError,
    StoreError,
    TimedOut,
    Unreachable,
)
from atproto_oauth_asgi.network.beside import (
    Outcome,
    run_beside,
    run_shielded,
    time_limit,
)

pytestmark = pytest.mark.anyio


class Steps:
    """Steps that leave a trace."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    async def slow(self) -> str:
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        self.ended.append("slow")
        return "slow"

    async def quick(self) -> str:
        await anyio.lowlevel.checkpoint()
        self.ended.append("quick")
        return "quick"

    async def endless(self) -> str:
        await anyio.sleep_forever()
        return "never"

    async def fail(self) -> str:
        await anyio.lowlevel.checkpoint()
        cause = KeyError("cause")
        raise StoreError("failed") from cause

    async def fail_late(self) -> str:
        await self.slow()
        raise Unreachable("failed late")


@pytest.fixture
def steps() -> Steps:
    return Steps()


# --- side by side ------------------------------------------------------------------


async def test_beside_when_both_succeed_then_gives_both(steps: Steps) -> None:
    """They run at the same time, whichever ends first."""
    assert await run_beside(steps.slow, steps.quick) == ("slow", Outcome(("quick",)))
    assert steps.ended == ["quick", "slow"]
    value, second = await run_beside(steps.quick, steps.slow)
    assert (value, second.unwrap()) == ("quick", "slow")


async def test_beside_when_first_fails_then_second_is_given_up(steps: Steps) -> None:
    """Its error is raised as it is, and nobody waits for the second."""
    with anyio.fail_after(1), pytest.raises(StoreError) as caught:
        await run_beside(steps.fail, steps.endless)
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.covers("TOK-14")
async def test_beside_when_second_fails_then_first_is_not_given_up(
    steps: Steps,
) -> None:
    """What the first brings is there to be cleaned up, the error beside it."""
    value, second = await run_beside(steps.slow, steps.fail)
    assert value == "slow"
    with pytest.raises(StoreError):
        second.unwrap()


async def test_beside_when_both_fail_then_first_error_counts(steps: Steps) -> None:
    """Also when it comes later."""
    with pytest.raises(Unreachable):
        await run_beside(steps.fail_late, steps.fail)


async def test_beside_when_cancelled_then_both_stop(steps: Steps) -> None:
    """Nothing goes on in the background."""
    with anyio.move_on_after(0.01) as scope:
        await run_beside(steps.endless, steps.endless)
    assert scope.cancelled_caught


# --- limits ------------------------------------------------------------------------


@pytest.mark.covers("DOS-01")
async def test_limit_when_too_slow_then_raises_our_error(steps: Steps) -> None:
    """The message says what was waited for."""
    too_slow = pytest.raises(TimedOut, match="the thing took too long")
    with too_slow, time_limit(0.01, what="the thing"):
        await steps.endless()


async def test_limit_when_quick_then_lets_through(steps: Steps) -> None:
    """Values and errors pass."""
    with time_limit(1, what="x"):
        assert await steps.quick() == "quick"
    with pytest.raises(StoreError), time_limit(1, what="x"):
        await steps.fail()


# --- to the end --------------------------------------------------------------------


async def test_shielded_when_left_alone_then_gives_value_or_error(
    steps: Steps,
) -> None:
    """Errors come out as they are, with their causes."""
    assert await run_shielded(steps.quick) == "quick"
    with pytest.raises(StoreError) as caught:
        await run_shielded(steps.fail)
    assert isinstance(caught.value.__cause__, KeyError)
    assert caught.value.__suppress_context__


@pytest.mark.covers("REF-18", "RFR-06")
async def test_shielded_when_waiter_is_cancelled_then_runs_to_its_end(
    steps: Steps,
) -> None:
    """Cancellation comes afterwards."""
    with anyio.CancelScope() as scope:
        scope.cancel()
        assert await run_shielded(steps.slow) == "slow"
        await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert steps.ended == ["slow"]


@pytest.mark.covers("REF-18", "RFR-06")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_shielded_when_task_is_cancelled_natively_then_runs_to_its_end(
    steps: Steps,
) -> None:
    """Frameworks that cancel tasks in asyncio's own way break nothing off either."""
    import asyncio  # noqa: TID251 - what other frameworks do

    task = asyncio.create_task(run_shielded(steps.slow))
    for _ in range(2):
        await anyio.lowlevel.checkpoint()
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert steps.ended == ["slow"]


@pytest.mark.covers("ASG-11")
async def test_outcome_when_error_then_raises_it() -> None:
    """An outcome is a value or an error."""
    assert Outcome((7,)).unwrap() == 7
    for error in (AccountMoved("x"), OAuthTokenError("x", error="y")):
        outcome: Outcome[int] = Outcome(error=error)
        with pytest.raises(type(error)):
            outcome.unwrap()
