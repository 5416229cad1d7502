"""What the guarded transport does with streams, at close, and with authorities."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import anyio
import httpx
import pytest
import trustme
from anyio.abc import ByteStream

from atproto_oauth_asgi.exceptions import (
    Blocked,
    ConfigurationError,
    TimedOut,
    Unreachable,
)
from atproto_oauth_asgi.network import transport as transporting
from atproto_oauth_asgi.network.transport import GuardedTransport
from atproto_oauth_asgi.network_options import Network
from tests.network.servers import World, http, saying

pytestmark = pytest.mark.anyio
HOST = "pds.example.com"
URL = f"http://{HOST}/"


def open_transport(world: World) -> GuardedTransport:
    return GuardedTransport(world.network(unsafe_http_hosts=(HOST,)))


@pytest.fixture
def no_known_authorities() -> Iterator[None]:
    """The default authorities are read anew, in the test and after it."""
    transporting.default_context.cache_clear()
    yield
    transporting.default_context.cache_clear()


@pytest.mark.covers("NET-12", "NET-15", "RES-08")
@pytest.mark.usefixtures("no_known_authorities")
async def test_transport_when_environment_names_an_authority_then_does_not_trust_it(
    world: World,
    authority: trustme.CA,
    server_tls: Callable[[str], ssl.SSLContext],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """No variable decides whose certificates count; the operator's context does."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    await world.serve(HOST, saying(http()), tls=server_tls(HOST))
    transport = GuardedTransport(world.network())
    with pytest.raises(Unreachable):
        await transport.handle_async_request(httpx.Request("GET", f"https://{HOST}/"))
    await transport.aclose()
    assert world.heads == []


async def test_transport_when_answered_then_names_version_and_reason(
    world: World,
) -> None:
    """What stands in the first line of an answer is there for who wants it."""
    await world.serve(HOST, saying(b"HTTP/1.0 200 Fine\r\n\r\n"))
    transport = open_transport(world)
    response = await transport.handle_async_request(httpx.Request("GET", URL))
    await response.aread()
    await transport.aclose()
    assert (response.http_version, response.reason_phrase) == ("HTTP/1.0", "Fine")


@pytest.mark.covers("DPOP-20")
async def test_transport_when_body_is_synchronous_then_sends_nothing(
    world: World,
) -> None:
    """A body that would block the event loop is refused before anything is asked."""
    await world.serve(HOST, saying(http()))
    transport = open_transport(world)
    request = httpx.Request("POST", URL, content=iter([b"a"]))
    with pytest.raises(Blocked, match="asynchronously"):
        await transport.handle_async_request(request)
    await transport.aclose()
    assert world.heads == []


async def keep_talking(stream: ByteStream, _: bytes) -> None:
    while True:
        await stream.send(http(200))
        await stream.receive()


async def test_transport_when_an_empty_answer_is_closed_unread_then_does_not_wait(
    world: World,
) -> None:
    """Nobody waits for a body that was never begun, nor reads what comes next."""
    await world.serve(HOST, keep_talking)
    transport = open_transport(world)
    with anyio.fail_after(5):
        for _ in range(3):
            request = httpx.Request("GET", URL)
            response = await transport.handle_async_request(request)
            await response.aclose()
            assert response.status_code == 200
        await transport.aclose()


async def test_transport_when_closed_in_the_middle_then_leaves_nothing_hanging(
    world: World,
) -> None:
    """Who stops reading gives back the connection, and no generator is left."""
    await world.serve(HOST, saying(b"HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\nhel"))
    transport = open_transport(world)
    response = await transport.handle_async_request(httpx.Request("GET", URL))
    assert isinstance(response.stream, httpx.AsyncByteStream)
    parts = aiter(response.stream)
    assert await anext(parts) == b"hel"
    await response.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(parts)
    await transport.aclose()


async def say_nothing(stream: ByteStream, _: bytes) -> None:
    await anyio.sleep_forever()


@pytest.mark.covers("DOS-01", "NET-16")
@pytest.mark.parametrize("size", [0, 20_000_000], ids=["reading", "writing"])
async def test_transport_when_no_timeout_is_given_then_the_networks_holds(
    world: World, size: int
) -> None:
    """A server that neither answers nor takes a body does not hold a caller."""
    await world.serve(HOST, say_nothing)
    network = world.network(unsafe_http_hosts=(HOST,), timeout_s=0.1)
    transport = GuardedTransport(network)
    request = httpx.Request("POST", URL, content=b"x" * size)
    with pytest.raises(TimedOut), anyio.fail_after(5):
        await transport.handle_async_request(request)
    await transport.aclose()


@pytest.mark.covers("RES-08")
async def test_transport_when_certificates_are_optional_then_refuses_the_context() -> (
    None
):
    """A context has to demand a certificate, not to hope for one."""
    context = ssl.create_default_context()
    context.verify_mode = ssl.CERT_OPTIONAL
    assert context.check_hostname
    with pytest.raises(ConfigurationError, match="ssl_context"):
        GuardedTransport(Network(ssl_context=context))


async def test_transport_when_host_is_an_ipv6_address_then_connects_to_it(
    world: World,
) -> None:
    """The brackets belong to the URL and the Host header, not to the address."""
    await world.serve("[::1]", saying(http()))
    world._ports["::1"] = world._ports[world.addresses["[::1]"][0]]
    network = world.network(
        unsafe_http_hosts=("[::1]",), unsafe_private_hosts=("[::1]",)
    )
    transport = GuardedTransport(network)
    request = httpx.Request("GET", "http://[::1]:81/")
    response = await transport.handle_async_request(request)
    await response.aread()
    await transport.aclose()
    assert world.connected == [("::1", 81)]
    assert b"\r\nHost: [::1]:81\r\n" in world.heads[0]


async def ask(transport: GuardedTransport, host: str) -> None:
    response = await transport.handle_async_request(
        httpx.Request("GET", f"http://{host}/")
    )
    await response.aread()
    await response.aclose()


@pytest.mark.covers("DOS-01")
async def test_transport_when_connections_are_idle_then_few_are_kept_for_a_while(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many servers, or a long time, do not pile up connections."""
    monkeypatch.setattr(transporting, "_MAX_IDLE_CONNECTIONS", 1)
    hosts = (HOST, "as.example.com")
    for host in hosts:
        await world.serve(host, keep_talking)
    transport = GuardedTransport(world.network(unsafe_http_hosts=hosts))
    for host in (*hosts, hosts[0], hosts[0]):
        await ask(transport, host)
    assert len(world.connected) == 3
    await transport.aclose()

    monkeypatch.setattr(transporting, "_IDLE_S", 0.05)
    for pause_s in (0.0, 0.2):
        await anyio.sleep(pause_s)
        await ask(transport, HOST)
    await transport.aclose()
    assert len(world.connected) == 5


async def test_transport_when_nothing_is_set_then_names_library_and_version(
    world: World,
) -> None:
    """Who runs a server can tell what asks it."""
    await world.serve(HOST, saying(http()))
    transport = open_transport(world)
    await ask(transport, HOST)
    await transport.aclose()
    named = f"\r\nUser-Agent: atproto-oauth-asgi/{version('atproto-oauth-asgi')}\r\n"
    assert named.encode() in world.heads[0]
