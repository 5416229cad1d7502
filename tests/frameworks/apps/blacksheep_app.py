"""BlackSheep."""

# Its handlers are read by their annotations, which must not be text.

from collections.abc import AsyncIterator

from blacksheep import Application, Request, Response, StreamedContent, json

from atproto_oauth_asgi import ATProtoOAuthMiddleware, current_auth
from tests.frameworks.apps.behaviour import OPTIONS, lines, post_note, who

blacksheep_app = Application()


@blacksheep_app.router.get("/")
async def home(_: Request) -> Response:
    return json(who(current_auth()))


@blacksheep_app.router.post("/notes")
async def notes(_: Request) -> Response:
    status, body = await post_note(current_auth())
    return json(body, status)


@blacksheep_app.router.post("/leave")
async def leave(_: Request) -> Response:
    await current_auth().logout()
    return json({})


@blacksheep_app.router.get("/stream")
async def stream(_: Request) -> Response:
    auth = current_auth()

    async def provider() -> AsyncIterator[bytes]:
        async for line in lines(auth):
            yield line

    return Response(200, None, StreamedContent(b"text/plain", provider))


app = ATProtoOAuthMiddleware(blacksheep_app, **OPTIONS)
