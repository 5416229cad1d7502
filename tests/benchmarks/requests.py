"""What the middleware adds to a request of nobody, beside starlette's sessions."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

from starlette.middleware.sessions import SessionMiddleware

from atproto_oauth_asgi import ATProtoOAuthMiddleware
from tests.benchmarks.harness import ROUNDS, Figure, cpu_time

_SECRET = "a secret of the benchmarks, 32 bytes or more"
_REPEATS = 2000
_START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/plain"), (b"content-length", b"2")],
}
_BODY = {"type": "http.response.body", "body": b"ok"}
_HEADERS = [
    (b"host", b"app.example.com"),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101"),
    (b"accept", b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    (b"accept-language", b"en-US,en;q=0.5"),
    (b"accept-encoding", b"gzip, deflate, br, zstd"),
    (b"sec-fetch-dest", b"document"),
    (b"sec-fetch-mode", b"navigate"),
]
_COOKIES = (b"cookie", b"theme=dark; consent=yes; csrftoken=0a1b2c3d4e5f60718293a4b5")


def figures() -> Iterator[Figure]:
    """Give the ratios of what is added."""
    yield _added("request of nobody", _HEADERS)
    yield _added("the same, with other cookies", [*_HEADERS, _COOKIES])


def _added(name: str, headers: list[tuple[bytes, bytes]]) -> Figure:
    ours = ATProtoOAuthMiddleware(
        _app, secret_key=_SECRET, public_url="https://app.example.com"
    )
    apps = (_app, SessionMiddleware(_app, secret_key=_SECRET), ours)
    rounds = [_round(apps, headers, number) for number in range(ROUNDS)]
    ratio = statistics.median(
        (ours - bare) / (theirs - bare) for bare, theirs, ours in rounds
    )
    added = [statistics.median(each) for each in zip(*rounds, strict=True)]
    return Figure(
        name=name,
        ratio=ratio,
        target=0.35,
        detail=f"added {added[2] - added[0]:.2f} us; "
        f"SessionMiddleware {added[1] - added[0]:.2f} us",
    )


def _round(apps: tuple[Any, ...], headers: Any, number: int) -> tuple[float, ...]:
    """Return the microseconds of a request through each, which take turns."""
    taken = [0.0] * len(apps)
    for step in range(len(apps)):
        which = (number + step) % len(apps)
        app = apps[which]
        total = cpu_time(lambda: _ask(app, headers), _REPEATS)  # noqa: B023 - at once
        taken[which] = total / _REPEATS / 1000
    return tuple(taken)


def _ask(app: Any, headers: Any) -> None:
    """Drive one request to its end; nothing in it waits, so no loop is needed."""
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/notes",
        "root_path": "",
        "query_string": b"",
        "scheme": "https",
        "headers": headers,
    }
    request = app(scope, _receive, _send)
    try:
        request.send(None)
    except StopIteration:
        return
    raise RuntimeError("the request waits for something")


async def _app(scope: Any, receive: Any, send: Any) -> None:
    await send(_START)
    await send(_BODY)


async def _receive() -> Any:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _send(message: Any) -> None:
    pass
