"""A server as a child process: started, stopped, frozen, killed by its own pid."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.ports import reserved_port

_START_WITHIN_S = 30.0
_STOP_WITHIN_S = 15.0
_POLL_S = 0.01


class ServiceNotInstalledError(RuntimeError):
    """The package with the server is missing; the message says how to get it."""


class ServiceStartError(RuntimeError):
    """The server ended, or stayed silent, before it was ready."""


class Service(ABC):
    """A server with a folder of its own, best on a unix socket there.

    Every call blocks.
    """

    url: str
    """What a store connects to."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="service-"))
        self.folder.chmod(0o700)
        self._process: subprocess.Popen[bytes] | None = None
        self._ports = ExitStack()
        try:
            if as_nobody():
                shutil.chown(self.folder, "nobody")
            self.prepare()
        except BaseException:
            self._ports.close()
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    @abstractmethod
    def prepare(self) -> None:
        """Make what the server needs before it can start."""

    @abstractmethod
    def command(self) -> list[str]:
        """The command line."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether the server answers."""

    def reserve_port(self) -> int:
        """A port of loopback that is this server's until it is removed."""
        return self._ports.enter_context(reserved_port())

    def start(self) -> None:
        """Start, and wait until the server answers."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **self.rights(),
            )
        self._wait_until(self.is_ready)

    def rights(self) -> dict[str, Any]:
        """Who runs it, as arguments for `subprocess`."""
        return as_nobody()

    def stop(self) -> None:
        """End the server, hard; what it has written is still there."""
        if self._process is None or self._process.poll() is not None:
            self._process = None
            return
        for pid in self._pids():
            os.kill(pid, signal.SIGCONT)
        self._process.send_signal(self.stop_signal)
        try:
            self._process.wait(_STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(_STOP_WITHIN_S)
        self._process = None

    stop_signal = signal.SIGTERM

    def remove(self) -> None:
        """End the server, and remove its folder."""
        self.stop()
        self._ports.close()
        shutil.rmtree(self.folder)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let the server hang: connections stay open, and nobody answers."""
        pids = self._pids()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def _pids(self) -> list[int]:
        """The server and its children, itself first: so that it starts no more."""
        if self._process is None:
            return []
        pid = self._process.pid
        listed = Path(f"/proc/{pid}/task/{pid}/children")
        children = listed.read_text("ascii") if listed.exists() else ""
        return [pid, *map(int, children.split())]

    def _wait_until(self, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _START_WITHIN_S
        while not ready():
            ended = self._process is None or self._process.poll() is not None
            if ended or time.monotonic() > deadline:
                log = (self.folder / "log").read_text("utf-8", "replace")
                self.stop()
                raise ServiceStartError(f"no answer; its log ends with:\n{log[-2000:]}")
            time.sleep(_POLL_S)


def as_nobody() -> dict[str, Any]:
    """Arguments for `subprocess`: PostgreSQL does not run as root."""
    if os.getuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
