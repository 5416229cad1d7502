"""The ASGI lifespan, for applications that speak it and for those that do not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

# Servers may cancel the lifespan once they have heard one of these.
_LAST_WORDS = frozenset(
    {
        "lifespan.startup.failed",
        "lifespan.shutdown.complete",
        "lifespan.shutdown.failed",
    }
)


async def run_lifespan(
    app: Callable[[Any, Receive, Send], Awaitable[None]],
    scope: Any,
    receive: Receive,
    send: Send,
    *,
    on_shutdown: Callable[[], Awaitable[None]],
) -> None:
    """Pass the lifespan through, and close what is ours before its last word.

    An application that knows no lifespan returns or raises before it reads anything;
    the protocol is then spoken in its place.
    """
    watched = _Watched(receive, send, on_shutdown)
    try:
        try:
            await app(scope, watched.receive, watched.send)
        except Exception:
            if watched.is_spoken:
                raise
        if not watched.is_spoken:
            await _speak_lifespan(watched.receive, watched.send)
    finally:
        await watched.close()


class _Watched:
    """The two ends of a lifespan, and how far it has come."""

    def __init__(
        self, receive: Receive, send: Send, on_shutdown: Callable[[], Awaitable[None]]
    ) -> None:
        self._receive = receive
        self._send = send
        self._on_shutdown = on_shutdown
        self._is_closed = False
        self.is_spoken = False

    async def receive(self) -> Any:
        self.is_spoken = True
        return await self._receive()

    async def send(self, message: Any) -> None:
        self.is_spoken = True
        if message["type"] in _LAST_WORDS:
            await self.close()
        await self._send(message)

    async def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            await self._on_shutdown()


async def _speak_lifespan(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})
