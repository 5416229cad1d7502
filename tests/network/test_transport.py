from __future__ import annotations

import gc
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any

import anyio
import httpcore
import httpx
import pytest
from anyio.abc import ByteStream
from typing_extensions import override

from atproto_oauth_asgi.exceptions import (
    Blocked,
    ConfigurationError,
    TimedOut,
    TransportError,
    Unreachable,
)
from atproto_oauth_asgi.network.backend import GuardedBackend
from atproto_oauth_asgi.network.transport import GuardedTransport
from atproto_oauth_asgi.network_options import Network
from tests.network.servers import World, http, port_of, saying

MakeTls = Callable[[str], ssl.SSLContext]
HOST = "pds.example.com"


async def ask(transport: GuardedTransport, url: str, **options: Any) -> httpx.Response:
    response = await transport.handle_async_request(
        httpx.Request("GET", url, **options)
    )
    await response.aread()
    await response.aclose()
    return response


async def ask_once(network: Network, url: str, **options: Any) -> httpx.Response:
    transport = GuardedTransport(network)
    try:
        return await ask(transport, url, **options)
    finally:
        with anyio.CancelScope(shield=True):
            await transport.aclose()


@pytest.mark.anyio
@pytest.mark.covers("NET-15")
async def test_transport_when_certificate_is_right_then_answers(
    world: World, client_tls: ssl.SSLContext, server_tls: MakeTls
) -> None:
    """TLS is for the name, though the connection is made to a checked address."""
    await world.serve(HOST, saying(http(200, b"hello")), tls=server_tls(HOST))
    response = await ask_once(
        world.network(ssl_context=client_tls), f"https://{HOST}/x?y=1"
    )
    assert (response.status_code, response.content) == (200, b"hello")
    assert world.asked == [HOST]
    assert world.connected == [(world.addresses[HOST][0], 443)]
    assert world.heads[0].startswith(b"GET /x?y=1 HTTP/1.1\r\nHost: " + HOST.encode())


@pytest.mark.anyio
@pytest.mark.covers("NET-15", "RES-08")
async def test_transport_when_certificate_is_for_another_name_then_refuses(
    world: World, client_tls: ssl.SSLContext, server_tls: MakeTls
) -> None:
    """A certificate for another name, or for the address, proves nothing."""
    for name in ("other.example.com", "93.184.216.1"):
        await world.serve(HOST, saying(http()), tls=server_tls(name))
        with pytest.raises(Unreachable):
            await ask_once(world.network(ssl_context=client_tls), f"https://{HOST}/")
    assert world.heads == []


@pytest.mark.anyio
@pytest.mark.covers("NET-15", "RES-08")
async def test_transport_when_authority_is_unknown_then_refuses(
    world: World, server_tls: MakeTls
) -> None:
    """Without a context of the operator's own only public authorities count."""
    await world.serve(HOST, saying(http()), tls=server_tls(HOST))
    with pytest.raises(Unreachable):
        await ask_once(world.network(), f"https://{HOST}/")
    assert world.heads == []


@pytest.mark.anyio
async def test_transport_when_server_speaks_plain_http_then_refuses(
    world: World, client_tls: ssl.SSLContext
) -> None:
    """A server without TLS at an https address is not spoken to."""
    await world.serve(HOST, saying(http()))
    with pytest.raises(TransportError):
        await ask_once(
            world.network(ssl_context=client_tls, timeout_s=0.5), f"https://{HOST}/"
        )


@pytest.mark.anyio
@pytest.mark.covers("NET-01", "NET-07", "NET-08", "NET-09", "NET-13")
@pytest.mark.parametrize(
    "url",
    [
        "http://pds.example.com/",
        "https://pds.example.com:22/",
        "https://127.0.0.1/",
        "https://127.1/",
        "https://[::1]/",
        "https://2130706433/",
        "https://localhost/",
        "https://metadata/",
        "https://user@pds.example.com/",
        "https://pds.example.com/%2e%2e/x",
        "ftp://pds.example.com/",
    ],
)
async def test_transport_when_url_is_refused_then_nothing_is_asked(
    world: World, url: str
) -> None:
    """The URL is judged before any name is looked up."""
    with pytest.raises(Blocked):
        await ask_once(world.network(), url)
    assert (world.asked, world.connected) == ([], [])


