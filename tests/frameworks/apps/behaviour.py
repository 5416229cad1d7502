"""What every application here does; each framework only leads requests to it.

| request | answer |
| --- | --- |
| `GET /` | who is there |
| `POST /notes` | writes a record; says how that went |
| `POST /leave` | logs out |
| `GET /stream` | a few lines, one after the other |
| `GET /page`, `/photos` | the DID, where the framework has glue |
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any

import anyio

from atproto_oauth_asgi import ATProtoAuth, Network, OAuthError, raise_for_xrpc
from atproto_oauth_asgi.config import OAuthOptions

NOTE = "com.example.note"
PHOTOS = "blob:image/*"
LINES = 3

OPTIONS: OAuthOptions = {
    "secret_key": os.environ.get("SECRET_KEY", "a-secret-of-the-tests-of-32-bytes"),
    "scope": f"atproto repo:{NOTE} {PHOTOS}",
    "network": Network.development(
        plc_url=os.environ.get("ATPROTO_PLC_URL", "http://localhost:1"),
        handle_resolver_url=os.environ.get("ATPROTO_HANDLE_RESOLVER_URL"),
    ),
}


def who(auth: ATProtoAuth) -> dict[str, Any]:
    """Tell who is there."""
    return {"did": auth.did, "handle": auth.handle, "reason": auth.reason}


async def post_note(auth: ATProtoAuth) -> tuple[int, dict[str, Any]]:
    """Write a record into the person's repository; return status and JSON."""
    try:
        record = {"text": "from a framework", "createdAt": "2026-01-01T00:00:00Z"}
        body = {"repo": auth.require(), "collection": NOTE, "record": record}
        answer = await auth.client.procedure("com.atproto.repo.createRecord", json=body)
        return 200, {"uri": raise_for_xrpc(answer).json()["uri"]}
    except OAuthError as error:
        return error.status_hint, {"code": error.code}


async def lines(auth: ATProtoAuth) -> AsyncIterator[bytes]:
    """Give a line now and then."""
    for number in range(LINES):
        await anyio.sleep(0.01)
        yield f"{number} {auth.did}\n".encode()
