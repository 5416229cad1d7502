"""Print which rules the tests show; fail on ids that do not exist."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.conformance.documented import PAGE, parse_decisions
from tests.conformance.markers import TESTS, marked_ids
from tests.conformance.record import RECORD, load_record
from tests.conformance.report import Evidence, missing, open_ids, problems, table
from tests.conformance.rules import IDS, ConformanceError, parse_rules

ROOT = TESTS.parent


def gather(*, root: Path = ROOT) -> Evidence:
    """All that is known, from the lists, the page, the tests and their last runs.

    Raises:
        ConformanceError: one of them cannot be read, or no full run was recorded.
    """
    known = Evidence(
        rules=parse_rules(IDS.read_text(encoding="utf-8")),
        decisions=parse_decisions(PAGE.read_text(encoding="utf-8")),
        record=load_record(root / RECORD),
        marked=marked_ids(TESTS),
    )
    if known.record.full_run is None:
        raise ConformanceError("no run of all tests is recorded: make test")
    return known


def verdict(known: Evidence, groups: Sequence[str]) -> list[str]:
    """Why this fails, if it does."""
    unknown = set(groups) - {rule.group for rule in known.rules.values()}
    return [
        *problems(known),
        *(f"there is no group {group!r}" for group in sorted(unknown)),
        *(f"{rule_id} is required, and open" for rule_id in missing(known, groups)),
    ]


def _say(lines: Sequence[str]) -> None:
    sys.stdout.writelines(f"{line}\n" for line in lines)


def main(arguments: Sequence[str] | None = None, *, root: Path = ROOT) -> int:
    """Return 0 if all ids exist and nothing that is required is open; else 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance")
    parser.add_argument("--require", metavar="GROUP[,GROUP]", default="")
    required = parser.parse_args(arguments).require
    try:
        known = gather(root=root)
    except ConformanceError as error:
        _say([str(error)])
        return 1
    failures = verdict(known, required.split(",") if required else [])
    _say([*table(known), "", "open", *open_ids(known), ""])
    _say([f"all tests were last run at {known.record.full_run}"])
    _say(failures)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
