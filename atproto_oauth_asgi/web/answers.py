"""How our routes answer: pages for people, JSON for programs, the same facts."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from atproto_oauth_asgi.exceptions import (
    Blocked,
    OAuthError,
    TooManyLogins,
    Unreachable,
)
from atproto_oauth_asgi.web.pages import error_page
from atproto_oauth_asgi.web.problems import problem_response, wants_json
from atproto_oauth_asgi.web.rendering import ReferrerPolicy
from atproto_oauth_asgi.web.site import Site

_log = logging.getLogger("atproto_oauth_asgi")

_PRIVATE = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def answer_failure(  # noqa: PLR0913 - what the page tells, by name
    site: Site,
    request: Request,
    problem: OAuthError | str,
    *,
    retry_url: str | None = None,
    account: str | None = None,
    referrer_policy: ReferrerPolicy = "same-origin",
) -> Response:
    """Return the page, or the problem document, that tells what went wrong."""
    incident_id = log_failure(problem)
    problem = as_told(problem)
    look = site.look(request.headers)
    if wants_json(request.headers):
        response = problem_response(problem, incident_id=incident_id, look=look)
    else:
        response = error_page(
            problem,
            look=look,
            retry_url=retry_url,
            home_url=site.place_of(request).home,
            incident_id=incident_id,
            account=account,
            referrer_policy=referrer_policy,
        )
    return say_when_to_retry(response, problem)


def say_when_to_retry(response: Response, problem: OAuthError | str) -> Response:
    """Return the response, with a ``Retry-After`` where the problem tells of one.

    Spec: RFC 6585 section 4; RFC 9110 section 10.2.3.
    """
    if isinstance(problem, TooManyLogins):
        response.headers["Retry-After"] = str(problem.retry_after_s)
    return response


def as_told(problem: OAuthError | str) -> OAuthError | str:
    """Return what strangers are told of a problem.

    Nobody learns from an answer what stands in the network of this server.
    """
    if isinstance(problem, Blocked):
        return Unreachable("the host could not be reached")
    return problem


def log_failure(problem: OAuthError | str) -> str:
    """Log what happened, without any secret, and return what finds it in the log."""
    incident_id = secrets.token_hex(4)
    if isinstance(problem, OAuthError):
        # A flood of logins is told by the gate, in a line a minute.
        is_flood = isinstance(problem, TooManyLogins)
        _log.log(
            logging.DEBUG if is_flood else logging.WARNING,
            "request failed: did=%s issuer=%s code=%s incident=%s: %s",
            problem.did,
            problem.issuer,
            problem.code,
            incident_id,
            problem,
        )
    else:
        _log.warning("request refused: code=%s incident=%s", problem, incident_id)
    return incident_id


def go_to(location: str) -> Response:
    """Return a redirect after a POST or a callback; it keeps nothing anywhere."""
    return Response(status_code=303, headers={**_PRIVATE, "Location": location})


def json_answer(members: dict[str, str]) -> Response:
    """Return JSON that is for this browser alone."""
    return JSONResponse(members, headers=_PRIVATE)


def add_cookies(response: Response, lines: Iterable[bytes]) -> Response:
    """Append ``Set-Cookie`` lines, each as a field of its own."""
    for line in lines:
        response.raw_headers.append((b"set-cookie", line))
    return response
