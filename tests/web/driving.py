"""Speaks ASGI to an application, and keeps every message that comes back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import anyio.lowlevel

from atproto_oauth_asgi import ATProtoAuth, ATProtoOAuthMiddleware
from tests.sessions.making import SECRET, Clock

Message = MutableMapping[str, Any]
App = Callable[[Any, Any, Any], Awaitable[None]]

PUBLIC_URL = "https://app.example.com"


def make_middleware(app: App, **options: Any) -> ATProtoOAuthMiddleware:
    """A hosted application behind the middleware."""
    merged = {"secret_key": SECRET, "public_url": PUBLIC_URL, "clock": Clock()}
    return ATProtoOAuthMiddleware(app, **{**merged, **options})


def http_scope(path: str = "/", *, headers: Any = (), **changes: Any) -> dict[str, Any]:
    """The scope of a request; ``headers`` are pairs of text."""
    return {
        "type": "http",
        "method": "GET",
        "path": path,
        "query_string": b"",
        "scheme": "https",
        "headers": [
            (b"host", b"app.example.com"),
            *((name.encode(), value.encode("latin-1")) for name, value in headers),
        ],
        **changes,
    }


def websocket_scope(*, headers: Any = (), **changes: Any) -> dict[str, Any]:
    """The scope of a WebSocket that the application's own page opens."""
    headers = [("origin", PUBLIC_URL), *headers]
    return http_scope(headers=headers, **{"type": "websocket", **changes})


@dataclass
class Sent:
    """What an application has sent."""

    messages: list[Message] = field(default_factory=list)

    @property
    def start(self) -> Message:
        [start] = [m for m in self.messages if m["type"] == "http.response.start"]
        return start

    @property
    def status(self) -> int:
        status: int = self.start["status"]
        return status

    @property
    def body(self) -> bytes:
        return b"".join(m.get("body", b"") for m in self.messages)

    def header(self, name: str) -> list[str]:
        return values(self.start["headers"], name)


def values(headers: Iterable[tuple[bytes, bytes]], name: str) -> list[str]:
    """All values of a header field."""
    return [value.decode() for key, value in headers if key.lower() == name.encode()]


async def ask(
    app: App, scope: Any, *, received: Iterable[Message] | None = None
) -> Sent:
    """Let an application handle one connection to its end."""
    sent = Sent()
    first = {"type": "http.request", "body": b"", "more_body": False}
    queue = list(received if received is not None else [first])

    async def receive() -> Message:
        await anyio.lowlevel.checkpoint()
        if queue:
            return queue.pop(0)
        await anyio.sleep_forever()
        raise AssertionError

    async def send(message: Message) -> None:
        await anyio.lowlevel.checkpoint()
        sent.messages.append(message)

    await app(scope, receive, send)
    return sent


def answering(*, status: int = 200, headers: Iterable[tuple[bytes, bytes]] = ()) -> App:
    """An application that gives one answer, with the DID of who asks as its body."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        auth: ATProtoAuth = scope["atproto"]
        start = {"type": "http.response.start", "status": status, "headers": headers}
        await send(start)
        body = (auth.did or "nobody").encode()
        await send({"type": "http.response.body", "body": body})

    return app
