"""A reverse proxy for one application below a path, which it takes away or keeps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from tests.serving import served_in_thread

_HOP_BY_HOP = {"connection", "content-length", "transfer-encoding", "date", "server"}


@dataclass(frozen=True, kw_only=True)
class Front:
    """Knows one path, and passes on what is below it."""

    upstream: str
    prefix: str
    strips: bool

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            response = await self._answer(Request(scope, receive))
            await response(scope, receive, send)
            return
        for kind in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{kind}.complete"})

    async def _answer(self, request: Request) -> Response:
        path = request.url.path
        if not path.startswith(f"{self.prefix}/"):
            return PlainTextResponse("another application", 404)
        if self.strips:
            path = path.removeprefix(self.prefix)
        async with httpx.AsyncClient(base_url=self.upstream, trust_env=False) as client:
            answer = await client.request(
                request.method,
                f"{path}?{request.url.query}" if request.url.query else path,
                # With the Host of the browser, as proxies are told to.
                headers=request.headers.raw,
                content=await request.body(),
            )
        response = Response(answer.content, answer.status_code)
        response.raw_headers.extend(
            (name, value)
            for name, value in answer.headers.raw
            if name.decode().lower() not in _HOP_BY_HOP
        )
        return response


@contextmanager
def fronted(upstream: str, *, prefix: str, strips: bool) -> Iterator[str]:
    """Put the proxy in front of an application; give its origin."""
    with served_in_thread(
        Front(upstream=upstream, prefix=prefix, strips=strips)
    ) as origin:
        yield origin
