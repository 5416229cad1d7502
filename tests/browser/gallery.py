"""Every page of ours, each under an address, with its own headers."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from atproto_oauth_asgi import Pages
from atproto_oauth_asgi.exceptions import (
    HandleNotFound,
    InvalidIdentifier,
    LoginDenied,
    TimedOut,
    WrongBrowser,
)
from atproto_oauth_asgi.web.login_form import LoginForm
from atproto_oauth_asgi.web.pages import (
    error_page,
    handover_page,
    logged_out_page,
    login_page,
    logout_page,
    wrong_host_page,
)
from atproto_oauth_asgi.web.permission_page import PermissionForm, permission_page
from atproto_oauth_asgi.web.texts import Problem
from atproto_oauth_asgi.web.words import Look, Looks

_HEBREW = {
    "login_page": {
        "title": "כניסה",
        "label": "ה-handle שלך",
        "hint": "עובד עם Bluesky ועם כל שרת AT Protocol אחר.",
        "button": "המשך",
        "host_title": "כניסה דרך שרת",
    }
}
_LOOK = Looks(
    Pages(sign_up_host="bsky.social", translations={"he": _HEBREW}),
    client_name="Notes",
)
_SUGGESTING = Look(
    client_name="Notes",
    pages=Pages(suggestions_url="/suggestions", sign_up_host="bsky.social"),
)


def _login(look: Look | None = None, **members: str | Problem) -> Response:
    form = LoginForm(action="/oauth/login", return_to="/", **members)  # type: ignore[arg-type]
    return login_page(form, look=look or _LOOK.choose(None))


def _error(problem: Problem, *, incident_id: str | None = None) -> Response:
    return error_page(
        problem,
        look=_LOOK.choose(None),
        retry_url="/oauth/login",
        home_url="/",
        incident_id=incident_id,
        host="pds.example.com",
    )


def _handover() -> Response:
    page = handover_page(
        authorization_url="https://pds.example.com/oauth/authorize",
        host="pds.example.com",
        look=_LOOK.choose(None),
    )
    del page.headers["refresh"]
    return page


def _logout() -> Response:
    return logout_page(
        action="/oauth/logout",
        return_to=None,
        account="alice.example.com",
        home_url="/",
        look=_LOOK.choose(None),
    )


def _permission(*, is_again: bool) -> Response:
    form = PermissionForm(
        action="/oauth/login",
        account="alice.example.com",
        did="did:plc:ewvi7nxzyoun6zhxrhs64oiz",
        scope="atproto repo:com.example.post",
        missing=["repo:com.example.post"],
        return_to="/write",
        home_url="/",
        is_again=is_again,
    )
    return permission_page(form, look=_LOOK.choose(None))


PAGES: Mapping[str, Callable[[], Response]] = {
    "login": _login,
    "login-with-suggestions": lambda: _login(_SUGGESTING),
    "login-in-hebrew": lambda: _login(_LOOK.choose("he")),
    "login-unnamed": lambda: _login(Look()),
    "unknown-handle": lambda: _login(
        identifier="alise.example.com", problem=HandleNotFound("x")
    ),
    "host-away": lambda: _login(
        host="bsky/x", problem=InvalidIdentifier("x", meant="server")
    ),
    "log-in-again": lambda: _login(identifier="alice.example.com", reason="expired"),
    "session-lost": lambda: _login(reason="revoked"),
    "already-logged-in": lambda: _login(account="alice.example.com"),
    "permission": lambda: _permission(is_again=False),
    "permission-again": lambda: _permission(is_again=True),
    "hand-over": _handover,
    "declined": lambda: _error(LoginDenied("x", error="access_denied")),
    "wrong-browser": lambda: _error(WrongBrowser("x"), incident_id="a8fe5e0c"),
    "timed-out": lambda: _error(TimedOut("x"), incident_id="a8fe5e0c"),
    "unexpected": lambda: _error(None, incident_id="a8fe5e0c"),
    "log-out": _logout,
    "logged-out": lambda: logged_out_page(
        login_url="/oauth/login", home_url="/", look=_LOOK.choose(None)
    ),
    "wrong-host": lambda: wrong_host_page(
        url="http://127.0.0.1:8000/", look=_LOOK.choose(None)
    ),
}


async def _show(request: Request) -> Response:
    make = PAGES.get(request.path_params["name"])
    return make() if make else Response(status_code=404)


async def _suggest(request: Request) -> Response:
    known = [
        {"handle": "alice.example.com", "displayName": "Alice <3"},
        {"handle": "alina.example.com", "displayName": ""},
    ]
    typed = request.query_params["q"]
    return JSONResponse(
        {"actors": [each for each in known if each["handle"].startswith(typed)]}
    )


app = Starlette(
    routes=[Route("/suggestions", _suggest), Route("/{name}", _show)],
)
