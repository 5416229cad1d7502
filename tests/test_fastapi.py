"""FastAPI's dependencies: who is there, in one annotation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI, WebSocket

from atproto_oauth_asgi import ATProtoAuth, ATProtoOAuthMiddleware, PDSClient
from atproto_oauth_asgi.fastapi import (
    current_auth,
    current_user,
    optional_user,
    page_user,
    pds_client,
)
from tests.sessions.making import (
    ALICE,
    NOW,
    PDS,
    SECRET,
    Clock,
    cookie_of,
    make_session,
)
from tests.web.driving import ask, websocket_scope

pytestmark = pytest.mark.anyio

ORIGIN = "https://app.example.com"
api = FastAPI()


@api.get("/me")
async def me(did: Annotated[str, Depends(current_user)]) -> str:
    return did


@api.get("/maybe")
def maybe(did: Annotated[str | None, Depends(optional_user)]) -> str | None:
    return did


@api.get("/pages/{name}")
async def page(name: str, did: Annotated[str, Depends(page_user)]) -> str:
    return did


@api.get("/auth")
def auth(found: Annotated[ATProtoAuth, Depends(current_auth)]) -> list[str | None]:
    return [found.did, found.handle]


@api.get("/client")
async def client(pds: Annotated[PDSClient, Depends(pds_client)]) -> str:
    return str(pds.base_url)


@api.websocket("/ws")
async def ws(websocket: WebSocket, did: Annotated[str, Depends(current_user)]) -> None:
    await websocket.accept()
    await websocket.send_text(did)
    await websocket.close()


@api.websocket("/page-ws")
async def page_ws(
    websocket: WebSocket, did: Annotated[str, Depends(page_user)]
) -> None:
    await websocket.accept()


app = ATProtoOAuthMiddleware(api, secret_key=SECRET, public_url=ORIGIN, clock=Clock())
COOKIE = cookie_of(app, make_session(expires_at=NOW + 3600))


async def get(path: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as http:
        return await http.get(path, headers=headers)


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/me", ALICE),
        ("/maybe", ALICE),
        ("/pages/x", ALICE),
        ("/auth", [ALICE, "alice.test"]),
        ("/client", PDS),
    ],
)
async def test_dependency_when_logged_in_then_gives_the_person(
    path: str, answer: Any
) -> None:
    """Sync or async, the dependency gives who makes the request."""
    response = await get(path, {"cookie": COOKIE})
    assert (response.status_code, response.json()) == (200, answer)
    assert response.headers["cache-control"] == "private"


@pytest.mark.parametrize(
    ("path", "answer"), [("/maybe", None), ("/auth", [None, None])]
)
async def test_dependency_when_nobody_is_there_then_says_so(
    path: str, answer: Any
) -> None:
    """What may be anonymous is."""
    response = await get(path)
    assert (response.status_code, response.json()) == (200, answer)


@pytest.mark.parametrize("path", ["/me", "/client"])
async def test_api_when_nobody_is_there_then_401(path: str) -> None:
    """An API answers 401, whoever asks, and leads nowhere."""
    asking: list[dict[str, str]] = [
        {},
        {"sec-fetch-mode": "navigate"},
        {"accept": "text/html"},
    ]
    for headers in asking:
        response = await get(path, headers)
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Cookie"
        assert "location" not in response.headers


@pytest.mark.parametrize(
    "headers", [{"sec-fetch-mode": "navigate"}, {"accept": "text/html,*/*;q=0.8"}]
)
@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/pages/x", "/oauth/login?return_to=%2Fpages%2Fx"),
        (
            "/pages/x?a=1&b=%20",
            "/oauth/login?return_to=%2Fpages%2Fx%3Fa%3D1%26b%3D%2520",
        ),
        ("/pages/%C3%9F", "/oauth/login?return_to=%2Fpages%2F%25C3%259F"),
    ],
)
async def test_page_when_nobody_is_there_then_to_the_login_and_back(
    path: str, location: str, headers: dict[str, str]
) -> None:
    """A browser that opens a page comes back to the very same one, query included."""
    response = await get(path, headers)
    assert response.status_code == 303
    assert response.headers["location"] == location
    form = await get(location)
    escaped = path.replace("&", "&amp;")
    assert f'name="return_to" value="{escaped}"' in form.text


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"sec-fetch-mode": "cors", "accept": "text/html"},
        {"accept": "application/json"},
    ],
)
async def test_page_when_a_program_asks_then_401(headers: dict[str, str]) -> None:
    """A script gets an answer that it can tell from a page."""
    assert (await get("/pages/x", headers)).status_code == 401


async def test_dependency_when_overridden_then_the_override_counts() -> None:
    """Tests of applications name a person without any login."""
    api.dependency_overrides[current_user] = lambda: "did:plc:somebody"
    try:
        response = await get("/me")
    finally:
        api.dependency_overrides.clear()
    assert response.json() == "did:plc:somebody"


async def connect(path: str, *, logged_in: bool) -> list[Any]:
    headers = [("cookie", COOKIE)] if logged_in else []
    extensions: Any = {"websocket.http.response": {}}
    scope = websocket_scope(
        headers=headers, path=path, extensions=extensions, subprotocols=[]
    )
    received = [{"type": "websocket.connect"}]
    return list((await ask(app, scope, received=received)).messages)


@pytest.mark.covers("ASGI-04")
async def test_websocket_when_logged_in_then_gives_the_person() -> None:
    """The same dependency serves WebSockets."""
    accept, text, _ = await connect("/ws", logged_in=True)
    assert (accept["type"], text["text"]) == ("websocket.accept", ALICE)


@pytest.mark.parametrize("path", ["/ws", "/page-ws"])
async def test_websocket_when_nobody_is_there_then_401(path: str) -> None:
    """The handshake is denied; nobody is sent to a page."""
    first = (await connect(path, logged_in=False))[0]
    assert (first["type"], first["status"]) == ("websocket.http.response.start", 401)
