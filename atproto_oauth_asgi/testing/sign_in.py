"""A login without a browser: what a person would do at the authorization page."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from atproto_oauth_asgi.testing.accounts import Account
from atproto_oauth_asgi.testing.network import AtprotoNetwork, running

_OK, _SEE_OTHER = 200, 303
_NAVIGATION = {
    "Accept": "text/html",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Mode": "navigate",
}
COMING_BACK = {**_NAVIGATION, "Sec-Fetch-Site": "cross-site"}
"""Header fields of a browser that was sent here by another site."""


class SignInError(AssertionError):
    """A login in a test did not go as it should; the message says where it ended."""


class Browser:
    """The cookies of one browser; the authorization server knows it again by them.

    Without one, every ``approve`` and ``deny`` is that of a new browser.

    Args:
        stay_signed_in: whether people tick that box when they sign in here.
    """

    def __init__(self, *, stay_signed_in: bool = True) -> None:
        self.stay_signed_in = stay_signed_in
        self._cookies: dict[str, dict[str, str]] = {}

    def request(
        self, network: AtprotoNetwork, method: str, *, url: str, **options: Any
    ) -> httpx.Response:
        """Send a request with the cookies of its host, and keep those that come."""
        jar = self._cookies.setdefault(urlsplit(url).netloc, {})
        headers = dict(options.pop("headers", {}))
        if jar:
            pairs = (f"{name}={value}" for name, value in jar.items())
            headers["Cookie"] = "; ".join(pairs)
        answer = network.request(method, url, headers=headers, **options)
        for line in answer.headers.get_list("set-cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            jar[name] = value
        return answer


def approve(
    auth_url: str,
    account: Account | str,
    *,
    password: str | None = None,
    scope: str | None = None,
    browser: Browser | None = None,
) -> str:
    """Sign in, say yes, and return the redirect URL that leads back to the client.

    Args:
        auth_url: where the client sends the browser.
        account: who signs in, whatever ``login_hint`` the client gave: an account
            or a handle.
        password: theirs unless given; "" is none, which is enough where they are
            signed in already.
        scope: grant only this part of the scopes asked for; all if None.
        browser: the one to sign in with; a new one if None.

    Raises:
        SignInError: the server showed an error page.
    """
    network, browser = _network_of(auth_url), browser or Browser()
    if isinstance(account, str):
        account = network.accounts[account]
    page = _open_page(network, browser, auth_url=auth_url)
    if page.status_code == _SEE_OTHER:
        return page.headers["location"]
    asked = network.ledger.pushed[_request_uri(auth_url)].form["scope"]
    fields = {
        "decision": "accept",
        "username": account.handle,
        "password": account.password if password is None else password,
        "scope": (asked if scope is None else scope).split(" "),
    }
    if browser.stay_signed_in:
        fields["remember"] = "yes"
    return _decide(network, browser, auth_url=auth_url, fields=fields)


def deny(auth_url: str, *, browser: Browser | None = None) -> str:
    """Refuse without signing in; return the redirect URL that leads to the client.

    Raises:
        SignInError: the server showed an error page.
    """
    network, browser = _network_of(auth_url), browser or Browser()
    page = _open_page(network, browser, auth_url=auth_url)
    if page.status_code == _SEE_OTHER:
        return page.headers["location"]
    fields = {"decision": "deny"}
    return _decide(network, browser, auth_url=auth_url, fields=fields)


def _network_of(auth_url: str) -> AtprotoNetwork:
    request_uri = _request_uri(auth_url)
    for network in reversed(running):
        is_issuer = auth_url.startswith(f"{network.issuer}/")
        if is_issuer and request_uri in network.ledger.pushed:
            return network
    raise SignInError("no running AtprotoNetwork knows this authorization request")


def _request_uri(auth_url: str) -> str:
    found = parse_qs(urlsplit(auth_url).query).get("request_uri", [""])
    return found[0]


def _open_page(
    network: AtprotoNetwork, browser: Browser, *, auth_url: str
) -> httpx.Response:
    page = browser.request(network, "GET", url=auth_url, headers=COMING_BACK)
    if page.status_code not in {_OK, _SEE_OTHER}:
        raise SignInError(f"authorization page: {page.status_code} {page.text}")
    return page


def _decide(
    network: AtprotoNetwork, browser: Browser, *, auth_url: str, fields: dict[str, Any]
) -> str:
    query = {name: v[0] for name, v in parse_qs(urlsplit(auth_url).query).items()}
    answer = browser.request(
        network,
        "POST",
        url=f"{network.issuer}/oauth/authorize",
        data={**query, **fields},
        headers={**_NAVIGATION, "Origin": network.issuer},
    )
    if answer.status_code != _SEE_OTHER:
        raise SignInError(f"consent: {answer.status_code} {answer.text}")
    return answer.headers["location"]