@pytest.mark.anyio
@pytest.mark.covers(
    "NET-01", "NET-03", "SRF-01", "SRF-02", "SRF-05", "SRF-10", "SRF-17"
)
@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["10.0.0.1"],
        ["169.254.169.254"],
        ["::1"],
        ["::ffff:10.0.0.1"],
        ["93.184.216.1", "10.0.0.1"],
        ["10.0.0.1", "93.184.216.1"],
        ["93.184.216.1", "fd00::1"],
        ["fe80::1%2"],
        ["not an address"],
    ],
)
async def test_transport_when_an_address_is_private_then_connects_to_none(
    world: World, addresses: list[str]
) -> None:
    """One private address among a name's addresses is one too many."""
    await world.serve(HOST, saying(http()))
    world.addresses[HOST] = addresses
    with pytest.raises(Blocked):
        await ask_once(world.network(unsafe_http_hosts=(HOST,)), f"http://{HOST}/")
    assert world.connected == []


@pytest.mark.anyio
@pytest.mark.covers("NET-17", "SRF-13")
async def test_transport_when_target_is_private_then_all_look_alike(
    world: World,
) -> None:
    """Open, closed and filtered private targets give the same words."""
    await world.serve(HOST, saying(http()))
    messages = set()
    for address in ("127.0.0.1", "10.0.0.1", "192.168.7.7", "::1"):
        world.addresses[HOST] = [address]
        with pytest.raises(Blocked) as caught:
            await ask_once(world.network(), f"https://{HOST}/")
        messages.add(str(caught.value))
    assert len(messages) == 1


@pytest.mark.anyio
@pytest.mark.covers("NET-02", "SRF-04")
async def test_transport_when_the_name_is_rebound_then_the_checked_address_counts(
    world: World,
) -> None:
    """The address that was checked is the one that is connected to."""
    await world.serve(HOST, saying(http(headers=[("Connection", "close")])))
    good = world.addresses[HOST][0]
    answers = iter([[good], ["127.0.0.1"]])

    async def rebinding(host: str, /) -> Sequence[str]:
        return next(answers)

    network = Network(
        resolver=rebinding, connector=world.connect, unsafe_http_hosts=(HOST,)
    )
    await ask_once(network, f"http://{HOST}/")
    with pytest.raises(Blocked):
        await ask_once(network, f"http://{HOST}/")
    assert world.connected == [(good, 80)]


@pytest.mark.anyio
@pytest.mark.covers("NET-16", "DOS-A06")
@pytest.mark.parametrize("addresses", [[], ["93.184.216.1"] * 65])
async def test_transport_when_addresses_are_none_or_too_many_then_gives_up(
    world: World, addresses: list[str]
) -> None:
    """A name without addresses, or with a flood of them, is unreachable."""
    world.addresses[HOST] = addresses
    with pytest.raises(Unreachable):
        await ask_once(world.network(), f"https://{HOST}/")
    assert world.connected == []


@pytest.mark.anyio
@pytest.mark.covers("NET-20")
async def test_transport_when_host_may_be_private_then_only_that_host_is(
    world: World,
) -> None:
    """The switch for one name does not open another one."""
    await world.serve("other.example.com", saying(http()))
    await world.serve(HOST, saying(http()))
    for name in world.addresses:
        world.addresses[name] = ["10.0.0.9"]
    network = world.network(unsafe_private_hosts=(HOST,))
    with pytest.raises(Blocked):
        await ask_once(network, "https://other.example.com/")
    with pytest.raises(Unreachable):
        await ask_once(network, f"https://{HOST}/")
    assert world.connected == [("10.0.0.9", 443)]


