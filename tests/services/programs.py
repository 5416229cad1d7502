"""Programs from PyPI packages, where they can be run from."""

from __future__ import annotations

import atexit
import importlib.util
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

from tests.services.process import ServiceNotInstalledError, as_nobody

_ANSWER_WITHIN_S = 30


def find_program(package: str, path: str) -> Path:
    """Return a program inside of an installed package.

    Root runs it as ``nobody``, who may not be able to look into the folder of the
    project: then the package is copied to where they can.

    Raises:
        ServiceNotInstalledError: it is not there.
    """
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (program := Path(folder, path)).is_file():
            return runnable(program, package=Path(folder))
    raise ServiceNotInstalledError(f"{package} is missing: run `make venv`")


def runnable(program: Path, *, package: Path) -> Path:
    """Return the program, or a copy of it that whoever runs it here can run."""
    if _runs(program):
        return program
    return _copied(package) / program.relative_to(package)


def _runs(program: Path) -> bool:
    try:
        done = subprocess.run(
            [str(program), "--version"],
            check=False,
            capture_output=True,
            cwd="/",
            timeout=_ANSWER_WITHIN_S,
            **as_nobody(),
        )
    except PermissionError:
        return False
    return done.returncode == 0


@lru_cache
def _copied(package: Path) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="service-programs-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    folder.chmod(0o755)
    # The libraries of a wheel lie beside its package, and are looked for there.
    for part in (package, package.with_name(f"{package.name}.libs")):
        if part.is_dir():
            shutil.copytree(part, folder / part.name, symlinks=True)
            _open_to_all(folder / part.name)
    return folder / package.name


def _open_to_all(folder: Path) -> None:
    for part in (folder, *folder.rglob("*")):
        if not part.is_symlink():
            mode = part.stat().st_mode
            # Who could run it could read it: all may do both.
            part.chmod(mode | 0o444 | (0o111 if mode & 0o100 else 0))
