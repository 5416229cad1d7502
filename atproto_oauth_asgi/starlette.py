"""Starlette: a decorator for pages, and who is there as ``request.user``.

@login_required
async def notes(request: Request) -> Response: ...
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from starlette.authentication import (
    AuthCredentials,
    AuthenticationBackend,
    BaseUser,
)
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import Response
from typing_extensions import override

from atproto_oauth_asgi.web.arrivals import CHALLENGE, LOG_IN_FIRST, UNAUTHORIZED
from atproto_oauth_asgi.web.auth import ATProtoAuth, current_auth
from atproto_oauth_asgi.web.guarding import guard
from atproto_oauth_asgi.web.permissions import check_required, find_refusal

_F = TypeVar("_F", bound=Callable[..., Any])

__all__ = [
    "ATProtoBackend",
    "ATProtoUser",
    "current_auth",
    "login_required",
    "require_scope",
]


def login_required(endpoint: _F) -> _F:
    """Return an endpoint for people who are logged in.

    A browser that opens the page is sent to log in, and then back; anything else is
    answered 401. For functions, plain ones too, and for methods of ``HTTPEndpoint``.
    """
    return _guarded(endpoint, ())


def require_scope(*required: str) -> Callable[[_F], _F]:
    """Return a decorator: the endpoint is for people who have granted all of this.

    A browser that opens the page is sent to a page that asks for the permission, and
    comes back; nobody is sent to log in, with it. Anything else is answered 401 for
    nobody, and 403 with a problem document that says what is missing.

    Args:
        required: such as ``"repo:com.example.note"``; a part of the option ``scope``.

    Raises:
        ConfigurationError: it is not a scope of the specification.
    """
    check_required(required)
    return lambda endpoint: _guarded(endpoint, required)


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


def _guarded(endpoint: _F, required: Sequence[str]) -> _F:
    def refuse(*args: Any) -> Response | None:
        connection = next(each for each in args if isinstance(each, HTTPConnection))
        refusal = find_refusal(current_auth(), connection.scope, required)
        if refusal is None:
            return None
        if refusal.status_code == UNAUTHORIZED:
            # Applications may have a page for it.
            raise HTTPException(UNAUTHORIZED, LOG_IN_FIRST, headers=CHALLENGE)
        if connection.scope["type"] == "websocket":
            # What a WebSocket's endpoint returns goes nowhere.
            raise HTTPException(refusal.status_code)
        return refusal

    return guard(endpoint, refuse, is_async=inspect.iscoroutinefunction(endpoint))
