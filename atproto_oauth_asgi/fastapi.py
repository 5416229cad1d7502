"""FastAPI: dependencies for who is there.

@app.get("/me")
async def me(did: Annotated[str, Depends(current_user)]): ...
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, HTTPException
from starlette.requests import HTTPConnection

from atproto_oauth_asgi.network.pds import PDSClient
from atproto_oauth_asgi.web.arrivals import (
    CHALLENGE,
    LOG_IN_FIRST,
    SEE_OTHER,
    UNAUTHORIZED,
    login_location,
)
from atproto_oauth_asgi.web.auth import ATProtoAuth
from atproto_oauth_asgi.web.auth import current_auth as _current_auth


async def current_auth() -> ATProtoAuth:
    """Return the ``ATProtoAuth`` of the request; it may be anonymous."""
    return _current_auth()


async def optional_user(
    auth: Annotated[ATProtoAuth, Depends(current_auth)],
) -> str | None:
    """Return the DID of the person, None for nobody."""
    return auth.did


async def current_user(auth: Annotated[ATProtoAuth, Depends(current_auth)]) -> str:
    """Return the DID of the person; nobody is answered 401.

    For an API. A page that a person opens wants ``page_user``.
    """
    if auth.did is None:
        raise HTTPException(UNAUTHORIZED, LOG_IN_FIRST, headers=CHALLENGE)
    return auth.did


async def page_user(
    connection: HTTPConnection,
    auth: Annotated[ATProtoAuth, Depends(current_auth)],
) -> str:
    """Return the DID of the person; nobody is sent to log in, and then back here.

    Only a browser that opens a page is sent; anything else is answered 401.
    """
    if auth.did is not None:
        return auth.did
    location = login_location(auth, connection.scope)
    if location is None:
        return await current_user(auth)
    raise HTTPException(SEE_OTHER, LOG_IN_FIRST, headers={"Location": location})


async def pds_client(
    auth: Annotated[ATProtoAuth, Depends(current_auth)],
) -> PDSClient:
    """Return a client that speaks to the person's PDS; nobody is answered 401."""
    await current_user(auth)
    return auth.client
