"""Ports for servers that others start: tests run side by side, and ports are few."""

from __future__ import annotations

import platform
import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def reserved_port() -> Iterator[int]:
    """A free port of loopback, for a server that is started meanwhile.

    Linux gives it to nobody who asks for any port, and yet lets a server listen there
    that asks for this one with ``SO_REUSEADDR``, as they all do. Elsewhere it is only
    free at first.
    """
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
        if platform.system() != "Linux":
            held.close()
        yield port
