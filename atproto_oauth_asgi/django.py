"""Django, by ASGI: a decorator for views, and who is there as ``request.atproto``.

@login_required
async def notes(request): ...
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponse

from atproto_oauth_asgi.web.auth import ATProtoAuth, current_auth
from atproto_oauth_asgi.web.guarding import guard
from atproto_oauth_asgi.web.permissions import check_required, find_refusal

_F = TypeVar("_F", bound=Callable[..., Any])

__all__ = [
    "ATProtoAuth",
    "ATProtoMiddleware",
    "current_auth",
    "login_required",
    "require_scope",
]


class ATProtoMiddleware:
    """Sets ``request.atproto``, an ``ATProtoAuth``: for ``MIDDLEWARE`` in the settings.

    ``ATProtoOAuthMiddleware`` stays around the whole application; this one only makes
    its result handy in views and templates.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self._get_response = get_response
        if iscoroutinefunction(get_response):
            # So that Django knows that this one is asynchronous, too.
            markcoroutinefunction(self)

    def __call__(self, request: Any) -> Any:
        """Set it, and go on."""
        request.atproto = current_auth()
        return self._get_response(request)


def login_required(view: _F) -> _F:
    """Return a view for people who are logged in.

    A browser that opens the page is sent to log in, and then back; anything else is
    answered 401. For async views and plain ones.
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
    def refuse(request: Any, *_: Any) -> HttpResponse | None:
        refusal = find_refusal(current_auth(), request.scope, required)
        if refusal is None:
            return None
        return HttpResponse(
            refusal.body, status=refusal.status_code, headers=dict(refusal.headers)
        )

    return guard(view, refuse, is_async=iscoroutinefunction(view))
