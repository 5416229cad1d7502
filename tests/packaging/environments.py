"""Fresh virtual environments with what was built, and programs run in them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.packaging.project import REQUIREMENTS, PackagingError

UV = Path(sys.executable).with_name("uv")

# Nothing may lead Python back into the source tree. And the tests that need Node.js skip
# in these environments, also in CI: it runs them with the rest.
_NOT_INHERITED = frozenset(
    {
        "COVERAGE_PROCESS_CONFIG",
        "COVERAGE_PROCESS_START",
        "PYTHONHOME",
        "PYTHONPATH",
        "REQUIRE_ALL",
        "VIRTUAL_ENV",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A virtual environment that holds the wheel, and nothing of the source tree."""

    folder: Path

    @property
    def python(self) -> Path:
        """Its Python."""
        return self.folder / "bin" / "python"

    def install(self, *wanted: str, constraints: Path = REQUIREMENTS) -> None:
        """Install requirements, in the versions that are pinned."""
        command = [str(UV), "pip", "install", "--quiet", "--python", str(self.python)]
        run([*command, "--constraint", str(constraints), *wanted])

    def run(self, *arguments: str, cwd: Path | None = None) -> str:
        """Run its Python; give what it prints.

        Raises:
            PackagingError: it failed; with all that it said.
        """
        return run([str(self.python), *arguments], cwd=cwd or self.folder)


def make_environment(folder: Path, python: Path) -> Environment:
    """Make one that is empty."""
    run([str(UV), "venv", "--quiet", "--python", str(python), str(folder)])
    return Environment(folder=folder)


def run(command: Sequence[str], *, cwd: Path | None = None) -> str:
    """Run a program; give what it prints.

    Raises:
        PackagingError: it failed; with all that it said.
    """
    inherited = {k: v for k, v in os.environ.items() if k not in _NOT_INHERITED}
    done = subprocess.run(
        command, cwd=cwd, env=inherited, check=False, capture_output=True, text=True
    )
    if done.returncode:
        said = f"{done.stdout}\n{done.stderr}".strip()
        raise PackagingError(f"failed: {' '.join(command)}\n{said}")
    return done.stdout