@pytest.mark.anyio
@pytest.mark.covers("NET-06")
async def test_transport_when_network_is_denied_then_refuses(world: World) -> None:
    """The operator's own list holds for every host."""
    await world.serve(HOST, saying(http()))
    network = world.network(denied_networks=("93.184.216.0/24",))
    with pytest.raises(Blocked):
        await ask_once(network, f"https://{HOST}/")


@pytest.mark.anyio
async def test_transport_when_first_address_is_dead_then_tries_the_next(
    world: World,
) -> None:
    """One dead address of several does not make a host unreachable."""
    await world.serve(HOST, saying(http(200, b"here")))
    world.addresses[HOST].insert(0, "93.184.216.200")
    network = world.network(unsafe_http_hosts=(HOST,))
    response = await ask_once(network, f"http://{HOST}:8080/")
    assert response.content == b"here"
    assert world.connected == [("93.184.216.200", 8080), ("93.184.216.1", 8080)]


@pytest.mark.anyio
async def test_transport_when_default_seams_then_reaches_this_machine() -> None:
    """Without seams the system's resolver and TCP are used."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = port_of(listener)

    async def answer(stream: ByteStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(http(200, b"local"))

    network = Network.development(plc_url=f"http://localhost:{port}")
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, answer)
        for host in ("localhost", "127.0.0.1"):
            response = await ask_once(network, f"http://{host}:{port}/")
            assert response.content == b"local"
        group.cancel_scope.cancel()


@pytest.mark.anyio
@pytest.mark.covers("NET-09", "IDN-05")
async def test_transport_when_system_resolves_then_search_lists_are_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Public names are asked for with a final dot; the operator's own are not."""
    asked: list[str] = []

    async def look_up(host: str) -> list[str]:
        asked.append(host)
        return []

    monkeypatch.setattr("atproto_oauth_asgi.network.backend._system_addresses", look_up)
    network = Network(unsafe_private_hosts=("pds", ".internal"))
    for host in (HOST, "pds", "a.internal"):
        with pytest.raises(Unreachable):
            await ask_once(network, f"https://{host}/")
    assert asked == [f"{HOST}.", "pds", "a.internal"]


