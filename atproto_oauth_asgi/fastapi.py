"""FastAPI: dependencies for who is there.

@app.get("/me")
async def me(did: Annotated[str, Depends(current_user)]): ...
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated

from fastapi import Depends, HTTPException
from fastapi.openapi.models import APIKey
from fastapi.openapi.models import SecurityBase as SecurityModel
from fastapi.security.base import SecurityBase
from starlette.requests import HTTPConnection
from starlette.responses import Response

from atproto_oauth_asgi.network.pds import PDSClient
from atproto_oauth_asgi.web.arrivals import (
    CHALLENGE,
    LOG_IN_FIRST,
    UNAUTHORIZED,
)
from atproto_oauth_asgi.web.auth import ATProtoAuth
from atproto_oauth_asgi.web.auth import current_auth as _current_auth
from atproto_oauth_asgi.web.permissions import check_required, find_refusal


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
    return _admit(auth, connection, ())


async def pds_client(
    auth: Annotated[ATProtoAuth, Depends(current_auth)],
) -> PDSClient:
    """Return a client that speaks to the person's PDS; nobody is answered 401."""
    await current_user(auth)
    return auth.client


def require_scope(*required: str) -> Callable[..., Awaitable[str]]:
    """Return a dependency for who has granted all of this; it gives their DID.

    A browser that opens the page is sent to a page that asks for the permission, and
    comes back; nobody is sent to log in, with it. Anything else is answered 401 for
    nobody, and 403 with a problem document that says what is missing.

    Args:
        required: such as ``"repo:com.example.note"``; a part of the option ``scope``.

    Raises:
        ConfigurationError: it is not a scope of the specification.
    """
    check_required(required)

    async def granted_user(
        connection: HTTPConnection,
        auth: Annotated[ATProtoAuth, Depends(current_auth)],
    ) -> str:
        return _admit(auth, connection, required)

    return granted_user


class AtprotoSession(SecurityBase):
    """The session cookie as a security scheme, which OpenAPI then shows.

    As a dependency it gives the ``ATProtoAuth``; nobody is answered 401.

    Args:
        cookie_name: as the documentation is to call it; it plays no other part.
        description: for the documentation.
        auto_error: False lets nobody in as well.
    """

    def __init__(
        self,
        *,
        cookie_name: str = "__Host-atproto-session",
        description: str = "Log in with an AT Protocol account.",
        auto_error: bool = True,
    ) -> None:
        scheme = {"in": "cookie", "name": cookie_name, "description": description}
        self.model: SecurityModel = APIKey.model_validate(scheme)
        self.scheme_name: str = type(self).__name__
        self.auto_error = auto_error

    async def __call__(
        self, auth: Annotated[ATProtoAuth, Depends(current_auth)]
    ) -> ATProtoAuth:
        """Return who makes the request."""
        if self.auto_error:
            await current_user(auth)
        return auth


class _Refused(HTTPException):
    """An answer that is not of FastAPI's own shape."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status_code, headers=dict(response.headers))
        self.response = response


async def _answer(_: HTTPConnection, error: _Refused) -> Response:
    return error.response


def _admit(
    auth: ATProtoAuth, connection: HTTPConnection, required: Sequence[str]
) -> str:
    refusal = find_refusal(auth, connection.scope, required)
    if refusal is not None:
        raise _as_exception(refusal, connection)
    return auth.require()


def _as_exception(refusal: Response, connection: HTTPConnection) -> HTTPException:
    if refusal.status_code == UNAUTHORIZED:
        return HTTPException(UNAUTHORIZED, LOG_IN_FIRST, headers=CHALLENGE)
    # A dependency cannot answer by itself, and FastAPI's own handler would put a
    # problem document into another one. Without this table it does.
    handlers, _ = connection.scope.get("starlette.exception_handlers", ({}, {}))
    handlers.setdefault(_Refused, _answer)
    return _Refused(refusal)
