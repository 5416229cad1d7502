"""RFC 9110 section 11.6: the challenges in ``WWW-Authenticate``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_WORD = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_ITEM = re.compile(
    rf'\s*(?:(?P<name>{_WORD})\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>{_WORD}))'
    rf"|(?P<scheme>{_WORD})(?:\s+(?P<token68>[A-Za-z0-9\-._~+/]+=*)(?=\s*(?:,|$)))?"
    r"|(?P<comma>,))"
)
_MAX_LENGTH = 8192


@dataclass(frozen=True, slots=True)
class Challenge:
    """One challenge: scheme and parameter names are in lower case."""

    scheme: str
    params: dict[str, str]


def parse_challenges(values: Iterable[str]) -> list[Challenge]:
    """Return the challenges of all ``WWW-Authenticate`` fields.

    A field that cannot be read to its end gives none: what is half understood is
    not acted on.
    """
    return [challenge for value in values for challenge in _parse(value[:_MAX_LENGTH])]


def _parse(value: str) -> list[Challenge]:
    found: list[Challenge] = []
    position = 0
    while match := _ITEM.match(value, position):
        position = match.end()
        if match["scheme"]:
            found.append(Challenge(match["scheme"].lower(), {}))
        elif found and match["name"]:
            found[-1].params.setdefault(match["name"].lower(), _text(match))
    return [] if value[position:].strip() else found


def _text(match: re.Match[str]) -> str:
    if match["bare"] is not None:
        return match["bare"]
    return re.sub(r"\\(.)", r"\1", match["quoted"])
