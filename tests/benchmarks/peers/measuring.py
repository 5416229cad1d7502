"""What the programs of all peers do alike. It needs no more than they bring."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable
from time import perf_counter_ns
from typing import Any

from tests.benchmarks.harness import Case, Figure, measure

ACCESS_TOKEN = "x" * 700
METHOD, URL = "POST", "https://pds.example.com/xrpc/com.atproto.repo.createRecord"
PATH = "/xrpc/com.atproto.repo.getRecord"
# What takes tens of milliseconds is not repeated as often.
_ROUNDS = 9


def shown(
    name: str, base: tuple[str, Callable[[], Any]], work: Any, **how: Any
) -> Case:
    """Return a case without a target."""
    base_name, base_work = base
    return Case(
        name=name, base_name=base_name, base=base_work, work=work, target=None, **how
    )


def wall_time(function: Callable[[], object], repeats: int) -> int:
    """Return the time that somebody waits, the other processes included."""
    start = perf_counter_ns()
    for _ in range(repeats):
        function()
    return perf_counter_ns() - start


def waits(login: str, counted: int) -> Figure:
    """Return how often a login waits for the network."""
    detail = "waits for the network, one after the other"
    return Figure(name=f"login {login}", ratio=counted, target=None, detail=detail)


def say(cases: Iterable[Case], count: Callable[[], list[Figure]]) -> None:
    """Measure, then count, and print it all for the process that started this one."""
    found = [measure(case, rounds=_ROUNDS) for case in cases] + count()
    rows = [dataclasses.asdict(figure) for figure in found]
    for row in rows:
        del row["target"]
    print(json.dumps(rows))
