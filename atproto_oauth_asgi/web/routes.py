"""Our routes: which request goes where, and what holds for all of them."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Awaitable, Callable, MutableMapping
from hashlib import sha256
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from atproto_oauth_asgi.config import LOOPBACK_HOSTS
from atproto_oauth_asgi.web.answers import answer_failure
from atproto_oauth_asgi.web.csrf import find_csrf_problem
from atproto_oauth_asgi.web.headers import is_navigation
from atproto_oauth_asgi.web.login import LoginRoutes
from atproto_oauth_asgi.web.logout import LogoutRoutes
from atproto_oauth_asgi.web.pages import wrong_host_page
from atproto_oauth_asgi.web.place import path_below
from atproto_oauth_asgi.web.problems import wants_json
from atproto_oauth_asgi.web.session_route import SessionRoute
from atproto_oauth_asgi.web.site import Site, host_of, loopback_name
from atproto_oauth_asgi.web.visits import Visits

_log = logging.getLogger("atproto_oauth_asgi")

Handler = Callable[[Request], Awaitable[Response]]

Handlers = dict[str, Handler]
"""What answers the requests for a path, by method."""

_PUBLIC_DOCUMENT = {
    "Cache-Control": "public, max-age=600",
    "Access-Control-Allow-Origin": "*",
    "X-Content-Type-Options": "nosniff",
}
_PREFLIGHT = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, HEAD",
    "Access-Control-Allow-Headers": "*",
}


class Routes:
    """The table of our routes, and the checks that come before each."""

    def __init__(self, site: Site, visits: Visits) -> None:
        self._site = site
        login, logout = LoginRoutes(site, visits), LogoutRoutes(site, visits)
        session = SessionRoute(site, visits)
        config = site.config
        self._base_path = config.base_path
        self._table: dict[str, Handlers] = {
            config.metadata_path: _document(config.client_metadata),
            config.jwks_path: _document(config.jwks),
            config.login_path: {"GET": login.show_form, "POST": login.start},
            config.callback_path: {"GET": login.finish},
            config.logout_path: {"GET": logout.confirm, "POST": logout.log_out},
            config.session_path: {
                "GET": session.show,
                "HEAD": session.show,
                "OPTIONS": session.allow,
            },
        }

    def find(self, scope: MutableMapping[str, Any]) -> Handlers | None:
        """Return the handlers of a request's path by method, None if it is not ours."""
        path: str = scope["path"]
        root_path: str = scope.get("root_path", "")
        prefix = (root_path and root_path.rstrip("/")) or self._base_path
        return self._table.get(path_below(prefix, path) if prefix else path)

    async def answer(self, request: Request, methods: Handlers) -> Response:
        """Return the answer to a request for one of our routes."""
        if (moved := self.redirect_to_loopback(request)) is not None:
            return moved
        if self._site.config.is_loopback and not _is_loopback_address(request):
            return self._explain_host(request)
        handler = methods.get(request.method)
        if handler is None:
            return self._refuse_method(request, methods)
        if request.method == "POST" and (problem := self._csrf_problem(request)):
            return self._refuse(request, problem)
        try:
            return await handler(request)
        except Exception:  # noqa: BLE001 - and logged, with the traceback
            # The application's own error handling does not reach this far out.
            _log.exception("request failed: a defect of this package")
            return self._refuse(request, "unexpected")

    def redirect_to_loopback(self, request: Request) -> Response | None:
        """Return a redirect from ``localhost`` to ``127.0.0.1``, where it is needed.

        Logins return to the address, not to the name, and a cookie that was set
        under the name would not be there. Only navigations are sent on.
        """
        host = host_of(request.headers)
        if not self._site.config.is_loopback or loopback_name(host) != "localhost":
            return None
        if request.method not in {"GET", "HEAD"} or not is_navigation(request.headers):
            return None
        path = self._site.place_of(request).outside(request.scope["path"])
        query = request.scope["query_string"].decode("latin-1")
        target = (
            f"http://{host.replace('localhost', '127.0.0.1')}"
            f"{path}{query and f'?{query}'}"
        )
        return Response(status_code=307, headers={"Location": target})

    def _csrf_problem(self, request: Request) -> str | None:
        return find_csrf_problem(
            request.headers,
            own_origin=self._site.own_origin(host_of(request.headers)),
            trusted_origins=self._site.config.trusted_origins,
        )

    def _explain_host(self, request: Request) -> Response:
        if wants_json(request.headers):
            return answer_failure(self._site, request, "wrong_host")
        port = re.search(r":[0-9]{1,5}\Z", host_of(request.headers))
        start = self._site.place_of(request).path("/")
        return wrong_host_page(
            url=f"http://127.0.0.1{port[0] if port else ''}{start}",
            look=self._site.look(request.headers),
        )

    def _refuse(self, request: Request, problem: str) -> Response:
        login_url = self._site.place_of(request).login_path({})
        return answer_failure(self._site, request, problem, retry_url=login_url)

    def _refuse_method(self, request: Request, methods: Handlers) -> Response:
        response = self._refuse(request, "method_not_allowed")
        response.headers["Allow"] = ", ".join(sorted(methods))
        return response


def _document(members: dict[str, Any]) -> Handlers:
    """Return the handlers of a public document, which is encoded once.

    Spec: RFC 9111; a key that was removed must be gone everywhere in ten minutes.
    RFC 9110 section 13.1.2: who has this very document gets no second copy.
    """
    body = json.dumps(members).encode()
    etag = f'"{sha256(body).hexdigest()[:32]}"'
    headers = {**_PUBLIC_DOCUMENT, "ETag": etag}

    async def answer(request: Request) -> Response:
        if etag in _known_etags(request):
            return Response(status_code=304, headers=headers)
        content = b"" if request.method == "HEAD" else body
        response = Response(content, headers=headers, media_type="application/json")
        response.headers["Content-Length"] = str(len(body))
        return response

    async def allow(_: Request) -> Response:
        return Response(status_code=204, headers=_PREFLIGHT)

    return {"GET": answer, "HEAD": answer, "OPTIONS": allow}


def _known_etags(request: Request) -> list[str]:
    fields = ",".join(request.headers.getlist("if-none-match"))
    return [each.strip().removeprefix("W/") for each in fields.split(",")]


def _is_loopback_address(request: Request) -> bool:
    return loopback_name(host_of(request.headers)) in LOOPBACK_HOSTS
