"""``/oauth/session``: who is logged in, for scripts. No token is ever in it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from atproto_oauth_asgi.exceptions import StoreError
from atproto_oauth_asgi.web.answers import log_failure
from atproto_oauth_asgi.web.problems import problem_response
from atproto_oauth_asgi.web.site import Site
from atproto_oauth_asgi.web.visit import Visit
from atproto_oauth_asgi.web.visits import Visits

_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Vary": "Origin, Cookie",
    "X-Content-Type-Options": "nosniff",
}


class SessionRoute:
    """Tells scripts of this site, and of trusted origins, who is logged in."""

    def __init__(self, site: Site, visits: Visits) -> None:
        self._site = site
        self._visits = visits

    async def show(self, request: Request) -> Response:
        """Answer ``GET``: a JSON object; without a session it is no error."""
        try:
            visit = await self._visits.open(request.scope)
        except StoreError as error:
            failure = problem_response(
                error,
                incident_id=log_failure(error),
                look=self._site.look(request.headers),
            )
            return self._share(request, failure)
        body = json.dumps(_describe(visit, max_age_s=self._site.config.max_age_s))
        response = Response(
            b"" if request.method == "HEAD" else body,
            headers={**_HEADERS, "Content-Length": str(len(body))},
            media_type="application/json",
        )
        return self._share(request, response)

    async def allow(self, request: Request) -> Response:
        """Answer ``OPTIONS``, which browsers send before some cross-origin requests."""
        response = self._share(request, Response(status_code=204, headers=_HEADERS))
        if "access-control-allow-origin" in response.headers:
            response.headers["Access-Control-Allow-Methods"] = "GET, HEAD"
            response.headers["Access-Control-Allow-Headers"] = "Accept, Content-Type"
            response.headers["Access-Control-Max-Age"] = "600"
        return response

    def _share(self, request: Request, response: Response) -> Response:
        """Let a page of a trusted origin read the answer.

        Spec: Fetch, "CORS protocol and credentials".
        """
        response.headers["Vary"] = "Origin, Cookie"
        origin = request.headers.get("origin")
        if origin is not None and origin in self._site.config.trusted_origins:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Allow-Credentials"] = "true"
        return response


def _describe(visit: Visit, *, max_age_s: float) -> dict[str, Any]:
    session = visit.session
    if session is None:
        names = ("did", "handle", "scope", "expires_at")
        return {
            "authenticated": False,
            **dict.fromkeys(names),
            "reason": visit.reason,
        }
    ends_at = datetime.fromtimestamp(session.created_at.timestamp() + max_age_s, UTC)
    return {
        "authenticated": True,
        "did": session.did,
        "handle": session.handle,
        "scope": session.scope,
        "expires_at": ends_at.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "reason": None,
    }
