"""Steps that depend on each other: side by side, or not to be broken off."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import anyio

from atproto_oauth_asgi.exceptions import TimedOut, TransportError

_log = logging.getLogger("atproto_oauth_asgi")

_A = TypeVar("_A")
_B = TypeVar("_B")
_T = TypeVar("_T")


@contextmanager
def time_limit(seconds: float, *, what: str) -> Iterator[None]:
    """Bound the steps inside.

    Raises:
        TimedOut: they took longer.
    """
    try:
        with anyio.fail_after(seconds):
            yield
    except TimeoutError as error:
        raise TimedOut(f"{what} took too long") from error


async def run_shielded(step: Callable[[], Awaitable[_T]]) -> _T:
    """Run a step to its end, even if whoever waits for it is cancelled.

    It runs in a task of its own: frameworks also cancel tasks in asyncio's own way,
    which reaches into every shield of the task. The waiter is cancelled afterwards.
    """
    values: list[_T] = []

    async def run() -> None:
        with anyio.CancelScope(shield=True):
            values.append(await step())

    try:
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(run)
    except BaseExceptionGroup as group:
        # One task, one error; nobody should have to know of the task.
        raise group.exceptions[0] from group.exceptions[0].__cause__
    return values[0]


@dataclass(frozen=True, slots=True)
class Outcome(Generic[_T]):
    """A value, or the error that came instead."""

    values: tuple[_T, ...] = ()
    error: Exception | None = None

    def unwrap(self) -> _T:
        """Return the value, or raise the error."""
        if self.error is not None:
            raise self.error
        return self.values[0]


async def run_beside(
    first: Callable[[], Awaitable[_A]], second: Callable[[], Awaitable[_B]]
) -> tuple[_A, Outcome[_B]]:
    """Run both; return the first's value and whatever came out of the second.

    Raises:
        Exception: what the first raised; the second was given up.
    """
    outcome: Outcome[_B] = Outcome(error=TransportError("given up"))
    result: Outcome[_A] = Outcome(error=TransportError("given up"))

    async def run_second() -> None:
        nonlocal outcome
        outcome = await _capture(second)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run_second)
        result = await _capture(first)
        if result.error is not None:
            tasks.cancel_scope.cancel()
    return result.unwrap(), outcome


async def run_with_guess(
    step: Callable[[], Awaitable[_A]],
    guess: Callable[[], Awaitable[object]],
    *,
    is_right: Callable[[_A], bool],
) -> _A:
    """Run a step, and at the same time what will be wanted if a guess is right.

    Returns:
        The step's value, as soon as it shows that the guess is wrong, which is given
        up then; otherwise when the guess has ended, whatever came out of it. Where
        the step does not have to wait, a wrong guess is not begun.

    Raises:
        Exception: what the step raised.
    """
    result: Outcome[_A] = Outcome(error=TransportError("given up"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_capture, guess)
        result = await _capture(step)
        if result.error is not None or not is_right(result.unwrap()):
            tasks.cancel_scope.cancel()
    return result.unwrap()


async def _capture(step: Callable[[], Awaitable[_T]]) -> Outcome[_T]:
    try:
        return Outcome((await step(),))
    except Exception as error:  # noqa: BLE001 - unwrap raises it
        _log.debug("a step failed: %s", type(error).__name__)
        return Outcome(error=error)
