"""Where a session is kept: in the browser, in the store, or only who it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from typing_extensions import override

from atproto_oauth_asgi import OAuthClient
from atproto_oauth_asgi.exceptions import (
    ConfigurationError,
    LoggedOut,
    RefreshUnavailable,
    SessionRevoked,
    StoreError,
)
from atproto_oauth_asgi.models import OAuthSession
from atproto_oauth_asgi.sessions.lifecycle import OpenedSession, Reference
from atproto_oauth_asgi.sessions.tokens import BeforeSend
from atproto_oauth_asgi.stores import MemoryStore, Record
from tests.sessions.making import ALICE, HOUR_S, NOW, Clock, make_session
from tests.web.desk import HELLO, LATER, Desk, noise, set_cookies
from tests.web.driving import Sent, ask, http_scope

pytestmark = pytest.mark.anyio

BOB = "did:plc:bbbbbbbbbbbbbbbbbbbbbbbb"
FORM = ("content-type", "application/x-www-form-urlencoded")
SAME_ORIGIN = ("sec-fetch-site", "same-origin")


class Counting(MemoryStore):
    """Counts how often it is read and written."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock=clock)
        self.reads: list[str] = []
        self.writes: list[str] = []

    @override
    async def load(self, kind: str, key: str) -> Record | None:
        self.reads.append(kind)
        return await super().load(kind, key)

    @override
    async def save(self, kind: str, *args: Any, **named: Any) -> int | None:
        self.writes.append(kind)
        return await super().save(kind, *args, **named)


class Office(Desk):
    """An application that keeps sessions in a store, and its other workers."""

    def __init__(self, app: Any = HELLO, **options: Any) -> None:
        # The clock comes later.
        self.shared = Counting(lambda: self.clock())  # noqa: PLW0108
        super().__init__(app, store=self.shared, **options)

    async def log_in(self, session: OAuthSession | None = None) -> tuple[str, str]:
        """The header of a browser that has just logged in."""
        session = session or make_session(expires_at=LATER)
        value = await self.site.sessions.begin(session)
        self.shared.reads.clear()
        self.shared.writes.clear()
        return ("cookie", f"{self.site.session_cookie(None)}={value}")


def next_cookie(sent: Sent, before: tuple[str, str]) -> tuple[str, str]:
    """The header of the browser after an answer."""
    lines = sent.header("set-cookie")
    return ("cookie", lines[0].partition(";")[0]) if lines else before


async def log_out(desk: Desk, cookie: tuple[str, str], **fields: str) -> Sent:
    body = "&".join(f"{name}={value}" for name, value in fields.items()).encode()
    received = [{"type": "http.request", "body": body, "more_body": False}]
    headers = [cookie, FORM, SAME_ORIGIN]
    scope = http_scope("/oauth/logout", method="POST", headers=headers)
    return await ask(desk.app, scope, received=received)


# --- in the store --------------------------------------------------------------------


@pytest.mark.covers("SESS-02", "SESS-14", "COOKIE-03")
async def test_server_mode_when_a_store_is_given_then_the_browser_has_a_reference() -> (
    None
):
    """The cookie is short and holds no token."""
    office = Office()
    session = make_session(expires_at=LATER)
    cookie = await office.log_in(session)
    held = office.site.sessions.sealed.read(cookie[1].partition("=")[2])
    assert isinstance(held, Reference)
    assert len(cookie[1]) < 400
    assert (await office.get("/", cookie)).body == ALICE.encode()


async def test_server_mode_when_a_request_comes_then_costs_one_read() -> None:
    """No write, no second look at anything."""
    office = Office()
    cookie = await office.log_in()
    for _ in range(3):
        sent = await office.get("/", cookie)
        assert sent.header("set-cookie") == []
    assert office.shared.reads == ["session"] * 3
    assert office.shared.writes == []


