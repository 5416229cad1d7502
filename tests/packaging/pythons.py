"""Which Pythons this machine has."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

_SAY_VERSION = "import sys; print('%d.%d' % sys.version_info[:2])"
_TIMEOUT_S = 20.0


def find_python(
    version: str, environment: Mapping[str, str] = os.environ
) -> Path | None:
    """The Python of a version such as ``3.12``; None if there is none.

    Asked in turn: the programs that ``PYTHONS`` names (separated as in ``PATH``), the
    Python that runs this, ``python3.12`` on the ``PATH``, and the versions of pyenv. A
    program of that name that does not run, as a shim of pyenv may, is passed over.
    """
    for candidate in _candidates(version, environment):
        if version_of(candidate) == version:
            return candidate
    return None


def version_of(python: Path) -> str | None:
    """What a Python says its version is; None if it does not run."""
    try:
        done = subprocess.run(
            [python, "-I", "-c", _SAY_VERSION],
            check=False,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _candidates(version: str, environment: Mapping[str, str]) -> Iterator[Path]:
    named = environment.get("PYTHONS", "")
    yield from (Path(name) for name in named.split(os.pathsep) if name)
    yield Path(sys.executable)
    on_path = shutil.which(f"python{version}", path=environment.get("PATH", ""))
    if on_path is not None:
        yield Path(on_path)
    pyenv = Path(environment.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from sorted(pyenv.glob(f"versions/{version}.*/bin/python"), reverse=True)
