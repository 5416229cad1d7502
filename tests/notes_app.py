"""A small application behind the middleware, for the end-to-end tests."""

from __future__ import annotations

from typing import Any, Unpack

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from atproto_oauth_asgi import ATProtoAuth, ATProtoOAuthMiddleware, Network, OAuthError
from atproto_oauth_asgi.config import OAuthOptions
from tests.reference_network.process import ReferenceNetwork

SECRET = b"a secret of the tests, 32 bytes or more"
COLLECTION = "com.example.note"


def make_app(
    reference: ReferenceNetwork, **options: Unpack[OAuthOptions]
) -> ATProtoOAuthMiddleware:
    """Return the application, connected to the reference network."""
    merged: OAuthOptions = {
        "secret_key": SECRET,
        "client_name": "Notes",
        "scope": f"atproto repo:{COLLECTION}",
        "network": development(reference),
        **options,
    }
    return ATProtoOAuthMiddleware(Starlette(routes=_ROUTES), **merged)


def development(reference: ReferenceNetwork) -> Network:
    """Return the options that reach the reference network."""
    return Network.development(
        plc_url=reference.plc_url, handle_resolver_url=reference.pds_url
    )


def _auth(request: Request) -> ATProtoAuth:
    auth: ATProtoAuth = request.scope["atproto"]
    return auth


async def who(request: Request) -> Response:
    """Tell who is there."""
    auth = _auth(request)
    return JSONResponse({"did": auth.did, "handle": auth.handle, "reason": auth.reason})


async def post_note(request: Request) -> Response:
    """Write a record as the person who is there."""
    auth = _auth(request)
    body: dict[str, Any] = {
        "repo": auth.require(),
        "collection": COLLECTION,
        "record": {"text": request.query_params["text"]},
    }
    try:
        answer = await auth.client.procedure("com.atproto.repo.createRecord", json=body)
    except OAuthError as error:
        return JSONResponse({"code": error.code}, status_code=error.status_hint)
    return Response(answer.content, answer.status_code, media_type="application/json")


async def strict_page(request: Request) -> Response:
    """Hold a login form of the application's own, under a strict CSP."""
    form = """<form method="post" action="/oauth/login">
        <input name="identifier" value="alice.test"><button>Enter</button></form>"""
    csp = "default-src 'none'; form-action 'self'"
    return HTMLResponse(form, headers={"Content-Security-Policy": csp})


_ROUTES = [
    Route("/", who),
    Route("/notes", post_note, methods=["POST"]),
    Route("/strict", strict_page),
]
