"""A deploy that replaces one worker after the other, behind one address.

`python -m tests.rolling FD FD` is one worker: it serves the application of the tests on
sockets that it was given. All workers have the address in common, and a port each has to
itself, so that a test can choose who answers.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import uvicorn
from typing_extensions import override

from tests.serving import listening, wait_for

_ROOT = Path(__file__).parents[1]
_APP = "tests.stored_app:app"


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One process.

    Attributes:
        pid: of the process.
        port: where nobody else answers.
    """

    pid: int
    port: int


class Deployment:
    """Workers that share an address; each has settings of its own."""

    def __init__(self, listener: socket.socket, settings: Mapping[str, str]) -> None:
        self.origin = _origin(listener)
        self._listener = listener
        self._settings = settings

    @contextmanager
    def worker(self, **settings: str) -> Iterator[Worker]:
        """Run one more worker; it goes as a server does that is told to stop."""
        with listening() as own:
            descriptors = [self._listener.fileno(), own.fileno()]
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.rolling", *map(str, descriptors)],
                cwd=_ROOT,
                env={**os.environ, **self._settings, **settings},
                pass_fds=descriptors,
            )
            worker = Worker(pid=process.pid, port=own.getsockname()[1])
            own_origin = _origin(own)
        try:
            wait_for(own_origin, is_alive=lambda: process.poll() is None)
            yield worker
        finally:
            process.terminate()
            process.wait(timeout=15)


@contextmanager
def deployment(**settings: str) -> Iterator[Deployment]:
    """Open an address at which nobody answers yet."""
    with listening() as listener:
        yield Deployment(listener, settings)


class Through(httpx.BaseTransport):
    """A proxy that leads everything to one worker, and changes nothing."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._inner = httpx.HTTPTransport()

    @override
    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._inner.handle_request(
            httpx.Request(
                request.method,
                request.url.copy_with(port=self._worker.port),
                headers=request.headers,  # `Host` is the common address
                stream=request.stream,
                extensions=request.extensions,
            )
        )

    @override
    def close(self) -> None:
        self._inner.close()


def _origin(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


def _serve(descriptors: list[int]) -> None:
    sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]
    config = uvicorn.Config(_APP, log_level="warning", lifespan="on")
    uvicorn.Server(config).run(sockets=sockets)


if __name__ == "__main__":
    _serve([int(each) for each in sys.argv[1:]])
