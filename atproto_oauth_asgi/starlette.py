"""Starlette: a decorator for pages, and who is there as ``request.user``.

@login_required
async def notes(request: Request) -> Response: ...
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, TypeVar, cast

from starlette.authentication import (
    AuthCredentials,
    AuthenticationBackend,
    BaseUser,
)
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from typing_extensions import override

from atproto_oauth_asgi.web.arrivals import (
    CHALLENGE,
    LOG_IN_FIRST,
    SEE_OTHER,
    UNAUTHORIZED,
    login_location,
)
from atproto_oauth_asgi.web.auth import ATProtoAuth, current_auth

_F = TypeVar("_F", bound=Callable[..., Any])

__all__ = ["ATProtoBackend", "ATProtoUser", "current_auth", "login_required"]


def login_required(endpoint: _F) -> _F:
    """Return an endpoint for people who are logged in.

    A browser that opens the page is sent to log in, and then back; anything else is
    answered 401. For functions, plain ones too, and for methods of ``HTTPEndpoint``.
    """
    if inspect.iscoroutinefunction(endpoint):

        @wraps(endpoint)
        async def guarded(*args: Any, **kwargs: Any) -> Any:
            _require_login(_connection_of(args))
            return await cast("Callable[..., Awaitable[Any]]", endpoint)(
                *args, **kwargs
            )

        return cast("_F", guarded)

    @wraps(endpoint)
    def guarded_plain(*args: Any, **kwargs: Any) -> Any:
        _require_login(_connection_of(args))
        return endpoint(*args, **kwargs)

    return cast("_F", guarded_plain)


class ATProtoUser(BaseUser):
    """Who is logged in, as ``request.user``."""

    def __init__(self, auth: ATProtoAuth) -> None:
        self.auth = auth

    @property
    @override
    def is_authenticated(self) -> bool:
        """Whether somebody is logged in; of the moment in which it is asked."""
        return self.auth.is_authenticated

    @property
    @override
    def display_name(self) -> str:
        """The handle if it was verified, else the DID."""
        return self.auth.handle or self.auth.did or ""

    @property
    @override
    def identity(self) -> str:
        """The DID."""
        return self.auth.did or ""


class ATProtoBackend(AuthenticationBackend):
    """For Starlette's ``AuthenticationMiddleware``, inside of ours.

    Then ``request.user`` is an ``ATProtoUser``, and ``@requires("authenticated")``
    works; so do granted scopes: ``@requires("repo:com.example.note")``.
    """

    @override
    async def authenticate(
        self, conn: HTTPConnection
    ) -> tuple[AuthCredentials, BaseUser] | None:
        """Return who is there, None for nobody."""
        auth = current_auth()
        if not auth.is_authenticated:
            return None
        granted = auth.session.scope.split(" ")
        return AuthCredentials(["authenticated", *granted]), ATProtoUser(auth)


def _connection_of(args: tuple[Any, ...]) -> HTTPConnection:
    return next(each for each in args if isinstance(each, HTTPConnection))


def _require_login(connection: HTTPConnection) -> None:
    auth = current_auth()
    if auth.is_authenticated:
        return
    location = login_location(auth, connection.scope)
    if location is None:
        raise HTTPException(UNAUTHORIZED, LOG_IN_FIRST, headers=CHALLENGE)
    raise HTTPException(SEE_OTHER, LOG_IN_FIRST, headers={"Location": location})
