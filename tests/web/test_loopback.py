"""A development application on this machine, and the names it goes by."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sessions.making import ALICE, cookie_of, make_session
from tests.web.desk import HELLO, Desk
from tests.web.driving import (
    App,
    ask,
    http_scope,
)

pytestmark = pytest.mark.anyio

ROUTES = ["/oauth-client-metadata.json", "/oauth/jwks.json", "/oauth/login"]


def local(app: App = HELLO, **options: Any) -> Desk:
    return Desk(app, **{"public_url": None, **options})


def local_scope(host: str, path: str = "/", *headers: Any, **changes: Any) -> Any:
    fields = [("host", host), *headers]
    encoded = [(name.encode(), value.encode()) for name, value in fields]
    return {**http_scope(path, **changes), "scheme": "http", "headers": encoded}


NAVIGATE = ("sec-fetch-mode", "navigate")


@pytest.mark.covers("DEV-04")
@pytest.mark.parametrize(
    ("path", "query", "location"),
    [
        ("/", b"", "http://127.0.0.1:8000/"),
        ("/oauth/login", b"a=1&b=%20", "http://127.0.0.1:8000/oauth/login?a=1&b=%20"),
        ("/ß/\u65e5", b"", "http://127.0.0.1:8000/%C3%9F/%E6%97%A5"),
        ("/a?b#c", b"\xff", "http://127.0.0.1:8000/a%3Fb%23c?\xff"),
        (
            "/x\r\nset-cookie: a=b",
            b"",
            "http://127.0.0.1:8000/x%0D%0Aset-cookie:%20a=b",
        ),
        ("//evil.test/", b"", "http://127.0.0.1:8000//evil.test/"),
    ],
)
async def test_localhost_when_a_page_is_opened_then_sent_to_the_address(
    path: str, query: bytes, location: str
) -> None:
    """Cookies of the name would not be there when the login comes back."""
    scope = local_scope("localhost:8000", path, NAVIGATE, query_string=query)
    sent = await ask(local().app, scope)
    assert sent.status == 307
    [(_, value)] = [each for each in sent.start["headers"] if each[0] == b"location"]
    assert value == location.encode("latin-1")


@pytest.mark.covers("DEV-04")
async def test_localhost_when_a_program_asks_the_app_then_it_is_answered() -> None:
    """Health checks and calls of pages stay where they are."""
    for scope in (
        local_scope("localhost:8000"),
        local_scope("localhost:8000", "/", ("sec-fetch-mode", "cors")),
        local_scope("localhost:8000", "/", NAVIGATE, method="POST"),
        local_scope("127.0.0.1:8000", "/", NAVIGATE),
    ):
        assert (await ask(local().app, scope)).body == b"nobody"


@pytest.mark.covers("DEV-04", "HTTP-10")
@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("evil.test", "http://127.0.0.1/"),
        ("my-machine.local:8000", "http://127.0.0.1:8000/"),
        ("127.0.0.1.evil.test:8000", "http://127.0.0.1:8000/"),
        ("127.0.0.1:8000@evil.test", "http://127.0.0.1/"),
        ("localhost:8000", "http://127.0.0.1:8000/"),
        ("", "http://127.0.0.1/"),
    ],
)
async def test_host_when_it_is_not_the_address_then_421_with_the_way(
    path: str, host: str, url: str
) -> None:
    """A login could not come back there; a page of another name learns nothing."""
    desk = local()
    sent = await ask(desk.app, local_scope(host, path))
    assert sent.status == 421
    assert f'href="{url}"'.encode() in sent.body
    problem = await ask(
        desk.app, local_scope(host, path, ("accept", "application/json"))
    )
    assert problem.status == 421
    assert problem.header("content-type") == ["application/problem+json"]


async def test_host_when_a_development_app_has_two_of_them_then_421() -> None:
    """Two fields are none."""
    scope = local_scope("127.0.0.1:8000", "/oauth/login", ("host", "evil.test"))
    assert (await ask(local().app, scope)).status == 421


@pytest.mark.covers("COOKIE-01", "DEV-05", "HTTP-09", "WEB-09")
async def test_cookie_when_ports_differ_then_each_app_has_its_own() -> None:
    """Browsers share cookies over ports, so that the name tells them apart."""
    desk = local()
    cookie = ("cookie", cookie_of(desk.app, make_session(), port=8000))
    sent = await ask(desk.app, local_scope("127.0.0.1:8000", "/", cookie))
    assert sent.body == ALICE.encode()
    [line] = sent.header("set-cookie")
    assert "Secure" not in line
    other = await ask(desk.app, local_scope("127.0.0.1:8001", "/", cookie))
    assert other.body == b"nobody"
    hosted = Desk()
    scope = http_scope("/", headers=[hosted.cookie(make_session())], scheme="http")
    [line] = (await ask(hosted.app, scope)).header("set-cookie")
    assert line.endswith("; Secure")
