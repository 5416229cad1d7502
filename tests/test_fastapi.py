"""FastAPI's dependencies: who is there, in one annotation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import httpx
import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, WebSocket

from atproto_oauth_asgi import ATProtoAuth, ATProtoOAuthMiddleware, PDSClient
from atproto_oauth_asgi import current_auth as _current
from atproto_oauth_asgi.fastapi import (
    AtprotoSession,
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


SESSION = AtprotoSession()
MAYBE = AtprotoSession(auto_error=False)


@api.get("/secure")
async def secure(found: Annotated[ATProtoAuth, Depends(SESSION)]) -> str | None:
    return found.did


@api.get("/secure-or-not")
def secure_or_not(found: Annotated[ATProtoAuth, Depends(MAYBE)]) -> str | None:
    return found.did


DONE: list[tuple[str, str]] = []


async def note_later(found: ATProtoAuth) -> None:
    DONE.append((found.require(), str(found.client.base_url)))


def note_later_in_a_thread() -> None:
    DONE.append((_current().require(), "in a thread"))


@api.post("/later")
async def later(
    found: Annotated[ATProtoAuth, Depends(current_auth)], tasks: BackgroundTasks
) -> None:
    tasks.add_task(note_later, found)
    tasks.add_task(note_later_in_a_thread)


inner = FastAPI()


@inner.get("/me")
def inner_me(did: Annotated[str, Depends(current_user)]) -> str:
    return did


@inner.get("/page")
def inner_page(did: Annotated[str, Depends(page_user)]) -> str:
    return did


api.mount("/inner", inner)


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
        ("/secure", ALICE),
        ("/secure-or-not", ALICE),
        ("/inner/me", ALICE),
        ("/inner/page", ALICE),
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
    ("path", "answer"),
    [("/maybe", None), ("/auth", [None, None]), ("/secure-or-not", None)],
)
async def test_dependency_when_nobody_is_there_then_says_so(
    path: str, answer: Any
) -> None:
    """What may be anonymous is."""
    response = await get(path)
    assert (response.status_code, response.json()) == (200, answer)


@pytest.mark.parametrize("path", ["/me", "/client", "/secure", "/inner/me"])
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
        ("/inner/page", "/oauth/login?return_to=%2Finner%2Fpage"),
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


async def test_security_scheme_when_openapi_is_read_then_it_is_there() -> None:
    """The documentation shows which routes want a session, and that it is a cookie."""
    document = (await get("/openapi.json")).json()
    scheme = document["components"]["securitySchemes"]["AtprotoSession"]
    assert (scheme["type"], scheme["in"]) == ("apiKey", "cookie")
    assert scheme["name"] == "__Host-atproto-session"
    assert document["paths"]["/secure"]["get"]["security"] == [{"AtprotoSession": []}]
    assert "security" not in document["paths"]["/me"]["get"]


async def test_background_task_when_the_answer_is_out_then_still_the_person() -> None:
    """Async or in a thread, it knows who asked and has their client."""
    DONE.clear()
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as http:
        response = await http.post("/later", headers={"cookie": COOKIE})
    assert response.status_code == 200
    assert DONE == [(ALICE, PDS), (ALICE, "in a thread")]
