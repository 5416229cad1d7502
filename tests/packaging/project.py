"""What ``pyproject.toml`` says, and which files belong to the project."""

from __future__ import annotations

import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PACKAGE = "atproto_oauth_asgi"
REQUIREMENTS = ROOT / "requirements-dev.txt"

_PYTHON = "Programming Language :: Python :: "


class PackagingError(Exception):
    """What is to be published is not as it should be."""


@cache
def project() -> dict[str, Any]:
    """The table ``project``."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    table: dict[str, Any] = tomllib.loads(text)["project"]
    return table


def supported_pythons() -> list[str]:
    """The versions that the classifiers name, oldest first: ``3.11``."""
    named = [line.removeprefix(_PYTHON) for line in project()["classifiers"]]
    return [name for name in named if re.fullmatch(r"3\.\d+", name)]


def tracked_files() -> frozenset[str]:
    """The files under version control that are there, as paths from the root."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\0")
    return frozenset(name for name in listed if name and (ROOT / name).is_file())
