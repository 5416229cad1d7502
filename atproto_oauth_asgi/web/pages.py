"""The pages that a person sees: login, hand-over, errors, logout, wrong address.

No page holds a script or loads anything. Each is complete in itself, readable from
320 pixels upwards and in light and dark, and is stored nowhere. The
Content-Security-Policy allows the one style block by its hash and forms to this site;
the way to another host is the hand-over page, because browsers apply ``form-action``
to every redirect that follows a form.

A ``ValueError`` from here means that the caller passed a URL that cannot be a link.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from starlette.responses import HTMLResponse, Response

from atproto_oauth_asgi.exceptions import IdentityError
from atproto_oauth_asgi.web.templates import (
    Html,
    build_style_source,
    fill,
    join,
    load_style,
)
from atproto_oauth_asgi.web.texts import Problem, explain

ReferrerPolicy = Literal["same-origin", "no-referrer"]
"""``same-origin`` for pages whose forms or links must tell where they come from;
``no-referrer`` for answers on a URL that holds a code."""

_CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src {}; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)
_MAX_IDENTIFIER_CHARS = 2048
_MAX_HOST_CHARS = 255
_MAX_INCIDENT_CHARS = 64


def _build_page(
    body: Html,
    *,
    title: str,
    client_name: str | None,
    status_code: int = 200,
    referrer_policy: ReferrerPolicy = "same-origin",
) -> Response:
    """Return a whole page with all the headers that every page has."""
    brand = fill("brand", client_name=client_name) if client_name else join()
    full_title = f"{title} · {client_name}" if client_name else title
    page = fill("layout", title=full_title, style=load_style(), brand=brand, body=body)
    headers = {
        "Cache-Control": "no-store",
        "Content-Security-Policy": _CONTENT_SECURITY_POLICY.format(
            build_style_source()
        ),
        "Referrer-Policy": referrer_policy,
        "X-Content-Type-Options": "nosniff",
    }
    return HTMLResponse(page.text, status_code=status_code, headers=headers)


def _build_hidden(fields: Iterable[tuple[str, str | None]]) -> Html:
    """Return hidden form fields for those that have a value."""
    return join(
        fill("hidden", name=name, value=value)
        for name, value in fields
        if value is not None
    )


def _build_alert(
    problem: Problem, *, host: str | None, client_name: str | None
) -> Html:
    """Return the box that tells about a problem, or nothing if there is none."""
    if problem is None:
        return join()
    text = explain(problem, host=host, client_name=client_name).text
    sentences = " ".join((text.what, *text.causes, text.now))
    return fill("alert", title=text.title, text=sentences)


def login_page(  # noqa: PLR0913 - what the form holds, by name
    *,
    action: str,
    client_name: str | None,
    identifier: str = "",
    return_to: str | None = None,
    scope: str | None = None,
    prompt: str | None = None,
    problem: Problem = None,
    host: str | None = None,
    status_code: int | None = None,
) -> Response:
    """Return the page with the login form.

    Args:
        action: path or URL that the form is posted to.
        client_name: name of the application.
        identifier: what the field holds at first.
        return_to: passed on in a hidden field, as are ``scope`` and ``prompt``.
        scope: see ``return_to``.
        prompt: see ``return_to``.
        problem: why an attempt failed; told beside the field.
        host: name of the server that hosts the account, where it is known.
        status_code: None means that of the problem, or 200 without one.

    Raises:
        ValueError: ``action`` cannot be a link.
    """
    failed = problem is not None
    hidden = (("return_to", return_to), ("scope", scope), ("prompt", prompt))
    body = fill(
        "login",
        action_url=action,
        identifier=identifier[:_MAX_IDENTIFIER_CHARS],
        invalid="true" if isinstance(problem, IdentityError) else "false",
        described_by="problem hint" if failed else "hint",
        alert=_build_alert(problem, host=host, client_name=client_name),
        hidden=_build_hidden(hidden),
    )
    if status_code is None:
        status_code = explain(problem).status_code if failed else 200
    return _build_page(
        body, title="Log in", client_name=client_name, status_code=status_code
    )


def handover_page(
    *, authorization_url: str, host: str, client_name: str | None = None
) -> Response:
    """Return the page that sends a browser on to the authorization server.

    Args:
        authorization_url: where to; checked by the caller, this is the second lock.
        host: its name, as the person is to read it.
        client_name: name of the application.

    Raises:
        ValueError: the URL is not an absolute http(s) URL in plain ASCII.
    """
    # Stricter than a link, which `fill` checks, because it goes into a header as well.
    if authorization_url.startswith("/") or not authorization_url.isascii():
        raise ValueError("the authorization URL is not an absolute URL in ASCII")
    body = fill(
        "handover", authorization_url=authorization_url, host=host[:_MAX_HOST_CHARS]
    )
    page = _build_page(
        body, title="One moment", client_name=client_name, referrer_policy="no-referrer"
    )
    page.headers["Refresh"] = f"0; url={authorization_url}"
    return page


def error_page(  # noqa: PLR0913 - what the page tells, by name
    error: Problem,
    *,
    status_code: int | None = None,
    retry_url: str | None,
    home_url: str,
    incident_id: str | None = None,
    host: str | None = None,
    client_name: str | None = None,
    referrer_policy: ReferrerPolicy = "same-origin",
) -> Response:
    """Return the page that tells what went wrong and how to go on.

    Args:
        error: an error, or a code such as ``"csrf"``, or None for the unforeseen.
        status_code: None means the one that fits the error.
        retry_url: where the button leads, usually to the login; None: no button.
        home_url: the way back into the application.
        incident_id: what finds this failure in the log.
        host: name of the server that hosts the account, where it is known.
        client_name: name of the application.
        referrer_policy: ``no-referrer`` for answers on the callback's URL.

    Raises:
        ValueError: one of the URLs cannot be a link.
    """
    explanation = explain(error, host=host, client_name=client_name)
    text = explanation.text
    items = join(fill("cause", text=cause) for cause in text.causes)
    body = fill(
        "error",
        title=text.title,
        what=text.what,
        causes=fill("causes", items=items) if text.causes else items,
        now=text.now,
        button=_build_button(retry_url, label=text.action),
        home_url=home_url,
        home_label=f"Back to {client_name}" if client_name else "Back to the start",
        incident=_build_incident(incident_id),
    )
    return _build_page(
        body,
        title=text.title,
        client_name=client_name,
        status_code=status_code or explanation.status_code,
        referrer_policy=referrer_policy,
    )


def _build_button(url: str | None, *, label: str) -> Html:
    """Return a link that looks like a button, or nothing without a URL."""
    return join() if url is None else fill("button", retry_url=url, label=label)


def _build_incident(incident_id: str | None) -> Html:
    """Return the line that names an incident, or nothing without one."""
    if incident_id is None:
        return join()
    return fill("incident", incident_id=incident_id[:_MAX_INCIDENT_CHARS])


def _build_account(handle: str | None) -> Html:
    """Return the line that tells who is logged in, or nothing if nobody knows."""
    if not handle:
        return join()
    account = handle if handle.startswith("did:") else f"@{handle}"
    return fill("account", account=account)


def logout_page(
    *,
    action: str,
    return_to: str | None,
    handle: str | None,
    client_name: str | None = None,
    home_url: str = "/",
) -> Response:
    """Return the page that asks whether to log out; it changes nothing itself.

    Args:
        action: path or URL that the form is posted to.
        return_to: passed on in a hidden field.
        handle: who is logged in, if it is known; a DID where there is no handle.
        client_name: name of the application.
        home_url: where the link leads for those who would rather stay.

    Raises:
        ValueError: ``action`` or ``home_url`` cannot be a link.
    """
    body = fill(
        "logout",
        action_url=action,
        account=_build_account(handle),
        hidden=_build_hidden([("return_to", return_to)]),
        home_url=home_url,
    )
    return _build_page(body, title="Log out?", client_name=client_name)


def wrong_host_page(*, url: str, client_name: str | None = None) -> Response:
    """Return the page (421) for a development app that was opened by another name.

    Args:
        url: the loopback address to open.
        client_name: name of the application.

    Raises:
        ValueError: ``url`` cannot be a link.
    """
    explanation = explain("wrong_host")
    return _build_page(
        fill("wrong_host", open_url=url),
        title=explanation.text.title,
        client_name=client_name,
        status_code=explanation.status_code,
    )
