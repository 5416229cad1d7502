"""The list of headers in the documentation is that of what is read and sent."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from atproto_oauth_asgi import ATProtoOAuthMiddleware
from atproto_oauth_asgi.testing import AtprotoNetwork, approve, login_as
from tests.documentation import DOCS, ORIGIN, ROOT, SECRET

_TEXT = (DOCS / "reference/headers.md").read_text(encoding="utf-8")
_READ = re.compile(
    r"headers\.get(?:list)?\(\s*\"([a-z-]+)\"|b\"((?:sec-)?purpose|sec-fetch-dest|cookie|host)\""
)
_ALWAYS = {"content-type", "content-length"}


def rows(section: str) -> dict[str, set[str]]:
    """Each first cell of a section's table, and the headers in the second."""
    part = _TEXT.partition(f"## {section}\n")[2].partition("\n## ")[0]
    found = [line.split("|")[1:3] for line in part.splitlines() if line[:2] == "| "]
    return {
        first.strip(): {name.lower() for name in re.findall(r"`([\w-]+)`", second)}
        for first, second in found[2:]
    }


def test_headers_that_are_read_when_compared_then_each_is_listed() -> None:
    """What the middleware looks at in a request."""
    read = {
        name
        for path in (ROOT / "atproto_oauth_asgi/web").glob("*.py")
        for found in _READ.finditer(path.read_text(encoding="utf-8"))
        for name in found.groups()
        if name
    }
    part = _TEXT.partition("## Of requests\n")[2].partition("\n## ")[0]
    cells = [line.split("|")[1] for line in part.splitlines() if line[:3] == "| `"]
    listed = {
        name.lower() for cell in cells for name in re.findall(r"`([\w-]+)`", cell)
    }
    assert listed == read


@pytest.fixture
def browser(atproto_network: AtprotoNetwork) -> Iterator[TestClient]:
    app = ATProtoOAuthMiddleware(
        Starlette(routes=[Route("/", lambda _: PlainTextResponse("mine"))]),
        secret_key=SECRET,
        network=atproto_network.network,
    )
    with TestClient(
        app, base_url=ORIGIN, follow_redirects=False, headers={"Origin": ORIGIN}
    ) as client:
        yield client


def sent(answer: Any) -> set[str]:
    return {name for name in answer.headers if name not in _ALWAYS}


def answers(browser: TestClient) -> Iterator[tuple[str, Any]]:
    """Answers of each kind, by the name of their row."""
    pages = "login page, logout page, error page"
    login, logout = "/oauth/login", "/oauth/logout"
    yield pages, browser.get(login)
    yield pages, browser.get(logout)
    yield pages, browser.post(login, data={"identifier": "nobody.test"})
    yield pages, browser.get("/oauth/callback")
    form = {"identifier": "alice.test"}
    yield "hand-over page", (handed := browser.post(login, data=form))
    yield "login begun by a program", browser.post(login, json=form)
    yield "problem document", browser.post(login, json={"identifier": "nobody.test"})
    auth_url = handed.headers["refresh"].partition("url=")[2]
    yield "callback, logout", browser.get(approve(auth_url, "alice.test"))
    yield "callback, logout", browser.post(logout, data={})
    for path in ("/oauth-client-metadata.json", "/oauth/jwks.json"):
        yield "metadata, keys", browser.get(path)
        about = "a question of a browser about them (`OPTIONS`)"
        yield about, browser.options(path)


def test_headers_that_are_sent_when_compared_then_are_those_of_the_list(
    browser: TestClient,
) -> None:
    """Every kind of answer has just the headers of its row."""
    listed = rows("Of our answers")
    seen = set()
    for name, answer in answers(browser):
        assert sent(answer) == listed[name], name
        seen.add(name)
    page = listed["login page, logout page, error page"]
    assert sent(browser.put("/oauth/logout")) == {*page, "allow"}
    assert set(listed) == seen | {"another method"}


def test_answers_of_the_application_when_compared_then_change_as_listed(
    browser: TestClient, atproto_network: AtprotoNetwork
) -> None:
    """Nothing for nobody; caching for somebody; a cookie when tokens are renewed."""
    listed = rows("Of your application's answers")
    assert sent(browser.get("/")) == listed["nobody"] == set()
    atproto_network.set_token_lifetime(1)
    login_as(browser, "alice.test")
    time.sleep(1)
    renewed = "the same, when tokens were renewed or the session ended"
    assert sent(browser.get("/")) == listed[renewed]
    atproto_network.reset_token_lifetime()
    browser.cookies.clear()
    login_as(browser, "alice.test")
    assert sent(browser.get("/")) == listed["somebody who is logged in"]
