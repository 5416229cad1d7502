"""The page where a person signs in and says yes or no: one form, no script."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from atproto_oauth_asgi.testing.accounts import Account
from atproto_oauth_asgi.testing.clients import Clients
from atproto_oauth_asgi.testing.grants import Ledger, Pushed
from atproto_oauth_asgi.testing.refusals import Refusal

_PAGE = """<!doctype html><html lang="en"><title>{title}</title>
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<style>body {{ font: 1.1rem/1.6 system-ui; max-width: 30rem; margin: 3rem auto }}
label, button {{ display: block; margin: 1rem 0 }}</style>
<h1>{title}</h1>{content}"""
_FORM = """<p><b>{client}</b> wants to act for you.</p>{problem}
<form method="post" action="/oauth/authorize">
<input type="hidden" name="client_id" value="{client_id}">
<input type="hidden" name="request_uri" value="{request_uri}">
<label>Handle <input name="username" value="{hint}"></label>
<label>Password <input name="password" type="password"></label>
{scopes}
<button name="decision" value="accept">Authorize</button>
<button name="decision" value="deny">Deny</button></form>"""
_SCOPE = """<label><input type="checkbox" name="scope" value="{scope}" checked>
{scope}</label>"""
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
}


class ConsentPage:
    """``/oauth/authorize``, for people and for ``approve``."""

    def __init__(
        self,
        issuer: str,
        *,
        accounts: Mapping[str, Account],
        clients: Clients,
        ledger: Ledger,
    ) -> None:
        self._issuer = issuer
        self._accounts = accounts
        self._clients = clients
        self._ledger = ledger

    def routes(self) -> list[Route]:
        """Return the routes of the page."""
        path = "/oauth/authorize"
        return [
            Route(path, self._show, methods=["GET"]),
            Route(path, self._decide, methods=["POST"]),
        ]

    async def _show(self, request: Request) -> Response:
        query = dict(request.query_params)
        pushed = self._find(query)
        if pushed is None:
            return _error("Unknown request_uri")
        if pushed.is_answered:
            # What was opened again may be in the wrong hands: nobody gets the code.
            self._ledger.cancel(pushed)
            return self._deny(pushed, "This request was already authorized")
        if pushed.form.get("prompt") == "none":
            pushed.is_answered = True
            return self._send_back(pushed, {"error": "login_required"})
        return await self._form(pushed)

    async def _decide(self, request: Request) -> Response:
        pairs = parse_qsl((await request.body()).decode("utf-8"))
        form = dict(pairs)
        pushed = self._find(form)
        if pushed is None or pushed.is_answered:
            return _error("Unknown request_uri")
        if form.get("decision") != "accept":
            return self._deny(pushed, "The user rejected the request")
        account = self._sign_in(form)
        if account is None:
            return await self._form(pushed, problem="Invalid identifier or password")
        ticked = {value for name, value in pairs if name == "scope"}
        asked = pushed.form["scope"].split(" ")
        # `atproto` cannot be unticked: it is who somebody is.
        granted = [scope for scope in asked if scope in {*ticked, "atproto"}]
        code = self._ledger.approve(pushed, did=account.did, scope=" ".join(granted))
        return self._send_back(pushed, {"code": code})

    def _find(self, fields: Mapping[str, str]) -> Pushed | None:
        return self._ledger.find_request(
            fields.get("request_uri", ""), fields.get("client_id", "")
        )

    def _sign_in(self, form: Mapping[str, str]) -> Account | None:
        name = form.get("username", "").strip().lower().removeprefix("@")
        for account in self._accounts.values():
            if name in {account.handle, account.did}:
                is_right = form.get("password") == account.password
                return account if is_right else None
        return None

    async def _form(self, pushed: Pushed, *, problem: str = "") -> Response:
        try:
            client = await self._clients.find(pushed.client_id)
        except Refusal as refusal:
            return _error(str(refusal))
        scopes = pushed.form["scope"].split(" ")
        content = _FORM.format(
            client=escape(client.name),
            client_id=escape(pushed.client_id),
            request_uri=escape(pushed.request_uri),
            hint=escape(pushed.form.get("login_hint", "")),
            scopes="".join(_SCOPE.format(scope=escape(each)) for each in scopes),
            problem=f"<p role='alert'>{problem}</p>" if problem else "",
        )
        status = 400 if problem else 200
        return _page("Authorize", content, status=status)

    def _deny(self, pushed: Pushed, description: str) -> Response:
        pushed.is_answered = True
        answer = {"error": "access_denied", "error_description": description}
        return self._send_back(pushed, answer)

    def _send_back(self, pushed: Pushed, answer: Mapping[str, str]) -> Response:
        """Spec: RFC 6749 section 4.1.2, RFC 9207."""
        fields = {"iss": self._issuer, **answer}
        if "state" in pushed.form:
            fields["state"] = pushed.form["state"]
        uri = pushed.form["redirect_uri"]
        mark = "&" if "?" in uri else "?"
        return RedirectResponse(f"{uri}{mark}{urlencode(fields)}", 303, _HEADERS)


def _error(description: str) -> Response:
    return _page("Error", f"<p>{escape(description)}</p>", status=400)


def _page(title: str, content: str, *, status: int) -> Response:
    text = _PAGE.format(title=title, content=content)
    return HTMLResponse(text, status, _HEADERS)
