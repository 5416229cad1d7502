"""Falcon."""

from __future__ import annotations

import falcon.asgi
from falcon.asgi import Request, Response

from atproto_oauth_asgi import ATProtoOAuthMiddleware
from tests.frameworks.apps.behaviour import OPTIONS, lines, post_note, who


class Home:
    async def on_get(self, req: Request, resp: Response) -> None:
        resp.media = who(req.scope["atproto"])


class Notes:
    async def on_post(self, req: Request, resp: Response) -> None:
        resp.status, resp.media = await post_note(req.scope["atproto"])


class Leave:
    async def on_post(self, req: Request, resp: Response) -> None:
        await req.scope["atproto"].logout()
        resp.media = {}


class Stream:
    async def on_get(self, req: Request, resp: Response) -> None:
        resp.stream = lines(req.scope["atproto"])


falcon_app = falcon.asgi.App()
falcon_app.add_route("/", Home())
falcon_app.add_route("/notes", Notes())
falcon_app.add_route("/leave", Leave())
falcon_app.add_route("/stream", Stream())

app = ATProtoOAuthMiddleware(falcon_app, **OPTIONS)
