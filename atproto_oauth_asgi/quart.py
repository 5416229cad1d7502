"""Quart: the middleware as an extension, and a decorator for pages.

atproto = ATProtoOAuth(app, secret_key=...)

@app.get("/notes")
@login_required
async def notes() -> str: ...
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, Unpack, cast

from quart import Quart, Response, request
from quart.utils import run_sync

from atproto_oauth_asgi.config import OAuthConfig, OAuthOptions
from atproto_oauth_asgi.middleware import ATProtoOAuthMiddleware
from atproto_oauth_asgi.web.auth import ATProtoAuth, current_auth
from atproto_oauth_asgi.web.guarding import guard
from atproto_oauth_asgi.web.permissions import check_required, find_refusal

_F = TypeVar("_F", bound=Callable[..., Any])

__all__ = [
    "ATProtoAuth",
    "ATProtoOAuth",
    "current_auth",
    "login_required",
    "require_scope",
]


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
        self.config: OAuthConfig = config or OAuthConfig(**options)
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
    return _guarded(view, ())


def require_scope(*required: str) -> Callable[[_F], _F]:
    """Return a decorator: the view is for people who have granted all of this.

    A browser that opens the page is sent to a page that asks for the permission, and
    comes back; nobody is sent to log in, with it. Anything else is answered 401 for
    nobody, and 403 with a problem document that says what is missing.

    Args:
        required: such as ``"repo:com.example.note"``; a part of the option ``scope``.

    Raises:
        ConfigurationError: it is not a scope of the specification.
    """
    check_required(required)
    return lambda view: _guarded(view, required)


def _guarded(view: _F, required: Sequence[str]) -> _F:
    def refuse(*_: Any) -> Response | None:
        scope = cast("dict[str, Any]", request.scope)
        refusal = find_refusal(current_auth(), scope, required)
        if refusal is None:
            return None
        headers = dict(refusal.headers)
        return Response(bytes(refusal.body), refusal.status_code, headers)

    # Quart runs plain functions in a thread, and what this returns is async.
    call: Any = view if inspect.iscoroutinefunction(view) else run_sync(view)
    return cast("_F", guard(call, refuse, is_async=True))
