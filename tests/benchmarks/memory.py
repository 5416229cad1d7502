"""What an opened session takes in memory: in a fresh process, where nothing is reused."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.harness import Figure

_ROOT = Path(__file__).parents[2]
# As many as are kept.
_SESSIONS = 1024
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def figures() -> Iterator[Figure]:
    """Give the memory of one opened session."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.memory"],
        check=True,
        cwd=_ROOT,
        capture_output=True,
        text=True,
    )
    grown_bytes = int(done.stdout)
    yield Figure(
        name="opened session kept: KB",
        ratio=grown_bytes / _SESSIONS / 1000,
        target=10,
        detail=f"{_SESSIONS} sessions of 1.6 KB in a process of its own",
    )


def main() -> None:
    """Print by how many bytes this process grows by the sessions that it opens."""
    from atproto_oauth_asgi.sessions.lifecycle import SealedSessions
    from atproto_oauth_asgi.sessions.lifetime import Lifetime
    from tests.benchmarks.middleware import example_session

    secret = os.urandom(32)

    def seals() -> SealedSessions:
        lifetime = Lifetime(limit_s=3600)
        return SealedSessions(
            [secret], context="a", clock=time.monotonic, lifetime=lifetime
        )

    # So that the values are not held by those who have sealed them.
    values = [seals().seal(example_session()).value.encode() for _ in range(_SESSIONS)]
    opening = seals()
    opening.read(values[0].decode())
    before = _resident_bytes()
    for value in values:
        opening.read(value.decode())
    print(_resident_bytes() - before)


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * _PAGE_BYTES


if __name__ == "__main__":
    main()
