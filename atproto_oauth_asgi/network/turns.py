"""How much may be under way at once: for one host, and in all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count

import anyio
from anyio.lowlevel import RunVar

from atproto_oauth_asgi.exceptions import Unreachable

_instances = count()


@dataclass(slots=True)
class _Line:
    """Those who speak to one host, or wait for it."""

    free: anyio.Semaphore
    length: int = 0


@dataclass(slots=True)
class _Lines:
    """The lines of one event loop; a host has one as long as somebody is in it."""

    free: anyio.Semaphore
    hosts: dict[str, _Line] = field(default_factory=dict)


class Turns:
    """Lets some speak to a host at once, and lets the others wait in a line.

    A host that hangs holds up those who want that host. Each event loop has lines of
    its own.

    Args:
        per_host: how many may speak to one host at once.
        in_all: how many may speak at once.
        waiting: how many may wait for one host.
    """

    def __init__(self, *, per_host: int, in_all: int, waiting: int) -> None:
        self._per_host = per_host
        self._in_all = in_all
        self._longest = per_host + waiting
        self._lines: RunVar[_Lines] = RunVar(
            f"atproto_oauth_asgi.turns.{next(_instances)}"
        )

    @asynccontextmanager
    async def take(self, host: str) -> AsyncIterator[None]:
        """Wait for a turn and hold it. How long is the caller's to bound.

        Raises:
            Unreachable: too many are waiting for this host already.
        """
        lines = self._lines_here()
        line = lines.hosts.get(host) or _Line(anyio.Semaphore(self._per_host))
        if line.length >= self._longest:
            message = "too many requests are waiting for this host"
            raise Unreachable(message)
        lines.hosts[host] = line
        line.length += 1
        try:
            # The host's own first: who waits for it takes nothing from the others.
            async with line.free, lines.free:
                yield
        finally:
            line.length -= 1
            if not line.length:
                del lines.hosts[host]

    def _lines_here(self) -> _Lines:
        try:
            return self._lines.get()
        except LookupError:
            lines = _Lines(anyio.Semaphore(self._in_all))
            self._lines.set(lines)
            return lines
