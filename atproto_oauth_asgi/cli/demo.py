"""``demo``: an application to log in to, and a network of its own to log in with."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING

from atproto_oauth_asgi.cli.terminal import Terminal
from atproto_oauth_asgi.exceptions import ConfigurationError

if TYPE_CHECKING:
    from uvicorn import Config

HOST = "127.0.0.1"
APP = "atproto_oauth_asgi.cli.demo_app:app"
"""The application that is run unless another one is named."""

_PORTS = range(8000, 8100)
_GRACE_S = 3  # for requests that are still being answered
_STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)
)
_EXAMPLES = """\
An application that is named by --app finds the network in the environment variables
ATPROTO_PLC_URL and ATPROTO_HANDLE_RESOLVER_URL; with --live they are not there.

examples:
  %(prog)s
  %(prog)s --live
  %(prog)s --app yours:app --port 8001
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the application is run in.

    Attributes:
        lines: what people have to know of it.
        settings: environment variables that lead to it.
    """

    lines: Sequence[str]
    settings: Mapping[str, str] = field(default_factory=dict)


LIVE = Surroundings(
    lines=(
        "  Network      the public one, over the Internet",
        "  Account      your own handle, such as name.bsky.social",
    )
)
"""The public network."""


def build_parser(prog: str) -> argparse.ArgumentParser:
    """Return the parser of the command."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Run an application, and an atproto network in this process to log"
        " in with. It needs uvicorn.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--live", action="store_true", help="the public network, with your own account"
    )
    parser.add_argument(
        "--app",
        default=APP,
        metavar="MODULE:NAME",
        help="an application of yours, from this directory",
    )
    parser.add_argument(
        "--port", type=int, help="default: the first free one from 8000"
    )
    return parser


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Run until it is stopped."""
    if options.live:
        return serve(options, LIVE, terminal)
    # Most commands need none of it.
    from atproto_oauth_asgi.testing import AtprotoNetwork  # noqa: PLC0415

    with stopping(), AtprotoNetwork(localhost_port=0) as network:
        accounts = {name: each.password for name, each in network.accounts.items()}
        around = surround(network.plc_url, network.pds_url, accounts)
        return serve(options, around, terminal)


def surround(plc_url: str, pds_url: str, accounts: Mapping[str, str]) -> Surroundings:
    """Return a network on this machine, its accounts by handle and password."""
    return Surroundings(
        lines=(
            f"  Network      this machine only, PDS at {pds_url}",
            *(f"  Account      {name}, password {accounts[name]}" for name in accounts),
        ),
        settings={"ATPROTO_PLC_URL": plc_url, "ATPROTO_HANDLE_RESOLVER_URL": pds_url},
    )


def serve(options: argparse.Namespace, around: Surroundings, terminal: Terminal) -> int:
    """Run ``options.app`` until it is stopped; return the exit code.

    Raises:
        ConfigurationError: it cannot be run.
    """
    if find_spec("uvicorn") is None:
        message = "the demo needs uvicorn: pip install uvicorn"
        raise ConfigurationError(message)
    for name in ("ATPROTO_PLC_URL", "ATPROTO_HANDLE_RESOLVER_URL"):
        os.environ.pop(name, None)
    os.environ.update(around.settings)
    with stopping(), closing(_listen(options.port)) as listener:
        config = _load(options.app)
        address = f"http://{HOST}:{listener.getsockname()[1]}"
        terminal.line(f"\n  Open         {terminal.paint(address, 'bold')}")
        for line in (*around.lines, "  Stop with    Ctrl-C", ""):
            terminal.line(line)
        return _run_server(config, listener)


@contextmanager
def stopping() -> Iterator[None]:
    """Let a signal end what is inside as Ctrl-C does: everything is closed."""
    before = {each: signal.signal(each, _leave) for each in _STOP_SIGNALS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _leave(number: int, frame: object) -> None:
    del number, frame
    sys.exit(0)


def _load(app: str) -> Config:
    import uvicorn  # noqa: PLC0415 - no dependency of ours

    sys.path.insert(0, os.getcwd())
    config = uvicorn.Config(
        app,
        log_level="warning",
        timeout_graceful_shutdown=_GRACE_S,
        # The development client answers on loopback hosts only, so nobody is in front.
        proxy_headers=False,
    )
    try:
        # It says what is wrong with the application, and exits.
        config.load()
    except SystemExit as error:
        message = f"--app: {app} cannot be loaded from here"
        raise ConfigurationError(message) from error
    return config


def _run_server(config: Config, listener: socket.socket) -> int:
    import uvicorn  # noqa: PLC0415 - no dependency of ours

    server = uvicorn.Server(config)
    # That is how it is meant to end.
    with suppress(KeyboardInterrupt):
        server.run(sockets=[listener])
    # Some releases exit by themselves when the application does not start.
    return int(not server.started)


def _listen(port: int | None) -> socket.socket:
    """Listen on a port, or on the first one that nobody listens on."""
    ports = _PORTS if port is None else (port,)
    for number in ports:
        # asyncio sends small answers at once (TCP_NODELAY) only if the protocol is
        # named.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        if os.name == "posix":  # pragma: no branch - Windows would let two listen
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, number))
            listener.listen(128)
        except (OSError, OverflowError):
            listener.close()
        else:
            return listener
    message = f"--port: nobody can listen on {ports[0]} to {ports[-1]}"
    raise ConfigurationError(message)
