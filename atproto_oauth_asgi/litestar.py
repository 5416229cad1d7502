"""Litestar: dependencies for who is there, and a guard for pages.

@get("/notes", guards=[login_required], dependencies={"did": provide_user})
async def notes(did: str) -> str: ...
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, cast

from litestar.connection import ASGIConnection
from litestar.di import Provide
from litestar.exceptions import (
    HTTPException,
    NotAuthorizedException,
    PermissionDeniedException,
)
from litestar.handlers import BaseRouteHandler
from starlette.responses import Response

from atproto_oauth_asgi.network.pds import PDSClient
from atproto_oauth_asgi.web.arrivals import (
    CHALLENGE,
    LOG_IN_FIRST,
    SEE_OTHER,
    UNAUTHORIZED,
)
from atproto_oauth_asgi.web.auth import ATProtoAuth, current_auth
from atproto_oauth_asgi.web.permissions import check_required, find_refusal

__all__ = [
    "ATProtoAuth",
    "current_auth",
    "login_required",
    "provide_auth",
    "provide_pds",
    "provide_user",
    "require_scope",
]

_PROBLEM = "application/problem+json"
_Connection = ASGIConnection[Any, Any, Any, Any]


def login_required(connection: _Connection, handler: BaseRouteHandler) -> None:
    """Let only people in who are logged in: a guard.

    A browser that opens the page is sent to log in, and then back; anything else is
    answered 401.
    """
    del handler
    _refuse(connection, ())


def require_scope(*required: str) -> Callable[[_Connection, BaseRouteHandler], None]:
    """Return a guard that lets only people in who have granted all of this.

    A browser that opens the page is sent to a page that asks for the permission, and
    comes back; nobody is sent to log in, with it. Anything else is answered 401 for
    nobody, and 403 with what is missing in ``extra``.

    Args:
        required: such as ``"repo:com.example.note"``; a part of the option ``scope``.

    Raises:
        ConfigurationError: it is not a scope of the specification.
    """
    check_required(required)

    def guard(connection: _Connection, handler: BaseRouteHandler) -> None:
        del handler
        _refuse(connection, required)

    return guard


def _refuse(connection: _Connection, required: Sequence[str]) -> None:
    scope = cast("dict[str, Any]", connection.scope)
    refusal = find_refusal(current_auth(), scope, required)
    if refusal is not None:
        raise _as_exception(refusal)


def _as_exception(refusal: Response) -> HTTPException:
    if refusal.status_code == UNAUTHORIZED:
        return _nobody()
    if refusal.status_code == SEE_OTHER:
        # Litestar's own redirects are responses, which a guard cannot give.
        location = {"Location": refusal.headers["location"]}
        return HTTPException(
            status_code=SEE_OTHER, detail=LOG_IN_FIRST, headers=location
        )
    # Litestar's errors have a shape of their own, which this becomes a part of.
    extra = None
    if refusal.media_type == _PROBLEM:
        extra = json.loads(bytes(refusal.body))
    return PermissionDeniedException(detail="a permission is missing", extra=extra)


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


provide_auth: Provide = Provide(_auth)
"""Gives the ``ATProtoAuth`` of the request; it may be anonymous."""

provide_user: Provide = Provide(_user)
"""Gives the DID of the person; nobody is answered 401."""

provide_pds: Provide = Provide(_pds)
"""Gives a client that speaks to the person's PDS; nobody is answered 401."""


def _nobody() -> NotAuthorizedException:
    return NotAuthorizedException(detail=LOG_IN_FIRST, headers=CHALLENGE)
