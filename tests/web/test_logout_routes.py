"""The logout: asked for by the person, done here whatever others do."""

from __future__ import annotations

import anyio
import pytest
from starlette.types import ASGIApp

from atproto_oauth_asgi.sessions import revocation
from atproto_oauth_asgi.testing import behaviours
from tests.network.atproto import (
    ALICE,
    ISSUER,
    REVOKE,
    assert_given_back,
)
from tests.web.browsing import ELSEWHERE, OUT_OF_ORDER, WebSite
from tests.web.reading import Page

pytestmark = pytest.mark.anyio


@pytest.mark.covers("LOGOUT-01", "OUT-01", "HTTP-01")
async def test_logout_when_a_link_leads_there_then_it_only_asks(site: WebSite) -> None:
    """A picture or a link logs nobody out; the page says who it is about."""
    async with site.browser() as browser:
        await browser.log_in()
        response = await browser.http.get("/oauth/logout?return_to=/bye")
        assert response.status_code == 200
        assert Page(response.text).fields() == {"return_to": "/bye"}
        assert "@alice.example.com" in response.text
        assert await browser.who() == ALICE


@pytest.mark.parametrize(
    ("query", "status"),
    [("return_to=//evil.test", 200), ("a=1&a=2", 400), ("x=" + "a" * 8192, 414)],
)
async def test_logout_page_when_the_query_is_odd_then_safe(
    site: WebSite, query: str, status: int
) -> None:
    """The page holds no foreign way, and no error is a crash."""
    async with site.browser() as browser:
        response = await browser.http.get(f"/oauth/logout?{query}")
        assert response.status_code == status
        assert "evil" not in response.text


@pytest.mark.covers("LOGOUT-03", "LOGOUT-09", "COOKIE-15", "LOGOUT-06")
async def test_logout_when_posted_then_over_here_and_at_the_server(
    site: WebSite,
) -> None:
    """The cookie goes, the refresh token is revoked, and again is no error."""
    async with site.browser() as browser:
        await browser.log_in()
        for _ in range(2):
            response = await browser.http.post(
                "/oauth/logout", data={"return_to": "/bye"}
            )
            assert response.status_code == 303
            assert response.headers["location"] == "/bye"
            assert response.headers["cache-control"] == "no-store"
            [line] = response.headers.get_list("set-cookie")
            assert "; Max-Age=0; Expires=Thu, 01 Jan 1970" in line
            assert "; Path=/" in line
            assert browser.cookies == {}
            assert await browser.who() is None
        assert_given_back(site.servers)


@pytest.mark.covers("SESS-14", "CKE-09", "SES-06", "SESS-05", "ASG-20")
async def test_logout_when_a_copy_of_the_cookie_is_shown_then_nobody(
    site: WebSite,
) -> None:
    """The session is dead, not only its cookie; another one of the person lives."""
    async with site.browser() as browser, site.browser() as other:
        await browser.log_in()
        await other.log_in()
        copied = browser.cookies
        await browser.http.post("/oauth/logout")
        browser.restore(copied)
        assert await browser.who() is None
        assert await other.who() == ALICE


@pytest.mark.covers("LOGOUT-07", "OUT-04")
@pytest.mark.parametrize("text", ["//evil.test", "https://evil.test", "/\\evil", ""])
async def test_logout_when_it_would_lead_elsewhere_then_it_leads_home(
    site: WebSite, text: str
) -> None:
    """No way out leads to another site."""
    async with site.browser() as browser:
        response = await browser.http.post("/oauth/logout", data={"return_to": text})
        assert (response.status_code, response.headers["location"]) == (303, "/")


@pytest.mark.covers("LOGOUT-01", "OUT-01")
@pytest.mark.parametrize(
    ("origin", "fetch_site"),
    [
        ("https://evil.test", "cross-site"),
        ("null", "cross-site"),
        ("null", None),
        ("http://127.0.0.1:8001", "same-site"),
        (None, None),
    ],
)
async def test_logout_when_another_page_posts_then_still_logged_in(
    site: WebSite, origin: str | None, fetch_site: str | None
) -> None:
    """Nobody else's page logs a person out."""
    headers = {"Origin": origin, "Sec-Fetch-Site": fetch_site}
    async with site.browser() as browser, site.browser(**headers) as misled:
        await browser.log_in()
        misled.restore(browser.cookies)
        response = await misled.http.post("/oauth/logout")
        assert response.status_code == 403
        assert response.headers.get_list("set-cookie") == []
        assert await misled.who() == ALICE


@pytest.mark.covers("LOGIN-02", "DOS-A11")
async def test_logout_when_the_body_is_wrong_then_still_logged_in(
    site: WebSite,
) -> None:
    """A request that cannot be read changes nothing."""
    async with site.browser() as browser:
        await browser.log_in()
        for content, status in ((b"a=1&a=2", 400), (b"x" * 9000, 413)):
            headers = {"content-type": "application/x-www-form-urlencoded"}
            response = await browser.http.post(
                "/oauth/logout", content=content, headers=headers
            )
            assert response.status_code == status
        assert await browser.who() == ALICE


@pytest.mark.covers("HTTP-08")
async def test_logout_when_json_is_sent_then_json_comes_back(site: WebSite) -> None:
    """A page of the application's own needs no redirect."""
    async with site.browser() as browser:
        await browser.log_in()
        response = await browser.http.post("/oauth/logout", json={})
        assert (response.status_code, response.json()) == (200, {})
        assert response.headers["cache-control"] == "no-store"
        assert await browser.who() is None


@pytest.mark.covers("LOGOUT-02", "LOGOUT-04", "LOGOUT-05", "OUT-02")
@pytest.mark.parametrize("program", [OUT_OF_ORDER, behaviours.status(400), ELSEWHERE])
async def test_logout_when_the_server_is_broken_then_over_here_all_the_same(
    site: WebSite, program: ASGIApp
) -> None:
    """Whatever the server answers, the person is logged out."""
    site.servers.on(ISSUER + REVOKE, program)
    async with site.browser() as browser:
        await browser.log_in()
        copied = browser.cookies
        assert (await browser.http.post("/oauth/logout")).status_code == 303
        browser.restore(copied)
        assert await browser.who() is None
        assert len(site.servers.sent(REVOKE)) == 1


@pytest.mark.covers("LOGOUT-02", "OUT-02")
async def test_logout_when_the_server_hangs_then_the_answer_comes_in_time(
    site: WebSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody sits in front of a logout that does not end."""
    monkeypatch.setattr(revocation, "_BUDGET_S", 0.05)
    async with site.browser() as browser:
        await browser.log_in()
        site.servers.on(ISSUER + REVOKE, behaviours.hang())
        began = anyio.current_time()
        response = await browser.http.post("/oauth/logout")
        # The answer of a server that hangs is waited for ten seconds otherwise.
        assert anyio.current_time() - began < 5
        assert response.status_code == 303
        assert await browser.who() is None
