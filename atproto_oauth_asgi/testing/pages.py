"""HTML of the authorization server, for the people who look at it in a browser.

Plain elements are styled, so whatever stands in a page looks like the rest of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape

from starlette.responses import HTMLResponse, Response

from atproto_oauth_asgi.testing.accounts import Account

HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}

_STYLE = """
:root { color-scheme: light dark; --page: #f4f2f8; --card: #fff; --line: #d9d4e4;
  --text: #1d1827; --soft: #625a72; --accent: #6d35c9; --on-accent: #fff }
@media (prefers-color-scheme: dark) { :root { --page: #14111b; --card: #1f1a29;
  --line: #3a3349; --text: #eeeaf6; --soft: #b1a8c3; --accent: #c3a2ff;
  --on-accent: #1d0f38 } }
* { box-sizing: border-box }
body { margin: 0; padding: clamp(1rem, 8vh, 6rem) 1rem 1rem; background: var(--page);
  color: var(--text); font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere }
main { max-width: 27rem; margin: 0 auto; padding: 2rem; background: var(--card);
  border: 1px solid var(--line); border-radius: 1rem }
h1 { margin: .25rem 0 1rem; font-size: 1.5rem; line-height: 1.25 }
header, footer, small { color: var(--soft); font-size: .875rem }
small, select, label input:not([type=checkbox]) { display: block; width: 100% }
footer { margin-top: 1.5rem; padding-top: 1rem; border-top: 1px solid var(--line) }
fieldset { margin: 1.25rem 0; padding: .25rem 1rem; border: 1px solid var(--line);
  border-radius: .625rem }
legend { padding: 0 .375rem; color: var(--soft); font-size: .875rem }
label { display: block; margin: .75rem 0; font-weight: 600 }
label:has([type=checkbox]) { display: flex; gap: .75rem; font-weight: 400 }
input, select { accent-color: var(--accent); font: inherit }
select, label input:not([type=checkbox]) { margin-top: .25rem; padding: .625rem .75rem;
  border: 1px solid var(--soft); border-radius: .5rem; background: var(--card);
  color: inherit; font-weight: 400 }
button { display: block; width: 100%; margin: 1rem 0 0; padding: .75rem;
  border: 1px solid var(--line); border-radius: .5rem; background: none;
  color: inherit; font: inherit; cursor: pointer }
button[value=accept] { background: var(--accent); border-color: var(--accent);
  color: var(--on-accent); font-weight: 600 }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px }
[role=alert] { padding: .75rem 1rem; border: 1px solid #b3261e; border-radius: .5rem }
"""
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8">
<title>{title}</title><meta name="viewport" content="width=device-width">
<style>{style}</style><main><h1>{title}</h1>
{content}</main></html>"""
_SCOPE = """<label><input type="checkbox" name="scope" value="{scope}" checked{fixed}>
<span>{meaning}<small>{scope}</small></span></label>"""
_MEANINGS = {
    "atproto": "Know who you are",
    "transition:generic": "Do nearly everything in your name",
    "transition:email": "See your email address",
    "transition:chat.bsky": "Read and write your chat messages",
    "repo": "Write records into your repository",
    "blob": "Upload files",
    "rpc": "Call other services in your name",
    "account": "See or manage your account",
    "identity": "Manage your handle and identity",
    "include": "A set of permissions",
}


def build_page(title: str, content: str, *, status: int = 200) -> Response:
    """Return a page; ``content`` is HTML, ``title`` text."""
    text = _PAGE.format(title=escape(title), content=content, style=_STYLE)
    return HTMLResponse(text, status, HEADERS)


def build_scopes(scopes: Iterable[str]) -> str:
    """Return HTML that tells what is asked for, each part with a box to untick."""
    return "".join(
        _SCOPE.format(
            scope=escape(scope),
            meaning=_MEANINGS.get(scope) or _MEANINGS.get(_resource(scope), "Other"),
            # Who somebody is cannot be unticked. Browsers do not send such a box.
            fixed=" disabled" if scope == "atproto" else "",
        )
        for scope in scopes
    )


def build_passwords(accounts: Iterable[Account]) -> str:
    """Return HTML that names the accounts, and their passwords: nobody real is here."""
    items = "".join(
        f"<br>{escape(each.handle)}: <code>{escape(each.password)}</code>"
        for each in accounts
    )
    return f"<footer>This network is for tests. Its accounts and passwords:{items}</footer>"


def _resource(scope: str) -> str:
    return scope.partition("?")[0].partition(":")[0]
