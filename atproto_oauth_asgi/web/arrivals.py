"""Who comes to a page without being logged in: is it a page, and what are they told."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import Headers

from atproto_oauth_asgi.web.headers import is_navigation

SEE_OTHER, UNAUTHORIZED = 303, 401
LOG_IN_FIRST = "log in first"
CHALLENGE = {"WWW-Authenticate": "Cookie"}


def is_page_navigation(scope: MutableMapping[str, Any]) -> bool:
    """Return whether a browser opens a page with this request."""
    if scope["type"] != "http" or scope["method"] != "GET":
        return False
    return is_navigation(Headers(raw=scope["headers"]))
