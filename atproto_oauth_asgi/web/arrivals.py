"""Who comes to a page of the application without being logged in: where they are sent."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import Headers

from atproto_oauth_asgi.web.auth import ATProtoAuth, own_path
from atproto_oauth_asgi.web.headers import is_navigation

SEE_OTHER, UNAUTHORIZED = 303, 401
LOG_IN_FIRST = "log in first"
CHALLENGE = {"WWW-Authenticate": "Cookie"}


def login_location(auth: ATProtoAuth, scope: MutableMapping[str, Any]) -> str | None:
    """Return the login page that leads back to this request.

    None for anything but a browser that opens a page: that wants an error.
    """
    if not is_page_navigation(scope):
        return None
    return auth.login_url(return_to=own_path(auth, scope))


def is_page_navigation(scope: MutableMapping[str, Any]) -> bool:
    """Return whether a browser opens a page with this request."""
    if scope["type"] != "http" or scope["method"] != "GET":
        return False
    return is_navigation(Headers(raw=scope["headers"]))
