"""From what a page tells to the answer: HTML, and the headers that every page has."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal
from urllib.parse import urlsplit

from starlette.responses import HTMLResponse, Response

from atproto_oauth_asgi.pages import Page, PageName, Pages
from atproto_oauth_asgi.web.templates import (
    Html,
    build_source,
    fill,
    join,
    load_script,
    load_style,
)
from atproto_oauth_asgi.web.words import Look

_log = logging.getLogger("atproto_oauth_asgi")

ReferrerPolicy = Literal["same-origin", "no-referrer"]
"""``same-origin`` for pages whose forms or links must tell where they come from;
``no-referrer`` for answers on a URL that holds a code."""

_LOCKED = "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
_OWN_TEMPLATES = (
    "default-src 'none'; style-src 'self'; img-src 'self'; font-src 'self'; "
)
_RIGHT_TO_LEFT = frozenset(
    {"ar", "ckb", "dv", "fa", "he", "ps", "sd", "ug", "ur", "yi"}
)


def build_answer(
    page: Page, body: Html, *, look: Look, referrer_policy: ReferrerPolicy
) -> Response:
    """Return a page as the application renders it, or else as we do.

    Args:
        page: what it tells.
        body: our markup of it, without what is around it on all pages.
        look: how it looks.
        referrer_policy: see ``ReferrerPolicy``.
    """
    html = _render(look.pages, page)
    policy = look.pages.content_security_policy or _OWN_TEMPLATES + _LOCKED
    if html is None:
        has_script = "suggestions_url" in page.values
        html = _build_html(page, body, look=look, has_script=has_script)
        policy = _build_policy(look.pages, has_script=has_script)
    headers = {
        "Cache-Control": "no-store",
        "Content-Security-Policy": policy,
        "Referrer-Policy": referrer_policy,
        "X-Content-Type-Options": "nosniff",
    }
    return HTMLResponse(html, status_code=page.status_code, headers=headers)


def _render(pages: Pages, page: Page) -> str | None:
    if pages.render is None:
        return None
    try:
        return pages.render(page)
    except Exception:  # noqa: BLE001 - and logged, with the traceback
        # Somebody waits for this page, and ours says the same.
        _log.exception("template failed: page=%s", page.name)
        return None


def _build_html(page: Page, body: Html, *, look: Look, has_script: bool) -> str:
    name, title = page.client_name, page.words["title"]
    script = fill("script", script=load_script()) if has_script else join()
    return fill(
        "layout",
        language=page.language,
        direction=_direction(page.language),
        title=f"{title} · {name}" if name else title,
        style=load_style(look.pages.style),
        brand=fill("brand", client_name=name) if name else join(),
        body=body,
        script=script,
    ).text


def _build_policy(pages: Pages, *, has_script: bool) -> str:
    parts = ["default-src 'none'", f"style-src {build_source(load_style(pages.style))}"]
    if has_script:
        parts.append(f"script-src {build_source(load_script())}")
        parts.append(f"connect-src {_origin_of(pages.suggestions_url or '')}")
    return "; ".join([*parts, _LOCKED])


def _origin_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else "'self'"


def _direction(language: str) -> str:
    return "rtl" if language.lower().partition("-")[0] in _RIGHT_TO_LEFT else "ltr"


def make_page(  # noqa: PLR0913 - what a page tells, by name
    name: PageName,
    look: Look,
    *,
    words: Mapping[str, str],
    values: Mapping[str, str | None],
    fields: Mapping[str, str | None] = MappingProxyType({}),
    code: str | None = None,
    causes: tuple[str, ...] = (),
    status_code: int = 200,
) -> Page:
    """Return what a page tells; values and fields that are None are left out."""
    return Page(
        name=name,
        status_code=status_code,
        language=look.language,
        client_name=look.client_name,
        words=words,
        values={name: value for name, value in values.items() if value is not None},
        fields={name: value for name, value in fields.items() if value is not None},
        code=code,
        causes=causes,
    )


def build_hidden(fields: Mapping[str, str]) -> Html:
    """Return hidden form fields."""
    return join(fill("hidden", name=name, value=text) for name, text in fields.items())


def build_account_notice(page: Page) -> Html:
    """Return what tells who is logged in, with the way on."""
    return fill(
        "account_notice",
        account=page.words["account"],
        home_url=page.values["home_url"],
        go_on=page.words["go_on"],
    )


def as_shown(account: str) -> str:
    """Return a handle as people write it; a DID as it is."""
    is_handle = account and not account.startswith("did:")
    return f"@{account.lstrip('@')}" if is_handle else account
