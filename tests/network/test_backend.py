from __future__ import annotations

import select
import socket
from collections.abc import Iterator

import pytest
from anyio.abc import ByteStream
from typing_extensions import override

from atproto_oauth_asgi.network.backend import _is_readable, _NetworkStream


class Recorder(ByteStream):
    """A stream that only remembers what it is given."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    @override
    async def send(self, item: bytes) -> None:
        self.sent.append(item)

    @override
    async def receive(self, max_bytes: int = 65536) -> bytes:
        return b""

    @override
    async def send_eof(self) -> None: ...

    @override
    async def aclose(self) -> None: ...


@pytest.fixture(params=["poll", "select"])
def ends(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a connection; not every system can poll."""
    if request.param == "select":
        monkeypatch.delattr(select, "poll")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_connection_when_idle_then_is_told_from_one_that_the_server_left(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    """A code or a refresh token goes over no connection that is closed at its far end."""
    ours, theirs = ends
    assert not _is_readable(ours)
    theirs.close()
    assert _is_readable(ours)
    ours.close()
    assert _is_readable(ours)
    assert _is_readable(None)


def test_connection_when_the_server_speaks_unasked_then_is_not_used_again(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    """What it says would be taken for the answer to the next request."""
    ours, theirs = ends
    theirs.send(b"HTTP/1.1 200 OK\r\n")
    assert _is_readable(ours)


@pytest.mark.anyio
async def test_write_when_there_are_no_bytes_then_sends_nothing() -> None:
    """The end of a request is no bytes as a rule, and costs no turn of the loop."""
    recorder = Recorder()
    stream = _NetworkStream(recorder)
    for buffer in (b"GET", b"", b" / HTTP/1.1"):
        await stream.write(buffer)
    assert recorder.sent == [b"GET", b" / HTTP/1.1"]


@pytest.mark.anyio
async def test_stream_when_it_cannot_be_looked_at_then_is_not_used_again() -> None:
    """A connection that may be closed by now costs a new one, never a lost request."""
    stream = _NetworkStream(Recorder())
    assert stream.get_extra_info("is_readable") is True
    assert stream.get_extra_info("server_addr") is None
