"""HTTP/1.1 between a byte stream and an ASGI program: small, and no more than tests need."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import h11
from anyio.abc import ByteStream
from starlette.types import ASGIApp, Message, Scope

RAW_SEND = "atproto_oauth_asgi.raw_send"
"""ASGI extension: sends bytes as they are, in place of an answer."""

BROKEN = (
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
    h11.ProtocolError,
    OSError,
    ssl.SSLError,
)
"""What a conversation may end with, besides its end."""


class HangUp(Exception):
    """Raised by an ASGI program: the connection ends here, whatever was sent."""


async def serve_stream(
    stream: ByteStream, app: ASGIApp, *, server_name: str | None
) -> None:
    """Answer requests until one side has enough.

    Args:
        stream: what bytes come from and go to.
        app: what answers.
        server_name: the host that TLS was asked for; None means plain http.

    Raises:
        HangUp: the program wants no more.
        OSError: or another one of ``BROKEN``: the connection broke.
    """
    connection = h11.Connection(h11.SERVER)
    while True:
        exchange = _Exchange(stream, connection)
        event = await exchange.next_event()
        if not isinstance(event, h11.Request):
            return
        exchange.has_body = event.method != b"HEAD"
        scope = _scope_of(event, stream.send, server_name)
        await app(scope, exchange.receive, exchange.send)
        await exchange.skip_body()
        if {connection.our_state, connection.their_state} != {h11.DONE}:
            return
        connection.start_next_cycle()


class _Exchange:
    """One request and its answer."""

    def __init__(self, stream: ByteStream, connection: h11.Connection) -> None:
        self._stream = stream
        self._connection = connection
        self._is_read = False
        self.has_body = True

    async def next_event(self) -> Any:
        while (event := self._connection.next_event()) is h11.NEED_DATA:
            try:
                data = await self._stream.receive()
            except anyio.EndOfStream:
                data = b""
            self._connection.receive_data(data)
        return event

    async def receive(self) -> Message:
        if self._is_read:
            await anyio.sleep_forever()
        event = await self.next_event()
        if isinstance(event, h11.Data):
            return {"type": "http.request", "body": event.data, "more_body": True}
        self._is_read = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            await self._send(
                h11.Response(status_code=message["status"], headers=headers)
            )
            return
        if self.has_body:
            await self._send(h11.Data(data=message.get("body", b"")))
        if not message.get("more_body", False):
            await self._send(h11.EndOfMessage())

    async def skip_body(self) -> None:
        while not self._is_read:
            await self.receive()

    async def _send(self, event: h11.Event) -> None:
        data = self._connection.send(event)
        if data:
            await self._stream.send(data)


def _scope_of(
    request: h11.Request,
    send: Callable[[bytes], Awaitable[None]],
    server_name: str | None,
) -> Scope:
    target, _, query = request.target.partition(b"?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": request.http_version.decode("ascii"),
        "method": request.method.decode("ascii"),
        "scheme": "http" if server_name is None else "https",
        "path": target.decode("latin-1"),
        "raw_path": target,
        "query_string": query,
        "root_path": "",
        "headers": list(request.headers),
        "server": None if server_name is None else (server_name, 443),
        "client": None,
        "extensions": {RAW_SEND: {"send": send}},
    }
