"""Who lacks a permission: where a page sends them, and what a program is told."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import Response

from atproto_oauth_asgi.exceptions import ScopeMissingError
from atproto_oauth_asgi.scopes import ScopesSet
from atproto_oauth_asgi.web.arrivals import (
    CHALLENGE,
    LOG_IN_FIRST,
    SEE_OTHER,
    UNAUTHORIZED,
    is_page_navigation,
)
from atproto_oauth_asgi.web.auth import ATProtoAuth, own_path, visit_of
from atproto_oauth_asgi.web.headers import is_navigation
from atproto_oauth_asgi.web.pages import error_page
from atproto_oauth_asgi.web.problems import problem_response


def check_required(required: Sequence[str]) -> None:
    """Check what a developer requires, when the application starts.

    Raises:
        ConfigurationError: it is not a scope of the specification.
    """
    ScopesSet().missing(required)


def find_refusal(
    auth: ATProtoAuth, scope: MutableMapping[str, Any], required: Sequence[str]
) -> Response | None:
    """Return the answer for somebody who lacks a permission; None for who has it.

    A browser that opens a page is sent to the page that asks for the permission, and
    from there back; nobody is sent to log in, with this permission. Anything else is
    refused: 401 for nobody, 403 with what is missing.

    Raises:
        ConfigurationError: the option ``scope`` of the application does not hold it.
    """
    config = visit_of(auth).site.config
    plain = ScopesSet(config.login_scope or config.scope)
    has = auth.granted if auth.is_authenticated else plain
    try:
        has.require(required, declared=config.scope)
    except ScopeMissingError as error:
        return _send_or_refuse(auth, scope, error)
    return None if auth.is_authenticated else _send_or_refuse(auth, scope, None)


def _send_or_refuse(
    auth: ATProtoAuth,
    scope: MutableMapping[str, Any],
    error: ScopeMissingError | None,
) -> Response:
    if is_page_navigation(scope):
        here = own_path(auth, scope)
        location = _permission_url(auth, error, return_to=here)
        return Response(status_code=SEE_OTHER, headers={"Location": location})
    if error is None or not auth.is_authenticated:
        return Response(LOG_IN_FIRST, UNAUTHORIZED, headers=CHALLENGE)
    return _refuse(auth, Headers(raw=scope["headers"]), error)


def _refuse(auth: ATProtoAuth, headers: Headers, error: ScopeMissingError) -> Response:
    visit = visit_of(auth)
    look = visit.site.look(headers)
    if not is_navigation(headers):
        return problem_response(error, look=look)
    # A form of a page, sent to where no page may be: they go on at the start.
    return error_page(
        error,
        look=look,
        retry_url=_permission_url(auth, error, return_to=None),
        home_url=visit.place.home,
        account=auth.handle or auth.did,
    )


def _permission_url(
    auth: ATProtoAuth, error: ScopeMissingError | None, *, return_to: str | None
) -> str:
    ask_for = error.ask_for if error else None
    if not auth.is_authenticated:
        return auth.login_url(return_to=return_to, scope=ask_for)
    return visit_of(auth).place.login_path(
        {"return_to": return_to, "scope": ask_for, "reason": "scope"}
    )
