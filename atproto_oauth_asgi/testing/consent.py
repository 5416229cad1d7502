"""The page where a person signs in and says yes or no: one form, no script."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from html import escape
from typing import TypeAlias
from urllib.parse import parse_qsl, urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from atproto_oauth_asgi.testing.accounts import Account
from atproto_oauth_asgi.testing.clients import Clients
from atproto_oauth_asgi.testing.devices import Device, Devices
from atproto_oauth_asgi.testing.grants import Ledger
from atproto_oauth_asgi.testing.pages import (
    build_page,
    build_passwords,
    build_scopes,
)
from atproto_oauth_asgi.testing.refusals import Refusal, SentBack, bad_request
from atproto_oauth_asgi.testing.sessions import Pushed
from atproto_oauth_asgi.testing.way_back import send_back

_Answering: TypeAlias = Callable[[Request, Device], Awaitable[Response]]

_FORM = """<p><b>{client}</b> wants to use your account at {host}.</p>
{problem}<form method="post" action="/oauth/authorize">
<input type="hidden" name="client_id" value="{client_id}">
<input type="hidden" name="request_uri" value="{request_uri}">
<fieldset><legend>It asks to</legend>{scopes}</fieldset>
{choices}<label>Handle <input name="username" value="{hint}" autocomplete="username"
 autocapitalize="none" spellcheck="false"{focus_username}></label>
<label>Password <input name="password" type="password"
 autocomplete="current-password"{focus_password}></label>
