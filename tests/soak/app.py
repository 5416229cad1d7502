"""The application under the soak: it tells who is there, and which process says so."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from atproto_oauth_asgi import (
    ATProtoAuth,
    ATProtoOAuthMiddleware,
    LoginLimits,
    MemoryStore,
    Network,
    OAuthError,
    PostgresStore,
    RecordStore,
    RedisStore,
    SQLiteStore,
)


async def who(request: Request) -> JSONResponse:
    """Tell who this is; with ``?ask`` the PDS is asked as well."""
    auth: ATProtoAuth = request.scope["atproto"]
    told: dict[str, Any] = {"pid": os.getpid()}
    if auth.did is not None and "ask" in request.query_params:
        try:
            answer = await auth.client.query("com.atproto.server.getSession")
            told["status"] = answer.status_code
        except OAuthError as error:
            told["code"] = error.code
    told |= {"did": auth.did, "reason": auth.reason}
    if auth.did is not None:
        session = auth.session
        told["renewals"] = session.renewals
        told["ends_at"] = session.expires_at and session.expires_at.timestamp()
    return JSONResponse(told)


def _store(url: str) -> RecordStore:
    if url.startswith("postgresql:"):
        return PostgresStore(url)
    if url.startswith("unix:"):
        return RedisStore(url)
    return MemoryStore() if url == "memory:" else SQLiteStore(url)


def _options() -> dict[str, Any]:
    options: dict[str, Any] = {"session": os.environ["SESSION"]}
    if url := os.environ.get("STORE"):
        options["store"] = _store(url)
    return options


_network = Network.development(
    plc_url=os.environ["ATPROTO_PLC_URL"],
    handle_resolver_url=os.environ["ATPROTO_HANDLE_RESOLVER_URL"],
)

app = Starlette(
    routes=[Route("/", who)],
    middleware=[
        Middleware(
            ATProtoOAuthMiddleware,
            secret_key="a secret of the soak, 32 bytes or more",
            # So that the front knows who asks.
            network=replace(_network, user_agent=f"soak/{os.getpid()}"),
            limits=LoginLimits(concurrent=None, per_target_host_per_minute=None),
            **_options(),
        )
    ],
)
