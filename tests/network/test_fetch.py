from __future__ import annotations

import gzip
import time

import anyio
import httpx
import pytest
from anyio.abc import ByteStream

from atproto_oauth_asgi.exceptions import (
    Blocked,
    DiscoveryError,
    TimedOut,
    TooLarge,
    TransportError,
    Unreachable,
)
from tests.network.servers import Conversation, World, http, open_fetcher, saying

pytestmark = pytest.mark.anyio
HOST = "as.example.com"
URL = f"http://{HOST}/x"


async def fetch(
    world: World,
    converse: Conversation,
    *,
    url: str = URL,
    limit: int = 1000,
    timeout_s: float = 5,
) -> httpx.Response:
    await world.serve(HOST, converse)
    network = world.network(unsafe_http_hosts=(HOST,))
    async with open_fetcher(network) as fetcher:
        return await fetcher.fetch(
            "GET", url, what="metadata", max_body_bytes=limit, timeout_s=timeout_s
        )


async def test_fetch_when_answered_then_gives_the_whole_answer(world: World) -> None:
    """Status, headers and body are there; the request is not."""
    response = await fetch(world, saying(http(404, b"gone", headers=[("X-A", "b")])))
    assert (response.status_code, response.content) == (404, b"gone")
    assert response.headers["x-a"] == "b"
    with pytest.raises(RuntimeError):
        _ = response.request


@pytest.mark.covers("DOS-03", "NET-19")
async def test_fetch_when_sent_then_asks_for_no_compression(world: World) -> None:
    """Requests are plain: identity encoding, no cookies, nothing of the browser's."""
    await fetch(world, saying(http()))
    head = world.heads[0].lower()
    assert b"\r\naccept-encoding: identity\r\n" in head
    assert b"\r\naccept: */*\r\n" in head
    assert b"\r\nuser-agent: atproto-oauth-asgi/" in head
    assert b"cookie" not in head
    assert b"referer" not in head


async def test_fetch_when_posting_then_sends_headers_and_body(world: World) -> None:
    """A form goes out as it was given."""
    seen = bytearray()

    async def read_form(stream: ByteStream, _: bytes) -> None:
        seen.extend(await stream.receive())
        await stream.send(http())

    await world.serve(HOST, read_form)
    async with open_fetcher(world.network(unsafe_http_hosts=(HOST,))) as fetcher:
        await fetcher.fetch(
            "POST", URL, what="x", headers={"DPoP": "proof"}, content=b"a=b&c=d"
        )
    assert b"\r\nDPoP: proof\r\n" in world.heads[0]
    assert seen == b"a=b&c=d"


@pytest.mark.covers("NET-10")
@pytest.mark.parametrize(
    "url", ["https://A.com/", "https://a.com\\@b.com/", "https://a.com/#x", "x", ""]
)
async def test_fetch_when_text_is_no_plain_url_then_nothing_is_asked(
    world: World, url: str
) -> None:
    """The text is judged before any parser repairs it."""
    with pytest.raises(Blocked, match=r"^metadata: "):
        await fetch(world, saying(http()), url=url)
    assert world.asked == []


def chunked(size: int) -> Conversation:
    async def converse(stream: ByteStream, head: bytes) -> None:
        await stream.send(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(size):
            await stream.send(b"64\r\n" + b"x" * 100 + b"\r\n")
        await stream.send(b"0\r\n\r\n")

    return converse


async def endless(stream: ByteStream, _: bytes) -> None:
    await stream.send(b"HTTP/1.1 200 X\r\n\r\n")
    while True:
        await stream.send(b"x" * 10_000)


@pytest.mark.covers("DOS-02", "DOS-A02", "ID-19")
@pytest.mark.parametrize(
    "converse",
    [
        saying(http(200, b"x" * 1001)),
        saying(b"HTTP/1.1 200 X\r\nContent-Length: 99999999999999999\r\n\r\n"),
        chunked(11),
        endless,
    ],
    ids=["length", "announced", "chunked", "endless"],
)
async def test_fetch_when_body_is_too_large_then_stops(
    world: World, converse: Conversation
) -> None:
    """Bytes are counted as they come, whatever was announced."""
    with pytest.raises(TooLarge):
        await fetch(world, converse)


async def test_fetch_when_body_just_fits_then_is_taken(world: World) -> None:
    """The limit itself is allowed."""
    assert len((await fetch(world, chunked(10))).content) == 1000


@pytest.mark.covers("DOS-02", "DOS-A02")
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 X\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 X\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"HTTP/1.1 200 X\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        b"nonsense\r\n\r\n",
        b"",
    ],
)
async def test_fetch_when_answer_is_broken_then_is_unreachable(
    world: World, answer: bytes
) -> None:
    """Half an answer is no answer."""
    with pytest.raises(Unreachable):
        await fetch(world, saying(answer))


@pytest.mark.covers("DOS-03", "DOS-A03")
@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd", "identity, gzip", "x"])
async def test_fetch_when_answer_is_compressed_then_refuses(
    world: World, encoding: str
) -> None:
    """A bomb is not unpacked: nothing is."""
    body = gzip.compress(b"\0" * 100_000)
    headers = [("Content-Encoding", encoding)]
    with pytest.raises(TransportError, match="compressed"):
        await fetch(world, saying(http(200, body, headers=headers)))


