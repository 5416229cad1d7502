"""What `make mutants` accepts was looked at, and is still there."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mutation.core import CORE, Part, chosen
from tests.mutation.mutants import Mutant, try_part
from tests.mutation.verdicts import Entry, entries, is_of_a_kind, undecided, unneeded
from tests.packaging.project import ROOT

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
PLACE = "atproto_oauth_asgi/pkce.py: f"


def mutant(was: str, now: str) -> Mutant:
    return Mutant(place=PLACE, was=was, now=now, survived=True)


def functions(file: str) -> Iterator[tuple[str, set[str]]]:
    """Name and lines of the functions and methods of a file."""
    text = (ROOT / file).read_text(encoding="utf-8")
    for node in ast.parse(text).body:
        owner = f"{node.name}." if isinstance(node, ast.ClassDef) else ""
        for each in node.body if isinstance(node, ast.ClassDef) else [node]:
            if isinstance(each, FUNCTIONS):
                lines = text.splitlines()[each.lineno - 1 : each.end_lineno]
                yield f"{file}: {owner}{each.name}", {line.strip() for line in lines}


def test_entries_when_read_then_say_why_and_name_lines_that_are_there() -> None:
    """The list holds for the code as it is: what has changed is looked at anew."""
    files = [file for part in CORE for file in part.files]
    known = {place: lines for file in files for place, lines in functions(file)}
    for entry in entries():
        assert len(entry.why.split()) > 2, entry
        assert set(entry.was.splitlines()) <= known.get(entry.place, set()), entry
    assert [each for each, times in Counter(entries()).items() if times > 1] == []


def test_core_when_listed_then_each_file_has_one_part_and_tests_that_exist() -> None:
    """No file of the core is forgotten by a misspelt name, or mutated twice."""
    files = Counter(file for part in CORE for file in part.files)
    assert set(files.values()) == {1}
    for part in CORE:
        assert all(list((ROOT / "atproto_oauth_asgi").glob(p)) for p in part.patterns)
        assert all((ROOT / "tests" / name).exists() for name in part.tests)


def test_chosen_when_asked_for_parts_and_files_then_gives_them() -> None:
    """A part by its name, a file by a bit of its path; what nobody knows is an error."""
    assert [part for part, _ in chosen([])] == list(CORE)
    assert [files for _, files in chosen(["pkce.py", "crypto/keys.py"])] == [
        ["atproto_oauth_asgi/crypto/keys.py"],
        ["atproto_oauth_asgi/pkce.py"],
    ]
    with pytest.raises(LookupError, match="nobody"):
        chosen(["crypto", "nobody"])


@pytest.mark.parametrize(
    ("was", "now", "accepted"),
    [
        ('raise X("not of use")', 'raise X("XXnot of useXX")', True),
        ('raise X("not of use")', 'raise X("NOT OF USE")', True),
        ('raise X("not of use")', "raise X(None)", True),
        ('message = "not of use"', "message = None", True),
        ("raise X(str(error)) from error", "raise X(str(None)) from error", True),
        ("message,", "None,", True),
        ('f"{what}: not of use"', "None", True),
        ('check(url, what="issuer")', 'check(url, what="ISSUER")', True),
        ("check(url, what=_HOST)", "check(url, what=None)", True),
        ('text.encode("ascii")', 'text.encode("ASCII")', True),
        ('headers["DPoP"] = proof', 'headers["dpop"] = proof', True),
        ('raise X("not of use")', 'raise Y("XXnot of useXX")', False),
        ('raise X("invalid_grant")', 'raise X("XXinvalid_grantXX")', False),
        ('if scheme == "dpop":', 'if scheme != "dpop":', False),
        ('if scheme == "https":', 'if scheme == "HTTPS":', False),
        ('f("a b c", "code")', 'f("a b c", "XXcodeXX")', False),
        ('f("a b c", "d")', 'f("a b c", )', False),
        ("check(url, what=_HOST)", "check(None, what=_HOST)", False),
        ("return f(None)", "return g(None)", False),
    ],
)
def test_kind_when_only_words_or_letters_change_then_is_accepted(
    was: str, now: str, accepted: bool
) -> None:
    """What people read, and names without case, are no promise; all else is."""
    assert is_of_a_kind(mutant(was, now)) is accepted


def test_survivor_when_it_is_new_then_is_undecided() -> None:
    """Only the very change that was looked at is accepted."""
    entry = Entry(place=PLACE, was="a > b", now="a >= b", why="They never are equal.")
    known, new = mutant("a > b", "a >= b"), mutant("a > b", "a < b")
    assert undecided([known, new], [entry]) == [new]
    assert unneeded([new], [entry], files=["atproto_oauth_asgi/pkce.py"]) == [entry]
    assert unneeded([new], [entry], files=["atproto_oauth_asgi/dpop.py"]) == []
    assert unneeded([known], [entry], files=["atproto_oauth_asgi/pkce.py"]) == []


def test_part_when_tried_then_tells_the_killed_from_the_survivors(
    tmp_path: Path,
) -> None:
    """Mutmut runs here as `make mutants` runs it, over the smallest file of the core."""
    part = Part(name="pkce", patterns=("pkce.py",), tests=("test_pkce.py",))
    mutants = try_part(part, part.files, folder=tmp_path / part.name)
    survivors = [each for each in mutants if each.survived]
    assert len(mutants) > len(survivors) > 0
    assert undecided(survivors, entries()) == []
    assert {each.place for each in mutants} == {
        f"{part.files[0]}: PKCEManager.{name}"
        for name in ("generate_challenge", "generate_pair", "generate_verifier")
    }
