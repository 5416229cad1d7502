"""A made-up Internet on this machine: names, addresses, servers that misbehave.

The real guard and the real TLS run over it: only the two seams of ``Network``, the
resolver and the connector, are ours.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio import TypedAttributeProvider
from anyio.abc import ByteStream, SocketAttribute, SocketStream
from anyio.streams.tls import TLSStream

from atproto_oauth_asgi.network.fetch import Fetcher
from atproto_oauth_asgi.network.transport import GuardedTransport
from atproto_oauth_asgi.network_options import Network

Conversation = Callable[[ByteStream, bytes], Awaitable[None]]
"""What a server does once it has read the head of a request."""

_BROKEN = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream)


def port_of(listener: TypedAttributeProvider) -> int:
    """The port of this machine that something is bound to."""
    port: int = listener.extra(SocketAttribute.local_port)  # noqa: S610
    return port


def http(
    status: int = 200,
    body: bytes | dict[str, Any] = b"",
    *,
    media_type: str | None = None,
    headers: Sequence[tuple[str, str]] = (),
) -> bytes:
    """An HTTP/1.1 answer; JSON if the body is a dictionary."""
    if isinstance(body, dict):
        body = json.dumps(body).encode()
        media_type = media_type or "application/json"
    fields = [
        ("Content-Type", media_type or "text/plain"),
        ("Content-Length", str(len(body))),
        *headers,
    ]
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
    return f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode() + body


def saying(answer: bytes) -> Conversation:
    """A server that gives one answer and hangs up."""

    async def converse(stream: ByteStream, _: bytes) -> None:
        await stream.send(answer)

    return converse


class World:
    """Hosts by name and address, and a record of who was asked for what."""

    def __init__(self, group: anyio.abc.TaskGroup) -> None:
        self._group = group
        self._ports: dict[str, int] = {}
        self.addresses: dict[str, list[str]] = {}
        self.asked: list[str] = []
        self.connected: list[tuple[str, int]] = []
        self.heads: list[bytes] = []

    async def serve(
        self, host: str, converse: Conversation, *, tls: ssl.SSLContext | None = None
    ) -> None:
        """Put a server behind a name, at a public address of its own."""
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        address = f"93.184.216.{len(self._ports) + 1}"
        self.addresses[host] = [address]
        self._ports[address] = port_of(listener)

        async def handle(stream: SocketStream) -> None:
            async with stream:
                try:
                    await self._converse(await _wrap(stream, tls), converse)
                except (*_BROKEN, ssl.SSLError):
                    return

        async def accept() -> None:
            async with listener:
                await listener.serve(handle)

        self._group.start_soon(accept)

    async def _converse(self, stream: ByteStream, converse: Conversation) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += await stream.receive(1)
        self.heads.append(head)
        await converse(stream, head)

    async def resolve(self, host: str, /) -> Sequence[str]:
        self.asked.append(host)
        if host not in self.addresses:
            message = "no such name"
            raise OSError(message)
        return self.addresses[host]

    async def connect(self, address: str, port: int, /) -> ByteStream:
        self.connected.append((address, port))
        if address not in self._ports:
            message = "connection refused"
            raise OSError(message)
        return await anyio.connect_tcp("127.0.0.1", self._ports[address])

    def network(self, **options: Any) -> Network:
        return Network(resolver=self.resolve, connector=self.connect, **options)


async def _wrap(stream: ByteStream, tls: ssl.SSLContext | None) -> ByteStream:
    if tls is None:
        return stream
    return await TLSStream.wrap(
        stream, server_side=True, ssl_context=tls, standard_compatible=False
    )


@asynccontextmanager
async def open_world() -> AsyncIterator[World]:
    async with anyio.create_task_group() as group:
        yield World(group)
        group.cancel_scope.cancel()


@asynccontextmanager
async def open_fetcher(network: Network) -> AsyncIterator[Fetcher]:
    transport = GuardedTransport(network)
    try:
        yield Fetcher(transport, network)
    finally:
        with anyio.CancelScope(shield=True):
            await transport.aclose()