@pytest.mark.anyio
@pytest.mark.covers("NET-12", "SRF-16", "RES-07")
async def test_transport_when_proxies_are_in_the_environment_then_goes_direct(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No variable leads a request to a proxy, or past the guard."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    await world.serve(HOST, saying(http(200, b"direct")))
    network = world.network(unsafe_http_hosts=(HOST,))
    assert (await ask_once(network, f"http://{HOST}/")).content == b"direct"


@pytest.mark.covers("NET-12")
def test_transport_when_proxy_is_configured_then_says_it_cannot() -> None:
    """An option that is not built yet is an error, not a surprise."""
    with pytest.raises(ConfigurationError, match="unsafe_proxy_url"):
        GuardedTransport(Network(unsafe_proxy_url="http://proxy:3128"))


@pytest.mark.covers("RES-08")
def test_transport_when_tls_is_not_checked_then_refuses_the_context() -> None:
    """A context that trusts anybody cannot be handed in."""
    lax = ssl.create_default_context()
    lax.check_hostname = False
    laxer = ssl.create_default_context()
    laxer.check_hostname = False
    laxer.verify_mode = ssl.CERT_NONE
    for context in (lax, laxer):
        with pytest.raises(ConfigurationError, match="ssl_context"):
            GuardedTransport(Network(ssl_context=context))


@pytest.mark.anyio
@pytest.mark.covers("NET-19", "RES-05")
async def test_transport_when_request_carries_too_much_then_sends_only_its_own(
    world: World,
) -> None:
    """Host, cookies and the User-Agent are the transport's business."""
    await world.serve(HOST, saying(http()))
    headers = {
        "Host": "evil.com",
        "Cookie": "a=b",
        "Proxy-Authorization": "x",
        "User-Agent": "python-httpx/0.28.1",
        "X-Mine": "kept",
    }
    network = world.network(unsafe_http_hosts=(HOST,), user_agent="app (mail@x.com)")
    extensions = {"sni_hostname": "evil.com", "target": b"/evil"}
    await ask_once(
        network, f"http://{HOST}:81/ok", headers=headers, extensions=extensions
    )
    head = world.heads[0].lower()
    assert head.startswith(b"get /ok ")
    assert b"host: pds.example.com:81\r\n" in head
    assert b"user-agent: app (mail@x.com)\r\n" in head
    assert b"x-mine: kept\r\n" in head
    for word in (b"evil", b"cookie", b"proxy", b"python-httpx", b"referer"):
        assert word not in head


@pytest.mark.anyio
@pytest.mark.covers("NET-19")
@pytest.mark.parametrize(
    ("given", "sent"), [(None, b"atproto-oauth-asgi/"), ("mine/1", b"mine/1\r\n")]
)
async def test_transport_when_user_agent_is_not_httpx_then_keeps_it(
    world: World, given: str | None, sent: bytes
) -> None:
    """The default names this library; what a caller sets stands."""
    await world.serve(HOST, saying(http()))
    headers = {"User-Agent": given} if given else {}
    network = world.network(unsafe_http_hosts=(HOST,))
    await ask_once(network, f"http://{HOST}/", headers=headers)
    assert b"\r\nuser-agent: " + sent in world.heads[0].replace(
        b"User-Agent", b"user-agent"
    )


@pytest.mark.anyio
@pytest.mark.covers("RES-15")
async def test_transport_when_header_would_split_then_sends_nothing(
    world: World,
) -> None:
    """A line end in a header never reaches the wire."""
    await world.serve(HOST, saying(http()))
    network = world.network(unsafe_http_hosts=(HOST,))
    with pytest.raises(Blocked):
        await ask_once(network, f"http://{HOST}/", headers={"X": "a\r\nY: b"})
    assert world.heads == []


@pytest.mark.anyio
@pytest.mark.covers("NET-11")
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_transport_when_redirected_then_returns_the_redirect(
    world: World, status: int
) -> None:
    """Nobody is sent elsewhere: the redirect is the answer."""
    location = [("Location", "http://127.0.0.1/")]
    await world.serve(HOST, saying(http(status, headers=location)))
    network = world.network(unsafe_http_hosts=(HOST,))
    response = await ask_once(network, f"http://{HOST}/")
    assert response.status_code == status
    assert len(world.connected) == 1


async def keep_talking(stream: ByteStream, _: bytes) -> None:
    while True:
        await stream.send(http(200, b"again"))
        await stream.receive()


@pytest.mark.anyio
@pytest.mark.covers("NET-14", "SRF-15")
async def test_transport_when_hosts_share_a_server_then_connections_are_not_shared(
    world: World, client_tls: ssl.SSLContext, server_tls: MakeTls
) -> None:
    """A connection is used again for its own host only."""
    await world.serve(HOST, keep_talking, tls=server_tls("*.example.com"))
    world.addresses["as.example.com"] = world.addresses[HOST]
    transport = GuardedTransport(world.network(ssl_context=client_tls))
    for host in (HOST, HOST, "as.example.com", HOST):
        assert (await ask(transport, f"https://{host}/")).content == b"again"
    await transport.aclose()
    assert len(world.connected) == 2


@pytest.mark.anyio
async def test_transport_when_idle_connection_was_closed_then_opens_another(
    world: World,
) -> None:
    """A server may hang up between two requests."""
    await world.serve(HOST, saying(http(200, b"once")))
    transport = GuardedTransport(world.network(unsafe_http_hosts=(HOST,)))
    for _ in range(2):
        assert (await ask(transport, f"http://{HOST}/")).content == b"once"
        await anyio.sleep(0.02)
    await transport.aclose()
    assert len(world.connected) == 2


@pytest.mark.anyio
async def test_transport_when_closed_then_opens_anew(world: World) -> None:
    """Closing gives up connections, not the transport."""
    await world.serve(HOST, keep_talking)
    transport = GuardedTransport(world.network(unsafe_http_hosts=(HOST,)))
    await transport.aclose()
    for _ in range(2):
        assert (await ask(transport, f"http://{HOST}/")).content == b"again"
        await transport.aclose()
    assert len(world.connected) == 2


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_transport_when_used_in_two_event_loops_then_works_in_both(
    backend: str,
) -> None:
    """Each event loop has connections of its own, even if nobody closed the first's."""
    ports: list[int] = []

    async def resolve(host: str, /) -> Sequence[str]:
        return ["93.184.216.1"]

    async def connect(address: str, port: int, /) -> ByteStream:
        return await anyio.connect_tcp("127.0.0.1", ports[-1])

    transport = GuardedTransport(
        Network(resolver=resolve, connector=connect, unsafe_http_hosts=(HOST,))
    )

    async def use() -> bytes:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        ports.append(port_of(listener))

        async def answer(stream: ByteStream) -> None:
            async with stream:
                await stream.receive()
                await stream.send(http(200, b"ok", headers=[("Connection", "close")]))

        async with listener, anyio.create_task_group() as group:
            group.start_soon(listener.serve, answer)
            response = await ask(transport, f"http://{HOST}/")
            group.cancel_scope.cancel()
        return response.content

    assert [anyio.run(use, backend=backend) for _ in range(2)] == [b"ok", b"ok"]


@pytest.mark.anyio
@pytest.mark.covers("DOS-01")
async def test_transport_when_read_takes_too_long_then_times_out(world: World) -> None:
    """httpx's own timeouts are kept."""

    async def silent(stream: ByteStream, _: bytes) -> None:
        await stream.receive()

    await world.serve(HOST, silent)
    extensions = {"timeout": {"connect": 1, "read": 0.05, "write": 1, "pool": 1}}
    with anyio.fail_after(5), pytest.raises(TimedOut):
        await ask_once(
            world.network(unsafe_http_hosts=(HOST,)),
            f"http://{HOST}/",
            extensions=extensions,
        )


@pytest.mark.anyio
async def test_transport_when_connecting_takes_too_long_then_times_out() -> None:
    """Looking up and connecting share one timeout."""

    async def never(host: str, /) -> Sequence[str]:
        await anyio.sleep(60)
        return []

    with pytest.raises(TimedOut):
        await ask_once(Network(resolver=never, timeout_s=0.05), f"https://{HOST}/")


@pytest.mark.anyio
async def test_transport_when_connecting_is_slow_then_another_address_has_a_chance(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address that never answers does not use up all the time."""
    monkeypatch.setattr("atproto_oauth_asgi.network.backend._PATIENCE_S", 0.02)
    await world.serve(HOST, saying(http(200, b"here")))
    world.addresses[HOST].insert(0, "93.184.216.200")

    async def connect(address: str, port: int, /) -> ByteStream:
        if address == "93.184.216.200":
            await anyio.sleep_forever()
        return await world.connect(address, port)

    network = Network(
        resolver=world.resolve, connector=connect, unsafe_http_hosts=(HOST,)
    )
    assert (await ask_once(network, f"http://{HOST}/")).content == b"here"


@pytest.mark.anyio
async def test_transport_when_body_is_streamed_then_flows_both_ways(
    world: World,
) -> None:
    """Neither what is sent nor what is received need be in memory."""

    async def echo(stream: ByteStream, _: bytes) -> None:
        body = b""
        while not body.endswith(b"0\r\n\r\n"):
            body += await stream.receive()
        await stream.send(http(200, body))

    async def parts() -> AsyncIterator[bytes]:
        for part in (b"one", b"two"):
            yield part

    await world.serve(HOST, echo)
    network = world.network(unsafe_http_hosts=(HOST,))
    async with httpx.AsyncClient(transport=GuardedTransport(network)) as client:
        response = await client.post(f"http://{HOST}/", content=parts())
    assert b"one" in response.content
    assert b"two" in response.content


@pytest.mark.anyio
async def test_transport_when_cancelled_then_the_connection_is_given_back(
    world: World,
) -> None:
    """A request that was given up leaves nothing behind."""
    started = anyio.Event()

    async def hang(stream: ByteStream, _: bytes) -> None:
        started.set()
        await stream.receive()

    await world.serve(HOST, hang)
    transport = GuardedTransport(world.network(unsafe_http_hosts=(HOST,)))
    async with anyio.create_task_group() as group:
        group.start_soon(ask, transport, f"http://{HOST}/")
        await started.wait()
        group.cancel_scope.cancel()
    await transport.aclose()
    assert len(world.connected) == 1


@pytest.mark.anyio
@pytest.mark.covers("LOG-03", "WEB-15")
async def test_logs_when_all_is_logged_then_hold_no_header(
    world: World,
    client_tls: ssl.SSLContext,
    server_tls: MakeTls,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """At DEBUG the HTTP library writes answers down; not those of our own pool."""
    answers = [("DPoP-Nonce", "canary-1"), ("Set-Cookie", "canary-2")]
    answers.append(("Location", "https://x.example.com/?request_uri=canary-3"))
    await world.serve(HOST, saying(http(302, headers=answers)), tls=server_tls(HOST))
    caplog.set_level(0)
    response = await ask_once(
        world.network(ssl_context=client_tls),
        f"https://{HOST}/canary-4?code=canary-5",
        headers={"Authorization": "DPoP canary-6", "DPoP": "canary-7"},
    )
    assert response.headers["dpop-nonce"] == "canary-1"
    assert "connect_tcp" in caplog.text
    assert "canary" not in caplog.text


@pytest.mark.anyio
async def test_logs_when_another_pool_is_used_then_are_untouched(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """What the application logs of its own requests is its own business."""
    await world.serve(HOST, saying(http(headers=[("X", "canary")])))
    network = world.network(unsafe_http_hosts=(HOST,))
    caplog.set_level(0)
    await ask_once(network, f"http://{HOST}/")
    backend = GuardedBackend(network)
    async with httpcore.AsyncConnectionPool(network_backend=backend) as pool:
        await pool.request("GET", f"http://{HOST}/")
    assert "receive_response_headers.complete" in caplog.text
    assert caplog.text.count("canary") == 1


@pytest.mark.anyio
async def test_request_when_cancelled_while_sending_then_leaves_nothing_hanging() -> (
    None
):
    """A body that was not taken is no generator that trio would complain of."""

    class Stuck(ByteStream):
        @override
        async def receive(self, max_bytes: int = 65536) -> bytes:
            await anyio.sleep_forever()
            return b"x" * max_bytes

        @override
        async def send(self, item: bytes) -> None:
            if b"the body" in item:
                await anyio.sleep_forever()

        @override
        async def send_eof(self) -> None:
            return

        @override
        async def aclose(self) -> None:
            return

    async def connect(address: str, port: int) -> ByteStream:
        return Stuck()

    network = replace(
        Network.development(plc_url="http://localhost:1"), connector=connect
    )
    transport = GuardedTransport(network)
    request = httpx.Request("POST", "http://127.0.0.1:1/x", content=b"the body")
    with anyio.move_on_after(0.05) as scope:
        await transport.handle_async_request(request)
    assert scope.cancelled_caught
    await transport.aclose()
    del transport, request
    gc.collect()
