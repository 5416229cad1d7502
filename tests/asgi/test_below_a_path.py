"""Below a path: however servers, mounts and proxies tell it, a login works."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from atproto_oauth_asgi import ATProtoOAuthMiddleware
from atproto_oauth_asgi.fastapi import page_user
from atproto_oauth_asgi.testing import AtprotoNetwork, login_as
from tests.asgi.front import fronted
from tests.serving import served_by_hypercorn, served_in_thread

SECRET = "a secret of the tests, 32 bytes or more"
PREFIX = "/notes"
FORM_ACTION = re.compile(r'<form[^>]* action="([^"]*)"')


async def who(request: Request) -> Response:
    return PlainTextResponse(request.scope["atproto"].did or "nobody")


async def link(request: Request) -> Response:
    return PlainTextResponse(request.scope["atproto"].login_url())


async def page(did: Annotated[str, Depends(page_user)]) -> str:
    return did


ROUTES = [Route("/", who), Route("/link", link)]


def plain(options: dict[str, Any]) -> Any:
    """An application that knows nothing of the path: it is taken away, or told."""
    return Starlette(
        routes=ROUTES, middleware=[Middleware(ATProtoOAuthMiddleware, **options)]
    )


def knowing(options: dict[str, Any]) -> Any:
    """An application whose own routes are below the path."""
    app = Starlette(routes=[Mount(PREFIX, routes=ROUTES)])
    return ATProtoOAuthMiddleware(app, **options)


def mounted(options: dict[str, Any]) -> Any:
    """An application in another one, with the middleware inside of the mount."""
    return Starlette(routes=[Mount(PREFIX, plain(options))])


def fastapi(options: dict[str, Any]) -> FastAPI:
    """FastAPI, with a page for people, in it or in another application in it."""
    app, inner = FastAPI(routes=[*ROUTES]), FastAPI()
    for each in (app, inner):
        each.add_api_route("/page", page)
    app.mount("/inner", inner)
    app.add_middleware(ATProtoOAuthMiddleware, **options)
    return app


def fastapi_told(options: dict[str, Any]) -> FastAPI:
    """FastAPI, which is told the path by an option of its own."""
    app = fastapi(options)
    app.root_path = PREFIX
    return app


@dataclass(frozen=True, kw_only=True)
class Way:
    """How a request comes to the application."""

    build: Callable[[dict[str, Any]], Any] = plain
    serve: Callable[..., AbstractContextManager[str]] = served_in_thread
    told: dict[str, str] = field(default_factory=dict)
    strips: bool = True


TOLD = {"root_path": PREFIX}
on_trio = partial(served_by_hypercorn, backend="trio")

WAYS = {
    "uvicorn, taken away": Way(),
    "uvicorn, taken away and told": Way(told=TOLD),
    "uvicorn, kept": Way(build=knowing, strips=False),
    "hypercorn, taken away and told": Way(serve=served_by_hypercorn, told=TOLD),
    "hypercorn on trio, taken away and told": Way(serve=on_trio, told=TOLD),
    "hypercorn, kept": Way(build=knowing, serve=served_by_hypercorn, strips=False),
    "fastapi, taken away": Way(build=fastapi),
    "fastapi, taken away and told": Way(build=fastapi, told=TOLD),
    "fastapi, taken away and told itself": Way(build=fastapi_told),
    "fastapi, kept": Way(build=fastapi_told, strips=False),
    "mounted": Way(build=mounted, strips=False),
}


@pytest.fixture(scope="module")
def network() -> Iterator[AtprotoNetwork]:
    with AtprotoNetwork() as made:
        yield made


@pytest.fixture(params=list(WAYS.values()), ids=list(WAYS))
def browser(
    request: pytest.FixtureRequest, network: AtprotoNetwork
) -> Iterator[httpx.Client]:
    """A browser, and between it and the application all that the way has."""
    way: Way = request.param
    options = {
        "secret_key": SECRET,
        "network": network.network,
        "public_url": f"http://127.0.0.1{PREFIX}",
    }
    with (
        way.serve(way.build(options), **way.told) as upstream,
        fronted(upstream, prefix=PREFIX, strips=way.strips) as origin,
        httpx.Client(base_url=origin, trust_env=False, timeout=20) as client,
    ):
        yield client


@pytest.mark.covers("ASGI-12", "ASG-08", "HTTP-07")
def test_login_when_below_a_path_then_never_leaves_it(
    browser: httpx.Client, network: AtprotoNetwork
) -> None:
    """Link, form, login, return, logout: what a person meets is all below the path."""
    login_url = browser.get("/notes/link").text
    assert login_url == "/notes/oauth/login"
    actions = FORM_ACTION.findall(browser.get(login_url).text)
    assert set(actions) == {"/notes/oauth/login"}
    assert browser.get("/oauth/login").status_code == 404
    answer = login_as(browser, "alice.test", login_path=actions[0])
    assert answer.headers["location"] == "/notes/"
    assert browser.get("/notes/").text == network.accounts["alice.test"].did
    actions = FORM_ACTION.findall(browser.get("/notes/oauth/logout").text)
    assert actions == ["/notes/oauth/logout"]
    headers = {"Sec-Fetch-Site": "same-origin"}
    answer = browser.post(actions[0], headers=headers)
    assert answer.headers["location"] == "/notes/"
    assert browser.get("/notes/").text == "nobody"


@pytest.mark.covers("ASGI-12", "DEV-04")
def test_localhost_when_below_a_path_then_sent_to_the_address_with_it(
    browser: httpx.Client,
) -> None:
    """The way from ``localhost`` to ``127.0.0.1`` ends on the very same page."""
    port = browser.base_url.port
    headers = {"Host": f"localhost:{port}", "Sec-Fetch-Mode": "navigate"}
    for path in ("/notes/link?a=%C3%A9", "/notes/oauth/login"):
        answer = browser.get(path, headers=headers)
        assert answer.headers["location"] == f"http://127.0.0.1:{port}{path}"


PAGES = {
    f"{name}, {path}": (way, path)
    for name, way in WAYS.items()
    for path in ("/notes/page", "/notes/inner/page")
    if name.startswith("fastapi")
    # Mounts of Starlette find nothing where the path that is told is not in front.
    and not (way.build is fastapi_told and way.strips and "inner" in path)
}


@pytest.mark.covers("ASGI-12", "LOGIN-03")
@pytest.mark.parametrize(
    ("browser", "path"), list(PAGES.values()), indirect=["browser"], ids=list(PAGES)
)
def test_page_when_below_a_path_then_the_login_leads_back_to_it(
    browser: httpx.Client, network: AtprotoNetwork, path: str
) -> None:
    """To the path in the browser, of which the application may have seen the end only."""
    asked = f"{path}?a=1&b=%C3%A9"
    sent = browser.get(asked, headers={"Sec-Fetch-Mode": "navigate"})
    location = urlsplit(sent.headers["location"])
    assert location.path == "/notes/oauth/login"
    assert parse_qs(location.query) == {"return_to": [asked]}
    answer = login_as(browser, "alice.test", login_path=location.path, return_to=asked)
    did = network.accounts["alice.test"].did
    assert browser.get(answer.headers["location"]).json() == did
