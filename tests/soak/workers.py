"""The worker processes: killed, frozen and started again, each by its own pid."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Literal

import httpx

_ROOT = Path(__file__).parents[2]
_START_WITHIN_S = 60.0
_STOP_WITHIN_S = 10.0
_PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024


@dataclass(slots=True)
class Halt:
    """That a worker was killed, for ever, or frozen; by the monotonic clock."""

    pid: int
    kind: Literal["killed", "frozen"]
    begun_at: float
    ended_at: float | None = None


@dataclass(slots=True)
class Workers:
    """The processes behind one port. The first one is never killed: its memory tells.

    Attributes:
        origin: where browsers find them.
        halts: what was done to them.
        memory: resident memory of the first one over time, in MiB.
    """

    origin: str
    settings: Mapping[str, str]
    log: Path
    _listener: socket.socket
    _running: list[subprocess.Popen[bytes]] = field(default_factory=list)
    halts: list[Halt] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    _guard: Lock = field(default_factory=Lock)
    _is_over: bool = False

    def start(self, count: int) -> None:
        """Start so many, and wait until one of them answers."""
        self._running += [self._start_one() for _ in range(count)]
        deadline = time.monotonic() + _START_WITHIN_S
        while time.monotonic() < deadline and self._running[-1].poll() is None:
            try:
                httpx.get(f"{self.origin}/oauth/login", trust_env=False)
            except httpx.TransportError:
                time.sleep(0.05)
            else:
                return
        message = f"no worker answers; they said:\n{self.said()[-2000:]}"
        raise TimeoutError(message)

    def kill(self, pid: int) -> bool:
        """End one at once, and start another one; return whether it was there."""
        for place, process in enumerate(self._running):
            if process.pid == pid and place:
                self.halts.append(Halt(pid, "killed", time.monotonic()))
                process.kill()
                process.wait(_STOP_WITHIN_S)
                with self._guard:
                    if not self._is_over:
                        self._running[place] = self._start_one()
                return True
        return False

    def freeze(self, pid: int) -> Halt | None:
        """Stop one where it stands, until ``thaw``; None if it is not there."""
        if pid not in self.pids:
            return None
        halt = Halt(pid, "frozen", time.monotonic())
        self.halts.append(halt)
        os.kill(pid, signal.SIGSTOP)
        return halt

    def thaw(self, halt: Halt) -> None:
        """Let one go on, if nobody has killed it meanwhile."""
        halt.ended_at = time.monotonic()
        if halt.pid in self.pids:
            os.kill(halt.pid, signal.SIGCONT)

    @property
    def pids(self) -> list[int]:
        """Of those that run, the oldest first."""
        return [process.pid for process in self._running]

    def measure(self) -> None:
        """Take down the first one's resident memory."""
        pages = Path(f"/proc/{self.pids[0]}/statm").read_text("ascii").split()[1]
        self.memory.append(int(pages) * _PAGE_KIB / 1024)

    def said(self) -> str:
        """Return what all of them have logged."""
        return self.log.read_text("utf-8", "replace")

    def stop(self) -> None:
        """End all of them, cleanly where that is possible; no other takes a place."""
        with self._guard:
            self._is_over = True
        for process in self._running:
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self._running:
            try:
                process.wait(_STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(_STOP_WITHIN_S)

    def _start_one(self) -> subprocess.Popen[bytes]:
        fd = self._listener.fileno()
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.soak.worker", str(fd)],
                cwd=_ROOT,
                env={**os.environ, **self.settings},
                pass_fds=[fd],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )


@contextmanager
def running_workers(
    count: int, *, settings: Mapping[str, str], log: Path
) -> Iterator[Workers]:
    """Give workers that answer; all are ended afterwards."""
    # asyncio sends small answers at once (TCP_NODELAY) only if the protocol is named.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as ours:
        ours.bind(("127.0.0.1", 0))
        ours.listen(1024)
        origin = f"http://127.0.0.1:{ours.getsockname()[1]}"
        workers = Workers(origin, settings, log, ours)
        try:
            workers.start(count)
            yield workers
        finally:
            workers.stop()


def halted_at(
    halts: Sequence[Halt], pid: int, moment: float, *, within_s: float
) -> bool:
    """Return whether a worker was killed or stood still at a moment, or right after."""
    return any(
        halt.pid == pid
        and halt.begun_at <= moment + within_s
        and (halt.ended_at is None or halt.ended_at >= moment)
        for halt in halts
    )
