"""Mutate the core, and fail where a mutant survives that nobody has looked at."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence

from tests.mutation.core import chosen
from tests.mutation.mutants import Mutant, MutationError, try_part
from tests.mutation.verdicts import (
    ACCEPTED,
    entries,
    is_of_a_kind,
    undecided,
    unneeded,
)
from tests.packaging.project import ROOT

_FOLDER = ROOT / ".mutants"
_ROW = "{:<14}{:>9}{:>9}{:>11}{:>9}{:>9}"


def main() -> int:
    """Return 0 if every survivor is accepted, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutation", description=__doc__
    )
    parser.add_argument("files", nargs="*", help="names of parts, or bits of paths")
    try:
        survivors, files = _run(parser.parse_args().files)
    except (LookupError, MutationError) as error:
        parser.error(str(error))
    listed = entries()
    for entry in unneeded(survivors, listed, files=files):
        print(f"Not needed any more in {ACCEPTED.name}: {entry.place}: {entry.now}")
    left = undecided(survivors, listed)
    for mutant in left:
        print(f"\n{_as_entry(mutant)}")
    return int(bool(left))


def _run(words: Sequence[str]) -> tuple[list[Mutant], list[str]]:
    """Return the survivors, and the files that were mutated."""
    survivors: list[Mutant] = []
    files: list[str] = []
    print(_ROW.format("part", "mutants", "killed", "of a kind", "listed", "seconds"))
    for part, of_part in chosen(words):
        begun = time.monotonic()
        mutants = try_part(part, of_part, folder=_FOLDER / part.name)
        left = [mutant for mutant in mutants if mutant.survived]
        print(_row(part.name, mutants, left, time.monotonic() - begun), flush=True)
        survivors += left
        files += of_part
    return survivors, files


def _row(
    name: str, mutants: Sequence[Mutant], left: Sequence[Mutant], took_s: float
) -> str:
    killed = len(mutants) - len(left)
    of_a_kind = sum(map(is_of_a_kind, left))
    figures = (len(mutants), killed, of_a_kind, len(left) - of_a_kind, round(took_s))
    return _ROW.format(name, *figures)


def _as_entry(mutant: Mutant) -> str:
    """The survivor as it would stand in the list."""
    lines = {"place": mutant.place, "was": mutant.was, "now": mutant.now, "why": ""}
    return "\n".join(
        (
            "[[survivor]]",
            *(f"{name} = {json.dumps(text)}" for name, text in lines.items()),
        )
    )


if __name__ == "__main__":
    sys.exit(main())
