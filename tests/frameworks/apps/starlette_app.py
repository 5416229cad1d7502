"""Starlette."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import (
    JSONResponse,
    PlainTextResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route

from atproto_oauth_asgi import ATProtoOAuthMiddleware
from atproto_oauth_asgi.starlette import login_required, require_scope
from tests.frameworks.apps.behaviour import OPTIONS, PHOTOS, lines, post_note, who


async def home(request: Request) -> Response:
    return JSONResponse(who(request.scope["atproto"]))


async def notes(request: Request) -> Response:
    status, body = await post_note(request.scope["atproto"])
    return JSONResponse(body, status)


async def leave(request: Request) -> Response:
    await request.scope["atproto"].logout()
    return JSONResponse({})


async def stream(request: Request) -> Response:
    return StreamingResponse(lines(request.scope["atproto"]))


@login_required
async def page(request: Request) -> Response:
    return PlainTextResponse(request.scope["atproto"].require())


@require_scope(PHOTOS)
async def photos(request: Request) -> Response:
    return PlainTextResponse(request.scope["atproto"].require())


app = Starlette(
    routes=[
        Route("/", home),
        Route("/notes", notes, methods=["POST"]),
        Route("/leave", leave, methods=["POST"]),
        Route("/stream", stream),
        Route("/page", page),
        Route("/photos", photos, methods=["GET", "POST"]),
    ]
)
app.add_middleware(ATProtoOAuthMiddleware, **OPTIONS)
