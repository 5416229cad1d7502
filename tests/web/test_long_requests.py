"""What is done or learnt long after a request came, when the browser has gone on."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from typing_extensions import override

from atproto_oauth_asgi.exceptions import (
    NotAuthenticatedError,
    RefreshUnavailable,
    SessionError,
    SessionRevoked,
    StoreError,
)
from atproto_oauth_asgi.stores import MemoryStore
from tests.network.atproto import ALICE as ACCOUNT
from tests.network.atproto import Servers
from tests.sessions.making import ALICE, HOUR_S
from tests.web.browsing import WebSite
from tests.web.desk import HELLO
from tests.web.test_session_modes import Office, next_cookie

pytestmark = pytest.mark.anyio


@pytest.mark.covers("COOKIE-13", "COOKIE-16", "REF-14")
@pytest.mark.parametrize("mode", ["cookie", "server"])
async def test_answer_when_others_have_told_of_the_end_long_ago_then_stays_silent(
    mode: Any,
) -> None:
    """A slow request learns late that its session ended; there is a new login by now."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/slow":
            office.clock.now += 2 * HOUR_S
            office.server.failures = [SessionRevoked("over")]
            sent = await office.get("/quick", cookie)
            assert sent.header("set-cookie")
            office.clock.now += 60
            with pytest.raises(SessionRevoked):
                await scope["atproto"]._visit.current()
        elif scope["path"] == "/quick":
            with suppress(SessionError, NotAuthenticatedError):
                await scope["atproto"]._visit.current()
        await HELLO(scope, receive, send)

    office = Office(app, session=mode)
    cookie = await office.log_in()
    assert (await office.get("/slow", cookie)).header("set-cookie") == []


@pytest.mark.covers("COOKIE-13", "REF-14", "RFR-16")
async def test_answer_when_its_cookie_was_outrun_then_the_later_one_stays() -> None:
    """A request of many minutes takes nothing from the browser that went on."""
    lost: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/slow":
            office.clock.now += HOUR_S
            newer = next_cookie(await office.get("/", cookie), cookie)
            assert (await office.get("/", newer)).body == ALICE.encode()
            office.clock.now += 400
            with pytest.raises(RefreshUnavailable):
                await scope["atproto"]._visit.current()
        await HELLO(scope, receive, send)

    office = Office(app, session="cookie", on_session_lost=lambda *it: lost.append(it))
    cookie = await office.log_in()
    sent = await office.get("/slow", cookie)
    assert (sent.header("set-cookie"), sent.body) == ([], ALICE.encode())
    assert lost == []


class Full(MemoryStore):
    """Takes nothing that says who has logged out, while it is full."""

    is_full = False

    @override
    async def save(self, kind: str, *args: Any, **named: Any) -> int | None:
        if self.is_full and kind in {"tombstone", "session"}:
            message = "full"
            raise StoreError(message)
        return await super().save(kind, *args, **named)


@pytest.mark.covers("SESS-03", "ASG-12")
async def test_login_when_the_former_session_cannot_be_ended_then_it_is_only_logged(
    servers: Servers, caplog: pytest.LogCaptureFixture
) -> None:
    """The person has their answer by then: nothing is raised into the server."""
    store = Full(clock=servers.clock)
    site = WebSite(servers, store=store, session="cookie")
    async with site.browser() as browser:
        for is_full in (False, True):
            store.is_full = is_full
            await browser.begin()
            response = await browser.http.get(site.callback_path())
            assert response.status_code == 303
        assert await browser.who() == ACCOUNT
    assert f"did={ACCOUNT}" in caplog.text
