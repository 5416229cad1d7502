"""What ``docs/conformance.md`` lists as decided otherwise, or not applicable."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.rules import ConformanceError

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"

_ID = re.compile(r"[A-Z]+-A?[0-9]{2}")
_BAR = re.compile(r"(?<!\\)\|")
_OTHERWISE = ("Decided otherwise", ["rules", "what it does", "why"])
_NOT_APPLICABLE = ("Not applicable", ["rules", "why"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Decisions:
    """Ids, each with what the page says of it."""

    otherwise: dict[str, str]
    not_applicable: dict[str, str]


def parse_decisions(page: str) -> Decisions:
    """The two tables of the page.

    Raises:
        ConformanceError: a table is missing or has other columns, a cell is empty or
            holds no list of ids, or an id is listed twice.
    """
    otherwise = list(_entries(page, *_OTHERWISE))
    not_applicable = list(_entries(page, *_NOT_APPLICABLE))
    listed = [rule_id for rule_id, _ in [*otherwise, *not_applicable]]
    for rule_id in listed:
        if listed.count(rule_id) > 1:
            raise ConformanceError(f"{rule_id} is listed twice")
    return Decisions(otherwise=dict(otherwise), not_applicable=dict(not_applicable))


def _entries(page: str, title: str, columns: list[str]) -> Iterator[tuple[str, str]]:
    for first, *rest in _rows(_section(page, title), columns):
        for rule_id in first.split(", "):
            if not _ID.fullmatch(rule_id):
                raise ConformanceError(
                    f"{title}: {rule_id!r} is not an id such as NET-04"
                )
            yield rule_id, ": ".join(rest)


def _section(page: str, title: str) -> list[str]:
    parts = re.split(r"^## (.+)$", page, flags=re.MULTILINE)
    if parts[1::2].count(title) != 1:
        raise ConformanceError(f"there is not one heading {title!r}")
    return parts[2 * parts[1::2].index(title) + 2].splitlines()


def _rows(section: list[str], columns: list[str]) -> list[list[str]]:
    """The cells below the head of a section's only table."""
    lines = [line for line in section if line.lstrip().startswith("|")]
    if len(lines) < 2 or _cells(lines[0]) != columns:
        raise ConformanceError(f"there is no table with the columns {columns}")
    if _cells(lines[1]) != ["---"] * len(columns):
        raise ConformanceError(f"a line of dashes is missing: {lines[1]!r}")
    for line in lines[2:]:
        if len(_cells(line)) != len(columns) or "" in _cells(line):
            raise ConformanceError(f"not {len(columns)} full cells: {line!r}")
    return [_cells(line) for line in lines[2:]]


def _cells(line: str) -> list[str]:
    before, *cells, after = _BAR.split(line)
    if before or after.strip():
        raise ConformanceError(f"a row begins and ends with a bar: {line!r}")
    return [cell.strip() for cell in cells]
