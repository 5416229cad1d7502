"""The way into a login: what the form shows, and what somebody typed into it."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from atproto_oauth_asgi.exceptions import OAuthError
from atproto_oauth_asgi.pages import Pages
from atproto_oauth_asgi.protocol.identifiers import find_did, find_handle, strip_pasted
from atproto_oauth_asgi.web.answers import go_to
from atproto_oauth_asgi.web.login_form import LoginForm
from atproto_oauth_asgi.web.pages import login_page
from atproto_oauth_asgi.web.site import Site
from atproto_oauth_asgi.web.texts import explain

_PASSED_ON = ("identifier", "host", "return_to", "scope", "prompt", "reason")
_NOT_IN_NAMES = frozenset(".:/@")


def show_login(
    site: Site,
    request: Request,
    fields: Mapping[str, str],
    *,
    problem: OAuthError | str | None = None,
    account: str | None = None,
) -> Response:
    """Return the login page; or the way to it, if the application has its own.

    Args:
        site: of the middleware.
        request: that is answered.
        fields: what the form is to hold.
        problem: why an attempt failed.
        account: handle or DID of who is logged in already.
    """
    place = site.place_of(request)
    return_to = place.return_to(fields.get("return_to"))
    if site.config.pages.login_url is not None:
        given = {**fields, "return_to": return_to}
        return _go_to_own_page(site.config.pages.login_url, given, problem=problem)
    form = LoginForm(
        action=place.login_action,
        identifier=fields.get("identifier", ""),
        host=fields.get("host", ""),
        return_to=return_to,
        scope=fields.get("scope"),
        prompt=fields.get("prompt"),
        problem=problem,
        reason=_find_reason(fields, account=account),
        account=account,
        home_url=return_to,
    )
    return login_page(form, look=site.look(request.headers))


def _find_reason(fields: Mapping[str, str], *, account: str | None) -> str | None:
    """Return why somebody is to log in again, if it is somebody."""
    identifier = fields.get("identifier", "")
    # It becomes the label of a button, which no link is to make up.
    is_somebody = not identifier or find_handle(identifier) or find_did(identifier)
    return fields.get("reason") if is_somebody and account is None else None


def _go_to_own_page(
    login_url: str, fields: Mapping[str, str], *, problem: OAuthError | str | None
) -> Response:
    given = {name: fields[name] for name in _PASSED_ON if fields.get(name)}
    if problem is not None:
        given["error"] = explain(problem).code
    mark = "&" if "?" in login_url else "?"
    return go_to(f"{login_url}{mark}{urlencode(given)}" if given else login_url)


def read_identifier(fields: Mapping[str, str], pages: Pages) -> str:
    """Return what somebody typed, completed: a host by ``https://``, a bare name."""
    if fields.get("host"):
        host = strip_pasted(fields["host"])
        return host if "://" in host else f"https://{host}"
    typed = fields.get("identifier", "")
    name = strip_pasted(typed)
    if pages.default_handle_suffix and name and _NOT_IN_NAMES.isdisjoint(name):
        return f"{name}.{pages.default_handle_suffix}"
    return typed
