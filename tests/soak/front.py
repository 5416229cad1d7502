"""What stands between the workers and the PDS: it counts, and it fails on demand.

It passes on one request a connection, byte by byte, and looks into those of the token
endpoint only.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

import anyio
from anyio.abc import SocketAttribute, SocketStream

from tests.soak.ledger import Grant, Ledger

Mood = Literal["well", "500", "hanging"]

_MAX_HEAD_BYTES = 65536
_MAX_HANG_S = 60.0
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_PID = re.compile(rb"\r\nuser-agent: *soak/([0-9]+)", re.IGNORECASE)
_REPLACED = re.compile(rb"\r\n(?:connection|accept-encoding):[^\r]*", re.IGNORECASE)
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})")
_HEAD_END = b"\r\n\r\n"
_FAILURE = (
    b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\n"
    b'Connection: close\r\n\r\n{"error":"InternalServerError"}'
)
_BROKEN = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream)

OnGrant = Callable[[Grant], Awaitable[bool]]
"""Is told of a refresh that the server has granted, before the answer is passed on;
returns whether it is to be. """


@dataclass(slots=True)
class Front:
    """The state of the front.

    Attributes:
        port: where workers and browsers find the PDS.
        pds_port: gives where it really is.
        mood: how the PDS seems to feel; sign-in pages always work.
        ledger: where what is seen is entered.
        on_grant: see ``OnGrant``; called for one grant, then forgotten if it says so
            itself.
    """

    port: int = 0
    pds_port: Callable[[], int] = lambda: 0
    mood: Mood = "well"
    ledger: Ledger = field(default_factory=Ledger)
    on_grant: OnGrant | None = None
    _better: anyio.Event = field(default_factory=anyio.Event)

    def feel(self, mood: Mood) -> None:
        """Change the mood; whoever hangs is cut off."""
        self.mood = mood
        self._better.set()
        self._better = anyio.Event()

    async def serve(self, stream: SocketStream) -> None:
        """Answer the one request of a connection."""
        async with stream:
            try:
                head, body = await _read_request(stream)
                answer = await self._answer(head, body)
                if answer:
                    await stream.send(answer)
            except (*_BROKEN, OSError):
                return

    async def _answer(self, head: bytes, body: bytes) -> bytes | None:
        pid = _PID.search(head)
        if pid is None:
            return await self._pass_on(head, body)
        if self.mood == "500":
            return _FAILURE
        if self.mood == "hanging":
            with anyio.move_on_after(_MAX_HANG_S):
                await self._better.wait()
            return None
        if not head.startswith(b"POST /oauth/token "):
            return await self._pass_on(head, body)
        return await self._trade(head, body, pid=int(pid[1]))

    async def _trade(self, head: bytes, body: bytes, *, pid: int) -> bytes | None:
        ledger, at = self.ledger, time.monotonic()
        # The server goes on with it even if the worker is killed meanwhile.
        with anyio.CancelScope(shield=True):
            answer = await self._pass_on(head, body)
        found = _STATUS.match(answer)
        status = int(found[1]) if found else 0
        _, _, said = answer.partition(_HEAD_END)
        grant = ledger.note(
            body, status, said, pid=pid, at=at, answered_at=time.monotonic()
        )
        is_refresh = b"grant_type=refresh_token" in body
        if grant is None or not is_refresh or self.on_grant is None:
            return answer
        grant.arrived = await self.on_grant(grant)
        return answer if grant.arrived else None

    async def _pass_on(self, head: bytes, body: bytes) -> bytes:
        async with await anyio.connect_tcp("127.0.0.1", self.pds_port()) as pds:
            await pds.send(head + body)
            return b"".join([part async for part in pds])


async def _read_request(stream: SocketStream) -> tuple[bytes, bytes]:
    """Return head and body; the head asks for an answer that ends with the connection."""
    read = b""
    while _HEAD_END not in read:
        if len(read) > _MAX_HEAD_BYTES:
            raise anyio.EndOfStream
        read += await stream.receive()
    head, _, body = read.partition(_HEAD_END)
    found = _LENGTH.search(head)
    length = int(found[1]) if found else 0
    while len(body) < length:
        body += await stream.receive()
    # In the older version nothing comes in chunks.
    head = head.replace(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", 1)
    head = _REPLACED.sub(b"", head) + b"\r\nConnection: close"
    return head + _HEAD_END, body


@asynccontextmanager
async def open_front() -> AsyncIterator[Front]:
    """Give a front that listens."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", backlog=512)
    port = listener.extra(SocketAttribute.local_port)  # noqa: S610 - no Django
    front = Front(port=port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, front.serve)
        yield front
        tasks.cancel_scope.cancel()
