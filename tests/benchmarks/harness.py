"""Interleaved measuring: every round runs each case once, and ratios are per round.

Slow drift and noisy neighbours hit a case and its base alike, so that the median of
the ratios repeats although the times do not.
"""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import process_time_ns

ROUNDS = 31
SLACK = 1.20
"""How far over its target a ratio may be: machines differ."""

_ROUND_NS = 8_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Two pieces of work; the second one may cost ``target`` times the first."""

    name: str
    base_name: str
    base: Callable[[], object]
    work: Callable[[], object]
    target: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A ratio that was measured, or counted."""

    name: str
    ratio: float
    target: float
    detail: str

    @property
    def is_met(self) -> bool:
        """Whether the ratio is within the target and its slack."""
        return self.ratio <= self.target * SLACK


def measure(case: Case, *, rounds: int = ROUNDS) -> Figure:
    """Return how many times the base's CPU time the work takes."""
    repeats = [_calibrate(case.base), _calibrate(case.work)]
    base_ns: list[float] = []
    work_ns: list[float] = []
    for number in _without_gc(rounds):
        # Each is first in turn.
        for which in (0, 1) if number % 2 else (1, 0):
            function = (case.base, case.work)[which]
            taken = _time(function, repeats[which]) / repeats[which]
            (base_ns, work_ns)[which].append(taken)
    ratios = [work / base for work, base in zip(work_ns, base_ns, strict=True)]
    times = [statistics.median(each) / 1000 for each in (work_ns, base_ns)]
    return Figure(
        name=case.name,
        ratio=statistics.median(ratios),
        target=case.target,
        detail=f"{times[0]:.1f} us; {case.base_name} {times[1]:.1f} us",
    )


def report(figures: list[Figure]) -> bool:
    """Print a table; return whether every figure is met."""
    print("| what | ratio | target | |  |\n|---|---:|---:|---|---|")
    for figure in figures:
        verdict = "ok" if figure.ratio <= figure.target else "within slack"
        if not figure.is_met:
            verdict = "MISSED"
        print(
            f"| {figure.name} | {figure.ratio:.2f} | <= {figure.target:.2f} "
            f"| {verdict} | {figure.detail} |"
        )
    return all(figure.is_met for figure in figures)


def _without_gc(rounds: int) -> Iterator[int]:
    gc.collect()
    gc.disable()
    try:
        yield from range(rounds)
    finally:
        gc.enable()


def _time(function: Callable[[], object], repeats: int) -> int:
    start = process_time_ns()
    for _ in range(repeats):
        function()
    return process_time_ns() - start


def _calibrate(function: Callable[[], object]) -> int:
    repeats = 1
    while (taken := _time(function, repeats)) < _ROUND_NS / 4:
        repeats *= 2
    return max(1, int(repeats * _ROUND_NS / taken))
