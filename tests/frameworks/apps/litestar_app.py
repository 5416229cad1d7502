"""Litestar."""

from __future__ import annotations

from typing import Any

from litestar import Litestar, MediaType, Request, Response, get, post, route
from litestar.di import NamedDependency
from litestar.response import Stream

from atproto_oauth_asgi import ATProtoOAuthMiddleware
from atproto_oauth_asgi.litestar import login_required, provide_user, require_scope
from tests.frameworks.apps.behaviour import OPTIONS, PHOTOS, lines, post_note, who


@get("/")
async def home(request: Request[Any, Any, Any]) -> dict[str, Any]:
    return who(request.scope["atproto"])  # type: ignore[typeddict-item]


@post("/notes")
async def notes(request: Request[Any, Any, Any]) -> Response[dict[str, Any]]:
    status, body = await post_note(request.scope["atproto"])  # type: ignore[typeddict-item]
    return Response(body, status_code=status)


@post("/leave", status_code=200)
async def leave(request: Request[Any, Any, Any]) -> dict[str, Any]:
    await request.scope["atproto"].logout()  # type: ignore[typeddict-item]
    return {}


@get("/stream")
async def stream(request: Request[Any, Any, Any]) -> Stream:
    return Stream(lines(request.scope["atproto"]))  # type: ignore[typeddict-item]


@get(
    "/page",
    guards=[login_required],
    dependencies={"did": provide_user},
    media_type=MediaType.TEXT,
)
async def page(did: NamedDependency[str]) -> str:
    return did


@route(
    "/photos",
    http_method=["GET", "POST"],
    guards=[require_scope(PHOTOS)],
    dependencies={"did": provide_user},
    media_type=MediaType.TEXT,
)
async def photos(did: NamedDependency[str]) -> str:
    return did


app = ATProtoOAuthMiddleware(
    Litestar([home, notes, leave, stream, page, photos]), **OPTIONS
)
