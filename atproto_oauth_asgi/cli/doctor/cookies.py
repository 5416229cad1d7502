"""Checks over the cookies that answers set.

Spec: RFC 6265, and its revision, "Cookie Name Prefixes".
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from atproto_oauth_asgi.cli.doctor.finding import (
    Check,
    Finding,
    bad,
    good,
    over_seen,
    skipped,
)
from atproto_oauth_asgi.cli.doctor.seen import Cookie, Seen

_LEAVE = "let the proxy leave Set-Cookie as the middleware sends it"


def _cookie_check(
    name: str, is_right: Callable[[Cookie], bool], text: str, remedy: str
) -> Check:
    def look(seen: Seen) -> Finding:
        if not seen.cookies:
            return skipped("no cookie was set; --cookie-name says which are meant")
        wrong = sorted({each.name for each in seen.cookies if not is_right(each)})
        if wrong:
            return bad(f"{', '.join(wrong)}: {text}", remedy)
        return good(", ".join(sorted({each.name for each in seen.cookies})))

    return over_seen(name, look)


def _has(attribute: str, cookie: Cookie) -> bool:
    return attribute in cookie.attributes


def _is_same_site(cookie: Cookie) -> bool:
    return cookie.attributes.get("samesite", "").lower() in {"lax", "strict"}


CHECKS: tuple[Check, ...] = (
    _cookie_check("cookie-secure", partial(_has, "secure"), "not Secure", _LEAVE),
    _cookie_check(
        "cookie-httponly", partial(_has, "httponly"), "scripts may read it", _LEAVE
    ),
    _cookie_check(
        "cookie-samesite", _is_same_site, "SameSite is not Lax or Strict", _LEAVE
    ),
    _cookie_check(
        "cookie-prefix",
        lambda cookie: cookie.name.startswith("__Host-"),
        "no __Host- in front",
        "set public_url to the https address; let the proxy rename no cookie",
    ),
    _cookie_check(
        "cookie-domain",
        lambda cookie: not _has("domain", cookie),
        "other hosts of the domain get it",
        "let the proxy add no Domain",
    ),
    _cookie_check(
        "cookie-path",
        lambda cookie: cookie.attributes.get("path") == "/",
        "Path is not /",
        "let the proxy rewrite no Path",
    ),
)
"""In the order in which they are shown."""
