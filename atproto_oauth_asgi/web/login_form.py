"""What stands on the login page: the field for a handle, and the other ways in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from atproto_oauth_asgi.exceptions import IdentityError
from atproto_oauth_asgi.pages import Page
from atproto_oauth_asgi.web.rendering import (
    as_shown,
    build_account_notice,
    build_hidden,
    make_page,
)
from atproto_oauth_asgi.web.templates import Html, fill, join
from atproto_oauth_asgi.web.texts import Explanation, Problem, explain
from atproto_oauth_asgi.web.words import Look

_MAX_IDENTIFIER_CHARS = 2048
_MAX_HOST_CHARS = 255

REASONS: Mapping[str, str] = MappingProxyType(
    {
        "expired": "session_expired",
        "revoked": "session_revoked",
        "moved": "account_moved",
        "key_retired": "client_key_retired",
        "refresh_interrupted": "refresh_interrupted",
    }
)
"""Why somebody is to log in again, as ``auth.reason`` says it, and the error's code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginForm:
    """What the login page is to hold.

    Attributes:
        action: path or URL that the form is posted to.
        identifier: what the field for the handle holds at first.
        host: what the field for a host holds at first.
        return_to: passed on in a hidden field, as are ``scope`` and ``prompt``.
        scope: see ``return_to``.
        prompt: see ``return_to``.
        problem: why an attempt failed; told beside the field.
        reason: one of ``REASONS``: why the person is to log in again.
        account: handle or DID of who is logged in already.
        home_url: the way on for who is logged in already.
    """

    action: str
    identifier: str = ""
    host: str = ""
    return_to: str | None = None
    scope: str | None = None
    prompt: str | None = None
    problem: Problem = None
    reason: str | None = None
    account: str | None = None
    home_url: str = "/"


def build_login(form: LoginForm, *, look: Look) -> tuple[Page, Html]:
    """Return what the page tells, and our markup of it.

    Raises:
        ValueError: one of the URLs cannot be a link.
    """
    page = _build_page(form, look)
    notice = join()
    if "account" in page.values:
        notice = build_account_notice(page)
    elif form.problem is None and page.code is not None:
        notice = fill("notice", **_problem_words(page))
    is_again = form.problem is None and page.code is not None and form.identifier
    ways = [_build_again(page) if is_again else _build_form(form, page)]
    ways += [_build_other(form, page) if is_again else _build_host(form, page)]
    ways += [_build_sign_up(page)]
    return page, fill("login", title=page.words["title"], body=join([notice, *ways]))


def _build_page(form: LoginForm, look: Look) -> Page:
    sign_up_url = look.pages.sign_up_origin
    values = {
        "action_url": form.action,
        "identifier": form.identifier[:_MAX_IDENTIFIER_CHARS],
        "host": form.host[:_MAX_HOST_CHARS],
        "account": form.account,
        "home_url": form.home_url,
        "sign_up_url": sign_up_url,
        "suggestions_url": look.pages.suggestions_url,
    }
    fields = {
        "return_to": form.return_to,
        "scope": form.scope,
        "prompt": form.prompt,
    }
    words = look.say(
        "login_page",
        account=as_shown(form.account or form.identifier),
        host=(sign_up_url or "").partition("://")[2],
    )
    found = _explain(form, look)
    if found is not None:
        text = found.text
        told = " ".join((text.what, *text.causes, text.now))
        words |= {"problem_title": text.title, "problem": told}
    if form.reason in REASONS:
        words["title"] = words["title_again"]
    return make_page(
        "login",
        look,
        words=words,
        values=values,
        fields=fields,
        code=found.code if found else None,
        status_code=found.status_code if found and form.problem is not None else 200,
    )


def _explain(form: LoginForm, look: Look) -> Explanation | None:
    problem = form.problem
    if problem is None:
        problem = REASONS.get(form.reason or "")
    if problem is None:
        return None
    return explain(problem, client_name=look.client_name, texts=look.texts)


def _problem_words(page: Page) -> dict[str, str]:
    return {"title": page.words["problem_title"], "text": page.words["problem"]}


def _build_form(form: LoginForm, page: Page, *, is_other: bool = False) -> Html:
    """Return the form with the field for a handle, and what went wrong with it."""
    failed = form.problem is not None and not form.host
    suggestions = join()
    if "suggestions_url" in page.values:
        url = page.values["suggestions_url"]
        suggestions = fill("suggestions", suggestions_url=url)
    field = fill(
        "field" if form.host or is_other else "field_focused",
        name="identifier",
        prefix="@",
        value="" if is_other else page.values["identifier"],
        placeholder=page.words["placeholder"],
        autocomplete="username",
        invalid=_is_true(failed and isinstance(form.problem, IdentityError)),
        described_by="problem hint" if failed else "hint",
    )
    return fill(
        "login_form",
        action_url=page.values["action_url"],
        label=page.words["label"],
        field=field,
        suggestions=suggestions,
        alert=fill("alert", **_problem_words(page)) if failed else join(),
        hidden=build_hidden(page.fields),
        button=page.words["button"],
        hint=page.words["hint"],
    )


def _build_again(page: Page) -> Html:
    """Return one button, for who was logged in before."""
    return fill(
        "login_again",
        action_url=page.values["action_url"],
        identifier=page.values["identifier"],
        hidden=build_hidden(page.fields),
        button_again=page.words["button_again"],
    )


def _build_other(form: LoginForm, page: Page) -> Html:
    """Return the form, for who is somebody else."""
    body = join([_build_form(form, page, is_other=True), _build_host(form, page)])
    return fill("more", title=page.words["other"], body=body)


def _build_host(form: LoginForm, page: Page) -> Html:
    """Return the way in for who knows the host, but not the handle."""
    failed = form.problem is not None and bool(form.host)
    field = fill(
        "field_focused" if form.host else "field",
        name="host",
        prefix="https://",
        value=page.values["host"],
        placeholder=page.words["host_placeholder"],
        autocomplete="off",
        invalid=_is_true(failed and isinstance(form.problem, IdentityError)),
        described_by="problem host-hint" if failed else "host-hint",
    )
    body = fill(
        "login_host",
        action_url=page.values["action_url"],
        host_label=page.words["host_label"],
        field=field,
        alert=fill("alert", **_problem_words(page)) if failed else join(),
        host_hint=page.words["host_hint"],
        hidden=build_hidden(page.fields),
        host_button=page.words["host_button"],
    )
    kind = "more_open" if form.host else "more"
    return fill(kind, title=page.words["host_title"], body=body)


def _is_true(value: bool) -> str:  # noqa: FBT001 - an attribute's value, nothing more
    return "true" if value else "false"


def _build_sign_up(page: Page) -> Html:
    """Return the way to a new account, or nothing if the application names no host."""
    if "sign_up_url" not in page.values:
        return join()
    others = {name: text for name, text in page.fields.items() if name != "prompt"}
    return fill(
        "sign_up",
        action_url=page.values["action_url"],
        sign_up=page.words["sign_up"],
        host_url=page.values["sign_up_url"],
        hidden=build_hidden(others),
        sign_up_button=page.words["sign_up_button"],
    )
