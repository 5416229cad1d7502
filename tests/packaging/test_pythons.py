"""The Pythons of a machine are found, and one that is not there is no surprise."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.packaging import __main__ as command
from tests.packaging.lowest import direct_dependencies
from tests.packaging.project import ROOT, PackagingError, project, supported_pythons
from tests.packaging.pythons import find_python, version_of

HERE = "{}.{}".format(*sys.version_info)


def fake_python(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    path.chmod(0o700)
    return path


def test_python_when_it_is_this_one_then_found() -> None:
    """The Python that runs the tests is one of them, without any setting."""
    assert HERE in supported_pythons()
    assert find_python(HERE, {}) == Path(sys.executable)


def test_python_when_named_on_the_path_or_of_pyenv_then_found(tmp_path: Path) -> None:
    """The setting goes first, then the PATH, then the newest one that pyenv has."""
    named = fake_python(tmp_path / "a/mine", "echo 3.12")
    on_path = fake_python(tmp_path / "b/python3.12", "echo 3.12")
    fake_python(tmp_path / "pyenv/versions/3.12.1/bin/python", "echo 3.12")
    newest = fake_python(tmp_path / "pyenv/versions/3.12.8/bin/python", "echo 3.12")
    settings = {
        "PYTHONS": str(named),
        "PATH": str(tmp_path / "b"),
        "PYENV_ROOT": str(tmp_path / "pyenv"),
    }
    if HERE == "3.12":
        pytest.skip("this Python would be found before the others")
    for wanted, setting in ((named, "PYTHONS"), (on_path, "PATH"), (newest, "")):
        assert find_python("3.12", settings) == wanted
        settings[setting] = ""


def test_python_when_a_shim_leads_nowhere_then_passed_over(tmp_path: Path) -> None:
    """A program of the right name that does not run, or is another one, is no Python."""
    broken = fake_python(tmp_path / "python3.99", "exit 127")
    other = fake_python(tmp_path / "other", "echo 3.98")
    settings = {
        "PYTHONS": str(other),
        "PATH": str(tmp_path),
        "PYENV_ROOT": str(tmp_path),
    }
    assert find_python("3.99", settings) is None
    assert (version_of(broken), version_of(other)) == (None, "3.98")
    assert version_of(tmp_path / "nothing") is None


def test_everywhere_when_a_python_is_missing_then_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """What was not tried is told plainly; nothing tried at all is a failure."""
    for name in ("a-1-py3-none-any.whl", "a-1.tar.gz"):
        (tmp_path / name).touch()
    monkeypatch.setattr(command, "DIST", tmp_path)
    monkeypatch.setattr(command, "find_python", lambda _version: None)
    with pytest.raises(PackagingError, match="no Python that is supported was found"):
        command.everywhere()
    said = capsys.readouterr().out.splitlines()
    assert said == [f"{v:8} is not on this machine" for v in supported_pythons()]


def test_command_when_nothing_was_built_then_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A failure is one line and an exit code."""
    monkeypatch.setattr(command, "DIST", tmp_path)
    assert command.main(["everywhere"]) == 1
    assert capsys.readouterr().out == "there is nothing in dist/: make package\n"


def test_direct_dependencies_when_read_then_extras_are_among_them() -> None:
    """The lowest versions are those of all that is asked for."""
    assert {"anyio", "redis", "psycopg", "psycopg-pool"} <= direct_dependencies()
    assert all("[" not in name for name in direct_dependencies())
    assert project()["name"] not in direct_dependencies()


def test_smoke_when_run_on_the_source_tree_then_refuses() -> None:
    """What is tried is the installed wheel, never the tree beside it by mistake."""
    done = subprocess.run(
        [sys.executable, command.SMOKE],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 1
    assert "not the installed package" in done.stderr
