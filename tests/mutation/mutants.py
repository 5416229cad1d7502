"""Mutmut, run over a part of the core in a folder of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code
from mutmut.utils.format_utils import orig_function_and_class_names_from_key

from tests.mutation.core import Part
from tests.packaging.project import PACKAGE, ROOT

_SETTINGS = """
[tool.mutmut]
source_paths = ["{package}"]
only_mutate = {files}
pytest_add_cli_args_test_selection = {tests}
# Hypothesis tries the same examples each time.
pytest_add_cli_args = ["-p", "no:cacheprovider", "--hypothesis-profile=ci"]
# Of what the tests took without a mutant, and two seconds: then it has no end.
timeout_constant = 2.0
timeout_multiplier = 5.0
"""
_NOT_INHERITED = ("COVERAGE_", "PYTEST_")
_KILLED = frozenset({"killed", "segfault", "timeout"})
_SURVIVED = frozenset({"no tests", "survived"})


class MutationError(Exception):
    """There are no results."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A change to one function.

    Attributes:
        place: the file, and the function or method.
        was: the lines that are changed, without what is around them.
        now: what they become.
        survived: whether every test still passes.
    """

    place: str
    was: str
    now: str
    survived: bool


def try_part(part: Part, files: list[str], *, folder: Path) -> list[Mutant]:
    """Return what became of all mutants of these files.

    Raises:
        MutationError: the tests fail without a mutant, or mutmut does.
    """
    _prepare(part, files, folder)
    log = folder / "mutmut.log"
    command = [str(Path(sys.executable).with_name("mutmut")), "run"]
    # Coverage would count the copies, and a pytest around this one has its own ways.
    env = {k: v for k, v in os.environ.items() if not k.startswith(_NOT_INHERITED)}
    with log.open("wb") as output:
        done = subprocess.run(
            command, cwd=folder, env=env, check=False, stdout=output, stderr=output
        )
    if done.returncode:
        message = f"mutmut has failed: {log}"
        raise MutationError(message)
    with contextlib.chdir(folder):
        return [mutant for file in files for mutant in _read(file)]


def _prepare(part: Part, files: list[str], folder: Path) -> None:
    """Copy what the tests need. Mutmut copies it once more, with the mutants in it."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in (PACKAGE, "tests"):
        ignored = shutil.ignore_patterns("node_modules", "__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    tests = [f"tests/{name}" for name in part.tests]
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    settings = _SETTINGS.format(package=PACKAGE, files=files, tests=tests)
    (folder / "pyproject.toml").write_text(project + settings, encoding="utf-8")


def _read(file: str) -> Iterator[Mutant]:
    data = SourceFileMutationData(path=Path(file))
    data.load()
    for name, exit_code in data.exit_code_by_key.items():
        status = status_by_exit_code[exit_code]
        if status not in _KILLED | _SURVIVED:
            message = f"{name}: {status}"
            raise MutationError(message)
        was, now = _changed_lines(get_diff_for_mutant(name, path=Path(file)))
        function, owner = orig_function_and_class_names_from_key(name)
        yield Mutant(
            place=f"{file}: {owner}.{function}" if owner else f"{file}: {function}",
            was=was,
            now=now,
            survived=status in _SURVIVED,
        )


def _changed_lines(diff: str) -> tuple[str, str]:
    # The first two lines name the file.
    lines = diff.splitlines()[2:]
    was, now = (
        "\n".join(line[1:].strip() for line in lines if line.startswith(sign))
        for sign in "-+"
    )
    return was, now
