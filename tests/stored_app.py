"""An application whose workers share what they know; see ``test_workers``.

Its settings come from the environment: ``STORE`` is the path of an SQLite file,
``SESSION`` the mode, and ``SECRETS`` holds the secrets with a comma between them, newest first.
"""

from __future__ import annotations

import json
import os
from typing import Any, cast

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from atproto_oauth_asgi import (
    ATProtoAuth,
    ATProtoOAuthMiddleware,
    Network,
    OAuthError,
    SQLiteStore,
)
from atproto_oauth_asgi.config import OAuthOptions

SECRET = "a-secret-of-the-tests-of-32-bytes-or-more"

# Whoever comes again meets any of the workers.
_ONCE = {"Connection": "close"}

_PAGE = """<!doctype html>
<title>Page {number}</title>
<h1>Page {number}</h1>
<p id="who">{who}</p>
<p><a href="/oauth/login?return_to=/page/1">Log in</a> <a href="/page/{next}">On</a></p>
<img src="/picture" alt="">
<ul id="told"></ul>
<script>
for (let count = 0; count < 6; count += 1) {{
  fetch("/").then((answer) => answer.text()).then((text) => {{
    const item = document.createElement("li");
    item.textContent = text;
    document.getElementById("told").append(item);
  }});
}}
</script>
"""


async def tell_who(request: Request) -> dict[str, Any]:
    """Ask the PDS who this is, and tell which process did."""
    auth: ATProtoAuth = request.scope["atproto"]
    told: dict[str, Any] = {"pid": os.getpid(), "did": auth.did, "reason": auth.reason}
    if auth.did is not None:
        try:
            answer = await auth.client.query("com.atproto.server.getSession")
            told["status"] = answer.status_code
        except OAuthError as error:
            told["code"] = error.code
    return told


async def who(request: Request) -> Response:
    """Tell it to a script."""
    return JSONResponse(await tell_who(request), headers=_ONCE)


async def page(request: Request) -> Response:
    """Show it, and let the page's script ask several times more at once."""
    told = json.dumps(await tell_who(request))
    number = request.path_params["number"]
    html = _PAGE.format(number=number, next=number + 1, who=told)
    return HTMLResponse(html, headers=_ONCE)


async def picture(request: Request) -> Response:
    """Answer a request that is not worth new tokens."""
    svg = '<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>'
    return Response(svg, media_type="image/svg+xml", headers=_ONCE)


def _options() -> OAuthOptions:
    options: OAuthOptions = {
        "secret_key": os.environ.get("SECRETS", SECRET).split(","),
        "network": Network.development(
            plc_url=os.environ["ATPROTO_PLC_URL"],
            handle_resolver_url=os.environ["ATPROTO_HANDLE_RESOLVER_URL"],
        ),
    }
    if "STORE" in os.environ:
        options["store"] = SQLiteStore(os.environ["STORE"])
    if "SESSION" in os.environ:
        options["session"] = cast("Any", os.environ["SESSION"])
    return options


app = Starlette(
    routes=[
        Route("/", who),
        Route("/page/{number:int}", page),
        Route("/picture", picture),
    ],
    middleware=[Middleware(ATProtoOAuthMiddleware, **_options())],
)
