"""Interleaved measuring: every round runs each case once, and ratios are per round.

Slow drift and noisy neighbours hit a case and its base alike, so that the median of
the ratios repeats although the times do not.
"""

from __future__ import annotations

import gc
import operator
import statistics
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from time import perf_counter_ns, process_time_ns
from typing import Any, Literal

from anyio.from_thread import BlockingPortal

ROUNDS = 31
SLACK = 1.20
"""How far beyond its target a measured ratio may be: machines differ."""

_ROUND_NS = 8_000_000
_SMALL = 0.1

Sense = Literal["<=", ">=", "="]
"""Which side of its target a figure should be on. What is counted is exact."""
_COMPARE: dict[Sense, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "=": operator.eq,
}
_SLACK: dict[Sense, float] = {"<=": SLACK, ">=": 1 / SLACK, "=": 1.0}

Timer = Callable[[Callable[[], Any], int], int]
"""Calls a function so often, and gives the nanoseconds that all of it took."""


def cpu_time(function: Callable[[], object], repeats: int) -> int:
    """Return the CPU time of this process."""
    start = process_time_ns()
    for _ in range(repeats):
        function()
    return process_time_ns() - start


@dataclass(frozen=True, slots=True)
class Loop:
    """Times coroutines, all in one event loop."""

    portal: BlockingPortal

    def cpu_time(self, function: Callable[[], Awaitable[object]], repeats: int) -> int:
        """Return the CPU time of this process."""
        return self.portal.call(_repeat, function, repeats, process_time_ns)

    def wall_time(self, function: Callable[[], Awaitable[object]], repeats: int) -> int:
        """Return the time that somebody waits, the other processes included."""
        return self.portal.call(_repeat, function, repeats, perf_counter_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Two pieces of work; the second one may cost ``target`` times the first.

    Attributes:
        name: what is measured.
        base_name: what it is compared with.
        base: the base's work.
        work: the other.
        target: None for what is only shown.
        floor: what both contain, and what neither is charged for.
        timer: what is measured of them.
        is_rate: compare how many of them fit into a second instead; there should be
            ``target`` times as many at least.
    """

    name: str
    base_name: str
    base: Callable[[], Any]
    work: Callable[[], Any]
    target: float | None
    floor: Callable[[], Any] | None = None
    timer: Timer = cpu_time
    is_rate: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A ratio that was measured, or counted."""

    name: str
    ratio: float
    target: float | None
    detail: str
    sense: Sense = "<="

    @property
    def verdict(self) -> str:
        """What is to be said of it."""
        if self.target is None:
            return ""
        is_good = _COMPARE[self.sense]
        if is_good(self.ratio, self.target):
            return "ok"
        is_near = is_good(self.ratio, self.target * _SLACK[self.sense])
        return "within slack" if is_near else "MISSED"


def measure(case: Case, *, rounds: int = ROUNDS) -> Figure:
    """Return how many times the base's time the work takes, or its rate."""
    base, work = _times(case, rounds=rounds)
    costs = [mine / other for other, mine in zip(base, work, strict=True)]
    ratio = statistics.median(costs)
    base_us, work_us = (statistics.median(each) / 1000 for each in (base, work))
    return Figure(
        name=case.name,
        ratio=1 / ratio if case.is_rate else ratio,
        target=case.target,
        detail=f"{work_us:.1f} us; {case.base_name} {base_us:.1f} us",
        sense=">=" if case.is_rate else "<=",
    )


def _times(case: Case, *, rounds: int) -> tuple[list[float], list[float]]:
    """Return the nanoseconds of base and work in each round, without the floor."""
    functions = [case.base, case.work, *([case.floor] if case.floor else [])]
    repeats = [_calibrate(function, case.timer) for function in functions]
    taken: list[list[float]] = [[] for _ in functions]
    for number in _without_gc(rounds):
        # Each is first in turn.
        for which in range(len(functions))[:: 1 if number % 2 else -1]:
            total = case.timer(functions[which], repeats[which])
            taken[which].append(total / repeats[which])
    base, work, *others = taken
    floor = others[0] if others else [0.0] * rounds
    added = [[t - f for t, f in zip(each, floor, strict=True)] for each in (base, work)]
    return added[0], added[1]


def report(figures: list[Figure]) -> bool:
    """Print a table; return whether every figure is met."""
    print("| what | ratio | target | |  |\n|---|---:|---:|---|---|")
    for figure in figures:
        target = ""
        if figure.target is not None:
            target = f"{figure.sense} {_number(figure.target)}"
        print(
            f"| {figure.name} | {_number(figure.ratio)} | {target} "
            f"| {figure.verdict} | {figure.detail} |"
        )
    return all(figure.verdict != "MISSED" for figure in figures)


def _number(value: float) -> str:
    if value == round(value):
        return str(round(value))
    return f"{value:.2f}" if value >= _SMALL else f"{value:.5f}"


def _without_gc(rounds: int) -> Iterator[int]:
    gc.collect()
    gc.disable()
    try:
        yield from range(rounds)
    finally:
        gc.enable()


async def _repeat(
    function: Callable[[], Awaitable[object]], repeats: int, clock: Callable[[], int]
) -> int:
    start = clock()
    for _ in range(repeats):
        await function()
    return clock() - start


def _calibrate(function: Callable[[], object], timer: Timer) -> int:
    repeats = 1
    while (taken := timer(function, repeats)) < _ROUND_NS / 4:
        repeats *= 2
    return max(1, int(repeats * _ROUND_NS / taken))