<label><input type="checkbox" name="remember" value="yes"> Stay signed in here</label>
<button name="decision" value="accept">Authorize</button>
<button name="decision" value="deny">Deny</button></form>
<p><small>Afterwards you come back to {back}.</small></p>{passwords}"""
_CHOICES = """<label>Signed in here <select name="did">
<option value="">Somebody else</option>{options}</select></label>
"""
_OPTION = """<option value="{did}"{selected}>{handle}</option>"""
_FOCUS = " autofocus"
_SITES = frozenset({"cross-site", "same-site", "same-origin", "none"})


class ConsentPage:
    """``/oauth/authorize``, for people and for ``approve``."""

    def __init__(
        self,
        issuer: str,
        *,
        accounts: Mapping[str, Account],
        clients: Clients,
        ledger: Ledger,
        devices: Devices,
    ) -> None:
        self._issuer = issuer
        self._accounts = accounts
        self._clients = clients
        self._ledger = ledger
        self._devices = devices

    def routes(self) -> list[Route]:
        """Return the routes of the page."""
        return [
            self._page("GET", self._show),
            self._page("POST", self._decide),
        ]

    def _page(self, method: str, answering: _Answering) -> Route:
        async def endpoint(request: Request) -> Response:
            device = self._devices.find(request)
            try:
                response = await answering(request, device)
            except Refusal as refusal:
                response = _error(str(refusal))
            except SentBack as error:
                answer = {"error": error.error, "error_description": str(error)}
                response = self._send_back(error.form, answer)
            self._devices.remember(device, response)
            return response

        return Route("/oauth/authorize", endpoint, methods=[method])

    async def _show(self, request: Request, device: Device) -> Response:
        _check_navigation(request)
        pushed = await self._open(request.query_params, device)
        account = self._silently(pushed, device)
        if account is None:
            return await self._form(pushed, device)
        return self._accept(pushed, account, scope=pushed.form["scope"])

    async def _decide(self, request: Request, device: Device) -> Response:
        pairs = parse_qsl((await request.body()).decode("utf-8"))
        form = dict(pairs)
        pushed = await self._open(form, device)
        if form.get("decision") != "accept":
            problem = "The user rejected the request"
            raise self._refused(pushed, "access_denied", description=problem)
        account = self._sign_in(form, device, pushed=pushed)
        if account is None:
            problem = "Invalid identifier or password"
            return await self._form(pushed, device, problem=problem)
        ticked = {value for name, value in pairs if name == "scope"}
        asked = pushed.form["scope"].split(" ")
        # `atproto` cannot be unticked: it is who somebody is.
        granted = [scope for scope in asked if scope in {*ticked, "atproto"}]
        return self._accept(pushed, account, scope=" ".join(granted))

    async def _open(self, fields: Mapping[str, str], device: Device) -> Pushed:
        client_id = fields.get("client_id", "")
        await self._clients.find(client_id)
        return self._ledger.open(
            fields.get("request_uri", ""),
            client_id=client_id,
            device_id=device.device_id,
        )

    def _silently(self, pushed: Pushed, device: Device) -> Account | None:
        """Return who goes on without seeing a page.

        Raises:
            SentBack: a page is needed, but not wanted. Spec: OpenID Connect Core 1.0,
                section 3.1.2.1, ``prompt``.
        """
        prompt, hint = pushed.form.get("prompt"), pushed.form.get("login_hint")
        here = self._signed_in(device)
        if prompt == "select_account" and not here:
            raise self._refused(pushed, "account_selection_required")
        account = next((a for a in here if hint in {a.did, a.handle}), None)
        if prompt not in {None, "none"}:
            return None
        problem = self._find_problem(pushed, device, account=account)
        if problem and prompt == "none":
            raise self._refused(pushed, problem)
        return None if problem else account

    def _find_problem(
        self, pushed: Pushed, device: Device, *, account: Account | None
    ) -> str | None:
        if account is None:
            return "login_required"
        if self._devices.needs_password(device, account.did, form=pushed.form):
            return "login_required"
        if self._devices.needs_consent(account.did, pushed.form):
            return "consent_required"
        return None

    def _refused(
        self, pushed: Pushed, error: str, *, description: str = ""
    ) -> SentBack:
        self._ledger.drop(pushed)
        return SentBack(pushed.form, error, description=description or error)

    def _accept(self, pushed: Pushed, account: Account, *, scope: str) -> Response:
        self._devices.note_consent(account.did, pushed.form)
        code = self._ledger.approve(pushed, did=account.did, scope=scope)
        return self._send_back(pushed.form, {"code": code})

    def _signed_in(self, device: Device) -> list[Account]:
        return [
            each for each in self._accounts.values() if each.did in device.signed_in
        ]

    def _find_account(self, name: str) -> Account | None:
        every = self._accounts.values()
        return next((each for each in every if name in {each.handle, each.did}), None)

    def _sign_in(
        self, form: Mapping[str, str], device: Device, *, pushed: Pushed
    ) -> Account | None:
        chosen, password = form.get("did", ""), form.get("password", "")
        typed = form.get("username", "").strip().lower().removeprefix("@")
        # Whoever types a password does not mean who is signed in here already.
        account = self._find_account((typed or chosen) if password else chosen or typed)
        if account is None:
            return None
        if not password and not self._devices.needs_password(
            device, account.did, form=pushed.form
        ):
            return account
        if password != account.password:
            return None
        self._devices.sign_in(device, account.did, stays="remember" in form)
        return account

    async def _form(
        self, pushed: Pushed, device: Device, *, problem: str = ""
    ) -> Response:
        client = await self._clients.find(pushed.client_id)
        hint = pushed.form.get("login_hint", "")
        account = self._find_account(hint)
        content = _FORM.format(
            client=escape(client.name),
            host=escape(urlsplit(self._issuer).netloc),
            client_id=escape(pushed.client_id),
            request_uri=escape(pushed.request_uri),
            hint=escape(account.handle if account else hint),
            choices=_choices(self._signed_in(device), hint),
            focus_username="" if hint else _FOCUS,
            focus_password=_FOCUS if hint else "",
            scopes=build_scopes(pushed.form["scope"].split(" ")),
            problem=f"<p role='alert'>{problem}</p>" if problem else "",
            back=escape(urlsplit(pushed.form["redirect_uri"]).netloc),
            passwords=build_passwords(self._accounts.values()),
        )
        return build_page("Authorize", content, status=400 if problem else 200)

    def _send_back(
        self, form: Mapping[str, str], answer: Mapping[str, str]
    ) -> Response:
        return send_back(form, answer, issuer=self._issuer)


def _check_navigation(request: Request) -> None:
    """Refuse what is no navigation of a browser. Spec: W3C Fetch Metadata."""
    headers = request.headers
    if (
        headers.get("sec-fetch-mode") != "navigate"
        or headers.get("sec-fetch-dest") != "document"
        or headers.get("sec-fetch-site") not in _SITES
    ):
        raise bad_request("Missing or wrong sec-fetch-mode, -dest or -site header")


def _choices(accounts: Iterable[Account], hint: str) -> str:
    options = "".join(
        _OPTION.format(
            did=escape(each.did),
            handle=escape(each.handle),
            selected=" selected" if hint in {each.did, each.handle} else "",
        )
        for each in accounts
    )
    return _CHOICES.format(options=options) if options else ""


def _error(description: str) -> Response:
    return build_page("Error", f"<p>{escape(description)}</p>", status=400)
