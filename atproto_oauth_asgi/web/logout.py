"""``/oauth/logout``: the end of a session, asked for by the person."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from atproto_oauth_asgi.exceptions import OAuthError
from atproto_oauth_asgi.web.answers import (
    add_cookies,
    answer_failure,
    go_to,
    json_answer,
)
from atproto_oauth_asgi.web.forms import parse_query, read_form, unique
from atproto_oauth_asgi.web.pages import logged_out_page, logout_page
from atproto_oauth_asgi.web.problems import wants_json
from atproto_oauth_asgi.web.site import Site
from atproto_oauth_asgi.web.visits import Visits


class LogoutRoutes:
    """Asks first (GET), then logs out (POST)."""

    def __init__(self, site: Site, visits: Visits) -> None:
        self._site = site
        self._visits = visits

    async def confirm(self, request: Request) -> Response:
        """Answer ``GET /oauth/logout``: a page with a button, nothing else happens."""
        try:
            given = unique(parse_query(request.scope["query_string"]))
            visit = await self._visits.open(request.scope)
        except OAuthError as error:
            return self._refuse(request, error)
        place, look = self._site.place_of(request), self._site.look(request.headers)
        session = visit.session
        if session is None:
            login_url = place.login_path({})
            return logged_out_page(login_url=login_url, home_url=place.home, look=look)
        return logout_page(
            action=place.path(self._site.config.logout_path),
            return_to=place.return_to(given.get("return_to")),
            account=session.handle or session.did,
            home_url=place.home,
            look=look,
        )

    async def log_out(self, request: Request) -> Response:
        """Answer ``POST /oauth/logout``: without a session it is no error."""
        try:
            fields = await read_form(request)
            visit = await self._visits.open(request.scope)
            await visit.end(everywhere=_is_set(fields.get("everywhere")))
        except OAuthError as error:
            return self._refuse(request, error)
        if wants_json(request.headers):
            response = json_answer({})
        else:
            response = go_to(
                self._site.place_of(request).return_to(fields.get("return_to"))
            )
        leftovers = self._visits.anonymous(request.scope["headers"])
        return add_cookies(response, leftovers.clear_lines())

    def _refuse(self, request: Request, error: OAuthError) -> Response:
        place = self._site.place_of(request)
        retry_url = place.path(self._site.config.logout_path)
        return answer_failure(self._site, request, error, retry_url=retry_url)


def _is_set(text: str | None) -> bool:
    return text not in {None, "", "0", "false", "off", "no"}
