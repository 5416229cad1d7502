"""The glue for Starlette: pages for people, and who is there as ``request.user``."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.authentication import requires
from starlette.endpoints import HTTPEndpoint
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from atproto_oauth_asgi import ATProtoOAuthMiddleware
from atproto_oauth_asgi.starlette import ATProtoBackend, login_required, require_scope
from atproto_oauth_asgi.testing import AtprotoNetwork, login_as

ORIGIN = "http://127.0.0.1:8000"
NAVIGATION = {"Sec-Fetch-Mode": "navigate"}
NOTE = "repo:com.example.note"


@login_required
async def page(request: Request) -> Response:
    return PlainTextResponse(request.scope["atproto"].require())


@login_required
def plain_page(request: Request) -> Response:
    return PlainTextResponse(request.scope["atproto"].require())


class Page(HTTPEndpoint):
    @login_required
    async def get(self, request: Request) -> Response:
        return PlainTextResponse(request.scope["atproto"].require())


async def who(request: Request) -> Response:
    user = request.user
    told: dict[str, Any] = {"is_authenticated": user.is_authenticated}
    if user.is_authenticated:
        told |= {"name": user.display_name, "identity": user.identity}
    return JSONResponse(told)


@requires("authenticated")
async def for_people(request: Request) -> Response:
    del request
    return PlainTextResponse("yes")


@requires(NOTE)
async def for_writers(request: Request) -> Response:
    del request
    return PlainTextResponse("yes")


ROUTES = [
    Route("/page", page),
    Route("/plain", plain_page),
    Route("/class", Page),
    Mount("/inside", routes=[Route("/page", page)]),
    Route("/who", who),
    Route("/people", for_people),
    Route("/writers", for_writers),
]


@pytest.fixture
def browser(atproto_network: AtprotoNetwork) -> TestClient:
    app = Starlette(
        routes=ROUTES,
        middleware=[
            Middleware(
                ATProtoOAuthMiddleware,
                secret_key="a-secret-of-the-tests-of-32-bytes",
                scope=f"atproto {NOTE}",
                network=atproto_network.network,
            ),
            Middleware(AuthenticationMiddleware, backend=ATProtoBackend()),
        ],
    )
    return TestClient(app, base_url=ORIGIN, follow_redirects=False)


@pytest.mark.parametrize("path", ["/page", "/plain", "/class", "/inside/page"])
def test_login_required_when_nobody_then_pages_lead_to_the_login_and_programs_get_401(
    browser: TestClient, path: str
) -> None:
    """The way back is the page that was asked for, query included."""
    sent = browser.get(f"{path}?a=1", headers=NAVIGATION)
    assert sent.status_code == 303
    query = f"{path}?a=1".replace("/", "%2F").replace("?", "%3F").replace("=", "%3D")
    assert sent.headers["location"] == f"/oauth/login?return_to={query}"
    refused = browser.get(path)
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Cookie")


@pytest.mark.parametrize("path", ["/page", "/plain", "/class", "/inside/page"])
def test_login_required_when_somebody_then_the_endpoint_answers(
    browser: TestClient, atproto_network: AtprotoNetwork, path: str
) -> None:
    """As if the decorator were not there."""
    login_as(browser, "alice.test")
    assert browser.get(path).text == atproto_network.accounts["alice.test"].did


@pytest.mark.parametrize("path", ["/page", "/plain", "/class", "/notes"])
def test_nobody_when_the_application_has_an_answer_of_its_own_then_that_is_given(
    atproto_network: AtprotoNetwork, path: str
) -> None:
    """What Starlette does with every 401, of both decorators."""

    async def say(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return PlainTextResponse("who are you?", 401, headers=error.headers)

    app = Starlette(
        routes=[*ROUTES, Route("/notes", require_scope(NOTE)(page))],
        exception_handlers={401: say},
    )
    app.add_middleware(
        ATProtoOAuthMiddleware,
        secret_key="a-secret-of-the-tests-of-32-bytes",
        scope=f"atproto {NOTE}",
        network=atproto_network.network,
    )
    answer = TestClient(app, base_url=ORIGIN).get(path)
    assert (answer.status_code, answer.text) == (401, "who are you?")
    assert answer.headers["www-authenticate"] == "Cookie"


def test_backend_when_nobody_then_the_user_is_nobody(browser: TestClient) -> None:
    """Starlette's own decorators refuse."""
    assert browser.get("/who").json() == {"is_authenticated": False}
    assert browser.get("/people").status_code == 403


def test_backend_when_somebody_then_user_and_scopes_are_there(
    browser: TestClient, atproto_network: AtprotoNetwork
) -> None:
    """The handle to show, the DID to know, and what was granted."""
    login_as(browser, "alice.test")
    alice = atproto_network.accounts["alice.test"]
    told = {"is_authenticated": True, "name": "alice.test", "identity": alice.did}
    assert browser.get("/who").json() == told
    assert browser.get("/people").text == "yes"
    assert browser.get("/writers").text == "yes"


def test_backend_when_less_was_granted_then_starlette_refuses(
    browser: TestClient,
) -> None:
    """A scope that was not granted is none of the credentials."""
    login_as(browser, "alice.test", scope="atproto")
    assert browser.get("/people").text == "yes"
    assert browser.get("/writers").status_code == 403
