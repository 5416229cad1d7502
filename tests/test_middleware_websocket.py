"""WebSockets: the same person, as far as the page that opens one is ours."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sessions.making import ALICE, make_session
from tests.web.desk import Desk, set_cookies
from tests.web.driving import (
    PUBLIC_URL,
    App,
    Message,
    ask,
    http_scope,
    websocket_scope,
)

pytestmark = pytest.mark.anyio


def accepting(*messages: Message) -> App:
    """An application that answers a handshake, and tells who it was."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        for message in messages:
            await send(message)
        await send({"type": "websocket.send", "text": str(scope["atproto"].did)})

    return app


ACCEPT = {"type": "websocket.accept"}
DENIAL = {"type": "websocket.http.response.start", "status": 403, "headers": []}
CONNECT = [{"type": "websocket.connect"}]


@pytest.mark.covers("ASGI-04", "ASG-02")
@pytest.mark.parametrize("start", [ACCEPT, {**ACCEPT, "headers": []}, DENIAL])
async def test_websocket_when_the_token_ends_then_renewed_before_it_opens(
    start: Message,
) -> None:
    """The cookie comes with the answer to the handshake, the only one there is."""
    desk = Desk(accepting(start))
    scope = websocket_scope(headers=[desk.cookie(make_session())])
    sent = await ask(desk.app, scope, received=CONNECT)
    first, second = sent.messages
    assert len(set_cookies(first)) == 1
    assert second["text"] == ALICE
    assert len(desk.server.sent) == 1


@pytest.mark.covers("ASGI-05", "ASG-01")
@pytest.mark.parametrize(
    ("origin", "who"),
    [
        (PUBLIC_URL, ALICE),
        ("https://www.example.com", ALICE),
        (None, ALICE),
        ("https://evil.app.example.com", "None"),
        ("https://evil.test", "None"),
        ("http://app.example.com", "None"),
        ("null", "None"),
        ("", "None"),
    ],
)
async def test_websocket_when_a_foreign_page_opens_it_then_anonymous(
    origin: str | None, who: str
) -> None:
    """Browsers send cookies along from anywhere on the same site; the origin tells."""
    desk = Desk(accepting(ACCEPT), trusted_origins=["https://www.example.com"])
    headers = [desk.cookie()] + ([("origin", origin)] if origin is not None else [])
    scope = http_scope(headers=headers, type="websocket")
    sent = await ask(desk.app, scope, received=CONNECT)
    assert sent.messages[-1]["text"] == who
