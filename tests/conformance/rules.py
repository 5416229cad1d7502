"""Every rule and attack there is, from ``ids.txt``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

IDS = Path(__file__).with_name("ids.txt")

_GROUP = re.compile(r"\[([A-Z]+(?:-A)?)\] (\S.*)")
_RULE = re.compile(r"([A-Z]+-A?[0-9]{2}) (M\*|[MSA]) (\S.*)")


class ConformanceError(Exception):
    """A list, a table, a marker or a record says something that cannot be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A requirement, or an attack.

    Attributes:
        level: ``M`` must, ``M*`` a must of our own, ``S`` should, ``A`` an attack.
    """

    id: str
    level: str
    title: str

    @property
    def group(self) -> str:
        """The id without its number: ``NET`` of NET-04, ``DOS-A`` of DOS-A01."""
        return self.id.rstrip("0123456789").rstrip("-")


def parse_rules(text: str) -> dict[str, Rule]:
    """The rules of a list, by id and in its order.

    Raises:
        ConformanceError: a line has another form, or stands in another place, than
            it should.
    """
    rules: dict[str, Rule] = {}
    group = ""
    for line in _lines(text):
        if heading := _GROUP.fullmatch(line):
            group = heading[1]
            continue
        rule = _parse_rule(line)
        if rule.group != group or rule.id in rules:
            raise ConformanceError(f"{rule.id} stands twice, or in a foreign group")
        rules[rule.id] = rule
    return rules


def _lines(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if line and not line.startswith("#"):
            yield line


def _parse_rule(line: str) -> Rule:
    found = _RULE.fullmatch(line)
    if not found:
        raise ConformanceError(f"not an id, a level and a title: {line!r}")
    return Rule(id=found[1], level=found[2], title=found[3])
