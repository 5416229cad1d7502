"""Below a path of a site: our pages and links lead to where browsers find them."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from atproto_oauth_asgi import OAuthConfig
from atproto_oauth_asgi.web.place import Place
from tests.sessions.making import SECRET, make_session
from tests.web.desk import Desk
from tests.web.driving import PUBLIC_URL

pytestmark = pytest.mark.anyio

MOUNTED: dict[str, Any] = {"root_path": "/notes"}
NAMED: dict[str, Any] = {"public_url": f"{PUBLIC_URL}/notes"}


async def links(scope: Any, receive: Any, send: Any) -> None:
    """An application that shows its login link, once a mount inside changed the scope."""
    scope["root_path"] = "/elsewhere"
    body = scope["atproto"].login_url(return_to="/notes/a").encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


@pytest.mark.covers("ASGI-12", "ASG-08")
@pytest.mark.parametrize(
    ("options", "scope"), [({}, MOUNTED), (NAMED, {}), (NAMED, MOUNTED)]
)
@pytest.mark.parametrize("is_logged_in", [True, False])
@pytest.mark.parametrize("path", ["/oauth/login", "/oauth/logout", "/oauth/callback"])
async def test_page_when_below_a_path_then_every_link_stays_there(
    options: Any, scope: Any, is_logged_in: bool, path: str
) -> None:
    """Forms, the way home, and what is passed on: all below the application's path."""
    desk = Desk(**options)
    headers = [desk.cookie(make_session())] if is_logged_in else []
    sent = await desk.get(path, *headers, **scope)
    page = sent.body.decode()
    found = re.findall(r'(?:action|href)="(/[^"]*)"', page)
    found += re.findall(r'name="return_to" value="([^"]*)"', page)
    assert found
    assert all(link.startswith("/notes/") for link in found), found


@pytest.mark.covers("ASGI-12", "RET-09")
@pytest.mark.parametrize(("options", "scope"), [({}, MOUNTED), (NAMED, {}), ({}, {})])
async def test_login_url_when_below_a_path_then_it_is_that_of_the_request(
    options: Any, scope: Any
) -> None:
    """It stays right when a router has changed the scope in place, as Starlette's do."""
    sent = await Desk(links, **options).get("/a", **scope)
    url = urlsplit(sent.body.decode())
    below = "/notes" if options or scope else ""
    assert url.path == f"{below}/oauth/login"
    assert parse_qs(url.query) == {"return_to": ["/notes/a"]}


@pytest.mark.covers("ASGI-12", "RET-01", "RET-14")
@pytest.mark.parametrize(
    "root_path",
    [
        "//evil.test",
        "/\\evil.test",
        "/a//evil.test",
        "/../x",
        "/a\nb",
        "evil.test",
        "https://evil.test",
    ],
)
async def test_mount_when_its_path_leads_elsewhere_then_links_stay_here(
    root_path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The path of a mount may hold parameters, which anybody writes into a link."""
    sent = await Desk().get("/oauth/login", root_path=root_path)
    assert b'action="/oauth/login"' in sent.body
    assert b"evil" not in sent.body
    assert caplog.records == []


@pytest.mark.covers("ASGI-12")
async def test_mount_when_its_path_is_not_ascii_then_encoded() -> None:
    """A scope holds paths decoded, a link holds them encoded."""
    sent = await Desk().get("/ü/oauth/login", root_path="/ü")
    assert b'action="/%C3%BC/oauth/login"' in sent.body


@pytest.mark.covers("ASGI-12", "HTTP-10")
async def test_mount_when_public_url_lacks_its_path_then_warns_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Logins come back to the registered address, and no request changes that one."""
    desk = Desk()
    for _ in range(2):
        await desk.get("/oauth/login", **MOUNTED)
    [record] = caplog.records
    assert record.getMessage() == (
        "public_url lacks the path of the mount: mount=/notes "
        f"redirect_uri={PUBLIC_URL}/oauth/callback"
    )
    caplog.clear()
    await Desk(**NAMED).get("/oauth/login", **MOUNTED)
    await Desk().get("/oauth/login", root_path="/")
    assert caplog.records == []


@pytest.mark.covers("ASGI-12")
@pytest.mark.parametrize(
    ("public_url", "root_path", "path", "expected"),
    [
        (PUBLIC_URL, "", "/a", "/a"),
        (PUBLIC_URL, "/x", "/a", "/x/a"),
        (PUBLIC_URL, "/x", "/x/a", "/x/a"),
        (PUBLIC_URL, "/x", "/xa", "/x/xa"),
        (PUBLIC_URL, "/x/", "/x/a", "/x/a"),
        (f"{PUBLIC_URL}/notes", "", "/a", "/notes/a"),
        (f"{PUBLIC_URL}/notes", "", "/notes/a", "/notes/a"),
        (f"{PUBLIC_URL}/notes", "/x", "/x/a", "/notes/a"),
        (f"{PUBLIC_URL}/notes", "/x", "/a", "/notes/a"),
        (f"{PUBLIC_URL}/notes", "/notes", "/\u00fc", "/notes/%C3%BC"),
    ],
)
async def test_path_when_told_in_any_way_then_that_of_the_browser(
    public_url: str, root_path: str, path: str, expected: str
) -> None:
    """Taken away or kept, told or not, another one behind the proxy than before it."""
    config = OAuthConfig(secret_key=SECRET, public_url=public_url)
    assert Place(config, root_path=root_path).outside(path) == expected
