"""The application hears of logins, and decides who gets in."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest

from atproto_oauth_asgi import OAuthSession
from atproto_oauth_asgi.exceptions import StoreError
from tests.network.atproto import ALICE as DID
from tests.network.atproto import REVOKE, Servers
from tests.sessions.making import HOUR_S, NOW, make_session
from tests.web.browsing import WebSite
from tests.web.desk import Desk

pytestmark = pytest.mark.anyio


class Heard:
    """A hook that keeps what it was told, and gives what it was made with."""

    def __init__(self, verdict: Any = None) -> None:
        self.verdict = verdict
        self.told: list[tuple[Any, ...]] = []
        self.threads: list[int] = []

    def __call__(self, *facts: Any) -> Any:
        self.told.append(facts)
        self.threads.append(threading.get_ident())
        if isinstance(self.verdict, Exception):
            raise self.verdict
        return self.verdict

    async def hear(self, *facts: Any) -> Any:
        return self(*facts)


@pytest.mark.parametrize("is_coroutine", [True, False])
async def test_on_login_when_somebody_logs_in_then_is_given_the_session_once(
    servers: Servers, is_coroutine: bool
) -> None:
    """A coroutine function runs here, a plain one in a thread, for a reload as well."""
    heard = Heard()
    site = WebSite(servers, on_login=heard.hear if is_coroutine else heard)
    async with site.browser() as browser:
        await browser.begin(return_to="/notes")
        path, kept = site.callback_path(), browser.login_cookies
        for _ in range(2):
            response = await browser.http.get(path)
            assert response.headers["location"] == "/notes"
            browser.restore(kept)
        assert await browser.who() == DID
    [(session,)] = heard.told
    assert isinstance(session, OAuthSession)
    assert session.did == DID
    assert (heard.threads == [threading.get_ident()]) is is_coroutine


async def test_on_login_when_it_gives_a_path_then_the_person_goes_there(
    servers: Servers,
) -> None:
    """A first login may lead to a page of welcome."""
    site = WebSite(servers, on_login=Heard("/welcome"))
    async with site.browser() as browser:
        await browser.begin(return_to="/notes")
        response = await browser.come_back()
        assert response.headers["location"] == "/welcome"
        assert await browser.who() == DID


@pytest.mark.parametrize("path", ["https://evil.test/", "//evil.test", "/oauth/logout"])
async def test_on_login_when_its_path_leads_elsewhere_then_the_default(
    servers: Servers, path: str
) -> None:
    """What goes for everybody else's paths goes for the application's."""
    site = WebSite(servers, on_login=Heard(path))
    async with site.browser() as browser:
        await browser.begin(return_to="/notes")
        assert (await browser.come_back()).headers["location"] == "/"


@pytest.mark.parametrize(
    ("verdict", "status", "title"),
    [
        (False, 403, "You cannot log in here"),
        (RuntimeError("secret detail"), 500, "Something went wrong here"),
    ],
    ids=["refuses", "raises"],
)
async def test_on_login_when_it_refuses_or_raises_then_nobody_is_logged_in(
    servers: Servers,
    caplog: pytest.LogCaptureFixture,
    verdict: Any,
    status: int,
    title: str,
) -> None:
    """It fails closed: a page tells, the tokens are revoked."""
    site = WebSite(servers, on_login=Heard(verdict))
    async with site.browser() as browser:
        await browser.begin()
        response = await browser.come_back()
        assert response.status_code == status
        assert title in response.text
        assert "secret" not in response.text
        assert response.headers["referrer-policy"] == "no-referrer"
        assert await browser.who() is None
        assert len(servers.taken(REVOKE)) == 1
    assert ("hook=on_login" in caplog.text) is isinstance(verdict, Exception)


async def test_on_login_when_it_raises_an_error_of_ours_then_that_is_told(
    servers: Servers,
) -> None:
    """A store that it asked and that is down is a store that is down: come again."""
    heard = Heard(StoreError("the table of members is locked"))
    site = WebSite(servers, on_login=heard.hear)
    async with site.browser() as browser:
        await browser.begin()
        response = await browser.come_back()
        assert response.status_code == 503
        assert "locked" not in response.text
        assert await browser.who() is None
        assert len(servers.taken(REVOKE)) == 1


async def test_on_logout_when_somebody_logs_out_then_is_told_who(
    servers: Servers,
) -> None:
    """It hears of the session that has ended, and of none where there was none."""
    heard = Heard()
    site = WebSite(servers, on_logout=heard.hear)
    async with site.browser() as browser:
        await browser.http.post("/oauth/logout")
        await browser.log_in()
        await browser.http.post("/oauth/logout")
    assert [session.did for (session,) in heard.told] == [DID]


async def test_on_refresh_when_tokens_are_renewed_then_is_told_once() -> None:
    """Both requests of a browser see the new tokens; the application hears of one."""
    heard = Heard()
    desk = Desk(on_refresh=heard.hear)
    cookie = desk.cookie(make_session())
    for _ in range(2):
        assert (await desk.get("/", cookie)).status == 200
    [(session,)] = heard.told
    assert session.expires_at.timestamp() > NOW + HOUR_S / 2


async def test_on_session_lost_when_the_server_has_ended_it_then_is_told_why() -> None:
    """The reason is the one that the application's pages see."""
    heard = Heard()
    desk = Desk(on_session_lost=heard.hear)
    desk.server.is_ended = True
    cookie = desk.cookie(make_session())
    sent = await desk.get("/", cookie)
    assert sent.body == b"nobody"
    [(session, reason)] = heard.told
    assert (session.did, reason) == (make_session().did, "revoked")


@pytest.mark.parametrize("name", ["on_logout", "on_refresh", "on_session_lost"])
async def test_hook_when_it_raises_then_is_logged_and_nothing_more(
    caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """What only listens cannot break anything."""
    caplog.set_level(logging.ERROR, logger="atproto_oauth_asgi")
    hook = Heard(RuntimeError("out of order"))
    desk = Desk(**{name: hook})
    if name == "on_session_lost":
        desk.server.is_ended = True
    cookie = desk.cookie(make_session())
    if name == "on_logout":
        headers = [cookie, ("sec-fetch-site", "same-origin")]
        sent = await desk.get("/oauth/logout", *headers, method="POST")
        assert sent.status == 303
    else:
        assert (await desk.get("/", cookie)).status == 200
    assert len(hook.told) == 1
    assert f"hook failed: hook={name} did={make_session().did}" in caplog.text


def test_hook_when_it_is_no_function_then_refused() -> None:
    """A mistake is told at the start."""
    with pytest.raises(ValueError, match="on_refresh: a function"):
        Desk(on_refresh="print")
