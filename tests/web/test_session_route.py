"""Scripts learn who is logged in, and never a token."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typing_extensions import override

from atproto_oauth_asgi import MemoryStore, StoreError
from atproto_oauth_asgi.stores.base import Record
from tests.network.atproto import ALICE, Servers
from tests.sessions.making import make_session
from tests.web.browsing import WebSite
from tests.web.desk import LATER, Desk
from tests.web.driving import Sent

pytestmark = pytest.mark.anyio

PATH = "/oauth/session"
FRIEND = "https://www.example.com"
NOBODY = {
    "authenticated": False,
    "did": None,
    "handle": None,
    "scope": None,
    "expires_at": None,
    "reason": None,
}


class Down(MemoryStore):
    """A store that does not answer."""

    @override
    async def load(self, kind: str, key: str) -> Record | None:
        raise StoreError("out of order")


def cors_of(sent: Sent) -> dict[str, str]:
    """What the answer allows to pages of other origins."""
    return {
        key.decode(): value.decode()
        for key, value in sent.start["headers"]
        if key.startswith(b"access-control-")
    }


async def test_session_when_nobody_is_logged_in_then_says_so() -> None:
    """It is no error, and every member is there."""
    sent = await Desk().get(PATH)
    assert sent.status == 200
    assert json.loads(sent.body) == NOBODY
    assert sent.header("content-type") == ["application/json"]
    assert sent.header("cache-control") == ["no-store"]
    assert sent.header("set-cookie") == []


@pytest.mark.covers("HTTP-02", "HTTP-04", "LOG-01")
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_session_when_somebody_is_logged_in_then_tells_who_and_no_token(
    method: str,
) -> None:
    """The end it names is the session's, and nothing in it would let anybody in."""
    desk = Desk(max_age_s=3600 * 24)
    session = make_session(expires_at=LATER)
    sent = await desk.get(PATH, desk.cookie(session), method=method)
    if method == "HEAD":
        assert sent.body == b""
        assert int(sent.header("content-length")[0]) > 100
        return
    assert json.loads(sent.body) == {
        "authenticated": True,
        "did": session.did,
        "handle": "alice.test",
        "scope": "atproto",
        "expires_at": "2030-03-18T16:46:40Z",
        "reason": None,
    }
    for secret in (session.access_token, session.refresh_token, session.session_id):
        assert str(secret).encode() not in sent.body


async def test_session_when_it_was_ended_elsewhere_then_tells_the_reason(
    servers: Servers,
) -> None:
    """A script can say why somebody has to log in again."""
    site = WebSite(servers)
    async with site.browser() as browser:
        await browser.log_in()
        kept = browser.cookies
        assert (await browser.http.get(PATH)).json()["did"] == ALICE
        await browser.http.post("/oauth/logout")
        assert (await browser.http.get(PATH)).json() == NOBODY
        browser.restore(kept)
        found = (await browser.http.get(PATH)).json()
        assert found == {**NOBODY, "reason": "revoked"}


@pytest.mark.covers("WEB-03")
@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
@pytest.mark.parametrize(
    ("origin", "is_allowed"),
    [
        (FRIEND, True),
        (f"{FRIEND}:8443", False),
        ("https://app.example.com.evil.test", False),
        ("https://evil.test", False),
        ("null", False),
        (None, False),
    ],
)
async def test_session_when_another_origin_asks_then_only_a_trusted_one_may_read(
    method: str, origin: str | None, is_allowed: bool
) -> None:
    """It is named, with credentials, and caches keep the answers apart."""
    desk = Desk(trusted_origins=[FRIEND])
    headers = [desk.cookie(), *([("origin", origin)] if origin else [])]
    sent = await desk.get(PATH, *headers, method=method)
    assert sent.status == (204 if method == "OPTIONS" else 200)
    assert sent.header("vary") == ["Origin, Cookie"]
    found = cors_of(sent)
    assert ("access-control-allow-origin" in found) is is_allowed
    if is_allowed:
        assert found["access-control-allow-origin"] == FRIEND
        assert found["access-control-allow-credentials"] == "true"
    if is_allowed and method == "OPTIONS":
        assert found["access-control-allow-methods"] == "GET, HEAD"


@pytest.mark.covers("HTTP-03", "WEB-03")
@pytest.mark.parametrize("path", ["/oauth/login", "/oauth/logout", "/oauth/callback"])
async def test_other_routes_when_a_trusted_origin_asks_then_nothing_can_be_read(
    path: str,
) -> None:
    """Trust in an origin is for forms and for the session, not for these answers."""
    desk = Desk(trusted_origins=[FRIEND])
    for method in ("GET", "OPTIONS", "POST"):
        sent = await desk.get(path, ("origin", FRIEND), method=method)
        assert cors_of(sent) == {}


@pytest.mark.covers("HTTP-08", "ERR-04")
async def test_session_when_the_store_is_down_then_a_problem_that_can_be_read() -> None:
    """Scripts do not ask for JSON in words, and get it all the same."""
    desk = Desk(store=Down(), trusted_origins=[FRIEND])
    sent = await desk.get(PATH, desk.cookie(), ("origin", FRIEND))
    assert sent.status == 503
    assert json.loads(sent.body)["code"] == "store"
    assert cors_of(sent)["access-control-allow-origin"] == FRIEND


async def test_session_when_its_path_is_changed_then_the_application_has_the_old() -> (
    None
):
    """It is an option, as all paths are."""
    desk = Desk(session_path="/api/me")
    assert json.loads((await desk.get("/api/me")).body) == NOBODY
    assert (await desk.get(PATH)).body == b"nobody"


@pytest.mark.covers("HTTP-01")
async def test_session_when_posted_to_then_405() -> None:
    """It only tells."""
    sent = await Desk().get(PATH, ("sec-fetch-site", "same-origin"), method="POST")
    assert sent.status == 405
    assert sent.header("allow") == ["GET, HEAD, OPTIONS"]


async def test_login_and_logout_when_sent_as_json_then_answered_as_json(
    servers: Servers,
) -> None:
    """A single-page application needs no page of ours."""
    site = WebSite(servers)
    async with site.browser() as browser:
        begun = await browser.http.post(
            "/oauth/login", json={"identifier": "@Alice.example.com", "return_to": "/a"}
        )
        assert begun.json().keys() == {"authorization_url"}
        assert (await browser.come_back()).headers["location"] == "/a"
        found: dict[str, Any] = (await browser.http.get(PATH)).json()
        assert (found["did"], found["handle"]) == (ALICE, "alice.example.com")
        ended = await browser.http.post("/oauth/logout", json={})
        assert (ended.status_code, ended.json()) == (200, {})
        wrong = await browser.http.post("/oauth/login", json={"identifier": "alice"})
        assert wrong.headers["content-type"] == "application/problem+json"
        assert wrong.json()["code"] == "invalid_identifier"
