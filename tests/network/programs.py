"""What stands in for a host in these tests, besides ``testing.behaviours``."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from atproto_oauth_asgi.testing import behaviours
from atproto_oauth_asgi.testing.wire import RAW_SEND


def answer(
    status: int = 200, members: Any = None, *, headers: dict[str, str] | None = None
) -> Response:
    """A program that answers with JSON, or with raw bytes that are said to be."""
    body = members if isinstance(members, bytes) else json.dumps(members).encode()
    return Response(body, status, headers, media_type="application/json")


def in_turn(*programs: ASGIApp) -> ASGIApp:
    """A program that is another one every time, and at last the host itself."""
    left = list(programs)

    async def program(scope: Scope, receive: Receive, send: Send) -> None:
        answering = left.pop(0) if left else as_usual
        await answering(scope, receive, send)

    return program


def after(act: Callable[[], Awaitable[object]]) -> ASGIApp:
    """A program that does something before the host answers as usual."""

    async def program(scope: Scope, receive: Receive, send: Send) -> None:
        await act()
        await as_usual(scope, receive, send)

    return program


async def as_usual(scope: Scope, receive: Receive, send: Send) -> None:
    """A program that changes nothing."""
    await scope["extensions"][behaviours.ORIGINAL]["program"](scope, receive, send)


def dripping(before: bytes, part: bytes, *, pause_s: float = 0.0) -> ASGIApp:
    """A program that sends some bytes, and then others for ever."""

    async def program(scope: Scope, _receive: Receive, _send: Send) -> None:
        send_raw = scope["extensions"][RAW_SEND]["send"]
        await send_raw(before)
        while True:
            await send_raw(part)
            await anyio.sleep(pause_s)

    return program
