"""A callback that is delivered once more when the first one has been answered.

Two tabs, a double click, a browser that tries again: by then the cookie of the login is
gone, and what the browser has is the session that the login has brought.
"""

from __future__ import annotations

import httpx
import pytest

from atproto_oauth_asgi.stores import MemoryStore
from tests.network.atproto import ALICE, TOKEN, Servers
from tests.sessions.making import HOUR_S
from tests.web.browsing import Browser, WebSite

pytestmark = pytest.mark.anyio

WHO = "You are logged in as @alice.example.com."


async def log_in(browser: Browser) -> str:
    """Log in; return the way that the browser came back."""
    await browser.begin(return_to="/notes")
    path = browser.site.callback_path()
    assert (await browser.http.get(path)).status_code == 303
    return path


def assert_refused(response: httpx.Response) -> None:
    assert response.status_code in {400, 401}
    assert response.headers.get_list("set-cookie") == []


@pytest.mark.covers("LGN-04", "CB-04", "CB-20")
@pytest.mark.parametrize("mode", ["cookie", "server", "identity"])
async def test_second_delivery_when_the_first_was_answered_then_the_same_way_on(
    servers: Servers, mode: str
) -> None:
    """The person ends where the login leads to; the code is sent once."""
    store = MemoryStore(clock=servers.clock)
    site = WebSite(servers, store=store, session=mode)
    async with site.browser() as browser:
        path = await log_in(browser)
        before = browser.cookies
        response = await browser.http.get(path)
        assert (response.status_code, response.headers["location"]) == (303, "/notes")
        assert response.headers["referrer-policy"] == "no-referrer"
        assert response.headers.get_list("set-cookie") == []
        assert browser.cookies == before
        assert await browser.who() == ALICE
        assert len(servers.sent(TOKEN)) == 1


@pytest.mark.covers("LGN-04")
async def test_second_delivery_when_the_session_was_renewed_then_it_lives_on(
    site: WebSite,
) -> None:
    """It is the same session, whatever its cookie holds by now."""
    site.servers.net.set_token_lifetime(20)
    async with site.browser() as browser:
        path = await log_in(browser)
        site.clock.now += 30
        assert await browser.who() == ALICE
        newer = browser.session_cookie
        assert (await browser.http.get(path)).status_code == 303
        assert browser.session_cookie == newer
        assert await browser.who() == ALICE


@pytest.mark.covers("LGN-04", "CB-04", "LGN-20")
@pytest.mark.parametrize("after_s", [61, HOUR_S])
async def test_second_delivery_when_a_minute_has_passed_then_tells_who_is_there(
    site: WebSite, after_s: float
) -> None:
    """An address from long ago leads nowhere, and changes nothing."""
    async with site.browser() as browser:
        path = await log_in(browser)
        site.clock.now += after_s
        response = await browser.http.get(path)
        assert_refused(response)
        assert WHO in response.text
        assert await browser.who() == ALICE


@pytest.mark.covers("CB-06", "CB-07", "LGN-02")
async def test_second_delivery_when_in_another_browser_then_refused(
    site: WebSite,
) -> None:
    """Nobody's, somebody else's, another one of the same person: none of them."""
    async with site.browser() as alices, site.browser() as eves:
        path = await log_in(alices)
        assert_refused(await eves.http.get(path))
        for identifier in ("bob.example.com", "alice.example.com"):
            await eves.begin(identifier)
            await eves.come_back()
            before = eves.cookies
            assert_refused(await eves.http.get(path))
            assert eves.cookies == before
        assert await alices.who() == ALICE
        assert len(site.servers.sent(TOKEN)) == 3


@pytest.mark.covers("LGN-04", "SESS-14", "LOGOUT-08")
async def test_second_delivery_when_logged_out_in_between_then_it_stays_so(
    site: WebSite,
) -> None:
    """Whoever has a copy of the cookie is nobody, and gets no new one."""
    async with site.browser() as browser:
        path = await log_in(browser)
        copied = browser.cookies
        await browser.http.post("/oauth/logout")
        assert browser.cookies == {}
        for cookies in ({}, copied):
            browser.restore(cookies)
            assert_refused(await browser.http.get(path))
            assert await browser.who() is None


@pytest.mark.covers("CB-05", "LGN-04")
async def test_second_delivery_when_at_a_host_that_knows_nothing_then_sends_nothing(
    servers: Servers,
) -> None:
    """A server that sees a code twice ends the session."""
    site, another = (
        WebSite(servers, store=MemoryStore(clock=servers.clock), session="cookie")
        for _ in range(2)
    )
    async with site.browser() as browser, another.browser() as elsewhere:
        path = await log_in(browser)
        elsewhere.restore(browser.cookies)
        response = await elsewhere.http.get(path)
        assert_refused(response)
        assert WHO in response.text
        assert len(servers.sent(TOKEN)) == 1
        assert await browser.who() == ALICE


@pytest.mark.covers("LGN-04", "CB-20")
async def test_callback_when_answered_then_the_session_comes_before_the_login_goes(
    site: WebSite,
) -> None:
    """A second tab that sends its request in between has one cookie or the other."""
    async with site.browser() as browser:
        await browser.begin()
        response = await browser.come_back()
        session, cleared = response.headers.get_list("set-cookie")
        assert session.startswith(f"{site.app._site.session_cookie(8000)}=")
        assert "-login-" in cleared
