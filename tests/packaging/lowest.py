"""The lowest versions of the dependencies that ``pyproject.toml`` allows."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from tests.packaging.environments import UV, run
from tests.packaging.project import REQUIREMENTS, ROOT, project

_PIN = re.compile(r"^([\w.-]+)==(\S+)", re.MULTILINE)


def direct_dependencies() -> set[str]:
    """The names of all that ``pyproject.toml`` asks for, extras included."""
    extras = project()["optional-dependencies"].values()
    lines = [*project()["dependencies"], *(line for extra in extras for line in extra)]
    return {match[0] for line in lines if (match := re.match(r"[\w.-]+", line))}


def pins_in(requirements: str) -> dict[str, str]:
    """The versions in a requirements file, by name."""
    return dict(_PIN.findall(requirements))


def lowest_pins(python_version: str) -> dict[str, str]:
    """The lowest versions that go together, of the direct dependencies."""
    command = [str(UV), "pip", "compile", "--quiet", "--no-header", "--no-annotate"]
    resolved = run(
        [
            *command,
            "--resolution=lowest-direct",
            f"--python-version={python_version}",
            "--all-extras",
            "pyproject.toml",
        ],
        cwd=ROOT,
    )
    pins, direct = pins_in(resolved), direct_dependencies()
    return {name: version for name, version in pins.items() if name in direct}


def write_constraints(pins: dict[str, str], python_version: str, folder: Path) -> Path:
    """Pin these, and all else as in the pinned requirements where that fits."""
    floors, target = folder / "floors.txt", folder / "lowest.txt"
    floors.write_text("".join(f"{k}=={v}\n" for k, v in pins.items()), "utf-8")
    # What stands in the output already is preferred, not demanded.
    shutil.copyfile(REQUIREMENTS, target)
    command = [str(UV), "pip", "compile", "--quiet", "--all-extras"]
    groups = [f"--group=pyproject.toml:{name}" for name in ("test", "services")]
    options = [f"--python-version={python_version}", f"--constraint={floors}", *groups]
    run([*command, *options, "pyproject.toml", f"--output-file={target}"], cwd=ROOT)
    return target
