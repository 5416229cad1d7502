"""The report: tables for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.soak.figures import Figures
from tests.soak.race.contest import Outcome

_ROWS: Sequence[tuple[str, Callable[[Figures], object]]] = (
    ("browsers", lambda f: f.browsers),
    ("logins", lambda f: f.logins),
    ("requests", lambda f: f.requests),
    ("refreshes", lambda f: f.refreshes),
    ("refreshes per expiry", lambda f: f"{f.per_expiry:.2f}"),
    ("refreshes too early", lambda f: f.too_early),
    ("sessions lost", lambda f: sum(f.lost.values())),
    ("refreshes cut off by a fault", lambda f: f.interrupted),
    ("sessions ended by that, and told so", lambda f: f.lost_interrupted),
    ("returned after a dropped answer", lambda f: f.returned),
    ("logged out", lambda f: f.logouts),
    ("used after that", lambda f: f.came_back),
    ("left behind at the server", lambda f: f.left),
    ("without an answer at the end", lambda f: f.unhappy),
    ("exceptions of the application", lambda f: f.crashes),
    ("latency p50, ms", lambda f: f.latency_ms["p50"]),
    ("latency p90, ms", lambda f: f.latency_ms["p90"]),
    ("latency p99, ms", lambda f: f.latency_ms["p99"]),
    ("memory at the start, MiB", lambda f: f.memory_mib[0]),
    ("memory in the middle, MiB", lambda f: f.memory_mib[1]),
    ("memory at the end, MiB", lambda f: f.memory_mib[2]),
)
_COUNTED: Sequence[tuple[str, Callable[[Figures], dict[str, int]]]] = (
    ("fault", lambda f: f.faults),
    ("seen", lambda f: f.errors),
    ("login begun again", lambda f: f.login_failures),
)


@dataclass(slots=True)
class Report:
    """What a run of the soak has brought.

    Attributes:
        cases: the figures of each.
        race: what became of clients that raced against themselves.
        missing: who could not, and why.
    """

    cases: list[Figures] = field(default_factory=list)
    race: list[Outcome] = field(default_factory=list)
    missing: str | None = None

    def broken(self) -> list[str]:
        """Return the promises that were broken, in words."""
        of_cases = [
            f"{each.case}: {what}" for each in self.cases for what in each.broken()
        ]
        return of_cases + [what for each in self.race for what in each.broken()]

    def text(self) -> str:
        """Return all of it for people, in Markdown."""
        parts = [_table(_case_rows(self.cases))] if self.cases else []
        if self.race:
            parts.append(_table(_race_rows(self.race)))
        if self.missing:
            parts.append(self.missing)
        said = "\n".join(f"BROKEN: {what}" for what in self.broken())
        return "\n\n".join([*parts, said or "Every promise was kept."])

    def write(self, folder: Path) -> None:
        """Write it into a folder, for people and for programs."""
        cases = [
            {**asdict(each), "per_expiry": each.per_expiry, "broken": each.broken()}
            for each in self.cases
        ]
        said = {"cases": cases, "race": [asdict(each) for each in self.race]}
        (folder / "report.json").write_text(json.dumps(said, indent=2) + "\n", "utf-8")
        (folder / "report.md").write_text(self.text() + "\n", "utf-8")


def _case_rows(figures: Sequence[Figures]) -> Iterator[list[object]]:
    yield ["", *(each.case for each in figures)]
    for name, give in _ROWS:
        yield [name, *(give(each) for each in figures)]
    for title, count in _COUNTED:
        for name in sorted({name for each in figures for name in count(each)}):
            yield [f"{title}: {name}", *(count(each).get(name, 0) for each in figures)]


def _race_rows(race: Sequence[Outcome]) -> Iterator[list[object]]:
    yield ["", *(each.client for each in race)]
    yield ["processes", *(each.processes for each in race)]
    yield ["sessions", *(each.sessions for each in race)]
    yield ["refreshes per expiry", *(f"{each.per_expiry:.2f}" for each in race)]
    yield ["requests without an answer", *(each.unanswered for each in race)]
    yield ["sessions lost", *(each.lost for each in race)]


def _table(rows: Iterable[Sequence[object]]) -> str:
    head, *others = [f"| {' | '.join(map(str, row))} |" for row in rows]
    line = f"| --- |{' ---: |' * (head.count('|') - 2)}"
    return "\n".join([head, line, *others])
