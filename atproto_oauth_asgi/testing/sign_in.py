"""A login without a browser: what a person and their browser would do, in one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

import anyio.to_thread
import httpx

from atproto_oauth_asgi.testing.accounts import Account
from atproto_oauth_asgi.testing.network import AtprotoNetwork, running

_OK, _SEE_OTHER = 200, 303
_NAVIGATION = {
    "Accept": "text/html",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Mode": "navigate",
}


class SignInError(AssertionError):
    """A login in a test did not go as it should; the message says where it ended."""


class TestingClient(Protocol):
    """``starlette.testclient.TestClient``, ``httpx.Client`` or ``httpx.AsyncClient``."""

    @property
    def base_url(self) -> Any:
        """The application's origin, as its visitors see it."""

    @property
    def get(self) -> Callable[..., Any]:
        """Send a GET request."""

    @property
    def post(self) -> Callable[..., Any]:
        """Send a POST request."""


def approve(
    auth_url: str,
    account: Account | str,
    *,
    password: str | None = None,
    scope: str | None = None,
) -> str:
    """Sign in, say yes, and return the redirect URL that leads back to the client.

    Args:
        auth_url: where the client sends the browser.
        account: who signs in, whatever ``login_hint`` the client gave: an account
            or a handle.
        password: theirs unless given.
        scope: grant only this part of the scopes asked for; all if None.

    Raises:
        SignInError: the server showed an error page.
    """
    network = _network_of(auth_url)
    if isinstance(account, str):
        account = network.accounts[account]
    page = _open_page(network, auth_url)
    if page.status_code == _SEE_OTHER:
        return page.headers["location"]
    asked = network.ledger.pushed[_request_uri(auth_url)].form["scope"]
    fields = {
        "username": account.handle,
        "password": account.password if password is None else password,
        "scope": (asked if scope is None else scope).split(" "),
    }
    return _decide(network, auth_url, {**fields, "decision": "accept"})


def deny(auth_url: str) -> str:
    """Refuse without signing in; return the redirect URL that leads to the client.

    Raises:
        SignInError: the server showed an error page.
    """
    network = _network_of(auth_url)
    page = _open_page(network, auth_url)
    if page.status_code == _SEE_OTHER:
        return page.headers["location"]
    return _decide(network, auth_url, {"decision": "deny"})


def login_as(
    client: TestingClient,
    account: Account | str,
    *,
    scope: str | None = None,
    login_path: str = "/oauth/login",
    **fields: str,
) -> Any:
    """Log in, and return the application's answer to the callback (a redirect).

    Args:
        client: a test client whose ``base_url`` is what browsers would use:
            ``http://127.0.0.1:8000``, or the application's ``public_url``.
        account: an account of the running network, or a handle.
        scope: what is granted, if not all that is asked for.
        login_path: the application's own, if it was changed.
        fields: further fields of the form, such as ``return_to``.

    Raises:
        SignInError: the application or the server refused.
    """
    request = _login_request(client, account, fields)
    answer = client.post(login_path, **request)
    back = approve(_auth_url_in(answer), account, scope=scope)
    return _check_back(client.get(back, headers=_COMING_BACK, follow_redirects=False))


async def login_as_async(
    client: TestingClient,
    account: Account | str,
    *,
    scope: str | None = None,
    login_path: str = "/oauth/login",
    **fields: str,
) -> Any:
    """Log in with an ``httpx.AsyncClient``; otherwise the same as ``login_as``.

    Raises:
        SignInError: the application or the server refused.
    """
    request = _login_request(client, account, fields)
    auth_url = _auth_url_in(await client.post(login_path, **request))

    def answer() -> str:
        return approve(auth_url, account, scope=scope)

    back = await anyio.to_thread.run_sync(answer)
    response = await client.get(back, headers=_COMING_BACK, follow_redirects=False)
    return _check_back(response)


_COMING_BACK = {**_NAVIGATION, "Sec-Fetch-Site": "cross-site"}


def _login_request(
    client: TestingClient, account: Account | str, fields: dict[str, str]
) -> dict[str, Any]:
    url = urlsplit(str(client.base_url))
    if url.hostname == "testserver":
        raise SignInError(
            "give the client the address that browsers use: "
            'TestClient(app, base_url="http://127.0.0.1:8000")'
        )
    handle = account if isinstance(account, str) else account.handle
    return {
        "data": {"identifier": handle, **fields},
        "headers": {
            "Accept": "application/json",
            "Origin": f"{url.scheme}://{url.netloc}",
            "Sec-Fetch-Site": "same-origin",
        },
        "follow_redirects": False,
    }


def _auth_url_in(answer: Any) -> str:
    if answer.status_code != _OK:
        message = f"the login form was answered by {answer.status_code}: {answer.text}"
        raise SignInError(message)
    auth_url: str = answer.json()["authorization_url"]
    return auth_url


def _check_back(answer: Any) -> Any:
    if answer.status_code != _SEE_OTHER:
        message = f"the callback was answered by {answer.status_code}: {answer.text}"
        raise SignInError(message)
    return answer


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


def _open_page(network: AtprotoNetwork, auth_url: str) -> httpx.Response:
    page = network.request("GET", auth_url, headers=_COMING_BACK)
    if page.status_code not in {_OK, _SEE_OTHER}:
        raise SignInError(f"authorization page: {page.status_code} {page.text}")
    return page


def _decide(network: AtprotoNetwork, auth_url: str, fields: dict[str, Any]) -> str:
    query = {name: v[0] for name, v in parse_qs(urlsplit(auth_url).query).items()}
    answer = network.request(
        "POST",
        f"{network.issuer}/oauth/authorize",
        data={**query, **fields},
        headers={**_NAVIGATION, "Origin": network.issuer},
    )
    if answer.status_code != _SEE_OTHER:
        raise SignInError(f"consent: {answer.status_code} {answer.text}")
    return answer.headers["location"]
