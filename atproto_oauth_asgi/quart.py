"""Quart: the middleware as an extension, and a decorator for pages.

atproto = ATProtoOAuth(app, secret_key=...)

@app.get("/notes")
@login_required
async def notes() -> str: ...
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, Unpack, cast

from quart import Quart, Response, abort, redirect, request
from quart.utils import run_sync

from atproto_oauth_asgi.config import OAuthConfig, OAuthOptions
from atproto_oauth_asgi.middleware import ATProtoOAuthMiddleware
from atproto_oauth_asgi.web.arrivals import (
    CHALLENGE,
    LOG_IN_FIRST,
    SEE_OTHER,
    UNAUTHORIZED,
    login_location,
)
from atproto_oauth_asgi.web.auth import ATProtoAuth, current_auth

_F = TypeVar("_F", bound=Callable[..., Any])

__all__ = ["ATProtoAuth", "ATProtoOAuth", "current_auth", "login_required"]


class ATProtoOAuth:
    """Puts the middleware around a Quart application: now, or by ``init_app``.

    Args:
        app: the application, or None.
        config: an ``OAuthConfig``; or
        options: the options of one.

    Raises:
        ConfigurationError: with every problem of the options.
    """

    def __init__(
        self,
        app: Quart | None = None,
        *,
        config: OAuthConfig | None = None,
        **options: Unpack[OAuthOptions],
    ) -> None:
        self.config = config or OAuthConfig(**options)
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Quart) -> None:
        """Put the middleware around an application."""
        inner: Any = app.asgi_app
        outer: Any = ATProtoOAuthMiddleware(inner, config=self.config)
        app.asgi_app = outer  # type: ignore[method-assign]
        app.extensions["atproto_oauth"] = self


def login_required(view: _F) -> _F:
    """Return a view for people who are logged in.

    A browser that opens the page is sent to log in, and then back; anything else is
    answered 401. It stands below ``@app.get(...)``.
    """
    # Quart runs plain functions in a thread, and what this returns is async.
    call: Any = view if inspect.iscoroutinefunction(view) else run_sync(view)

    @wraps(view)
    async def guarded(*args: Any, **kwargs: Any) -> Any:
        auth = current_auth()
        if auth.is_authenticated:
            return await call(*args, **kwargs)
        location = login_location(auth, cast("dict[str, Any]", request.scope))
        if location is not None:
            return redirect(location, SEE_OTHER)
        return abort(Response(LOG_IN_FIRST, UNAUTHORIZED, CHALLENGE))

    return cast("_F", guarded)
