"""Flask behind a2wsgi: views are plain functions, in threads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from a2wsgi import WSGIMiddleware
from flask import Flask, Response

from atproto_oauth_asgi import ATProtoAuth, ATProtoOAuthMiddleware, current_auth
from tests.frameworks.apps.behaviour import LINES, OPTIONS, post_note, who

flask_app = Flask(__name__)


@flask_app.get("/")
def home() -> dict[str, Any]:
    return who(current_auth())


@flask_app.post("/notes")
def notes() -> tuple[dict[str, Any], int]:
    auth = current_auth()
    if not auth.is_authenticated:
        return {"code": "not_authenticated"}, 401
    status, body = auth.wait(post_note, auth)
    return body, status


@flask_app.post("/leave")
def leave() -> dict[str, Any]:
    auth = current_auth()
    auth.wait(auth.logout)
    return {}


def _lines(auth: ATProtoAuth) -> Iterator[str]:
    yield from (f"{number} {auth.did}\n" for number in range(LINES))


@flask_app.get("/stream")
def stream() -> Response:
    return Response(_lines(current_auth()))


app = ATProtoOAuthMiddleware(WSGIMiddleware(flask_app), **OPTIONS)  # type: ignore[arg-type]
