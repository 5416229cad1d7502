"""Mutate the core, and fail where a mutant survives that nobody has looked at."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence

from tests.mutation.core import chosen
from tests.mutation.mutants import Mutant, MutationError, try_part
from tests.mutation.verdicts import ACCEPTED, accepted, is_of_a_kind
from tests.packaging.project import ROOT

_FOLDER = ROOT / ".mutants"


def main() -> int:
    """Return 0 if every survivor is accepted, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutation", description=__doc__
    )
    parser.add_argument("files", nargs="*", help="names of parts, or bits of paths")
    try:
        undecided, unneeded = _run(parser.parse_args().files)
    except (LookupError, MutationError) as error:
        parser.error(str(error))
    for mutant in undecided:
        print(_entry(mutant))
    for place in unneeded:
        print(f"not needed any more in {ACCEPTED.name}: {place}")
    return int(bool(undecided))


def _run(words: list[str]) -> tuple[list[Mutant], list[str]]:
    """Return the survivors that are not accepted, and entries of the list for none."""
    survivors: list[Mutant] = []
    files: list[str] = []
    print("part\tmutants\tkilled\tof a kind\tlisted\tseconds".expandtabs(12))
    for part, of_part in chosen(words):
        begun = time.monotonic()
        mutants = try_part(part, of_part, folder=_FOLDER / part.name)
        left = [mutant for mutant in mutants if mutant.survived]
        print(_row(part.name, mutants, left, time.monotonic() - begun), flush=True)
        survivors += left
        files += of_part
    listed = {(each.place, each.was, each.now) for each in accepted()}
    found = {_key(mutant) for mutant in survivors}
    undecided = [
        mutant
        for mutant in survivors
        if not is_of_a_kind(mutant) and _key(mutant) not in listed
    ]
    gone = [key[0] for key in sorted(listed - found) if key[0].split(":")[0] in files]
    return undecided, gone


def _key(mutant: Mutant) -> tuple[str, str, str]:
    return mutant.place, mutant.was, mutant.now


def _row(
    name: str, mutants: Sequence[Mutant], left: Sequence[Mutant], took_s: float
) -> str:
    killed = len(mutants) - len(left)
    of_a_kind = sum(map(is_of_a_kind, left))
    figures = (len(mutants), killed, of_a_kind, len(left) - of_a_kind, round(took_s))
    return "\t".join((name, *map(str, figures))).expandtabs(12)


def _entry(mutant: Mutant) -> str:
    """The survivor as it would stand in the list."""
    lines = {"place": mutant.place, "was": mutant.was, "now": mutant.now, "why": ""}
    return "\n".join(
        ("[[survivor]]", *(f"{k} = {json.dumps(v)}" for k, v in lines.items()), "")
    )


if __name__ == "__main__":
    sys.exit(main())
