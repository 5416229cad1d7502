"""The bounds of one request, each at its edge."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Self

import anyio
import anyio.lowlevel
import httpx
import pytest
from anyio.abc import ByteStream
from typing_extensions import override

from atproto_oauth_asgi.exceptions import (
    DiscoveryError,
    TimedOut,
    TooLarge,
    Unreachable,
)
from atproto_oauth_asgi.network import fetch as fetching
from atproto_oauth_asgi.network.fetch import Fetcher
from atproto_oauth_asgi.network_options import Network
from tests.network.servers import World, http, open_fetcher, saying

pytestmark = pytest.mark.anyio
HOST = "as.example.com"
URL = f"http://{HOST}/x"


async def fetch(world: World, answer: bytes, *, limit: int = 1000) -> httpx.Response:
    await world.serve(HOST, saying(answer))
    async with open_fetcher(world.network(unsafe_http_hosts=(HOST,))) as fetcher:
        return await fetcher.fetch("GET", URL, what="x", max_body_bytes=limit)


async def test_fetch_when_announced_body_just_fits_then_is_taken(world: World) -> None:
    """The limit itself may be announced, one byte more may not."""
    assert len((await fetch(world, http(200, b"x" * 1000))).content) == 1000
    with pytest.raises(TooLarge):
        await fetch(world, http(200, b"x" * 1000), limit=999)


@pytest.mark.covers("DOS-02")
async def test_fetch_when_no_limit_is_given_then_256_kib_are_taken() -> None:
    """No document of the protocol is larger."""
    bodies = [b"x" * 262_145, b"x" * 262_144]
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=bodies.pop()))
    fetcher = Fetcher(transport, Network())
    response = await fetcher.fetch("GET", f"https://{HOST}/", what="x")
    assert len(response.content) == 262_144
    with pytest.raises(TooLarge):
        await fetcher.fetch("GET", f"https://{HOST}/", what="x")


@pytest.mark.covers("DOS-01")
async def test_fetch_when_it_connects_then_has_five_seconds_or_less() -> None:
    """Connecting gets a part of the time that the whole answer has."""
    seen: list[object] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.extensions["timeout"]["connect"])
        return httpx.Response(200)

    fetcher = Fetcher(httpx.MockTransport(answer), Network(timeout_s=30))
    for timeout_s in (None, 2.0):
        await fetcher.fetch("GET", f"https://{HOST}/", what="x", timeout_s=timeout_s)
    assert seen == [5.0, 2.0]


@pytest.mark.covers("DOS-02", "DOS-A02")
async def test_fetch_when_too_much_is_announced_then_nothing_of_it_is_read(
    world: World,
) -> None:
    """The announcement is enough: nobody waits for bytes that are too many."""

    async def announce(stream: ByteStream, _: bytes) -> None:
        await stream.send(b"HTTP/1.1 200 X\r\nContent-Length: 1001\r\n\r\n")
        await stream.receive()

    await world.serve(HOST, announce)
    async with open_fetcher(world.network(unsafe_http_hosts=(HOST,))) as fetcher:
        with pytest.raises(TooLarge), anyio.fail_after(5):
            await fetcher.fetch("GET", URL, what="x", max_body_bytes=1000, timeout_s=60)


@pytest.mark.covers("DOS-04", "DOS-A05")
async def test_fetch_when_headers_just_fit_then_they_are_taken(world: World) -> None:
    """A hundred headers, 32 KiB together; not one more of either."""
    # `http` gives two headers, and these are their bytes.
    used = len("Content-Type" + "text/plain" + "Content-Length" + "0")
    many = [("a", "b")] * 98
    large = [("a", "b" * (32 * 1024 - used - 1))]
    for headers in (many, large):
        assert (await fetch(world, http(headers=headers))).status_code == 200
    for headers in ([*many, ("a", "b")], [*large, ("a", "")]):
        with pytest.raises(TooLarge, match="headers"):
            await fetch(world, http(headers=headers))


async def test_fetch_when_encoding_is_none_then_its_case_does_not_matter(
    world: World,
) -> None:
    """``Identity`` means that nothing is compressed."""
    headers = [("Content-Encoding", "Identity")]
    assert (await fetch(world, http(200, b"x", headers=headers))).content == b"x"


@pytest.mark.covers("DOS-01", "NET-16")
async def test_fetch_when_nobody_picks_up_then_gives_up_before_the_total_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A host that swallows packets costs less than one that answers slowly."""
    monkeypatch.setattr(fetching, "_CONNECT_S", 0.05)

    async def resolve(_: str, /) -> list[str]:
        return ["93.184.216.34"]

    async def connect(_: str, __: int, /) -> ByteStream:
        await anyio.sleep_forever()
        raise AssertionError

    async with open_fetcher(Network(resolver=resolve, connector=connect)) as fetcher:
        with pytest.raises(TimedOut), anyio.fail_after(5):
            await fetcher.fetch("GET", f"https://{HOST}/", what="x", timeout_s=60)


