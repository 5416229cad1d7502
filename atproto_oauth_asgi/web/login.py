"""``/oauth/login`` and ``/oauth/callback``: a login, from the form to the session."""

from __future__ import annotations

import logging
from urllib.parse import urlsplit

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response

from atproto_oauth_asgi.exceptions import (
    ConfigurationError,
    OAuthError,
    OAuthStateError,
    StoreError,
    WrongBrowser,
)
from atproto_oauth_asgi.models import OAuthSession, OAuthState
from atproto_oauth_asgi.network.beside import run_shielded
from atproto_oauth_asgi.network.concerning import concerning
from atproto_oauth_asgi.protocol.callback import CallbackAnswer, parse_callback
from atproto_oauth_asgi.sessions.cookies import parse_cookie_header
from atproto_oauth_asgi.sessions.lifecycle import OpenedSession, Past
from atproto_oauth_asgi.sessions.pending import UNKNOWN_LOGIN
from atproto_oauth_asgi.web import permission_page
from atproto_oauth_asgi.web.answers import (
    add_cookies,
    answer_failure,
    as_told,
    go_to,
    json_answer,
    log_failure,
    say_when_to_retry,
)
from atproto_oauth_asgi.web.flows import FlowOutcome, LoginFlows
from atproto_oauth_asgi.web.forms import BadForm, parse_query, read_form, unique
from atproto_oauth_asgi.web.login_desk import read_identifier, show_login
from atproto_oauth_asgi.web.pages import handover_page
from atproto_oauth_asgi.web.place import Place
from atproto_oauth_asgi.web.problems import wants_json
from atproto_oauth_asgi.web.site import Site, host_of, port_of
from atproto_oauth_asgi.web.visits import Visits

_log = logging.getLogger("atproto_oauth_asgi")


