"""Run the soak, print its figures, and fail where a promise was broken."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio

from tests.soak.case_run import open_stage, run_case
from tests.soak.cases import CASES, CONTROL, SHORT, Plan
from tests.soak.race.contest import run_race
from tests.soak.report import Report

_FOLDER = Path(__file__).parents[2] / ".cache" / "soak"
_RACE = "race"
_NAMES = (*(case.name for case in CASES), _RACE)


def main() -> int:
    """Return 0 if every promise was kept, else 1."""
    asked = _parse()
    plan = SHORT if asked.short else Plan()
    if asked.browsers:
        plan = replace(plan, browsers=asked.browsers)
    asked.output.mkdir(parents=True, exist_ok=True)
    names = asked.cases or _NAMES
    report = anyio.run(partial(_run, names, plan, folder=asked.output))
    print(f"\n{report.text()}\n\nMore is in {asked.output}.")
    return int(bool(report.broken()))


async def _run(names: Collection[str], plan: Plan, *, folder: Path) -> Report:
    report = Report()
    async with open_stage(plan.browsers, folder=folder) as stage:
        for case in (*CASES, CONTROL):
            if case.name in names:
                print(f"soak: {case.name}, {plan.seconds:.0f} s", flush=True)
                figures = await run_case(case, plan, stage)
                for what in figures.broken():
                    print(f"BROKEN: {what}", flush=True)
                report.cases.append(figures)
                report.write(folder)
        if _RACE in names:
            print("soak: the race", flush=True)
            report.race, report.missing = await run_race(stage, plan)
            report.write(folder)
    return report


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    known = (*_NAMES, CONTROL.name)
    parser.add_argument("cases", nargs="*", help=", ".join(known))
    parser.add_argument("--short", action="store_true", help="half a minute a case")
    parser.add_argument("--browsers", type=int, help="how many, instead of 100")
    parser.add_argument("--output", type=Path, default=_FOLDER, help="a folder")
    asked = parser.parse_args()
    if unknown := set(asked.cases) - set(known):
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
    return asked


if __name__ == "__main__":
    sys.exit(main())
