"""The page before a further consent: what is missing, and who is asked for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from atproto_oauth_asgi.exceptions import ConfigurationError
from atproto_oauth_asgi.models import OAuthSession
from atproto_oauth_asgi.scopes import ScopesSet
from atproto_oauth_asgi.web.forms import BadForm
from atproto_oauth_asgi.web.rendering import (
    as_shown,
    build_answer,
    build_hidden,
    make_page,
)
from atproto_oauth_asgi.web.site import Site
from atproto_oauth_asgi.web.templates import fill, join
from atproto_oauth_asgi.web.words import Look

REASON = "scope"
"""What the login page is told, so that it is this page."""

# As long as the way from a consent page back to the page that wants more may take.
_JUST_NOW_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PermissionForm:
    """What the page is to hold.

    Attributes:
        action: path that the form is posted to.
        account: handle or DID of who is logged in, as the page names them.
        did: theirs: who is to be asked, whoever has the handle by now.
        scope: for the login that brings what is missing.
        missing: what that is.
        return_to: passed on in a hidden field.
        home_url: where the link leads for those who would rather not.
        is_again: they have only just logged in, and it did not come along.
    """

    action: str
    account: str
    did: str
    scope: str
    missing: Sequence[str]
    return_to: str
    home_url: str
    is_again: bool = False


def permission_page(form: PermissionForm, *, look: Look) -> Response:
    """Return the page that leads to the consent for a further permission.

    Raises:
        ValueError: one of its URLs cannot be a link.
    """
    words = look.say("permission_page", account=as_shown(form.account))
    missing = " ".join(form.missing)
    values = {
        "action_url": form.action,
        "home_url": form.home_url,
        "account": form.account,
        "missing": missing,
    }
    fields = {
        "identifier": form.did,
        "scope": form.scope,
        "return_to": form.return_to,
    }
    notice = join()
    if form.is_again:
        notice = fill("permission_again", again=words["again"])
    page = make_page("permission", look, words=words, values=values, fields=fields)
    body = fill(
        "permission",
        **words,
        notice=notice,
        action_url=form.action,
        hidden=build_hidden(page.fields),
        missing=missing,
        home_url=form.home_url,
    )
    return build_answer(page, body, look=look, referrer_policy="same-origin")


def show_permission(
    site: Site, request: Request, fields: Mapping[str, str], *, session: OAuthSession
) -> Response | None:
    """Return the page, if somebody lacks what is asked for; it starts nothing.

    None where they have all of it.

    Raises:
        BadForm: the application does not declare this scope.
    """
    scope = fields.get("scope", "")
    missing = _find_missing(site, scope, session=session)
    if not missing:
        return None
    place = site.place_of(request)
    age_s = site.config.clock() - session.created_at.timestamp()
    form = PermissionForm(
        action=place.login_action,
        account=session.handle or session.did,
        did=session.did,
        scope=scope,
        missing=missing,
        return_to=place.return_to(fields.get("return_to")),
        home_url=place.home,
        is_again=age_s < _JUST_NOW_S,
    )
    return permission_page(form, look=site.look(request.headers))


def _find_missing(site: Site, scope: str, *, session: OAuthSession) -> tuple[str, ...]:
    # What stands on the page is the application's, whoever has made the link.
    if not set(scope.split()) <= set(site.config.scope.split()):
        raise BadForm("the scope is more than the application declares")
    try:
        return ScopesSet(session.scope).missing(scope.split())
    except ConfigurationError as error:
        raise BadForm("the scope cannot be compared with what was granted") from error
