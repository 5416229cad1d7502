"""Litestar: dependencies for who is there, and a guard for pages.

@get("/notes", guards=[login_required], dependencies={"did": provide_user})
async def notes(did: str) -> str: ...
"""

from __future__ import annotations

from typing import Any, cast

from litestar.connection import ASGIConnection
from litestar.di import Provide
from litestar.exceptions import HTTPException, NotAuthorizedException
from litestar.handlers import BaseRouteHandler

from atproto_oauth_asgi.network.pds import PDSClient
from atproto_oauth_asgi.web.arrivals import (
    CHALLENGE,
    LOG_IN_FIRST,
    SEE_OTHER,
    login_location,
)
from atproto_oauth_asgi.web.auth import ATProtoAuth, current_auth

__all__ = [
    "ATProtoAuth",
    "current_auth",
    "login_required",
    "provide_auth",
    "provide_pds",
    "provide_user",
]

_Connection = ASGIConnection[Any, Any, Any, Any]


def login_required(connection: _Connection, handler: BaseRouteHandler) -> None:
    """Let only people in who are logged in: a guard.

    A browser that opens the page is sent to log in, and then back; anything else is
    answered 401.
    """
    del handler
    auth = current_auth()
    if auth.is_authenticated:
        return
    location = login_location(auth, cast("dict[str, Any]", connection.scope))
    if location is None:
        raise _nobody()
    # Litestar's own redirects are responses, which a guard cannot give.
    raise HTTPException(
        status_code=SEE_OTHER, detail=LOG_IN_FIRST, headers={"Location": location}
    )


async def _auth() -> ATProtoAuth:
    return current_auth()


async def _user() -> str:
    did = current_auth().did
    if did is None:
        raise _nobody()
    return did


async def _pds() -> PDSClient:
    await _user()
    return current_auth().client


provide_auth = Provide(_auth)
"""Gives the ``ATProtoAuth`` of the request; it may be anonymous."""

provide_user = Provide(_user)
"""Gives the DID of the person; nobody is answered 401."""

provide_pds = Provide(_pds)
"""Gives a client that speaks to the person's PDS; nobody is answered 401."""


def _nobody() -> NotAuthorizedException:
    return NotAuthorizedException(detail=LOG_IN_FIRST, headers=CHALLENGE)
