"""The pages that a person sees: login, hand-over, errors, logout, wrong address.

No page loads anything, and none holds a script, unless the application turns on
suggestions of handles. Each is complete in itself, readable from 320 pixels upwards and
in light and dark, and is stored nowhere. The Content-Security-Policy allows the one
style block by its hash and forms to this site; the way to another host is the hand-over
page, because browsers apply ``form-action`` to every redirect that follows a form.

A ``ValueError`` from here means that the caller passed a URL that cannot be a link.
"""

from __future__ import annotations

from starlette.responses import Response

from atproto_oauth_asgi.pages import Page
from atproto_oauth_asgi.web.login_form import LoginForm, build_login
from atproto_oauth_asgi.web.rendering import (
    ReferrerPolicy,
    as_shown,
    build_account_notice,
    build_answer,
    build_hidden,
    make_page,
)
from atproto_oauth_asgi.web.templates import Html, fill, join
from atproto_oauth_asgi.web.texts import Explanation, Problem, explain
from atproto_oauth_asgi.web.words import Look

_MAX_HOST_CHARS = 255
_MAX_INCIDENT_CHARS = 64


def login_page(form: LoginForm, *, look: Look) -> Response:
    """Return the page with the login form.

    Raises:
        ValueError: one of its URLs cannot be a link.
    """
    page, body = build_login(form, look=look)
    return build_answer(page, body, look=look, referrer_policy="same-origin")


def handover_page(*, authorization_url: str, host: str, look: Look) -> Response:
    """Return the page that sends a browser on to the authorization server.

    Args:
        authorization_url: where to; checked by the caller, this is the second lock.
        host: its name, as the person is to read it.
        look: how the page looks.

    Raises:
        ValueError: the URL is not an absolute http(s) URL in plain ASCII.
    """
    # Stricter than a link, which `fill` checks, because it goes into a header as well.
    if authorization_url.startswith("/") or not authorization_url.isascii():
        raise ValueError("the authorization URL is not an absolute URL in ASCII")
    host = host[:_MAX_HOST_CHARS]
    words = look.say("handover_page", host=host)
    values = {"authorization_url": authorization_url, "host": host}
    page = make_page("handover", look, words=words, values=values)
    body = fill("handover", authorization_url=authorization_url, **words)
    answer = build_answer(page, body, look=look, referrer_policy="no-referrer")
    answer.headers["Refresh"] = f"0; url={authorization_url}"
    return answer


def error_page(  # noqa: PLR0913 - what the page tells, by name
    error: Problem,
    *,
    look: Look,
    status_code: int | None = None,
    retry_url: str | None,
    home_url: str,
    incident_id: str | None = None,
    account: str | None = None,
    host: str | None = None,
    referrer_policy: ReferrerPolicy = "same-origin",
) -> Response:
    """Return the page that tells what went wrong and how to go on.

    Args:
        error: an error, or a code such as ``"csrf"``, or None for the unforeseen.
        look: how the page looks.
        status_code: None means the one that fits the error.
        retry_url: where the button leads, usually to the login; None: no button.
        home_url: the way back into the application.
        incident_id: what finds this failure in the log.
        account: handle or DID of who is logged in all the same.
        host: name of the server that hosts the account, where it is known.
        referrer_policy: ``no-referrer`` for answers on the callback's URL.

    Raises:
        ValueError: one of the URLs cannot be a link.
    """
    found = explain(error, host=host, client_name=look.client_name, texts=look.texts)
    page = make_page(
        "error",
        look,
        words={
            **_home(look.say("error_page", account=as_shown(account or "")), look),
            **_sentences(found),
        },
        values={
            "retry_url": retry_url,
            "home_url": home_url,
            "account": account,
            "incident_id": incident_id and incident_id[:_MAX_INCIDENT_CHARS],
        },
        code=found.code,
        causes=found.text.causes,
        status_code=status_code or found.status_code,
    )
    body = _build_error(page)
    return build_answer(page, body, look=look, referrer_policy=referrer_policy)


def _build_error(page: Page) -> Html:
    values = page.values
    items = join(fill("cause", text=cause) for cause in page.causes)
    notice = button = incident = join()
    if "account" in values:
        notice = build_account_notice(page)
    if "retry_url" in values:
        button = fill(
            "button", retry_url=values["retry_url"], label=page.words["action"]
        )
    if "incident_id" in values:
        incident = fill(
            "incident",
            label=page.words["incident"],
            incident_id=values["incident_id"],
        )
    return fill(
        "error",
        title=page.words["title"],
        what=page.words["what"],
        notice=notice,
        causes=fill("causes", items=items) if page.causes else items,
        now=page.words["now"],
        button=button,
        home_url=values["home_url"],
        home=page.words["home"],
        incident=incident,
    )


def logout_page(
    *, action: str, return_to: str | None, account: str, home_url: str, look: Look
) -> Response:
    """Return the page that asks whether to log out; it changes nothing itself.

    Args:
        action: path or URL that the form is posted to.
        return_to: passed on in a hidden field.
        account: who is logged in: the handle, or the DID where there is none.
        home_url: where the link leads for those who would rather stay.
        look: how the page looks.

    Raises:
        ValueError: ``action`` or ``home_url`` cannot be a link.
    """
    words = look.say("logout_page", account=as_shown(account))
    page = make_page(
        "logout",
        look,
        words=words,
        values={"action_url": action, "home_url": home_url, "account": account},
        fields={"return_to": return_to},
    )
    body = fill(
        "logout",
        **words,
        action_url=action,
        home_url=home_url,
        hidden=build_hidden(page.fields),
    )
    return build_answer(page, body, look=look, referrer_policy="same-origin")


def logged_out_page(*, login_url: str, home_url: str, look: Look) -> Response:
    """Return the page that says that nobody is logged in.

    Args:
        login_url: where the button leads.
        home_url: the way back into the application.
        look: how the page looks.

    Raises:
        ValueError: one of the URLs cannot be a link.
    """
    words = _home(look.say("logged_out_page"), look)
    values = {"login_url": login_url, "home_url": home_url}
    page = make_page("logged_out", look, words=words, values=values)
    body = fill("logged_out", **words, **values)
    return build_answer(page, body, look=look, referrer_policy="same-origin")


def wrong_host_page(*, url: str, look: Look) -> Response:
    """Return the page (421) for a development app that was opened by another name.

    Args:
        url: the loopback address to open.
        look: how the page looks.

    Raises:
        ValueError: ``url`` cannot be a link.
    """
    found = explain("wrong_host", client_name=look.client_name, texts=look.texts)
    words = {**look.say("wrong_host_page"), **_sentences(found)}
    page = make_page(
        "wrong_host",
        look,
        words=words,
        values={"open_url": url},
        code=found.code,
        status_code=found.status_code,
    )
    body = fill("wrong_host", open_url=url, **words)
    return build_answer(page, body, look=look, referrer_policy="same-origin")


def _sentences(found: Explanation) -> dict[str, str]:
    text = found.text
    return {
        "title": text.title,
        "what": text.what,
        "now": text.now,
        "action": text.action,
    }


def _home(words: dict[str, str], look: Look) -> dict[str, str]:
    """Return the words, of which ``home`` needs no name where there is none."""
    unnamed = words.pop("home_unnamed")
    return words if look.client_name else {**words, "home": unnamed}
