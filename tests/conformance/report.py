"""Counting: which rules are covered, decided otherwise, not applicable, or open."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from tests.conformance.documented import Decisions
from tests.conformance.record import Record
from tests.conformance.rules import Rule


class State(StrEnum):
    """What is said of a rule; in the order of the table's columns."""

    COVERED = "covered"
    OTHERWISE = "decided otherwise"
    NOT_APPLICABLE = "not applicable"
    OPEN = "open"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that is known about the rules."""

    rules: dict[str, Rule]
    decisions: Decisions
    record: Record
    marked: dict[str, str]


def is_shown(tests: Iterable[str]) -> bool:
    """Whether these outcomes show a rule: one passed, none failed."""
    outcomes = set(tests)
    return "passed" in outcomes and "failed" not in outcomes


def states(known: Evidence) -> dict[str, State]:
    """The state of every rule. A test that did not pass covers nothing."""
    return {rule_id: _state(known, rule_id) for rule_id in known.rules}


def _state(known: Evidence, rule_id: str) -> State:
    if rule_id in known.decisions.not_applicable:
        return State.NOT_APPLICABLE
    if not is_shown(known.record.ids.get(rule_id, {}).values()):
        return State.OPEN
    if rule_id in known.decisions.otherwise:
        return State.OTHERWISE
    return State.COVERED


def problems(known: Evidence) -> list[str]:
    """What cannot be: ids that do not exist, and lists that contradict the tests."""
    return [*_unknown(known), *_contradictions(known)]


def _unknown(known: Evidence) -> Iterator[str]:
    decisions = known.decisions
    listed = {**decisions.otherwise, **decisions.not_applicable}
    for rule_id in sorted(listed.keys() - known.rules.keys()):
        yield f"{rule_id}, in docs/conformance.md, does not exist"
    for rule_id in sorted(known.marked.keys() - known.rules.keys()):
        yield f"{rule_id}, in {known.marked[rule_id]}, does not exist"
    for rule_id in sorted(known.record.ids.keys() - {*known.rules, *known.marked}):
        yield f"{rule_id}, in a test that ran, does not exist"


def _contradictions(known: Evidence) -> Iterator[str]:
    ran = known.record.ids
    for rule_id in sorted(known.decisions.otherwise.keys() & known.rules.keys()):
        if not is_shown(ran.get(rule_id, {}).values()):
            yield f"{rule_id} is decided otherwise, but no passing test shows what is done"
    for rule_id in sorted(known.decisions.not_applicable.keys() & known.rules.keys()):
        if rule_id in known.marked or rule_id in ran:
            yield f"{rule_id} is not applicable, but a test covers it"


def table(known: Evidence) -> list[str]:
    """One line for each group, and the sums."""
    heads = ["", "all", *(state.value for state in State)]
    by_group = _count(known, lambda rule: rule.group)
    by_kind = _count(known, lambda rule: "attacks" if rule.level == "A" else "rules")
    total = _count(known, lambda _: "together")
    lines = [_row(heads), *_counted(by_group), ""]
    return [*lines, *_counted(by_kind), *_counted(total)]


def _count(
    known: Evidence, name_of: Callable[[Rule], str]
) -> dict[str, Counter[State]]:
    counts: dict[str, Counter[State]] = {}
    for rule_id, state in states(known).items():
        counts.setdefault(name_of(known.rules[rule_id]), Counter())[state] += 1
    return counts


def _counted(counts: Mapping[str, Counter[State]]) -> Iterator[str]:
    for name, count in counts.items():
        yield _row([name, str(count.total()), *(str(count[state]) for state in State)])


def _row(cells: list[str]) -> str:
    first, *rest = cells
    heads = ["all", *(state.value for state in State)]
    widths = [max(5, len(head)) + 2 for head in heads]
    right = [cell.rjust(width) for cell, width in zip(rest, widths, strict=True)]
    return first.ljust(8) + "".join(right)


def open_ids(known: Evidence) -> list[str]:
    """A line for each open rule: id, level, title, and whether its tests failed."""
    found = states(known)
    rules = [rule for rule in known.rules.values() if found[rule.id] is State.OPEN]
    return [
        f"{rule.id:10}{rule.level:4}{rule.title}{_note(known, rule.id)}"
        for rule in rules
    ]


def _note(known: Evidence, rule_id: str) -> str:
    outcomes = set(known.record.ids.get(rule_id, {}).values())
    if "failed" in outcomes:
        return " (its tests fail)"
    return " (its tests were skipped)" if outcomes else ""


def missing(known: Evidence, groups: Iterable[str]) -> list[str]:
    """The open ids of some groups."""
    wanted = set(groups)
    return [
        rule_id
        for rule_id, state in states(known).items()
        if state is State.OPEN and known.rules[rule_id].group in wanted
    ]