@pytest.mark.covers("REF-21")
async def test_server_mode_when_tokens_end_then_renewed_on_first_use() -> None:
    """Not before the application runs, and also after its response has begun."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        auth = scope["atproto"]
        sent_before.append(len(office.server.sent))
        await HELLO(scope, receive, send)
        tokens.append((await auth._visit.current()).access_token)

    sent_before: list[int] = []
    tokens: list[str] = []
    office = Office(app)
    session = make_session()
    cookie = await office.log_in(session)
    for _ in range(2):
        sent = await office.get("/", cookie)
        assert sent.header("set-cookie") == []
    assert sent_before == [0, 1]
    assert office.server.sent == [session.refresh_token]
    assert tokens[0] == tokens[1] != session.access_token


@pytest.mark.covers("SESS-14", "LOGOUT-06", "SES-06")
async def test_server_mode_when_logged_out_then_dead_on_all_workers_at_once() -> None:
    """No copy of the cookie is of use, and the tokens are revoked."""
    office = Office()
    session = make_session(expires_at=LATER)
    cookie = await office.log_in(session)
    other = Desk(store=office.shared)
    assert (await other.get("/", cookie)).body == ALICE.encode()
    sent = await log_out(office, cookie)
    assert (sent.status, office.server.revoked) == (303, [session.refresh_token])
    assert "Max-Age=0" in sent.header("set-cookie")[0]
    sent = await other.get("/", cookie)
    assert (sent.body, sent.header("set-cookie")) == (b"nobody", [])


@pytest.mark.covers("REF-14", "RFR-14")
async def test_server_mode_when_the_server_ended_it_then_the_reason_stays() -> None:
    """The next requests know who it was and why, and no token is left anywhere."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        auth = scope["atproto"]
        if auth.is_authenticated:
            with pytest.raises(SessionRevoked):
                await auth._visit.current()
        seen.append((auth.did, auth.reason, auth.login_hint))
        await HELLO(scope, receive, send)

    office = Office(app)
    cookie = await office.log_in(make_session())
    office.server.failures = [SessionRevoked("over")]
    late = await office.get("/", cookie)
    for each in (cookie, next_cookie(late, cookie)):
        await office.get("/", each)
    assert seen == [(None, "revoked", "alice.test")] * 3


@pytest.mark.covers("REF-14", "RFR-12")
async def test_server_mode_when_the_server_is_away_then_the_person_stays() -> None:
    """An outage is told to who needs the tokens, and not asked for each time."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        with pytest.raises(RefreshUnavailable):
            await scope["atproto"]._visit.current()
        await HELLO(scope, receive, send)

    office = Office(app)
    cookie = await office.log_in(make_session())
    office.server.failures = [RefreshUnavailable("slow")] * 5
    for _ in range(3):
        sent = await office.get("/", cookie)
        assert (sent.body, sent.header("set-cookie")) == (ALICE.encode(), [])
    assert len(office.server.sent) == 1


async def test_server_mode_when_the_record_is_gone_then_expired_with_a_hint() -> None:
    """A store that was emptied signs people out; it does not make errors of them."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["atproto"].reason, scope["atproto"].login_hint))
        await HELLO(scope, receive, send)

    office = Office(app)
    cookie = await office.log_in()
    office.shared._rows._items.clear()
    assert (await office.get("/", cookie)).status == 200
    assert seen == [("expired", "alice.test")]


@pytest.mark.covers("COOKIE-22")
async def test_server_mode_when_a_record_cannot_be_read_then_ignored_and_kept() -> None:
    """A worker with another secret sees nobody, and takes nothing away."""
    office = Office()
    cookie = await office.log_in()
    [(place, row)] = office.shared._rows.items()
    await office.shared.save(*place, b"sealed by somebody else", expires_at=LATER)
    sent = await office.get("/", cookie)
    assert (sent.body, sent.header("set-cookie")) == (b"nobody", [])
    await office.shared.save(*place, row.record.value, expires_at=LATER)
    assert (await office.get("/", cookie)).body == ALICE.encode()


