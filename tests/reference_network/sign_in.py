"""Sign-in at the reference PDS by plain HTTP: fast, and without a browser.

Both functions open the authorization page, do what its user interface would, and
return the redirect URL that leads back to the client, without following it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

from tests.reference_network.process import Account

_API = "/@atproto/oauth-provider/~api"
_REDIRECTS = (302, 303)


class SignInError(Exception):
    """The authorization server showed an error page or refused a step."""


class Browser:
    """Just enough of a browser for the sign-in pages.

    Cookies are kept here, by host, because the server marks `csrf-token` as
    `Secure` even on `http://localhost`: browsers send it back there, Python's
    cookie jars do not.
    """

    def __init__(self, http: httpx.Client | None = None) -> None:
        """Open a browser without cookies; `http` knows the way to servers by TLS."""
        self._http = http or httpx.Client(trust_env=False, timeout=30)
        self._cookies: dict[str, dict[str, str]] = {}

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self._http.close()

    def open_page(self, url: str, *, referer: str | None = None) -> httpx.Response:
        """Return the answer to a navigation; a link from `referer` if that is given."""
        headers = {
            "accept": "text/html",
            "sec-fetch-mode": "navigate",
            "sec-fetch-dest": "document",
            "sec-fetch-site": "same-origin" if referer else "cross-site",
        }
        if referer:
            headers["referer"] = referer
        return self._send("GET", url, headers=headers)

    def navigate(self, url: str, *, headers: Mapping[str, str]) -> httpx.Response:
        """Return the answer to a request with these header fields and the cookies."""
        return self._send("GET", url, headers=dict(headers))

    def call_api(
        self, page_url: str, name: str, *, body: dict[str, Any], bearer: str = ""
    ) -> dict[str, Any]:
        """Return the answer to a call that the page at `page_url` makes.

        Raises:
            SignInError: The server refused it.
        """
        page = urlsplit(page_url)
        origin = f"{page.scheme}://{page.netloc}"
        headers = {
            "content-type": "application/json",
            "origin": origin,
            "referer": page_url,
            "sec-fetch-mode": "same-origin",
            "sec-fetch-site": "same-origin",
            "sec-fetch-dest": "empty",
            "x-csrf-token": self._cookies[page.netloc]["csrf-token"],
        }
        if bearer:
            headers["authorization"] = f"Bearer {bearer}"
        url = f"{origin}{_API}/{name}"
        response = self._send("POST", url, headers=headers, content=json.dumps(body))
        if response.status_code != httpx.codes.OK:
            raise SignInError(f"{name}: {response.status_code} {response.text}")
        answer: dict[str, Any] = response.json()
        return answer

    def _send(
        self,
        method: str,
        url: str,
        *,
        headers: dict[str, str],
        content: str | None = None,
    ) -> httpx.Response:
        jar = self._cookies.setdefault(urlsplit(url).netloc, {})
        if jar:
            cookie = "; ".join(f"{name}={value}" for name, value in jar.items())
            headers = {**headers, "cookie": cookie}
        response = self._http.request(method, url, headers=headers, content=content)
        self._http.cookies.clear()  # only the cookies kept here count
        for line in response.headers.get_list("set-cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            jar[name.strip()] = value.strip()
        return response


def approve(
    auth_url: str,
    account: Account,
    *,
    scope: str | None = None,
    browser: Browser | None = None,
    remember: bool = False,
) -> str:
    """Sign in as `account` and authorize; return the redirect URL to the client.

    Args:
        auth_url: Where the client sends the browser.
        account: Who signs in, whatever `login_hint` the client gave.
        scope: Grant only this part of the scopes asked for; all if None.
        browser: One that stays open; a new one if None.
        remember: Whether that browser stays signed in at the server.

    Raises:
        SignInError: The server refused a step.
    """
    with _using(browser) as ours:
        if redirect_url := open_page(auth_url, browser=ours):
            return redirect_url
        signed_in = ours.call_api(
            auth_url,
            "sign-in",
            body={
                "locale": "en",
                "username": account.handle,
                "password": account.password,
                "remember": remember,
            },
        )
        consent = {"did": signed_in["account"]["did"]}
        if scope is not None:
            consent["scope"] = scope
        bearer = signed_in.get("ephemeralToken", "")  # remembered: by cookie
        answer = ours.call_api(auth_url, "consent", body=consent, bearer=bearer)
        return _leave_page(ours, auth_url, answer["url"])


def go_on(auth_url: str, account: Account, *, browser: Browser) -> str:
    """Authorize where somebody stayed signed in; return the redirect URL.

    Raises:
        SignInError: The server refused a step, for want of a password.
    """
    if redirect_url := open_page(auth_url, browser=browser):
        return redirect_url
    answer = browser.call_api(auth_url, "consent", body={"did": account.did})
    return _leave_page(browser, auth_url, answer["url"])


def deny(auth_url: str, *, browser: Browser | None = None) -> str:
    """Refuse without signing in; return the redirect URL to the client.

    Raises:
        SignInError: The server refused a step.
    """
    with _using(browser) as ours:
        if redirect_url := open_page(auth_url, browser=ours):
            return redirect_url
        answer = ours.call_api(auth_url, "reject", body={})
        return _leave_page(ours, auth_url, answer["url"])


def open_page(auth_url: str, *, browser: Browser) -> str | None:
    """Open the authorization page; return where it redirects to if it shows nothing.

    Raises:
        SignInError: The server showed an error page.
    """
    response = browser.open_page(auth_url)
    if response.status_code in _REDIRECTS:
        return response.headers["location"]
    if response.status_code != httpx.codes.OK:
        raise _page_error(response)
    return None


def _using(browser: Browser | None) -> AbstractContextManager[Browser]:
    """Leave a browser of the caller's open, close one of our own."""
    return Browser() if browser is None else nullcontext(browser)


def _leave_page(browser: Browser, auth_url: str, url: str) -> str:
    """Follow the page's link to the server's own redirect; return where it leads."""
    response = browser.open_page(url, referer=auth_url)
    if response.status_code not in _REDIRECTS:
        raise _page_error(response)
    return response.headers["location"]


def _page_error(response: httpx.Response) -> SignInError:
    """Return an error with what the server's error page says."""
    embedded = r'window\["__errorData"\]=JSON\.parse\(("(?:[^"\\]|\\.)*")\)'
    found = re.search(embedded, response.text)
    text = json.loads(found.group(1)) if found else response.text[:300]
    return SignInError(f"authorization page: {response.status_code} {text}")
