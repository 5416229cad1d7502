"""Tokens are renewed before the application runs, and no answer gets lost by it."""

from __future__ import annotations

import re
from typing import Any

import anyio
import anyio.to_thread
import pytest

from atproto_oauth_asgi import (
    ATProtoAuth,
    middleware,
)
from atproto_oauth_asgi.exceptions import (
    RefreshUnavailable,
    SessionRevoked,
    StoreError,
    TimedOut,
)
from atproto_oauth_asgi.models import OAuthSession
from atproto_oauth_asgi.sessions.tokens import BeforeSend
from tests.sessions.making import ALICE, HOUR_S, NOW, make_session
from tests.web.desk import HELLO, LATER, Desk, noise
from tests.web.driving import (
    answering,
    ask,
    websocket_scope,
)

pytestmark = pytest.mark.anyio


@pytest.mark.covers("REF-21", "COOKIE-16", "COOKIE-18", "CKE-15")
async def test_renewing_when_the_token_is_about_to_end_then_before_the_app() -> None:
    """The application finds new tokens, and the answer carries the new cookie once."""
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["atproto"].session.access_token)
        await answering(headers=[(b"set-cookie", b"a=1")])(scope, receive, send)

    desk = Desk(app)
    session = make_session(expires_at=LATER)
    cookie = desk.cookie(session)
    desk.clock.now = LATER - 59
    sent = await desk.get("/", cookie)
    assert desk.server.sent == [session.refresh_token]
    assert seen != [session.access_token]
    own, ours = sent.header("set-cookie")
    assert own == "a=1"
    assert re.fullmatch(
        rf"{desk.site.session_cookie(None)}=[A-Za-z0-9_.-]+; Path=/; Max-Age=\d+; "
        "Expires=[^;]+; HttpOnly; SameSite=Lax; Secure",
        ours,
    )
    assert sent.header("cache-control") == ["private"]
    again = await desk.get("/", ("cookie", ours.partition(";")[0]))
    assert again.body == ALICE.encode()
    assert len(desk.server.sent) == 1


@pytest.mark.covers("REF-22", "RFR-17")
async def test_renewing_when_ten_requests_carry_one_cookie_then_one_is_sent() -> None:
    """All of them, and one that comes late, get the same new cookie."""
    desk = Desk()
    cookie = desk.cookie(make_session())
    lines: list[str] = []

    async def visit() -> None:
        lines.extend((await desk.get("/", cookie)).header("set-cookie"))

    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(visit)
    await visit()
    assert len(desk.server.sent) == 1
    assert len(lines) == 11
    assert len(set(lines)) == 1


async def test_renewing_when_the_new_cookie_comes_back_then_little_is_kept() -> None:
    """What was kept for a lost answer goes five minutes after it was not lost."""
    desk = Desk()
    cookie = desk.cookie(make_session())
    [line] = (await desk.get("/", cookie)).header("set-cookie")

    def kept_until() -> list[float]:
        rows = desk.site.store._rows.items()  # type: ignore[attr-defined]
        return [row.record.expires_at for _, row in rows]

    assert min(kept_until()) > NOW + 86400
    await desk.get("/", ("cookie", line.partition(";")[0]))
    # The other one is the number that the session has reached.
    assert sorted(kept_until()) == [NOW + 300, NOW + 14 * 86400 - HOUR_S]


@pytest.mark.parametrize(
    "header",
    [
        ("sec-fetch-dest", "image"),
        ("sec-fetch-dest", "script"),
        ("sec-purpose", "prefetch;prerender"),
    ],
)
async def test_renewing_when_it_is_no_page_then_not_before_the_app(
    header: tuple[str, str],
) -> None:
    """Pictures and guesses are answered at once, and as the same person."""
    desk = Desk()
    sent = await desk.get("/", desk.cookie(make_session()), header)
    assert sent.body == ALICE.encode()
    assert desk.server.sent == []
    assert sent.header("set-cookie") == []


@pytest.mark.covers("REF-14", "RFR-12")
async def test_renewing_when_the_server_fails_then_the_app_runs_as_the_person() -> None:
    """An outage somewhere else logs nobody out, and is not asked for each request."""
    desk = Desk()
    desk.server.failures = [TimedOut("too slow")] * 10
    cookie = desk.cookie(make_session())
    for _ in range(3):
        sent = await desk.get("/", cookie)
        assert sent.body == ALICE.encode()
        assert sent.header("set-cookie") == []
    assert len(desk.server.sent) == 1


