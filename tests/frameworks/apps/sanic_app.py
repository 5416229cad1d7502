"""Sanic, under an ASGI server; its own server goes round the middleware."""

from __future__ import annotations

from sanic import HTTPResponse, Request, Sanic
from sanic.response import json

from atproto_oauth_asgi import ATProtoOAuthMiddleware, current_auth
from tests.frameworks.apps.behaviour import OPTIONS, lines, post_note, who

sanic_app = Sanic("tests")


@sanic_app.get("/")
async def home(_: Request) -> HTTPResponse:
    return json(who(current_auth()))


@sanic_app.post("/notes")
async def notes(_: Request) -> HTTPResponse:
    status, body = await post_note(current_auth())
    return json(body, status)


@sanic_app.post("/leave")
async def leave(_: Request) -> HTTPResponse:
    await current_auth().logout()
    return json({})


@sanic_app.get("/stream")
async def stream(request: Request) -> None:
    response = await request.respond(content_type="text/plain")
    async for line in lines(current_auth()):
        await response.send(line.decode())
    await response.eof()


app = ATProtoOAuthMiddleware(sanic_app, **OPTIONS)
