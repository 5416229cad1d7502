"""The notes application with a store for all of its workers; see ``test_workers``."""

from __future__ import annotations

import os
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from atproto_oauth_asgi import (
    ATProtoAuth,
    ATProtoOAuthMiddleware,
    Network,
    OAuthError,
    SQLiteStore,
)


async def who(request: Request) -> JSONResponse:
    """Ask the PDS who this is, and tell which process did."""
    auth: ATProtoAuth = request.scope["atproto"]
    told: dict[str, Any] = {"pid": os.getpid(), "did": auth.did, "reason": auth.reason}
    if auth.did is not None:
        try:
            answer = await auth.client.query("com.atproto.server.getSession")
            told["status"] = answer.status_code
        except OAuthError as error:
            told["code"] = error.code
    return JSONResponse(told)


app = Starlette(
    routes=[Route("/", who)],
    middleware=[
        Middleware(
            ATProtoOAuthMiddleware,
            secret_key="a secret of the tests, 32 bytes or more",
            store=SQLiteStore(os.environ["STORE"]),
            network=Network.development(
                plc_url=os.environ["ATPROTO_PLC_URL"],
                handle_resolver_url=os.environ["ATPROTO_HANDLE_RESOLVER_URL"],
            ),
        )
    ],
)