@pytest.mark.covers("DOS-04", "DOS-A05")
@pytest.mark.parametrize(
    "headers",
    [
        [(f"X-{number}", "y") for number in range(200)],
        [("DPoP-Nonce", "n" * 40_000)],
        [("DPoP-Nonce", "n" * 1_000_000)],
    ],
    ids=["many", "large", "huge"],
)
async def test_fetch_when_headers_are_too_many_then_refuses(
    world: World, headers: list[tuple[str, str]]
) -> None:
    """Headers are bounded in number and in size."""
    with pytest.raises(TransportError):
        await fetch(world, saying(http(headers=headers)))


async def drip_headers(stream: ByteStream, _: bytes) -> None:
    await stream.send(b"HTTP/1.1 200 X\r\n")
    while True:
        await stream.send(b"a: b\r\n")
        await anyio.sleep(0.02)


async def drip_body(stream: ByteStream, _: bytes) -> None:
    await stream.send(b"HTTP/1.1 200 X\r\n\r\n")
    while True:
        await stream.send(b"x")
        await anyio.sleep(0.02)


async def say_nothing(stream: ByteStream, _: bytes) -> None:
    await stream.receive()


async def only_hints(stream: ByteStream, _: bytes) -> None:
    while True:
        await stream.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await anyio.sleep(0.02)


@pytest.mark.covers("DOS-01", "DOS-A01", "DOS-08")
@pytest.mark.parametrize("converse", [drip_headers, drip_body, say_nothing, only_hints])
async def test_fetch_when_server_drips_then_ends_at_the_total_limit(
    world: World, converse: Conversation
) -> None:
    """A little now and then does not stretch the time."""
    started = time.monotonic()
    with pytest.raises(TimedOut):
        await fetch(world, converse, timeout_s=0.15)
    assert time.monotonic() - started < 2


async def test_fetch_when_nobody_listens_then_is_unreachable(world: World) -> None:
    """No name and no listener are both plain absence."""
    world.addresses[HOST] = ["93.184.216.99"]
    async with open_fetcher(world.network()) as fetcher:
        for host in (HOST, "nowhere.example.com"):
            with pytest.raises(Unreachable):
                await fetcher.fetch("GET", f"https://{host}/", what="metadata")


async def fetch_document(world: World, answer: bytes) -> bytes:
    await world.serve(HOST, saying(answer))
    async with open_fetcher(world.network(unsafe_http_hosts=(HOST,))) as fetcher:
        return await fetcher.fetch_document(URL, what="metadata", error=DiscoveryError)


@pytest.mark.covers("DISC-01")
@pytest.mark.parametrize(
    "media_type", ["application/json", "Application/JSON ; charset=utf-8"]
)
async def test_fetch_document_when_it_is_there_then_gives_its_body(
    world: World, media_type: str
) -> None:
    """The media type counts, not its case nor its parameters."""
    assert await fetch_document(world, http(200, b"{}", media_type=media_type)) == b"{}"
    assert world.heads[0].startswith(b"GET /x HTTP/1.1\r\n")
    assert b"\r\nAccept: application/json\r\n" in world.heads[0]


async def test_fetch_document_when_two_types_will_do_then_asks_for_both(
    world: World,
) -> None:
    """A server that has but one of them gives that one."""
    wanted = frozenset({"application/json", "application/did+ld+json"})
    for media_type in wanted:
        await world.serve(HOST, saying(http(200, b"{}", media_type=media_type)))
        async with open_fetcher(world.network(unsafe_http_hosts=(HOST,))) as fetcher:
            await fetcher.fetch_document(
                URL, what="document", error=DiscoveryError, media_types=wanted
            )
    accept = b"\r\nAccept: application/did+ld+json, application/json\r\n"
    assert all(accept in head for head in world.heads)
    assert [head.lower().count(b"\r\naccept:") for head in world.heads] == [1, 1]


@pytest.mark.covers("DISC-01", "DISC-05", "NET-11", "SRF-06")
@pytest.mark.parametrize(
    "answer",
    [
        http(201, {}),
        http(204),
        http(206, {}),
        http(301, {}, headers=[("Location", "/y")]),
        http(302, {}, headers=[("Location", "http://127.0.0.1/")]),
        http(307, {}, headers=[("Location", "/y")]),
        http(404, {}),
        http(200, b"{}", media_type="text/html"),
        http(200, b"{}", media_type=""),
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        http(200, b"{}", media_type="application/jsonx"),
    ],
)
async def test_fetch_document_when_it_is_not_there_then_raises_what_was_asked(
    world: World, answer: bytes
) -> None:
    """Only status 200 with the right media type is the document."""
    with pytest.raises(DiscoveryError, match=r"^metadata: "):
        await fetch_document(world, answer)
    assert len(world.connected) == 1


@pytest.mark.covers("ERR-06")
@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_fetch_document_when_server_is_out_of_order_then_is_unreachable(
    world: World, status: int
) -> None:
    """ "Not now" is another answer than "no"."""
    with pytest.raises(Unreachable):
        await fetch_document(world, http(status, {}))
