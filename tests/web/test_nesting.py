"""Several middlewares around one application: apart, or refused at once."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from atproto_oauth_asgi import ATProtoOAuthMiddleware, ConfigurationError
from tests.sessions.making import ALICE, SECRET, make_session
from tests.web.desk import HELLO, Desk
from tests.web.driving import PUBLIC_URL, ask, http_scope, make_middleware

pytestmark = pytest.mark.anyio

TWICE = "ATProtoOAuthMiddleware is around this application twice"
PATHS = {
    "metadata_path": "/other/client.json",
    "jwks_path": "/other/jwks.json",
    "login_path": "/other/login",
    "callback_path": "/other/callback",
    "logout_path": "/other/logout",
    "session_path": "/other/session",
}
OTHER: dict[str, Any] = {**PATHS, "scope_key": "other"}


async def both(request: Request) -> Response:
    """Who is there, to each of two."""
    keys = ("atproto", "other")
    return JSONResponse({key: request.scope[key].did for key in keys})


@pytest.mark.covers("ASGI-13", "ASG-07", "COOKIE-04")
async def test_two_when_names_differ_then_each_has_its_own_session() -> None:
    """Both answer their routes, and neither takes the cookie of the other."""
    inner = Desk(Starlette(routes=[Route("/", both)]), **OTHER)
    outer = Desk(inner.app)
    expected = {
        outer.cookie(make_session()): b'{"atproto":"%s","other":null}',
        inner.cookie(make_session()): b'{"atproto":null,"other":"%s"}',
    }
    for cookie, body in expected.items():
        sent = await outer.get("/", cookie)
        assert sent.body == body % ALICE.encode()
    for path, action in (("/oauth/login", "oauth"), ("/other/login", "other")):
        assert f'action="/{action}/login"'.encode() in (await outer.get(path)).body


@pytest.mark.covers("ASGI-14", "ASGI-13", "ASG-07")
async def test_middleware_when_around_itself_then_refused() -> None:
    """A second ``add_middleware`` by mistake does not start."""
    inner = make_middleware(HELLO)
    for between in (inner, GZipMiddleware(inner)):
        with pytest.raises(ConfigurationError, match=TWICE):
            make_middleware(between)
    app = Starlette()
    for _ in range(2):
        app.add_middleware(
            ATProtoOAuthMiddleware, secret_key=SECRET, public_url=PUBLIC_URL
        )
    with pytest.raises(ConfigurationError, match=TWICE):
        await ask(app, http_scope())


async def test_middleware_when_an_application_holds_itself_then_starts_all_the_same() -> (
    None
):
    """``app`` is a name that applications may use for what they like."""

    class Ring:
        def __init__(self) -> None:
            self.app = self

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await HELLO(scope, receive, send)

    sent = await ask(make_middleware(Ring()), http_scope())
    assert sent.body == b"nobody"


@pytest.mark.covers("ASGI-14")
@pytest.mark.parametrize("is_mounted", [True, False])
async def test_middleware_when_hidden_in_itself_then_the_first_request_tells(
    is_mounted: bool,
) -> None:
    """Inside of a mount, or of an application that builds its middleware late."""
    inner = make_middleware(HELLO)
    hidden: Any = Starlette(routes=[Mount("/", inner)])
    if not is_mounted:
        hidden = Starlette(routes=[Mount("/", HELLO)])
        hidden.add_middleware(
            ATProtoOAuthMiddleware, secret_key=SECRET, public_url=PUBLIC_URL
        )
    with pytest.raises(ConfigurationError, match=TWICE):
        await ask(make_middleware(hidden), http_scope())


@pytest.mark.covers("ASGI-13", "ASG-07")
@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (PATHS, "scope_key: both .* have 'atproto'"),
        ({"scope_key": "other", "cookie_name": "other"}, "paths: .* /oauth/login"),
        ({**OTHER, "login_path": "/oauth/login"}, "paths: .* have /oauth/login$"),
        ({**OTHER, "cookie_name": "mine"}, TWICE),
    ],
)
async def test_two_when_they_share_a_name_then_refused(
    options: dict[str, Any], problem: str
) -> None:
    """What one would hide of the other is said before anything is served."""
    named = {"cookie_name": "mine"} if problem == TWICE else {}
    inner = make_middleware(HELLO, **options)
    with pytest.raises(ConfigurationError, match=problem):
        make_middleware(inner, **named)


@pytest.mark.covers("ASGI-13")
async def test_mount_when_it_has_its_own_client_then_that_one_counts_inside() -> None:
    """A mounted application with another client may use the same key in its scope."""
    inner = Desk(HELLO, public_url=f"{PUBLIC_URL}/shop")
    outer = Desk(Starlette(routes=[Mount("/shop", inner.app)]))
    cookies = (inner.cookie(make_session()), outer.cookie(make_session()))
    bodies = [(await outer.get("/shop/", cookie)).body for cookie in cookies]
    assert bodies == [ALICE.encode(), b"nobody"]
    sent = await outer.get("/shop/oauth/login")
    assert b'action="/shop/oauth/login"' in sent.body
