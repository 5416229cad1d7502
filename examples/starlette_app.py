"""Log in, and see who your PDS says you are: Starlette.

    uvicorn examples.starlette_app:app --port 8000

Then open http://127.0.0.1:8000.
"""

import html
import os

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from atproto_oauth_asgi import (
    ATProtoAuth,
    ATProtoOAuthMiddleware,
    Network,
    raise_for_xrpc,
)

network = Network()
if plc_url := os.environ.get("ATPROTO_PLC_URL"):
    resolver_url = os.environ["ATPROTO_HANDLE_RESOLVER_URL"]
    network = Network.development(plc_url=plc_url, handle_resolver_url=resolver_url)


async def home(request: Request) -> Response:
    auth: ATProtoAuth = request.scope["atproto"]
    if not auth.is_authenticated:
        return RedirectResponse(auth.login_url(return_to="/"), status_code=303)
    return HTMLResponse(f"""<p>You are {html.escape(auth.handle or auth.require())}.
        <a href="/whoami">What does your PDS say?</a></p>
        <form method="post" action="/oauth/logout"><button>Log out</button></form>""")


async def whoami(request: Request) -> Response:
    auth: ATProtoAuth = request.scope["atproto"]
    if not auth.is_authenticated:
        return JSONResponse({"error": "log in first"}, status_code=401)
    answer = await auth.client.query("com.atproto.server.getSession")
    return JSONResponse(raise_for_xrpc(answer).json())


app = Starlette(
    routes=[Route("/", home), Route("/whoami", whoami)],
    middleware=[
        Middleware(
            ATProtoOAuthMiddleware,
            secret_key=os.environ.get("SECRET_KEY") or os.urandom(32),
            network=network,
        )
    ],
)
