from __future__ import annotations

import pytest
from anyio.abc import ByteStream
from typing_extensions import override

from atproto_oauth_asgi.network.backend import _NetworkStream

pytestmark = pytest.mark.anyio


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


async def test_write_when_there_are_no_bytes_then_sends_nothing() -> None:
    """The end of a request is no bytes as a rule, and costs no turn of the loop."""
    recorder = Recorder()
    stream = _NetworkStream(recorder)
    for buffer in (b"GET", b"", b" / HTTP/1.1"):
        await stream.write(buffer)
    assert recorder.sent == [b"GET", b" / HTTP/1.1"]
