"""Ways to misbehave: ASGI programs that stand in for what a path should answer."""

from __future__ import annotations

import gzip
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

import anyio
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from atproto_oauth_asgi.crypto.encoding import b64url_decode
from atproto_oauth_asgi.testing.wire import RAW_SEND, HangUp

ORIGINAL = "atproto_oauth_asgi.original"
"""ASGI extension: the program that would have answered."""

_USED = JSONResponse({"error": "invalid_client", "error_description": "used"}, 400)
_CHUNK = b" " * 65536
_PATIENCE_S = 3600.0


def status(code: int, body: str = "", *, media_type: str = "text/plain") -> ASGIApp:
    """Return a program that answers with a status and a text."""
    return Response(body, code, media_type=media_type)


def document(
    members: Any, *, code: int = 200, headers: Mapping[str, str] | None = None
) -> ASGIApp:
    """Return a program that answers with JSON: a wrong document, for instance."""
    return JSONResponse(members, code, headers=headers)


def redirect(url: str, *, code: int = 302) -> ASGIApp:
    """Return a program that sends elsewhere."""
    return RedirectResponse(url, code)


def hang(seconds: float = _PATIENCE_S) -> ASGIApp:
    """Return a program that says nothing for so long, and then hangs up."""

    async def program(_scope: Scope, _receive: Receive, _send: Send) -> None:
        await anyio.sleep(seconds)
        raise HangUp

    return program


def drip(body: bytes, *, pause_s: float = 4.0) -> ASGIApp:
    """Return a program that sends a body byte by byte, with a pause before each."""

    async def program(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(_start([(b"content-type", b"application/json")]))
        for at in range(len(body)):
            await anyio.sleep(pause_s)
            await send(_part(body[at : at + 1]))
        await send({"type": "http.response.body"})

    return program


def endless(chunk: bytes = _CHUNK) -> ASGIApp:
    """Return a program whose answer never ends."""

    async def program(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(_start([(b"content-type", b"application/json")]))
        while True:
            await send(_part(chunk))

    return program


def compressed(body: bytes, *, encoding: str = "gzip", layers: int = 1) -> ASGIApp:
    """Return a program that compresses, whether or not that was asked for."""
    for _ in range(layers):
        body = gzip.compress(body)
    headers = {"Content-Encoding": ", ".join([encoding] * layers)}
    return Response(body, headers=headers, media_type="application/json")


def raw(data: bytes) -> ASGIApp:
    """Return a program that sends bytes in place of an answer, and hangs up."""

    async def program(scope: Scope, _receive: Receive, _send: Send) -> None:
        await scope["extensions"][RAW_SEND]["send"](data)
        raise HangUp

    return program


def drop() -> ASGIApp:
    """Return a program that hangs up, and has done nothing."""

    async def program(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise HangUp

    return program


def drop_after_processing() -> ASGIApp:
    """Return a program that does what it should and hangs up instead of answering."""

    async def program(scope: Scope, receive: Receive, _send: Send) -> None:
        await _collect(scope, receive)
        raise HangUp

    return program


def altered(
    members: Mapping[str, Any] | None = None,
    *,
    without: Collection[str] = (),
    without_headers: Sequence[str] = (),
) -> ASGIApp:
    """Return a program that does what it should, and changes its JSON answer.

    Args:
        members: what stands in the answer instead, or besides.
        without: members that are left out.
        without_headers: header fields that are left out.
    """

    async def program(scope: Scope, receive: Receive, send: Send) -> None:
        start, body = await _collect(scope, receive)
        if isinstance(found := _read(body), dict):
            kept = {name: found[name] for name in found if name not in without}
            body = json.dumps({**kept, **(members or {})}).encode()
        headers = MutableHeaders(raw=list(start["headers"]))
        for name in ("content-length", *without_headers):
            del headers[name]
        await send({**start, "headers": headers.raw})
        await send({"type": "http.response.body", "body": body})

    return program


def burn_assertions() -> ASGIApp:
    """Return a program that takes each client assertion once, whatever comes of it.

    The official server burns one only after the DPoP proof and its nonce were right;
    others do so first. Put the same program on every path that shall know of it.

    Spec: RFC 7523 section 3.
    """
    seen: set[str] = set()

    async def program(scope: Scope, receive: Receive, send: Send) -> None:
        body = await Request(scope, receive).body()
        assertion = dict(parse_qsl(body.decode("utf-8"))).get("client_assertion")
        if assertion is not None:
            jti = _jti_of(assertion)
            if jti in seen:
                await _USED(scope, receive, send)
                return
            seen.add(jti)

        async def again() -> Message:
            return {"type": "http.request", "body": body}

        await scope["extensions"][ORIGINAL]["program"](scope, again, send)

    return program


async def _collect(scope: Scope, receive: Receive) -> tuple[Message, bytes]:
    """Let the original program answer; its answer goes no further."""
    messages: list[Message] = []

    async def keep(message: Message) -> None:
        messages.append(message)

    await scope["extensions"][ORIGINAL]["program"](scope, receive, keep)
    body = b"".join(each.get("body", b"") for each in messages[1:])
    return messages[0], body


def _read(body: bytes) -> object:
    try:
        return json.loads(body)
    except ValueError:
        return None


def _jti_of(assertion: str) -> str:
    """Return the id of a JWT, or all of it where that cannot be read."""
    payload = "".join(assertion.split(".")[1:2])
    try:
        found = _read(b64url_decode(payload))
    except ValueError:
        return assertion
    return str(found.get("jti")) if isinstance(found, dict) else assertion


def _start(headers: list[tuple[bytes, bytes]]) -> Message:
    return {"type": "http.response.start", "status": 200, "headers": headers}


def _part(body: bytes) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": True}