@pytest.mark.covers("REF-14", "RFR-14")
async def test_renewing_when_the_session_has_ended_then_nobody_with_a_reason() -> None:
    """The tokens are gone; who it was and why stay, so that the next login is a click."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        auth = scope["atproto"]
        seen.append((auth.did, auth.reason, auth.login_hint))
        await HELLO(scope, receive, send)

    desk = Desk(app)
    desk.server.failures = [SessionRevoked("over")]
    sent = await desk.get("/", desk.cookie(make_session()))
    [line] = sent.header("set-cookie")
    assert sent.header("cache-control") == ["private"]
    again = await desk.get("/", ("cookie", line.partition(";")[0]))
    assert again.header("set-cookie") == []
    assert again.header("cache-control") == ["private"]
    assert seen == [(None, "revoked", "alice.test")] * 2
    form = await desk.get("/oauth/login", ("cookie", line.partition(";")[0]))
    assert b'value="alice.test"' in form.body


async def test_renewing_when_the_server_is_slow_then_the_app_does_not_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After its budget the application runs; the new tokens wait for the next one."""
    monkeypatch.setattr(middleware, "_FOREGROUND_BUDGET_S", 0.01)
    answered = anyio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        auth: ATProtoAuth = scope["atproto"]
        with pytest.raises(RefreshUnavailable):
            await auth.client.get("/xrpc/com.example.x")
        await HELLO(scope, receive, send)
        answered.set()

    desk = Desk(app)
    desk.server.during = answered.wait
    cookie = desk.cookie(make_session())
    with anyio.fail_after(5):
        sent = await desk.get("/", cookie)
    assert sent.body == ALICE.encode()
    assert sent.header("set-cookie") == []
    desk.app.app = HELLO
    [line] = (await desk.get("/", cookie)).header("set-cookie")
    assert "Max-Age=0" not in line
    assert len(desk.server.sent) == 1


@pytest.mark.covers("REF-21", "RFR-16", "ASG-04", "ASGI-10")
async def test_client_when_the_response_has_begun_then_no_refresh_is_sent() -> None:
    """New tokens could not reach the browser, so that they are not asked for."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await HELLO(scope, receive, send)
        desk.clock.now = LATER
        with pytest.raises(RefreshUnavailable, match="response has begun"):
            await scope["atproto"].client.get("/xrpc/com.example.x")

    desk = Desk(app)
    await desk.get("/", desk.cookie())
    assert desk.server.sent == []


@pytest.mark.covers("REF-18", "RFR-06")
async def test_renewing_when_the_browser_leaves_then_the_next_request_adopts() -> None:
    """Tokens that nobody waited for are kept."""
    desk = Desk()
    cookie = desk.cookie(make_session())
    with anyio.CancelScope() as scope:

        async def leave() -> None:
            scope.cancel()
            await anyio.sleep(0.01)

        desk.server.during = leave
        await desk.get("/", cookie)
    [line] = (await desk.get("/", cookie)).header("set-cookie")
    assert "Max-Age=0" not in line
    assert len(desk.server.sent) == 1


@pytest.mark.covers("COOKIE-08", "COOKIE-09")
async def test_renewing_when_the_new_cookie_does_not_fit_then_moves_into_the_store() -> (
    None
):
    """The browser gets a reference; whoever comes late with the old cookie as well."""
    seen: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(len(scope["atproto"].session.access_token))
        await HELLO(scope, receive, send)

    desk = Desk(app)
    refresh = desk.server.refresh

    async def grow(session: OAuthSession, before_send: BeforeSend) -> OAuthSession:
        renewed = await refresh(session, before_send)
        return renewed.replace(access_token="".join(noise(9000)))

    tokens: Any = desk.site.client.sessions.tokens
    tokens.renew = grow
    cookie = desk.cookie(make_session())
    lines = []
    for _ in range(2):
        sent = await desk.get("/", cookie)
        assert (sent.status, sent.body) == (200, ALICE.encode())
        lines += sent.header("set-cookie")
    assert lines[0] == lines[1]
    assert len(lines[0]) < 600
    reference = ("cookie", lines[0].partition(";")[0])
    sent = await desk.get("/", reference)
    assert (sent.body, sent.header("set-cookie")) == (ALICE.encode(), [])
    assert seen == [9000] * 3
    assert len(desk.server.sent) == 1


def break_store(desk: Desk) -> None:
    """Let the store be out of order."""

    async def load(*_: object) -> None:
        message = "the store does not answer"
        raise StoreError(message)

    store: Any = desk.site.store
    store.load = load


@pytest.mark.covers("STORE-01", "ASG-12", "META-21", "ASGI-20")
async def test_store_when_it_fails_then_an_error_and_nobody_is_signed_out() -> None:
    """A person with a session gets 503 and keeps the cookie; others notice nothing."""
    desk = Desk()
    cookie = desk.cookie()
    break_store(desk)
    sent = await desk.get("/", cookie)
    assert sent.status == 503
    assert sent.header("set-cookie") == []
    assert sent.header("cache-control") == ["no-store"]
    assert (await desk.get("/")).body == b"nobody"
    assert (await desk.get("/oauth-client-metadata.json", cookie)).status == 200
    received = [{"type": "websocket.connect"}]
    closed = await ask(desk.app, websocket_scope(headers=[cookie]), received=received)
    assert closed.messages == [{"type": "websocket.close", "code": 1013}]


@pytest.mark.covers("STORE-01", "ASG-12")
async def test_store_when_it_fails_at_the_end_then_no_cookie_and_no_error() -> None:
    """A session that cannot be looked up is not written; it is not lost either."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        break_store(desk)
        await HELLO(scope, receive, send)

    desk = Desk(app)
    sent = await desk.get("/", desk.cookie(make_session()))
    assert (sent.status, sent.body) == (200, ALICE.encode())
    assert sent.header("set-cookie") == []
