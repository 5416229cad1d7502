"""FastAPI."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, FastAPI, Response
from fastapi.responses import PlainTextResponse, StreamingResponse

from atproto_oauth_asgi import ATProtoAuth, ATProtoOAuthMiddleware
from atproto_oauth_asgi.fastapi import current_auth, page_user, require_scope
from tests.frameworks.apps.behaviour import OPTIONS, PHOTOS, lines, post_note, who

app = FastAPI()
app.add_middleware(ATProtoOAuthMiddleware, **OPTIONS)
Auth = Annotated[ATProtoAuth, Depends(current_auth)]


@app.get("/")
def home(auth: Auth) -> dict[str, Any]:
    return who(auth)


@app.post("/notes")
async def notes(auth: Auth, response: Response) -> dict[str, Any]:
    response.status_code, body = await post_note(auth)
    return body


@app.post("/leave")
async def leave(auth: Auth) -> dict[str, Any]:
    await auth.logout()
    return {}


@app.get("/stream")
async def stream(auth: Auth) -> StreamingResponse:
    return StreamingResponse(lines(auth))


@app.get("/page", response_class=PlainTextResponse)
async def page(did: Annotated[str, Depends(page_user)]) -> str:
    return did


@app.get("/photos", response_class=PlainTextResponse)
@app.post("/photos", response_class=PlainTextResponse)
async def photos(did: Annotated[str, Depends(require_scope(PHOTOS))]) -> str:
    return did
