"""A login to try by hand: `python -m tests.reference_network.demo [NETWORK]`.

It runs the example application against the in-process network (`local`), against the
reference network on this machine (`reference`), or against the public one (`live`).
Ctrl-C stops everything.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from atproto_oauth_asgi import ConfigurationError
from atproto_oauth_asgi.testing import AtprotoNetwork
from tests.reference_network.process import (
    NetworkNotInstalledError,
    NetworkStartError,
    ReferenceNetwork,
)

_ROOT = Path(__file__).parents[2]
_EXAMPLE = "examples.fastapi_app:app"
_HOST = "127.0.0.1"
_PORTS = range(8000, 8100)
_START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 10.0
_GRACE_S = 3  # for requests that are still being answered
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# What the example reads; unset, it uses the public network.
_SETTINGS = ("ATPROTO_PLC_URL", "ATPROTO_HANDLE_RESOLVER_URL")


class DemoError(Exception):
    """The demo cannot go on; the message says why."""


_PROBLEMS = (DemoError, ConfigurationError, NetworkNotInstalledError, NetworkStartError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo until it is stopped; return its exit code."""
    options = _parse(arguments)
    for number in _STOP_SIGNALS:
        signal.signal(number, _leave)
    try:
        _run(options.network, app=options.app)
    except _PROBLEMS as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.reference_network.demo",
        description="Run the example application, ready for a login.",
    )
    parser.add_argument(
        "network",
        nargs="?",
        choices=("local", "reference", "live"),
        default="local",
        help="this process (default), the official PDS on this machine, or the public"
        " network",
    )
    parser.add_argument(
        "--app", default=_EXAMPLE, help="the application (default: %(default)s)"
    )
    return parser.parse_args(arguments)


def _leave(number: int, frame: object) -> None:
    """Leave at the first signal; further ones must not disturb the cleaning up."""
    del number, frame
    for each in _STOP_SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    sys.exit(0)


def _run(network_name: str, *, app: str) -> None:
    """Start the network if wanted, then the application, and wait for its end."""
    with ExitStack() as stack:
        settings: dict[str, str] = {}
        lines = _live_lines()
        if network_name != "live":
            network = stack.enter_context(_make_network(network_name))
            urls = (network.plc_url, network.pds_url)
            settings = dict(zip(_SETTINGS, urls, strict=True))
            lines = _lines(network)
        port = _free_port()
        process = stack.enter_context(_running(app, port=port, settings=settings))
        _wait_until_open(process, port=port)
        address = f"  Open         http://{_HOST}:{port}"
        print("", address, *lines, "  Stop with    Ctrl-C", "", sep="\n", flush=True)
        raise DemoError(f"the application ended by itself, code {process.wait()}")


def _make_network(
    name: str,
) -> AbstractContextManager[AtprotoNetwork | ReferenceNetwork]:
    if name == "local":
        return AtprotoNetwork(localhost_port=0)
    print("Starting the official PDS and PLC directory ...", flush=True)
    return ReferenceNetwork()


def _lines(network: AtprotoNetwork | ReferenceNetwork) -> list[str]:
    return [
        f"  Network      this machine only, PDS at {network.pds_url}",
        *(
            f"  Account      {each.handle}, password {each.password}"
            for each in network.accounts.values()
        ),
    ]


def _live_lines() -> list[str]:
    return [
        "  Network      the public one, over the Internet",
        "  Account      your own handle, such as name.bsky.social",
    ]


def _free_port() -> int:
    """Return the first port that nobody listens on."""
    for port in _PORTS:
        with socket.socket() as candidate:
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                candidate.bind((_HOST, port))
            except OSError:
                continue
            return port
    raise DemoError(f"no free port from {_PORTS[0]} to {_PORTS[-1]}")


@contextmanager
def _running(
    app: str, *, port: int, settings: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run the application; stop it in the end."""
    rest = {name: v for name, v in os.environ.items() if name not in _SETTINGS}
    options = f"--host {_HOST} --port {port} --log-level warning"
    options += f" --timeout-graceful-shutdown {_GRACE_S}"
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", app, *options.split()],
        cwd=_ROOT,
        env=rest | dict(settings),
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for this process, which then stops that one
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_open(process: subprocess.Popen[bytes], *, port: int) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise DemoError(f"the application did not start, code {process.returncode}")
        try:
            socket.create_connection((_HOST, port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise DemoError(f"the application is silent after {_START_TIMEOUT_S:g} s")


if __name__ == "__main__":
    sys.exit(main())
