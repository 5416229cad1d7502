"""Beside the middlewares that applications have, in the order of the documentation."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from atproto_oauth_asgi import ATProtoOAuthMiddleware
from atproto_oauth_asgi.testing import AtprotoNetwork, login_as
from tests.serving import served_in_thread

SECRET = "a secret of the tests, 32 bytes or more"
SPA = "https://spa.example.com"
EVIL = "https://evil.test"


class Outermost:
    """Sees, when an answer has come to its end, what was set in the scope on the way.

    Before that end goes out: a client that has it may be quicker than what comes after.
    """

    seen: list[str | None] = []  # noqa: RUF012 - the tests read it

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_seeing(message: Message) -> None:
            is_end = message["type"] == "http.response.body" and not message.get(
                "more_body"
            )
            if is_end and "atproto" in scope:
                self.seen.append(scope["atproto"].did)
                assert "endpoint" in scope
            await send(message)

        await self.app(scope, receive, send_seeing)


async def home(request: Request) -> Response:
    """Count visits in the session of the application, which is not ours."""
    request.session["visits"] = request.session.get("visits", 0) + 1
    body = {"did": request.scope["atproto"].did, "visits": request.session["visits"]}
    return JSONResponse({**body, "padding": "x" * 2000})


@pytest.fixture(scope="module")
def network() -> Iterator[AtprotoNetwork]:
    with AtprotoNetwork() as made:
        yield made


@pytest.fixture(scope="module", params=["gzip outside", "gzip inside"])
def origin(request: pytest.FixtureRequest, network: AtprotoNetwork) -> Iterator[str]:
    gzip = Middleware(GZipMiddleware)
    ours = Middleware(
        ATProtoOAuthMiddleware,
        secret_key=SECRET,
        network=network.network,
        trusted_origins=[SPA],
    )
    sessions = Middleware(SessionMiddleware, secret_key=SECRET)
    inner = [gzip, ours, sessions] if "outside" in request.param else [ours, gzip]
    app = Starlette(
        routes=[Route("/", home)],
        middleware=[
            Middleware(Outermost),
            Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1"]),
            Middleware(CORSMiddleware, allow_origins=[SPA], allow_credentials=True),
            *inner,
            *([] if sessions in inner else [sessions]),
        ],
    )
    with served_in_thread(app) as served:
        yield served


@pytest.fixture
def browser(origin: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=origin, trust_env=False, timeout=20) as client:
        yield client


@pytest.mark.covers("ASGI-03", "ASG-10", "COOKIE-16")
def test_login_when_among_others_then_each_does_its_own(
    browser: httpx.Client, network: AtprotoNetwork
) -> None:
    """Compressed, counted by another session, and seen by who stands outside."""
    did = network.accounts["alice.test"].did
    assert browser.get("/").json()["did"] is None
    login_as(browser, "alice.test")
    Outermost.seen.clear()
    answer = browser.get("/")
    assert (answer.json()["did"], answer.json()["visits"]) == (did, 2)
    assert answer.headers["content-encoding"] == "gzip"
    assert {"cookie", "accept-encoding"} <= {
        each.strip().lower() for each in answer.headers["vary"].split(",")
    }
    assert "private" in answer.headers["cache-control"]
    assert Outermost.seen == [did]


@pytest.mark.covers("HTTP-03", "HTTP-10")
def test_host_when_it_is_not_trusted_then_none_of_our_routes_answers(
    browser: httpx.Client,
) -> None:
    """Who stands outside decides for our routes, too."""
    for path in ("/", "/oauth/login", "/oauth/session"):
        answer = browser.get(path, headers={"Host": "evil.test"})
        assert answer.status_code == 400
        assert answer.text == "Invalid host header"


@pytest.mark.covers("HTTP-03")
@pytest.mark.parametrize("path", ["/", "/oauth/login", "/oauth/session"])
def test_preflight_when_cors_is_outside_then_it_decides(
    browser: httpx.Client, path: str
) -> None:
    """One place says which other origins may ask."""
    for origin, allowed in ((SPA, SPA), (EVIL, None)):
        headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        answer = browser.options(path, headers=headers)
        assert answer.headers.get("access-control-allow-origin") == allowed


@pytest.mark.covers("HTTP-03")
def test_session_when_cors_is_outside_then_headers_stand_once(
    browser: httpx.Client,
) -> None:
    """A browser refuses an answer that allows its origin twice."""
    answer = browser.get("/oauth/session", headers={"Origin": SPA})
    assert answer.headers.get_list("access-control-allow-origin") == [SPA]
    assert answer.headers.get_list("access-control-allow-credentials") == ["true"]
    answer = browser.get("/oauth/session", headers={"Origin": EVIL})
    assert answer.headers.get("access-control-allow-origin") is None
