"""Real servers for applications under test: in a thread, or in a process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx
import hypercorn.asyncio
import hypercorn.trio
import uvicorn

from tests.ports import reserved_port

_ROOT = Path(__file__).parents[1]
_START_TIMEOUT_S = 30.0
_OPTIONS: Mapping[str, Callable[[int], list[str]]] = {
    "uvicorn": lambda port: ["--port", str(port), "--log-level", "warning"],
    "hypercorn": lambda port: ["--bind", f"127.0.0.1:{port}", "--log-level", "ERROR"],
}


@contextmanager
def served_in_thread(app: Any, **options: Any) -> Iterator[str]:
    """Serve an application with uvicorn in a thread; give its origin.

    ``options`` are further ones of ``uvicorn.Config``.
    """
    # uvloop, which comes with Sanic, warns of each connection that was kept alive.
    merged = {"log_level": "warning", "lifespan": "on", "loop": "asyncio", **options}
    with listening() as listener:
        config = uvicorn.Config(app, **merged)
        server = uvicorn.Server(config)
        thread = threading.Thread(
            target=server.run, kwargs={"sockets": [listener]}, daemon=True
        )
        thread.start()
        try:
            origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
            wait_for(origin, is_alive=thread.is_alive)
            yield origin
        finally:
            server.should_exit = True
            thread.join(timeout=10)


@contextmanager
def served_by_hypercorn(
    app: Any, *, backend: str = "asyncio", **options: Any
) -> Iterator[str]:
    """Serve an application with hypercorn in a thread; give its origin.

    ``options`` are further members of ``hypercorn.Config``.
    """
    with reserved_port() as port:
        merged = {"bind": [f"127.0.0.1:{port}"], "loglevel": "ERROR", **options}
        config = hypercorn.Config.from_mapping(merged)
        serve = hypercorn.trio.serve if backend == "trio" else hypercorn.asyncio.serve
        is_over = threading.Event()

        async def wait() -> None:
            await anyio.to_thread.run_sync(is_over.wait)

        async def run() -> None:
            await serve(app, config, shutdown_trigger=wait)

        thread = threading.Thread(
            target=anyio.run, args=[run], kwargs={"backend": backend}, daemon=True
        )
        thread.start()
        try:
            origin = f"http://127.0.0.1:{port}"
            wait_for(origin, is_alive=thread.is_alive)
            yield origin
        finally:
            is_over.set()
            thread.join(timeout=10)


@contextmanager
def served_in_process(
    app: str,
    *,
    settings: Mapping[str, str],
    server: str = "uvicorn",
    options: Sequence[str] = (),
    output: Path | None = None,
) -> Iterator[str]:
    """Serve ``module:app`` in a process of its own; give its origin.

    The server is ``uvicorn`` or ``hypercorn``; ``options`` are further ones of its
    command line. What it prints goes into the ``output`` file, if one is given.
    """
    with reserved_port() as port:
        command = [sys.executable, "-m", server, app, *_OPTIONS[server](port), *options]
        printed = output.open("wb") if output else nullcontext()
        with printed as file:
            process = subprocess.Popen(
                command,
                cwd=_ROOT,
                env={**os.environ, **settings},
                stdout=file,
                stderr=file,
            )
        try:
            origin = f"http://127.0.0.1:{port}"
            wait_for(origin, is_alive=lambda: process.poll() is None)
            yield origin
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=10)


@contextmanager
def listening() -> Iterator[socket.socket]:
    # asyncio sends small answers at once (TCP_NODELAY) only if the protocol is named.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    with closing(listener):
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        yield listener


def wait_for(origin: str, *, is_alive: Any) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline and is_alive():
        try:
            httpx.get(f"{origin}/oauth-client-metadata.json", trust_env=False)
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    message = f"no server came up at {origin}"
    raise TimeoutError(message)
