"""The certificate of a host: its dates, or why there is none to look at."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import ByteStream, SocketAttribute, SocketStream

from atproto_oauth_asgi import Blocked, Network, TimedOut, Unreachable
from atproto_oauth_asgi.network.certificate import fetch_certificate
from atproto_oauth_asgi.testing import AtprotoNetwork

URL = "https://app.example.com"
CLOSED = 1


async def resolve(_: str, /) -> Sequence[str]:
    return ["93.184.216.34"]


def network_to(port: int, *, timeout_s: float = 5.0) -> Network:
    """Everything leads to a port of this machine."""

    async def connect(_: str, __: int, /) -> ByteStream:
        return await anyio.connect_tcp("127.0.0.1", port)

    return Network(resolver=resolve, connector=connect, timeout_s=timeout_s)


@asynccontextmanager
async def listening(first: bytes | None) -> AsyncIterator[int]:
    """A host that says something which is no TLS, or nothing at all."""

    async def talk(stream: SocketStream) -> None:
        async with stream:
            if first is None:
                await anyio.sleep_forever()
            else:
                await stream.send(first)
                await stream.receive()

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as group,
    ):
        group.start_soon(listener.serve, talk)
        yield listener.extra(SocketAttribute.local_port)  # noqa: S610 - no database
        group.cancel_scope.cancel()


@pytest.mark.anyio
async def test_certificate_when_good_then_tells_its_end() -> None:
    """The end of the certificate and the version of TLS come from the connection."""
    with AtprotoNetwork() as servers:
        found = await fetch_certificate("https://pds.test", servers.network)
    assert found.tls_version == "TLSv1.3"
    assert found.starts_at < servers._clock() < found.ends_at - 86400


@pytest.mark.anyio
async def test_certificate_when_host_speaks_something_else_then_says_so() -> None:
    """A web server by plain http on the port of https is told from one that is off."""
    async with listening(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        with pytest.raises(Unreachable, match="speaks no TLS"):
            await fetch_certificate(URL, network_to(port))
    with pytest.raises(Unreachable, match="could not be reached"):
        await fetch_certificate(URL, network_to(CLOSED))


@pytest.mark.anyio
async def test_certificate_when_host_is_silent_then_gives_up() -> None:
    """A host that says nothing costs no more than the timeout."""
    async with listening(None) as port:
        with pytest.raises(TimedOut):
            await fetch_certificate(URL, network_to(port, timeout_s=0.2))


@pytest.mark.anyio
async def test_certificate_when_host_is_private_then_is_not_connected_to() -> None:
    """The guard holds here, too."""
    with pytest.raises(Blocked):
        await fetch_certificate("https://127.0.0.1", Network())
