"""The application of the demo: notes in your own repository."""

from __future__ import annotations

import os
import secrets
from html import escape
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from atproto_oauth_asgi.middleware import ATProtoOAuthMiddleware
from atproto_oauth_asgi.network.pds import raise_for_xrpc
from atproto_oauth_asgi.network_options import Network
from atproto_oauth_asgi.web.auth import current_auth

_NOTE = "com.example.note"
_MOST_BYTES = 4096
_HEAD = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Notes</title>
<meta name="viewport" content="width=device-width"><meta name="color-scheme"
content="light dark"><style>body { font: 1.1rem/1.6 system-ui; max-width: 30rem;
margin: 3rem auto; padding: 0 1rem }</style>"""


async def home(_: Request) -> Response:
    """Show who is logged in, and their notes."""
    auth = current_auth()
    if not auth.is_authenticated:
        page = f'{_HEAD}<h1>Notes</h1><a href="{escape(auth.login_url())}">Log in</a>'
        return HTMLResponse(page)
    query = {"repo": auth.require(), "collection": _NOTE}
    answer = await auth.client.query("com.atproto.repo.listRecords", query)
    records = raise_for_xrpc(answer).json()["records"]
    notes = (escape(str(record["value"].get("text"))) for record in records)
    return HTMLResponse(f"""{_HEAD}<p>You are {escape(auth.handle or auth.require())}.</p>
        <form method="post" action="/notes"><input name="text" aria-label="Note">
        <button>Post</button></form>
        <ul>{"".join(f"<li>{note}</li>" for note in notes)}</ul>
        <form method="post" action="/oauth/logout"><button>Log out</button></form>""")


async def post_note(request: Request) -> Response:
    """Write a note into the repository of whoever is logged in."""
    auth = current_auth()
    if not auth.is_authenticated:
        return RedirectResponse(auth.login_url(), status_code=303)
    body = (await request.body())[:_MOST_BYTES].decode("utf-8", "replace")
    record = {"text": dict(parse_qsl(body)).get("text", "")}
    content = {"repo": auth.require(), "collection": _NOTE, "record": record}
    answer = await auth.client.procedure("com.atproto.repo.createRecord", json=content)
    raise_for_xrpc(answer)
    return RedirectResponse("/", status_code=303)


def make_app() -> Starlette:
    """Return the application, for the network that the environment names."""
    plc_url = os.environ.get("ATPROTO_PLC_URL")
    resolver_url = os.environ.get("ATPROTO_HANDLE_RESOLVER_URL")
    network = Network()
    if plc_url is not None:
        network = Network.development(plc_url=plc_url, handle_resolver_url=resolver_url)
    return Starlette(
        routes=[Route("/", home), Route("/notes", post_note, methods=["POST"])],
        middleware=[
            Middleware(
                ATProtoOAuthMiddleware,
                # It lives as long as the demo.
                secret_key=secrets.token_bytes(32),
                client_name="Notes",
                scope=f"atproto repo:{_NOTE}",
                network=network,
            )
        ],
    )


app: Starlette = make_app()
"""What uvicorn runs."""