@pytest.mark.covers("ERR-06")
@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, DiscoveryError),
        (401, Unreachable),
        (402, DiscoveryError),
        (403, Unreachable),
        (407, Unreachable),
        (408, DiscoveryError),
        (429, Unreachable),
        (499, DiscoveryError),
        (500, Unreachable),
        (599, Unreachable),
        (600, DiscoveryError),
    ],
)
async def test_fetch_document_when_status_is_told_apart_then_not_now_is_not_no(
    world: World, status: int, error: type[Exception]
) -> None:
    """A gate on the way, or a server in trouble, has not said "no"."""
    await world.serve(HOST, saying(http(status, {})))
    async with open_fetcher(world.network(unsafe_http_hosts=(HOST,))) as fetcher:
        with pytest.raises(error):
            await fetcher.fetch_document(URL, what="x", error=DiscoveryError)


class Body(httpx.AsyncByteStream, AsyncIterator[bytes]):
    """Some bytes, then silence; closing it takes a moment, as on a real network."""

    def __init__(self, size: int) -> None:
        self._parts = [b"x" * size]
        self.is_closed = False

    @override
    def __aiter__(self) -> Self:
        return self

    @override
    async def __anext__(self) -> bytes:
        if not self._parts:
            await anyio.sleep_forever()
        return self._parts.pop()

    @override
    async def aclose(self) -> None:
        await anyio.lowlevel.checkpoint()
        self.is_closed = True


@pytest.mark.covers("DOS-01", "DOS-02", "DOS-04")
@pytest.mark.parametrize(
    ("size", "headers", "error"),
    [
        (10, [], TimedOut),
        (1001, [], TooLarge),
        (10, [("a", "b")] * 101, TooLarge),
    ],
    ids=["silent", "large", "headers"],
)
async def test_fetch_when_an_answer_is_given_up_then_its_connection_is_closed(
    size: int, headers: list[tuple[str, str]], error: type[Exception]
) -> None:
    """Nobody keeps our connections by answering badly, nor by not answering."""
    body = Body(size)

    async def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers=headers, stream=body)

    fetcher = Fetcher(httpx.MockTransport(answer), Network())
    with pytest.raises(error):
        await fetcher.fetch(
            "GET", f"https://{HOST}/", what="x", max_body_bytes=1000, timeout_s=0.05
        )
    assert body.is_closed


@pytest.mark.covers("DOS-07")
@pytest.mark.parametrize(
    ("hosts", "each", "sent", "refused"),
    [(1, 551, 50, 1), (11, 50, 500, 0)],
    ids=["one host", "many hosts"],
)
async def test_fetch_when_many_ask_then_some_are_sent_some_wait_some_are_refused(
    hosts: int, each: int, sent: int, refused: int
) -> None:
    """Fifty at once to one host, five hundred to all; five hundred wait for a host."""
    under_way, gate = [], anyio.Event()
    errors: list[Unreachable] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        under_way.append(request)
        await gate.wait()
        return httpx.Response(200)

    fetcher = Fetcher(httpx.MockTransport(answer), Network(timeout_s=60))

    async def ask(number: int) -> None:
        try:
            await fetcher.fetch("GET", f"https://h{number}.example.com/", what="x")
        except Unreachable as error:
            errors.append(error)

    async with anyio.create_task_group() as group:
        for number in range(hosts * each):
            group.start_soon(ask, number % hosts)
        await anyio.wait_all_tasks_blocked()
        assert (len(under_way), len(errors)) == (sent, refused)
        gate.set()
    assert len(under_way) == hosts * each - refused