@pytest.mark.covers("SESS-07", "SES-05")
async def test_server_mode_when_idle_for_too_long_then_over() -> None:
    """Visits are noted now and then, and each note counts from then."""
    office = Office(idle_timeout_s=int(HOUR_S))
    cookie = await office.log_in(make_session(expires_at=NOW + 99 * HOUR_S))
    for _ in range(4):
        office.clock.now += HOUR_S / 2
        assert (await office.get("/", cookie)).body == ALICE.encode()
        await office.get("/", cookie)
    assert office.shared.writes == ["session"] * 4
    office.clock.now += HOUR_S + 1
    assert (await office.get("/", cookie)).body == b"nobody"


@pytest.mark.covers("COOKIE-13", "CRYPT-07")
async def test_server_mode_when_secrets_rotate_then_reference_and_record_follow() -> (
    None
):
    """Once the person has come by, the old secret can be taken away."""
    old, new = (
        "an-old-secret-of-the-tests-32-bytes",
        "a-new-secret-of-the-tests-32-bytes",
    )
    shared = MemoryStore(clock=Clock())
    before, both, after = (
        Desk(store=shared, secret_key=each) for each in (old, [new, old], [new])
    )
    value = await before.site.sessions.begin(make_session(expires_at=LATER))
    cookie = ("cookie", f"{before.site.session_cookie(None)}={value}")
    assert (await after.get("/", cookie)).body == b"nobody"
    sent = await both.get("/", cookie)
    cookie = next_cookie(sent, cookie)
    assert (await after.get("/", cookie)).body == ALICE.encode()
    assert (await both.get("/", cookie)).header("set-cookie") == []


# --- idle time in a cookie -----------------------------------------------------------


@pytest.mark.covers("SESS-07", "SES-05")
async def test_cookie_mode_when_idle_for_too_long_then_over() -> None:
    """The cookie says when the person was here, and is written now and then only."""
    desk = Desk(idle_timeout_s=int(HOUR_S))
    cookie = desk.cookie(make_session(expires_at=NOW + 99 * HOUR_S))
    written = 0
    for _ in range(4):
        desk.clock.now += HOUR_S / 2
        sent = await desk.get("/", cookie)
        assert sent.body == ALICE.encode()
        cookie = next_cookie(sent, cookie)
        written += len(set_cookies(sent.start))
        assert (await desk.get("/", cookie)).header("set-cookie") == []
    assert written == 4
    desk.clock.now += HOUR_S + 1
    assert (await desk.get("/", cookie)).body == b"nobody"


# --- only who it is ------------------------------------------------------------------


