"""What real servers make of it: old and odd requests, streams, sockets, shutdown."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import anyio
import httpx
import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import (
    JSONResponse,
    PlainTextResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.sync.client import connect
from websockets.typing import Origin

from atproto_oauth_asgi import (
    ATProtoOAuthMiddleware,
    MemoryStore,
    OAuthError,
    current_auth,
)
from atproto_oauth_asgi.testing import AtprotoNetwork, login_as
from tests.serving import served_by_hypercorn, served_in_thread

SECRET = "a secret of the tests, 32 bytes or more"
OUR_PATHS = [
    "/oauth-client-metadata.json",
    "/oauth/jwks.json",
    "/oauth/login",
    "/oauth/callback",
    "/oauth/logout",
    "/oauth/session",
]
GET_SESSION = "com.atproto.server.getSession"
HEADERS = {"Sec-Fetch-Site": "same-origin"}
told: list[str] = []


async def who(request: Request) -> Response:
    auth = current_auth()
    return JSONResponse({"did": auth.did, "reason": auth.reason})


async def pause(request: Request) -> None:
    await anyio.sleep(float(request.query_params["pause_s"]))


async def stream(request: Request) -> Response:
    """Ask the PDS between one part and the next, when nothing can be set any more."""
    auth = current_auth()

    async def parts() -> AsyncIterator[str]:
        yield "begun "
        await pause(request)
        try:
            yield (await auth.client.query(GET_SESSION)).json()["did"]
        except OAuthError as error:
            yield error.code

    return StreamingResponse(parts())


async def later(request: Request) -> Response:
    """Ask the PDS when the answer is out."""
    auth = current_auth()

    async def work() -> None:
        await pause(request)
        try:
            told.append((await auth.client.query(GET_SESSION)).json()["did"])
        except OAuthError as error:
            told.append(error.code)

    return PlainTextResponse("accepted", 202, background=BackgroundTask(work))


async def socket_who(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text(str(current_auth().did))
    await websocket.close()


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    told.append("started")
    yield
    told.append("stopped")


def make_app(network: AtprotoNetwork, **options: Any) -> Starlette:
    app = Starlette(
        routes=[
            Route("/", who),
            Route("/stream", stream),
            Route("/later", later, methods=["POST"]),
            WebSocketRoute("/socket", socket_who),
        ],
        lifespan=lifespan,
    )
    app.add_middleware(
        ATProtoOAuthMiddleware, secret_key=SECRET, network=network.network, **options
    )
    return app


@pytest.fixture(scope="module")
def network() -> Iterator[AtprotoNetwork]:
    with AtprotoNetwork() as made:
        yield made


Server = Callable[..., AbstractContextManager[str]]

SERVERS: dict[str, Server] = {
    "uvicorn": served_in_thread,
    "uvicorn, sessions in a store": served_in_thread,
    "hypercorn": served_by_hypercorn,
    "hypercorn on trio": partial(served_by_hypercorn, backend="trio"),
}


@pytest.fixture(scope="module", params=list(SERVERS))
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def origin(kind: str, network: AtprotoNetwork) -> Iterator[str]:
    options = {"store": MemoryStore()} if "store" in kind else {}
    with SERVERS[kind](make_app(network, **options)) as served:
        yield served


@pytest.fixture
def browser(origin: str, network: AtprotoNetwork) -> Iterator[httpx.Client]:
    network.revoke()
    network.reset_token_lifetime()
    told.clear()
    with httpx.Client(
        base_url=origin, trust_env=False, timeout=20, headers=HEADERS
    ) as client:
        yield client


def say(origin: str, *lines: str) -> tuple[int, str, str]:
    """Send a request as it stands here; give status, header fields and body."""
    address = urlsplit(origin)
    assert address.hostname is not None
    with socket.create_connection(
        (address.hostname, address.port or 80), timeout=10
    ) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        answer = b"".join(iter(partial(connection.recv, 65536), b"")).decode()
    head, _, body = answer.partition("\r\n\r\n")
    status, _, fields = head.partition("\r\n")
    return int(status.split(" ")[1]), fields.lower(), body


@pytest.mark.covers("HTTP-13")
@pytest.mark.parametrize("path", ["/", *OUR_PATHS])
def test_http_1_0_when_without_host_then_answered_and_closed(
    origin: str, path: str
) -> None:
    """The application is reached; our routes of a development client want a name."""
    status, fields, _ = say(origin, f"GET {path} HTTP/1.0")
    assert status == (200 if path == "/" else 421)
    assert "set-cookie" not in fields


@pytest.mark.covers("HTTP-13", "HTTP-10")
@pytest.mark.parametrize("server", [served_in_thread, served_by_hypercorn])
def test_http_1_0_when_hosted_then_needs_no_host(server: Server) -> None:
    """The oldest clients get the documents and the form; what is published is fixed."""
    app = ATProtoOAuthMiddleware(
        Starlette(), secret_key=SECRET, public_url="https://app.example.com"
    )
    with server(app) as origin:
        for path in OUR_PATHS[:2]:
            status, _, body = say(origin, f"GET {path} HTTP/1.0")
            assert (status, type(json.loads(body))) == (200, dict)
        assert say(origin, "GET /oauth/login HTTP/1.0")[0] == 200
        plain = say(origin, f"GET {OUR_PATHS[0]} HTTP/1.0")[2]
        foreign = ("Host: evil.test", "Connection: close")
        assert say(origin, f"GET {OUR_PATHS[0]} HTTP/1.1", *foreign)[2] == plain
        absolute = f"GET http://evil.test{OUR_PATHS[0]} HTTP/1.1"
        assert "evil" not in say(origin, absolute, *foreign)[2]


@pytest.mark.covers("HTTP-01", "HTTP-02")
@pytest.mark.parametrize("path", OUR_PATHS)
def test_head_when_asked_then_no_body_and_nothing_begins(
    browser: httpx.Client, network: AtprotoNetwork, path: str
) -> None:
    """Link checkers and previews log nobody in or out."""
    login_as(browser, "alice.test")
    before = dict(browser.cookies)
    answer = browser.head(path)
    allowed = answer.headers.get("allow", "HEAD").split(", ")
    assert answer.status_code == (200 if "HEAD" in allowed else 405)
    assert answer.content == b""
    assert "set-cookie" not in answer.headers
    assert dict(browser.cookies) == before
    assert len(network.sessions()) == 1


@pytest.mark.covers("HTTP-01", "HTTP-03")
@pytest.mark.parametrize("path", OUR_PATHS)
def test_options_when_asked_by_another_origin_then_documents_only(
    browser: httpx.Client, path: str
) -> None:
    """Pages of anybody may read what is public, and nothing else."""
    headers = {"Origin": "https://evil.test", "Access-Control-Request-Method": "GET"}
    answer = browser.options(path, headers=headers)
    allowed = answer.headers.get("access-control-allow-origin")
    assert allowed == ("*" if path.endswith(".json") else None)


@pytest.mark.covers("ASGI-07", "ASGI-08", "ASGI-10", "ASG-04")
@pytest.mark.parametrize("outlives_token", [False, True])
def test_client_when_the_answer_is_out_then_serves_or_tells(
    browser: httpx.Client, network: AtprotoNetwork, kind: str, outlives_token: bool
) -> None:
    """In a stream and behind an answer, new tokens could not reach a cookie any more.

    Where the session is in a store, they need not.
    """
    pause_s = 0.0
    if outlives_token:
        network.set_token_lifetime(1)
        pause_s = 1.1
    login_as(browser, "alice.test")
    did = network.accounts["alice.test"].did
    is_refused = outlives_token and "store" not in kind
    expected = "refresh_unavailable" if is_refused else did
    answer = browser.post("/later", params={"pause_s": pause_s})
    assert answer.text == "accepted"
    answer = browser.get("/stream", params={"pause_s": pause_s})
    assert answer.text == f"begun {expected}"
    wait_until(lambda: bool(told))
    assert told == [expected]
    assert browser.get("/").json() == {"did": did, "reason": None}


@pytest.mark.covers("ASGI-04", "ASGI-05", "ASG-01", "ASG-02")
def test_websocket_when_a_page_opens_it_then_ours_is_known_and_its_cookie_follows(
    browser: httpx.Client, network: AtprotoNetwork, origin: str
) -> None:
    """The answer to the handshake brings the renewed session; foreign pages get none."""
    network.set_token_lifetime(1)
    login_as(browser, "alice.test")
    network.reset_token_lifetime()
    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    time.sleep(1.1)
    url = origin.replace("http", "ws", 1) + "/socket"
    # Until the server closes: hypercorn on trio ends if a client closes while it sends.
    for foreign in ("https://evil.test", "null"):
        headers = {"Cookie": cookie}
        with connect(url, origin=Origin(foreign), additional_headers=headers) as opened:
            assert list(opened) == ["None"]
            assert opened.response is not None
            assert "set-cookie" not in opened.response.headers
    own = Origin(origin)
    with connect(url, origin=own, additional_headers={"Cookie": cookie}) as opened:
        assert list(opened) == [network.accounts["alice.test"].did]
        assert opened.response is not None
        cookies = opened.response.headers.get_all("set-cookie")
    assert len(network.sessions()) == 1
    [name] = browser.cookies
    assert len(cookies) <= 1
    assert all(line.startswith(f"{name}=") for line in cookies)


@pytest.mark.covers("ASGI-01", "ASG-09")
@pytest.mark.parametrize("lifespan", ["on", "off"])
def test_server_when_it_speaks_lifespan_or_not_then_the_app_hears_it_and_works(
    network: AtprotoNetwork, lifespan: str
) -> None:
    """What is ours opens with the first request that needs it."""
    told.clear()
    with (
        served_in_thread(make_app(network), lifespan=lifespan) as origin,
        httpx.Client(base_url=origin, trust_env=False, timeout=20) as client,
    ):
        login_as(client, "alice.test")
        assert client.get("/").json()["did"] == network.accounts["alice.test"].did
    assert told == (["started", "stopped"] if lifespan == "on" else [])


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)
