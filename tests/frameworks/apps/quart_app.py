"""Quart."""

from __future__ import annotations

from typing import Any

from quart import Quart, Response

from atproto_oauth_asgi.quart import (
    ATProtoOAuth,
    current_auth,
    login_required,
    require_scope,
)
from tests.frameworks.apps.behaviour import OPTIONS, PHOTOS, lines, post_note, who

app = Quart(__name__)
ATProtoOAuth(**OPTIONS).init_app(app)


@app.get("/")
async def home() -> dict[str, Any]:
    return who(current_auth())


@app.post("/notes")
async def notes() -> tuple[dict[str, Any], int]:
    status, body = await post_note(current_auth())
    return body, status


@app.post("/leave")
async def leave() -> dict[str, Any]:
    await current_auth().logout()
    return {}


@app.get("/stream")
async def stream() -> Response:
    return Response(lines(current_auth()))


@app.get("/page")
@login_required
async def page() -> str:
    return current_auth().require()


@app.route("/photos", methods=["GET", "POST"])
@require_scope(PHOTOS)
async def photos() -> str:
    return current_auth().require()


@app.get("/plain-page")
@login_required
def plain_page() -> str:
    return current_auth().require()
