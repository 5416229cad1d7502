"""Other clients that pip installs, measured in the same run, each in its own environment.

Their figures are ratios to a base of their own process. They are shown, not judged.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.harness import Figure

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[2]
_CACHE = _ROOT / ".cache" / "peers"
_PEERS = {
    "atproto-oauth": "tests.benchmarks.peers.async_one",
    "atproto-oauth-py": "tests.benchmarks.peers.sync_one",
}
_TIMEOUT_S = 120


def figures(echo: str) -> Iterator[Figure]:
    """Give what can be measured of the peers; say which of them cannot be had."""
    for name, program in _PEERS.items():
        try:
            python = _environment(name)
            printed = _run([str(python), "-m", program, echo])
        except (OSError, subprocess.SubprocessError) as error:
            print(f"{name} is left out: {_reason(error)}")
            continue
        for row in json.loads(printed):
            yield Figure(**{**row, "name": f"{name}: {row['name']}"}, target=None)


def _environment(name: str) -> Path:
    """Return the interpreter of a peer's environment, which is made if need be."""
    pins = _HERE / f"{name}.txt"
    version = hashlib.sha256(pins.read_bytes() + sys.version.encode()).hexdigest()
    folder = _CACHE / f"{name}-{version[:12]}"
    python, stamp = folder / "bin" / "python", folder / ".installed"
    if not stamp.exists():
        print(f"setup: {name} into {folder.relative_to(_ROOT)} (the first time)")
        venv.create(folder, with_pip=True, clear=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--quiet"]
        _run([*pip, "--require-hashes", "--only-binary=:all:", "-r", str(pins)])
        stamp.touch()
    return python


def _run(command: list[str]) -> str:
    done = subprocess.run(
        command,
        cwd=_ROOT,
        check=True,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
    )
    return done.stdout


def _reason(error: Exception) -> str:
    said = str(getattr(error, "stderr", None) or "").strip()
    return (said or str(error)).splitlines()[-1]
