"""Which mutants may survive: those of a kind that no promise is about, and those listed."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.mutation.mutants import Mutant

ACCEPTED = Path(__file__).with_name("accepted.toml")

_LITERAL = re.compile(r'"(?:[^"\\]|\\.)*"')
_ENCODINGS = frozenset({"ascii", "latin-1", "punycode", "utf-8"})
_HEADERS = frozenset(
    {
        "accept-encoding",
        "authorization",
        "content-encoding",
        "content-length",
        "content-type",
        "dpop",
        "dpop-nonce",
        "www-authenticate",
    }
)
# What an error says, and the name of the document that it is about.
_WORDS = re.compile(
    r'\bmessage\b(?! =)|str\((?:error|None)\)|\bNone\b|(?<=message = )f?"[^"]*"'
    r'|(?:(?<=\()|^)f?"[^" ]+(?: [^" ]+){2,}"'
    r'|(?<=what=)(?:\w+|"[^"]*")'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A mutant that was looked at, and may survive.

    Attributes:
        place: as in ``Mutant``, like the two that follow.
        was: the lines before.
        now: the lines after.
        why: no test can or need kill it.
    """

    place: str
    was: str
    now: str
    why: str

    def is_of(self, mutant: Mutant) -> bool:
        """Return whether it stands for this mutant."""
        ours = (self.place, self.was, self.now)
        return ours == (mutant.place, mutant.was, mutant.now)


def entries() -> list[Entry]:
    """Return the list."""
    table = tomllib.loads(ACCEPTED.read_text(encoding="utf-8"))
    return [Entry(**entry) for entry in table["survivor"]]


def undecided(survivors: Iterable[Mutant], listed: Collection[Entry]) -> list[Mutant]:
    """Return those that are neither of a kind nor listed."""
    return [
        mutant
        for mutant in survivors
        if not is_of_a_kind(mutant) and not any(each.is_of(mutant) for each in listed)
    ]


def unneeded(
    survivors: Collection[Mutant], listed: Iterable[Entry], *, files: Collection[str]
) -> list[Entry]:
    """Return what is listed of these files, and does not survive any more."""
    return [
        entry
        for entry in listed
        if entry.place.partition(":")[0] in files
        and not any(entry.is_of(mutant) for mutant in survivors)
    ]


def is_of_a_kind(mutant: Mutant) -> bool:
    """Return whether it is one of the changes that no promise is about."""
    return any(kind(mutant) for kind in _KINDS)


def _are_words(mutant: Mutant) -> bool:
    """Whether only words that people read are spelt otherwise, three or more.

    Where somebody relies on what a text says, a test looks for it; and the code of an
    error is one word.
    """
    changed = [*_changed_literals(mutant)]
    return bool(changed) and all(
        before.count(" ") > 1 and _alike(before, after.replace("XX", ""))
        for before, after in changed
    )


def _is_name_without_case(mutant: Mutant) -> bool:
    """Whether an encoding or a header is in other letters: Python and HTTP take all."""
    changed = [*_changed_literals(mutant)]
    return bool(changed) and all(
        before.casefold() in _ENCODINGS | _HEADERS and _alike(before, after)
        for before, after in changed
    )


def _is_without_words(mutant: Mutant) -> bool:
    """Whether an error says less: its class and its code are what is promised."""
    return _WORDS.sub("", mutant.was) == _WORDS.sub("", mutant.now)


_KINDS: tuple[Callable[[Mutant], bool], ...] = (
    _are_words,
    _is_name_without_case,
    _is_without_words,
)


def _changed_literals(mutant: Mutant) -> Iterator[tuple[str, str]]:
    """Yield the strings that differ, if nothing else does."""
    if _LITERAL.sub('""', mutant.was) != _LITERAL.sub('""', mutant.now):
        return
    before, after = _LITERAL.findall(mutant.was), _LITERAL.findall(mutant.now)
    for one, other in zip(before, after, strict=True):
        if one != other:
            yield one.strip('"'), other.strip('"')


def _alike(before: str, after: str) -> bool:
    return after.casefold() == before.casefold()
