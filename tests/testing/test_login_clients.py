"""``login_as`` with the test client of each framework, as its users write tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient as FastApiClient
from litestar import Litestar, Request, get
from litestar.testing import AsyncTestClient, TestClient
from quart import Quart, request

from atproto_oauth_asgi import ATProtoOAuthMiddleware
from atproto_oauth_asgi.testing import (
    AtprotoNetwork,
    Browser,
    SignInError,
    approve,
    login_as,
)
from tests.testing.test_login_as import HOSTED, ORIGIN, SECRET, make_app


@get("/")
async def who(request: Request[Any, Any, Any]) -> dict[str, Any]:
    auth = request.scope["atproto"]  # type: ignore[typeddict-item]
    return {"handle": auth.handle}


def litestar_app(net: AtprotoNetwork) -> ATProtoOAuthMiddleware:
    # Otherwise it sets up the logging of the whole process.
    inner = Litestar([who], openapi_config=None, logging_config=None)
    return ATProtoOAuthMiddleware(inner, secret_key=SECRET, network=net.network)


def quart_app(net: AtprotoNetwork, **options: Any) -> Quart:
    app = Quart(__name__)

    @app.get("/")
    async def home() -> dict[str, Any]:
        return {"handle": request.scope["atproto"].handle}  # type: ignore[typeddict-item]

    app.asgi_app = ATProtoOAuthMiddleware(  # type: ignore[method-assign]
        app.asgi_app,
        secret_key=SECRET,
        network=net.network,
        **options,
    )
    return app


def test_litestar_client_when_logged_in_then_knows_the_person(
    atproto_network: AtprotoNetwork,
) -> None:
    """Litestar's synchronous client."""
    app = litestar_app(atproto_network)
    with TestClient(app, base_url=ORIGIN) as client:
        assert client.get("/").json() == {"handle": None}
        login_as(client, "alice.test")
        assert client.get("/").json() == {"handle": "alice.test"}


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_litestar_async_client_when_logged_in_then_knows_the_person(
    atproto_network: AtprotoNetwork,
) -> None:
    """Litestar's asynchronous client."""
    app = litestar_app(atproto_network)
    async with AsyncTestClient(app, base_url=ORIGIN) as client:
        await login_as(client, "bob.test")
        assert (await client.get("/")).json() == {"handle": "bob.test"}


def test_litestar_client_when_it_has_no_address_then_says_what_to_write(
    atproto_network: AtprotoNetwork,
) -> None:
    """Its own default is no address that browsers use."""
    with (
        TestClient(litestar_app(atproto_network)) as client,
        pytest.raises(SignInError, match=r'base_url="http://127\.0\.0\.1:8000"'),
    ):
        login_as(client, "alice.test")


# Quart runs on asyncio alone.
@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("server_name", [None, "127.0.0.1:8000", "localhost:8000"])
async def test_quart_client_when_logged_in_then_knows_the_person(
    atproto_network: AtprotoNetwork, server_name: str | None
) -> None:
    """Quart's client has no base URL; as it is, it asks `localhost`."""
    app = quart_app(atproto_network)
    app.config["SERVER_NAME"] = server_name
    async with app.test_app() as running:
        client = running.test_client()
        answer = await login_as(client, "alice.test", return_to="/?page=2")
        assert answer.headers["location"] == "/?page=2"
        found = await (await client.get("/")).get_json()
        assert found == {"handle": "alice.test"}


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("server_name", [None, HOSTED.removeprefix("https://")])
async def test_quart_client_when_app_is_hosted_then_logs_in(
    atproto_network: AtprotoNetwork, server_name: str | None
) -> None:
    """A hosted application has secure cookies, whatever its name is in tests."""
    app = quart_app(atproto_network, public_url=HOSTED)
    app.config["SERVER_NAME"] = server_name
    document = app.asgi_app._site.config.client_metadata  # type: ignore[attr-defined]
    path = "/oauth-client-metadata.json"
    atproto_network.serve_client("app.notes.internal", {path: document})
    async with app.test_app() as running:
        client = running.test_client()
        await login_as(client, "alice.test")
        found = await (await client.get("/")).get_json()
        assert found == {"handle": "alice.test"}


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_quart_client_when_login_fails_then_tells_what_the_app_said(
    atproto_network: AtprotoNetwork,
) -> None:
    """The text of the answer is in the error, as with other clients."""
    async with quart_app(atproto_network).test_app() as running:
        with pytest.raises(SignInError, match="handle_not_found"):
            await login_as(running.test_client(), "nobody.test")


def test_fastapi_client_when_logged_in_then_answer_is_a_redirect(
    atproto_network: AtprotoNetwork,
) -> None:
    """FastAPI's client is starlette's."""
    app = FastAPI()
    app.add_middleware(
        ATProtoOAuthMiddleware, secret_key=SECRET, network=atproto_network.network
    )
    with FastApiClient(app, base_url=ORIGIN) as client:
        assert login_as(client, "alice.test").status_code == 303


@asynccontextmanager
async def open_client(net: AtprotoNetwork) -> AsyncIterator[httpx.AsyncClient]:
    app = make_app(net)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as client:
        yield client
    await app._site.client.aclose()


@pytest.mark.anyio
async def test_async_client_when_login_fails_then_tells_what_the_app_said(
    atproto_network: AtprotoNetwork,
) -> None:
    """Asynchronous clients tell the same as others."""
    async with open_client(atproto_network) as client:
        with pytest.raises(SignInError, match="handle_not_found"):
            await login_as(client, "nobody.test")


@pytest.mark.anyio
async def test_async_client_when_browser_is_given_then_stays_signed_in_there(
    atproto_network: AtprotoNetwork,
) -> None:
    """Who stayed signed in at the server needs no password the next time."""
    browser = Browser()
    async with open_client(atproto_network) as client:
        await login_as(client, "alice.test", browser=browser)
        headers = {"Origin": ORIGIN}
        form = {"identifier": "alice.test"}
        answer = await client.post("/oauth/login", json=form, headers=headers)
        auth_url = answer.json()["authorization_url"]
        back = approve(auth_url, "alice.test", password="", browser=browser)
        assert (await client.get(back)).status_code == 303
