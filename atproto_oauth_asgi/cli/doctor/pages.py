"""Checks over the login page and the callback.

Spec: Content Security Policy Level 3; Referrer Policy; atproto OAuth, "Callback".
"""

from __future__ import annotations

import re

from atproto_oauth_asgi.cli.doctor.finding import (
    NO_CONNECTION,
    Check,
    Finding,
    bad,
    good,
    hint,
    over_answer,
    over_seen,
    skipped,
)
from atproto_oauth_asgi.cli.doctor.seen import Answer, Seen

_OK, _NOT_FOUND, _NO_METHOD = 200, 404, 405
_MISTAKES = range(400, 500)
_ACTION = re.compile(rb"<form\b[^>]*\baction=[\"']?([^\"'\s>]*)", re.IGNORECASE)
_LEAVE = "let the proxy leave this header as the middleware sends it"


def _login_page(seen: Seen) -> Finding:
    answer = seen.login_page
    if isinstance(seen.certificate, str):
        return skipped(NO_CONNECTION)
    if answer.status == _OK and answer.media_type == "text/html":
        return good(answer.url)
    remedy = "let /oauth/login through; name another path with --login-path"
    return bad(f"{answer.url}: {answer.told} {answer.media_type}", remedy)


def _csp(answer: Answer) -> Finding:
    found = _directives(answer)
    scripts = found.get("script-src", found.get("default-src"))
    if scripts is None:
        return bad("nothing says which scripts may run", _LEAVE)
    if {"'unsafe-inline'", "'unsafe-eval'", "*"} & set(scripts):
        return bad(f"scripts of strangers may run: {' '.join(scripts)}", _LEAVE)
    return good("no foreign script may run")


def _framing(answer: Answer) -> Finding:
    ancestors = _directives(answer).get("frame-ancestors")
    old = answer.header("x-frame-options").lower()
    if ancestors in (["'none'"], ["'self'"]) or old in {"deny", "sameorigin"}:
        return good("others cannot put it into a frame")
    return bad("others can put it into a frame", _LEAVE)


def _form_action(answer: Answer) -> Finding:
    allowed = _directives(answer).get("form-action")
    if allowed is not None and not {"'self'", "*"} & set(allowed):
        return bad(f"form-action is {' '.join(allowed)}", _LEAVE)
    for action in _ACTION.findall(answer.body):
        if action.lower().startswith(b"http:") or action.startswith(b"//"):
            remedy = "let nothing rewrite the links in pages"
            return bad(f"the form goes to {action.decode('latin-1')}", remedy)
    return good("the form goes to this site")


def _directives(answer: Answer) -> dict[str, list[str]]:
    parts = re.split(r"[;,]", answer.header("content-security-policy"))
    words = [part.lower().split() for part in parts]
    return {name: values for name, *values in filter(None, words)}


def _nosniff(answer: Answer) -> Finding:
    if answer.header("x-content-type-options").lower() == "nosniff":
        return good("nosniff")
    return bad("X-Content-Type-Options is missing", _LEAVE)


def _referrer(answer: Answer) -> Finding:
    found = answer.header("referrer-policy").lower()
    if found in {"same-origin", "strict-origin", "strict-origin-when-cross-origin"}:
        return good(found)
    if found == "no-referrer":
        text = "no-referrer: forms of this page send Origin: null"
        return bad(text, _LEAVE)
    return bad(f"it is {found or 'missing'}", _LEAVE)


def _no_store(answer: Answer) -> Finding:
    found = answer.header("cache-control").lower()
    if "no-store" in re.split(r"[\s,]+", found):
        return good("no-store")
    remedy = "let the proxy cache nothing but the two public documents"
    return bad(f"Cache-Control is {found or 'missing'}", remedy)


def _callback_route(seen: Seen) -> Finding:
    answer = seen.callback
    if seen.document is None:
        return skipped("there is no metadata document to look at")
    if answer is None:
        remedy = "route it to the application, or set public_url to where it is"
        return hint("no redirect URI is at this origin", remedy)
    is_ours = answer.status in _MISTAKES and answer.status not in {
        _NOT_FOUND,
        _NO_METHOD,
    }
    if is_ours and not answer.problem:
        return good(f"{answer.url} answers without a login: {answer.status}")
    remedy = "a visit without a login is a page with 400; let the route through"
    return bad(f"{answer.url}: {answer.told}", remedy)


def _stale_callback(answer: Answer) -> Finding:
    if answer.status not in _MISTAKES or answer.cookies:
        sets = " and sets a cookie" if answer.cookies else ""
        remedy = "look into the log of the application"
        return bad(f"an unknown login is answered {answer.status}{sets}", remedy)
    return good(f"an unknown login is refused: {answer.status}")


def _callback_headers(answer: Answer) -> Finding:
    if "no-store" not in answer.header("cache-control").lower():
        return bad("an answer that follows a code may be kept", _LEAVE)
    if answer.header("referrer-policy").lower() != "no-referrer":
        return bad("a code may leave by the Referer", _LEAVE)
    return good("no-store, no-referrer")


CHECKS: tuple[Check, ...] = (
    over_seen("login-page", _login_page),
    over_answer("login-csp", lambda seen: seen.login_page, _csp),
    over_answer("login-framing", lambda seen: seen.login_page, _framing),
    over_answer("login-form", lambda seen: seen.login_page, _form_action),
    over_answer("login-nosniff", lambda seen: seen.login_page, _nosniff),
    over_answer("login-referrer", lambda seen: seen.login_page, _referrer),
    over_answer("login-caching", lambda seen: seen.login_page, _no_store),
    over_seen("callback", _callback_route),
    over_answer("callback-stale", lambda seen: seen.stale_callback, _stale_callback),
    over_answer(
        "callback-headers", lambda seen: seen.stale_callback, _callback_headers
    ),
)
"""In the order in which they are shown."""
