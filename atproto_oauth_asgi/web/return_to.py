"""Where a person goes afterwards: a path on this site, or the default."""

from __future__ import annotations

import re
from collections.abc import Collection
from urllib.parse import quote, unquote

_MAX_LENGTH = 2048
# Browsers drop tabs and newlines, and read a backslash as a slash; neither belongs
# into a path that a link on this site would hold.
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\\\ud800-\udfff]")
_ALREADY_SAFE = "%/:?#[]@!$&'()*+,;=-._~"


def safe_return_to(
    text: str | None, *, default: str, own_paths: Collection[str]
) -> str:
    """Return the path to go to: ASCII, on this site, and not one of our routes.

    Args:
        text: what was asked for, from anywhere.
        default: what is used instead of anything that could lead elsewhere.
        own_paths: paths of the OAuth routes, to which nobody is sent back.
    """
    if text is None or not stays_here(text):
        return default
    path = re.split(r"[?#]", text, maxsplit=1)[0]
    location = quote(text, safe=_ALREADY_SAFE)
    if unquote(path) in own_paths or len(location) > _MAX_LENGTH:
        return default
    return location


def stays_here(text: str) -> bool:
    """Return whether a browser that is led there stays on this site."""
    if len(text) > _MAX_LENGTH or not text.startswith("/") or _FORBIDDEN.search(text):
        return False
    path = re.split(r"[?#]", text, maxsplit=1)[0]
    segments = unquote(path).split("/")
    # "//host" and "/.//host" are other hosts to somebody who reads URLs differently.
    return "//" not in path and not {".", ".."} & set(segments)
