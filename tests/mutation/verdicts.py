"""Which mutants may survive: those of a kind that no promise is about, and those listed."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.mutation.mutants import Mutant

ACCEPTED = Path(__file__).with_name("accepted.toml")

_LITERAL = re.compile(r'"(?:[^"\\]|\\.)*"')
_ENCODINGS = frozenset({"ascii", "latin-1", "utf-8"})
_HEADERS = frozenset({"authorization", "dpop", "dpop-nonce", "www-authenticate"})
_WITHOUT_WORDS = re.compile(r"message = None|raise \w+\(None\)( from \w+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Survivor:
    """A mutant that was looked at, and may survive.

    Attributes:
        place: as in ``Mutant``.
        was: the same.
        now: the same.
        why: no test can or need kill it.
    """

    place: str
    was: str
    now: str
    why: str


def accepted() -> list[Survivor]:
    """Return the list."""
    table = tomllib.loads(ACCEPTED.read_text(encoding="utf-8"))
    return [Survivor(**entry) for entry in table["survivor"]]


def is_of_a_kind(mutant: Mutant) -> bool:
    """Return whether nobody wants to know of it."""
    return any(kind(mutant) for kind in KINDS)


def are_words(mutant: Mutant) -> bool:
    """Return whether only words that people read have changed, three or more.

    What they must say where a person relies on them is tested; so is the code of an
    error, which is one word.
    """
    changed = [*_changed_literals(mutant)]
    return bool(changed) and all(
        before.strip('"').count(" ") > 1 and _spelt_alike(before, after)
        for before, after in changed
    )


def is_name_without_case(mutant: Mutant) -> bool:
    """Return whether an encoding or a header is written in other letters.

    Capitals or not is the same to Python, and to HTTP.
    """
    changed = [*_changed_literals(mutant)]
    return bool(changed) and all(
        before.strip('"').casefold() in _ENCODINGS | _HEADERS
        and before.casefold() == after.casefold()
        for before, after in changed
    )


def is_without_words(mutant: Mutant) -> bool:
    """Return whether an error says nothing. Its class and its code are the promise."""
    return _WITHOUT_WORDS.fullmatch(mutant.now) is not None


KINDS: tuple[Callable[[Mutant], bool], ...] = (
    are_words,
    is_name_without_case,
    is_without_words,
)


def _changed_literals(mutant: Mutant) -> Iterator[tuple[str, str]]:
    """Yield the literals that differ, if nothing else does."""
    if _LITERAL.sub("", mutant.was) != _LITERAL.sub("", mutant.now):
        return
    before, after = _LITERAL.findall(mutant.was), _LITERAL.findall(mutant.now)
    yield from (pair for pair in zip(before, after, strict=True) if pair[0] != pair[1])


def _spelt_alike(before: str, after: str) -> bool:
    return after.replace("XX", "").casefold() == before.casefold()
