"""An application with links, forms and scripts of its own, for tests in a browser."""

from __future__ import annotations

from html import escape
from typing import Any, Unpack

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from atproto_oauth_asgi import ATProtoAuth, ATProtoOAuthMiddleware
from atproto_oauth_asgi.config import OAuthOptions
from tests.notes_app import SECRET, development
from tests.reference_network.process import ReferenceNetwork

_PAGE = """<!doctype html><html lang="en"><title>Desk</title><h1>{who}</h1>
<p id="here">{here}</p><a href="{login_url}">Log in</a>
<form method="post" action="/oauth/logout"><button>Log out</button></form>"""
_SCRIPT = """<!doctype html><html lang="en"><title>Script</title><h1 id="who">?</h1>
<button id="in">In</button><button id="out">Out</button><script>
const post = (path, members) => fetch(path, {method: "POST", body:
  JSON.stringify(members), headers: {"Content-Type": "application/json"}});
const show = async () => {
  const session = await (await fetch("/oauth/session")).json();
  document.getElementById("who").textContent = session.handle ?? "nobody";
};
document.getElementById("in").onclick = async () => {
  const answer = await post("/oauth/login", {identifier: "alice.test", return_to: "/spa"});
  location = (await answer.json()).authorization_url;
};
document.getElementById("out").onclick = async () => {
  await post("/oauth/logout", {}); await show();
};
show();
</script>"""


def make_desk(
    reference: ReferenceNetwork, **options: Unpack[OAuthOptions]
) -> ATProtoOAuthMiddleware:
    """Return the application, connected to the reference network."""
    merged: OAuthOptions = {
        "secret_key": SECRET,
        "client_name": "Desk",
        "network": development(reference),
        **options,
    }
    routes = [Route("/spa", _show_script), Route("/{path:path}", _show)]
    return ATProtoOAuthMiddleware(Starlette(routes=routes), **merged)


async def _show(request: Request) -> Response:
    auth: ATProtoAuth = request.scope["atproto"]
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    page = _PAGE.format(
        who=auth.handle or "nobody",
        here=escape(here),
        login_url=escape(auth.login_url(return_to=here)),
    )
    return HTMLResponse(page)


async def _show_script(_: Request) -> Response:
    return HTMLResponse(_SCRIPT)


def other_site(html: str) -> Any:
    """Return an application of somebody else's: one page."""

    async def show(_: Request) -> Response:
        return HTMLResponse(f"<!doctype html><title>Other</title>{html}")

    return Starlette(routes=[Route("/", show)])
