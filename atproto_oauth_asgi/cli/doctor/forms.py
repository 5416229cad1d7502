"""Checks over the forms and the session route.

Spec: Fetch Metadata; RFC 6454.
"""

from __future__ import annotations

from functools import partial

from atproto_oauth_asgi.cli.doctor.finding import (
    NO_CONNECTION,
    Check,
    Finding,
    bad,
    good,
    over_answer,
    over_seen,
    skipped,
)
from atproto_oauth_asgi.cli.doctor.seen import Answer, Seen

_OK, _FORBIDDEN, _NOT_FOUND = 200, 403, 404
_MISTAKES = range(400, 500)
_LEAVE = "let the proxy leave this header as the middleware sends it"
_LET_IN = "let the proxy pass Origin and Sec-Fetch-Site of requests, and set public_url"


def _refusal(answer: Answer, *, what: str) -> Finding:
    if answer.status == _FORBIDDEN:
        return good(f"{what} is refused")
    remedy = "let nothing on the way add, change or answer for Origin"
    return bad(f"{what}: {answer.told} instead of 403", remedy)


def _own_origin(answer: Answer) -> Finding:
    if answer.status == _FORBIDDEN:
        return bad("the form of the login page itself is refused", _LET_IN)
    if answer.status in _MISTAKES and answer.status != _NOT_FOUND:
        return good("the form of the login page is let in")
    remedy = "look into the log of the application"
    return bad(f"a name that is none: {answer.told} instead of 400", remedy)


def _session_route(answer: Answer) -> Finding:
    if answer.status == _NOT_FOUND:
        return skipped("there is no session route; --session-path names another")
    if answer.status != _OK or answer.media_type != "application/json":
        return bad(answer.told, "let /oauth/session through to the middleware")
    if "no-store" not in answer.header("cache-control").lower():
        return bad("who is logged in may be kept by a cache", _LEAVE)
    if answer.header("access-control-allow-origin") == "*":
        return bad("every page may read who is logged in", _LEAVE)
    return good("it tells who is logged in, to this site")


def _begun(seen: Seen) -> Finding:
    if isinstance(seen.certificate, str):
        return skipped(NO_CONNECTION)
    if seen.begun is None:
        return skipped("no login was begun; --identifier HANDLE begins one")
    if seen.begun.status == _OK and seen.begun.header("refresh"):
        return good("the authorization server has taken it")
    remedy = "the log of the application says what the server did not like"
    return bad(f"beginning a login: {seen.begun.told}", remedy)


CHECKS: tuple[Check, ...] = (
    over_answer("own-origin", lambda seen: seen.own_post, _own_origin),
    over_answer(
        "csrf-headers",
        lambda seen: seen.bare_post,
        partial(_refusal, what="a login without Origin"),
    ),
    over_answer(
        "csrf-login",
        lambda seen: seen.cross_post,
        partial(_refusal, what="a login from another site"),
    ),
    over_answer(
        "csrf-logout",
        lambda seen: seen.cross_logout,
        partial(_refusal, what="a logout from another site"),
    ),
    over_answer("session-route", lambda seen: seen.session, _session_route),
    over_seen("login-begins", _begun),
)
"""In the order in which they are shown."""
