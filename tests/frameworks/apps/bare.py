"""No framework at all; it knows no lifespan either."""

from __future__ import annotations

import json
from typing import Any

from atproto_oauth_asgi import ATProtoOAuthMiddleware
from tests.frameworks.apps.behaviour import OPTIONS, lines, post_note, who


async def _send_json(send: Any, status: int, body: dict[str, Any]) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})


async def bare(scope: Any, receive: Any, send: Any) -> None:
    """Answer everything by hand."""
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    auth = scope["atproto"]
    match scope["path"]:
        case "/":
            await _send_json(send, 200, who(auth))
        case "/notes":
            await _send_json(send, *await post_note(auth))
        case "/leave":
            await auth.logout()
            await _send_json(send, 200, {})
        case "/stream":
            await send({"type": "http.response.start", "status": 200})
            async for line in lines(auth):
                body = {"type": "http.response.body", "body": line, "more_body": True}
                await send(body)
            await send({"type": "http.response.body"})
        case _:
            await _send_json(send, 404, {})


app = ATProtoOAuthMiddleware(bare, **OPTIONS)
