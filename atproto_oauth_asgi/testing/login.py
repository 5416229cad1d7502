"""A whole login of a test client, in one line: at the application and at the server."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from inspect import iscoroutinefunction
from typing import Any, Protocol, overload
from urllib.parse import urlsplit

import anyio.to_thread

from atproto_oauth_asgi.testing.accounts import Account
from atproto_oauth_asgi.testing.sign_in import (
    COMING_BACK,
    Browser,
    SignInError,
    approve,
)

_OK, _SEE_OTHER = 200, 303
_UNNAMED = frozenset({"testserver", "testserver.local"})
_LOOPBACK = "127.0.0.1"


class TestingClient(Protocol):
    """``TestClient`` of starlette, FastAPI or Litestar, or an ``httpx.Client``."""

    @property
    def base_url(self) -> Any:
        """The application's origin, as its visitors see it."""

    @property
    def get(self) -> Callable[..., Any]:
        """Send a GET request."""

    @property
    def post(self) -> Callable[..., Any]:
        """Send a POST request."""


class AsyncTestingClient(Protocol):
    """``httpx.AsyncClient``, Litestar's ``AsyncTestClient``, Quart's test client."""

    @property
    def get(self) -> Callable[..., Coroutine[Any, Any, Any]]:
        """Send a GET request."""

    @property
    def post(self) -> Callable[..., Coroutine[Any, Any, Any]]:
        """Send a POST request."""


@overload
def login_as(
    client: AsyncTestingClient,
    account: Account | str,
    *,
    scope: str | None = ...,
    login_path: str = ...,
    browser: Browser | None = ...,
    **fields: str,
) -> Awaitable[Any]: ...


@overload
def login_as(
    client: TestingClient,
    account: Account | str,
    *,
    scope: str | None = ...,
    login_path: str = ...,
    browser: Browser | None = ...,
    **fields: str,
) -> Any: ...


def login_as(
    client: Any,
    account: Account | str,
    *,
    scope: str | None = None,
    login_path: str = "/oauth/login",
    browser: Browser | None = None,
    **fields: str,
) -> Any:
    """Log in, and return the application's answer to the callback (a redirect).

    With an asynchronous client it has to be awaited: ``await login_as(client, ...)``.

    Args:
        client: a test client whose ``base_url`` is what browsers would use:
            ``http://127.0.0.1:8000``, or the application's ``public_url``. Quart's
            has none, and needs none.
        account: an account of the running network, or a handle.
        scope: what is granted, if not all that is asked for.
        login_path: the application's own, if it was changed.
        browser: the one to sign in with; a new one if None.
        fields: further fields of the form, such as ``return_to``.

    Raises:
        SignInError: the application or the server refused.
    """
    handle = account if isinstance(account, str) else account.handle
    form = {"identifier": handle, **fields}
    answering = partial(approve, account=account, scope=scope, browser=browser)
    if iscoroutinefunction(client.post):
        return _log_in_async(client, login_path, form=form, answering=answering)
    answer = client.post(login_path, **_options(client, form))
    back = answering(_auth_url_in(answer, answer.text))
    answer = client.get(back, headers=COMING_BACK, follow_redirects=False)
    return _check_back(answer, answer.text)


async def _log_in_async(
    client: Any,
    login_path: str,
    *,
    form: dict[str, str],
    answering: Callable[[str], str],
) -> Any:
    options = _options(client, form)
    answer = await client.post(login_path, **options)
    auth_url = _auth_url_in(answer, await _text_of(answer))
    # In a thread, so that an application in this very loop can be asked meanwhile.
    back = await anyio.to_thread.run_sync(answering, auth_url)
    headers = dict(COMING_BACK)
    if _is_quart(client):
        url = urlsplit(back)
        back = f"{url.path}?{url.query}"
        headers["Host"] = options["headers"]["Host"]
    answer = await client.get(back, headers=headers, follow_redirects=False)
    return _check_back(answer, await _text_of(answer))


def _options(client: Any, form: dict[str, str]) -> dict[str, Any]:
    """Return what a browser would send with the application's login form."""
    headers = {"Accept": "application/json", "Sec-Fetch-Site": "same-origin"}
    if _is_quart(client):
        name, colon, port = (client.app.config["SERVER_NAME"] or "").partition(":")
        # A redirect URI holds an address, so that is where a browser comes back to.
        host = _LOOPBACK if name in {"", "localhost"} else name
        return {"form": form, "headers": {**headers, "Host": host + colon + port}}
    url = urlsplit(str(client.base_url))
    if url.hostname in _UNNAMED:
        raise SignInError(
            "give the client the address that browsers use: "
            'TestClient(app, base_url="http://127.0.0.1:8000")'
        )
    headers["Origin"] = f"{url.scheme}://{url.netloc}"
    return {"data": form, "headers": headers, "follow_redirects": False}


def _is_quart(client: Any) -> bool:
    return not hasattr(client, "base_url")


async def _text_of(answer: Any) -> str:
    text: str = (
        answer.text if hasattr(answer, "text") else await answer.get_data(as_text=True)
    )
    return text


def _auth_url_in(answer: Any, text: str) -> str:
    if answer.status_code != _OK:
        message = f"the login form was answered by {answer.status_code}: {text}"
        raise SignInError(message)
    auth_url: str = json.loads(text)["authorization_url"]
    return auth_url


def _check_back(answer: Any, text: str) -> Any:
    if answer.status_code != _SEE_OTHER:
        message = f"the callback was answered by {answer.status_code}: {text}"
        raise SignInError(message)
    return answer