class LoginRoutes:
    """The two ends of a login."""

    def __init__(self, site: Site, visits: Visits) -> None:
        self._site = site
        self._visits = visits
        self._flows = LoginFlows(site)

    async def show_form(self, request: Request) -> Response:
        """Answer ``GET /oauth/login``: a form, which starts nothing by itself."""
        try:
            given = unique(parse_query(request.scope["query_string"]))
            visit = await self._visits.open(request.scope)
            session = visit.session
            page = self._show_permission(request, given, session)
        except (BadForm, StoreError) as error:
            return self._refuse(request, error)
        if page is not None:
            return page
        account = (session.handle or session.did) if session else None
        if visit.reason is not None and "identifier" not in given:
            again = {"reason": visit.reason, "identifier": visit.login_hint or ""}
            given = {**again, **given}
        return show_login(self._site, request, given, account=account)

    def _show_permission(
        self, request: Request, given: dict[str, str], session: OAuthSession | None
    ) -> Response | None:
        if session is None or given.get("reason") != permission_page.REASON:
            return None
        return permission_page.show_permission(
            self._site, request, given, session=session
        )

    async def start(self, request: Request) -> Response:
        """Answer ``POST /oauth/login``: begin the login, hand the browser over."""
        fields: dict[str, str] = {}
        try:
            fields = await read_form(request)
            place = self._site.place_of(request)
            with self._site.gate.admit(request):
                (auth_url, _), pending = await self._site.client.begin_login(
                    read_identifier(fields, self._site.config.pages),
                    scope=fields.get("scope") or self._site.config.login_scope,
                    prompt=fields.get("prompt") or None,
                    redirect_uri=self._site.redirect_uri(host_of(request.headers)),
                    app_state=place.return_to(fields.get("return_to")),
                )
            lines = self._keep_pending(request, pending)
        except (BadForm, ConfigurationError) as error:
            # What can be wrong with the options of a login is what the form holds.
            return self._refuse(request, BadForm.of(error))
        except OAuthError as error:
            return self._refuse_start(request, error, fields)
        _log.info("login begun: did=%s issuer=%s", pending.did, pending.authserver_iss)
        return add_cookies(self._hand_over(request, auth_url), lines)

    async def finish(self, request: Request) -> Response:
        """Answer ``GET /oauth/callback``: end the login that this browser began.

        The cookie is checked before anything is taken or sent. A second hit within
        a minute, by a reload or a double delivery, waits for the first one and gets
        the same answer.
        """
        try:
            answer = parse_callback(parse_query(request.scope["query_string"]))
            return await self._finish(request, answer)
        except OAuthError as error:
            return await self._refuse_finish(request, error)

    async def _finish(self, request: Request, answer: CallbackAnswer) -> Response:
        try:
            pending = self._open_pending(request, answer.state)
        except WrongBrowser:
            response = await self._lead_on(request, answer.state)
            if response is None:
                raise
            return response
        with concerning(did=pending.did, issuer=pending.authserver_iss):
            place = self._site.place_of(request)
            outcome = await self._finish_once(pending, answer, place=place)
            return await self._conclude(request, answer.state, outcome)

    async def _lead_on(self, request: Request, state: str) -> Response | None:
        """Answer a second hit that comes when the first one has been answered.

        The login's cookie is gone by then. What the browser has is the very session
        that this login has brought; who has another one, or none, gets nothing.
        """
        before = (await self._visits.open(request.scope)).opened
        outcome = await self._flows.outcome(state) if before else None
        if outcome is None:
            return None
        opened = await self._site.sessions.open(outcome.cookie)
        return go_to(outcome.location) if _are_same(before, opened) else None

    async def _finish_once(
        self, pending: OAuthState, answer: CallbackAnswer, *, place: Place
    ) -> FlowOutcome:
        async with self._flows.lock(answer.state):
            outcome = await self._flows.outcome(answer.state)
            if outcome is not None:
                return outcome
            # A browser that goes away finds its session when it comes back.
            return await run_shielded(
                lambda: self._complete(pending, answer, place=place)
            )

    async def _complete(
        self, pending: OAuthState, answer: CallbackAnswer, *, place: Place
    ) -> FlowOutcome:
        try:
            session = await self._site.client.complete_login(pending, answer)
            session = await self._welcome(session)
            cookie = await self._site.sessions.begin(session)
        except BaseException:
            await self._flows.keep_outcome(answer.state, None)
            raise
        location = place.return_to(session.app_state)
        outcome = FlowOutcome(location=location, cookie=cookie)
        try:
            await self._flows.keep_outcome(answer.state, outcome)
        except StoreError:
            await self._site.sessions.abandon(session)
            raise
        _log.info("logged in: did=%s issuer=%s", session.did, session.authserver_iss)
        return outcome

    async def _welcome(self, session: OAuthSession) -> OAuthSession:
        """Return the session as the application lets it in, with where it leads."""
        try:
            chosen = await self._site.hooks.login(session)
        except OAuthError:
            await self._site.sessions.in_store.revoke_quietly(session)
            raise
        return session if chosen is None else session.replace(app_state=chosen)

    async def _conclude(
        self, request: Request, state: str, outcome: FlowOutcome
    ) -> Response:
        """Put the session into the browser; another one that was there is ended."""
        opened = await self._site.sessions.open(outcome.cookie)
        if not isinstance(opened, OpenedSession):
            raise OAuthStateError(UNKNOWN_LOGIN)
        response = go_to(outcome.location)
        visit = await self._visits.open(request.scope)
        before = visit.opened
        # A second hit may be of a browser that has the session, maybe a newer form.
        if not _are_same(before, opened):
            add_cookies(response, visit.write_lines(opened))
            if before is not None:
                response.background = BackgroundTask(self._end_former, before)
        # Last: a browser that sends something meanwhile has one of the two.
        return add_cookies(response, self._clear_pending(request, state))

    async def _end_former(self, before: OpenedSession) -> None:
        did, issuer = before.session.did, before.session.authserver_iss
        try:
            with concerning(did=did, issuer=issuer):
                await self._site.sessions.end(before)
        except OAuthError as error:
            # The answer has gone out, and this session has left the browser with it.
            log_failure(error)

    def _refuse(self, request: Request, error: OAuthError) -> Response:
        login_url = self._site.place_of(request).login_path({})
        return answer_failure(self._site, request, error, retry_url=login_url)

    def _refuse_start(
        self, request: Request, error: OAuthError, fields: dict[str, str]
    ) -> Response:
        if wants_json(request.headers):
            return self._refuse(request, error)
        log_failure(error)
        form = show_login(self._site, request, fields, problem=as_told(error))
        return say_when_to_retry(form, error)

    async def _refuse_finish(self, request: Request, error: OAuthError) -> Response:
        return answer_failure(
            self._site,
            request,
            error,
            retry_url=self._site.place_of(request).login_path(
                {"return_to": error.app_state}
            ),
            account=await self._account(request),
            referrer_policy="no-referrer",
        )

    async def _account(self, request: Request) -> str | None:
        """Return who is logged in, whatever has become of this login."""
        try:
            session = (await self._visits.open(request.scope)).session
        except StoreError:
            return None
        return (session.handle or session.did) if session else None

    def _hand_over(self, request: Request, auth_url: str) -> Response:
        if wants_json(request.headers):
            return json_answer({"authorization_url": auth_url})
        return handover_page(
            authorization_url=auth_url,
            host=urlsplit(auth_url).netloc,
            look=self._site.look(request.headers),
        )

    def _keep_pending(self, request: Request, pending: OAuthState) -> list[bytes]:
        prefix, cookies = self._login_cookies(request)
        return self._flows.cookie_lines(pending, prefix=prefix, present=list(cookies))

    def _open_pending(self, request: Request, state: str) -> OAuthState:
        prefix, cookies = self._login_cookies(request)
        return self._flows.open(state, prefix=prefix, cookies=cookies)

    def _clear_pending(self, request: Request, state: str) -> list[bytes]:
        prefix, cookies = self._login_cookies(request)
        return self._flows.clear_lines(state, prefix=prefix, cookies=cookies)

    def _login_cookies(self, request: Request) -> tuple[str, dict[str, list[str]]]:
        prefix = self._site.login_cookie(port_of(host_of(request.headers)))
        return prefix, parse_cookie_header(request.scope["headers"], prefix)


def _are_same(one: OpenedSession | None, other: OpenedSession | Past | None) -> bool:
    if not (isinstance(one, OpenedSession) and isinstance(other, OpenedSession)):
        return False
    return one.session.session_id == other.session.session_id