async def test_identity_mode_when_logged_in_then_tokens_are_revoked_at_once() -> None:
    """The application knows who it is, and nothing is left that could be stolen."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        auth = scope["atproto"]
        seen.append((auth.did, auth.handle, auth.session.access_token))
        with pytest.raises(ConfigurationError, match="identity"):
            _ = auth.client
        await HELLO(scope, receive, send)

    desk = Desk(app, session="identity")
    session = make_session()
    value = await desk.site.sessions.begin(session)
    assert desk.server.revoked == [session.refresh_token]
    held = desk.site.sessions.sealed.read(value)
    assert isinstance(held, OpenedSession)
    assert (held.session.access_token, held.session.refresh_token) == ("", None)
    cookie = ("cookie", f"{desk.site.session_cookie(None)}={value}")
    desk.clock.now += 5 * HOUR_S
    assert (await desk.get("/", cookie)).body == ALICE.encode()
    assert seen == [(ALICE, "alice.test", "")]
    assert desk.server.sent == []
    assert (await log_out(desk, cookie)).status == 303


# --- beside the middleware -----------------------------------------------------------


@pytest.mark.covers("REF-04")
async def test_restore_when_sessions_lie_in_the_store_then_jobs_find_them() -> None:
    """The client of the same configuration looks where the middleware keeps them."""
    office = Office()
    session = make_session(expires_at=LATER)
    await office.log_in(session)
    job = OAuthClient.from_config(office.app.config)
    found = await job.restore(ALICE)
    assert found.access_token == session.access_token
    cookie = await office.log_in(session)
    await log_out(office, cookie)
    with pytest.raises(LoggedOut):
        await job.restore(ALICE)
    await job.aclose()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"session": "server"}, "session: 'server' needs a store"),
        ({"session": "memory"}, "session: one of cookie, server, identity"),
        ({"idle_timeout_s": 0}, "idle_timeout_s"),
    ],
)
def test_mode_when_it_cannot_be_then_says_what_is_wrong(
    options: dict[str, Any], problem: str
) -> None:
    """At the start, in words."""
    with pytest.raises(ConfigurationError, match=problem):
        Desk(**options)


def kinds(rows: Sequence[Any]) -> list[str]:
    return sorted(kind for (kind, _), _ in rows)


async def test_cookie_mode_when_a_store_is_given_too_then_sessions_stay_in_cookies() -> (
    None
):
    """The store coordinates, and holds no session."""
    office = Office(session="cookie")
    session = make_session()
    value = await office.site.sessions.begin(session)
    cookie = ("cookie", f"{office.site.session_cookie(None)}={value}")
    await office.get("/", cookie)
    assert kinds(office.shared._rows.items()) == ["outcome"]


# --- moved into the store ------------------------------------------------------------


async def outgrown(office: Office) -> tuple[tuple[str, str], OAuthSession]:
    """A cookie whose session has moved into the store, and the session before."""
    refresh = office.server.refresh

    async def grow(session: OAuthSession, before_send: BeforeSend) -> OAuthSession:
        renewed = await refresh(session, before_send)
        return renewed.replace(access_token="".join(noise(9000)))

    tokens: Any = office.site.client.sessions.tokens
    tokens.renew = grow
    session = make_session()
    value = await office.site.sessions.begin(session)
    cookie = ("cookie", f"{office.site.session_cookie(None)}={value}")
    await office.get("/", cookie)
    tokens.renew = refresh
    return cookie, session


@pytest.mark.covers("LOGOUT-08", "COOKIE-08")
async def test_moved_session_when_logged_out_by_its_old_cookie_then_ended_there() -> (
    None
):
    """A browser that has missed the move ends the session all the same."""
    office = Office(session="cookie")
    cookie, session = await outgrown(office)
    sent = await log_out(office, cookie)
    assert (sent.status, office.server.revoked) == (303, [office.server.given[-1]])
    assert (await office.get("/", cookie)).body == b"nobody"
    with pytest.raises(LoggedOut):
        await office.site.client.sessions.records.load(  # type: ignore[union-attr]
            session.did, session.session_id
        )


@pytest.mark.covers("REF-05", "COOKIE-08")
async def test_moved_session_when_its_tokens_have_ended_since_then_renewed_there() -> (
    None
):
    """The old cookie leads to the session in the store, and that to newer tokens."""
    office = Office(session="cookie")
    cookie, _ = await outgrown(office)
    office.clock.now += 2 * HOUR_S
    sent = await office.get("/", cookie)
    assert sent.body == ALICE.encode()
    assert len(office.server.sent) == 2
    reference = next_cookie(sent, cookie)
    assert len(reference[1]) < 500
    assert (await office.get("/", reference)).body == ALICE.encode()


@pytest.mark.covers("STORE-01")
async def test_server_mode_when_a_new_session_is_abandoned_then_ended_and_revoked() -> (
    None
):
    """What no browser gets is of no use to anybody; a store that is down is no matter."""
    office = Office()
    session = make_session()
    await office.log_in(session)
    await office.site.sessions.abandon(session)
    assert office.server.revoked == [session.refresh_token]

    async def fail(*_: Any) -> None:
        raise StoreError("the store does not answer")

    store: Any = office.shared
    store.load = fail
    await office.site.sessions.abandon(session)
    assert office.server.revoked == [session.refresh_token] * 2
