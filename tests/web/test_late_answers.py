"""Answers that come late, steps that fail halfway, and cookies from before."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typing_extensions import override

from atproto_oauth_asgi.exceptions import (
    LoggedOut,
    RefreshUnavailable,
    SessionRevoked,
    StoreError,
)
from atproto_oauth_asgi.models import OAuthSession
from atproto_oauth_asgi.sessions import records
from atproto_oauth_asgi.sessions.lifecycle import OpenedSession, Reference
from atproto_oauth_asgi.sessions.outcomes import outcome_key
from atproto_oauth_asgi.sessions.tokens import BeforeSend
from tests.sessions.making import ALICE, HOUR_S, SECRET, Clock, make_session
from tests.web.desk import HELLO, LATER, Desk, noise
from tests.web.driving import ask, websocket_scope
from tests.web.test_session_modes import BOB, Counting, Office, log_out, next_cookie

OTHER_SECRET = b"another secret of the tests, also 32 bytes"
TOO_LARGE = "".join(noise(9000))


class Failing(Counting):
    """Fails once, at the write that is ``fails_in`` writes away."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self.fails_in = 0

    @override
    async def save(self, kind: str, *args: Any, **named: Any) -> int | None:
        self.fails_in -= 1
        if self.fails_in == 0:
            message = "down for a moment"
            raise StoreError(message)
        return await super().save(kind, *args, **named)


class Waiting:
    """An application that lets something happen before it answers."""

    def __init__(self) -> None:
        self.meanwhile: Callable[[], Any] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            await meanwhile()
        await HELLO(scope, receive, send)


@pytest.mark.covers("SESS-13", "STORE-01", "ASG-12")
@pytest.mark.parametrize("mode", ["cookie", "server"])
@pytest.mark.parametrize("step", range(1, 5))
@pytest.mark.anyio
async def test_everywhere_when_the_store_fails_halfway_then_asking_again_ends_all(
    mode: Any, step: int
) -> None:
    """Whoever is told that it failed is still somebody who can ask again."""
    desk = Desk(session=mode, store=Failing(Clock()))
    store: Any = desk.site.config.store
    name = desk.site.session_cookie(None)
    mine, other, third = [
        ("cookie", f"{name}={await desk.site.sessions.begin(session)}")
        for session in (make_session(expires_at=LATER) for _ in range(3))
    ]
    store.fails_in = step
    await log_out(desk, mine, everywhere="1")
    store.fails_in = 0
    await log_out(desk, mine, everywhere="1")
    for cookie in (mine, other, third):
        assert (await desk.get("/", cookie)).body == b"nobody"


@pytest.mark.covers("COOKIE-13", "SESS-03")
@pytest.mark.anyio
async def test_answer_when_another_login_came_meanwhile_then_reference_stays_away() -> (
    None
):
    """The old session's reference, sealed anew, does not replace the new login's."""
    app = Waiting()
    office = Office(app)
    cookie = await office.log_in()
    rotated = Desk(app, store=office.shared, secret_key=[OTHER_SECRET, SECRET])
    held = office.site.sessions.sealed.read(cookie[1].partition("=")[2])
    assert isinstance(held, Reference)
    before = await office.site.sessions.open(held.value)
    assert isinstance(before, OpenedSession)

    async def log_in_anew() -> None:
        await rotated.site.sessions.end(before)

    app.meanwhile = log_in_anew
    assert (await rotated.get("/", cookie)).header("set-cookie") == []


@pytest.mark.covers("REF-14", "COOKIE-16")
@pytest.mark.parametrize("mode", ["cookie", "server"])
@pytest.mark.parametrize(("waits_s", "is_written"), [(0.5, True), (20.0, False)])
@pytest.mark.anyio
async def test_answer_when_it_comes_late_then_does_not_tell_of_the_end(
    mode: Any, waits_s: float, is_written: bool
) -> None:
    """By then the person may have logged in anew, and that cookie must stay."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        auth = scope["atproto"]
        if auth.is_authenticated:
            with pytest.raises(SessionRevoked):
                await auth._visit.current()
        office.clock.now += waits_s
        await HELLO(scope, receive, send)

    office = Office(app, session=mode)
    cookie = await office.log_in(make_session())
    office.server.failures = [SessionRevoked("over")]
    sent = await office.get("/", cookie)
    assert bool(sent.header("set-cookie")) is is_written


@pytest.mark.covers("COOKIE-08", "COOKIE-19", "CKE-09", "LOGOUT-08")
@pytest.mark.anyio
async def test_logout_when_the_session_was_moved_then_older_cookies_are_dead_too() -> (
    None
):
    """A cookie from before the move opens nothing after the log-out."""
    office = Office(session="cookie")
    session = make_session(expires_at=office.clock.now + 30)
    cookie = await office.log_in(session)
    sealed = office.site.sessions.sealed.read(cookie[1].partition("=")[2])
    assert isinstance(sealed, OpenedSession)
    reference = await office.site.sessions.in_store.begin(session)
    moved = ("cookie", f"{office.site.session_cookie(None)}={reference.value}")
    assert (await office.get("/", moved)).body == ALICE.encode()
    await log_out(office, moved)
    with pytest.raises(LoggedOut):
        await office.site.sessions.open(sealed.value)
    assert (await office.get("/", cookie)).body == b"nobody"


@pytest.mark.covers("COOKIE-08", "REF-19", "RFR-19")
@pytest.mark.anyio
async def test_move_when_the_store_fails_for_a_moment_then_nothing_is_lost() -> None:
    """A session that outgrows its cookie is put into the store with patience."""
    desk = Desk(session="cookie", store=Failing(Clock()))
    store: Any = desk.site.config.store

    async def grow(session: OAuthSession, ready: Any) -> OAuthSession:
        renewed = await desk.server.refresh(session, ready)
        store.fails_in = 1
        return renewed.replace(access_token=TOO_LARGE)

    tokens: Any = desk.site.client.sessions.tokens
    tokens.renew = grow
    session = make_session()
    opened = await desk.site.sessions.open(await desk.site.sessions.begin(session))
    assert isinstance(opened, OpenedSession)
    renewed = await desk.site.sessions.refresh(opened)
    assert (renewed.is_kept, renewed.session.access_token) == (True, TOO_LARGE)


@pytest.mark.covers("SESS-11", "ASG-15")
@pytest.mark.parametrize("text", ["alive 1.0 1.0 -\n{}", "alive 1.0\n{}", "asleep"])
@pytest.mark.anyio
async def test_record_when_a_newer_release_wrote_it_then_ignored_and_kept(
    text: str,
) -> None:
    """An old worker beside a new one answers, and takes no cookie away."""
    office = Office()
    session = make_session(expires_at=LATER)
    cookie = await office.log_in(session)
    kept: Any = office.site.sessions.in_store._records
    key = records._key_of(session.did, session.session_id)
    sealed = kept._sealer.seal(text, kind="session", key=key)
    await office.shared.save("session", key, sealed, expires_at=LATER)
    sent = await office.get("/", cookie)
    assert (sent.status, sent.body) == (200, b"nobody")
    assert sent.header("set-cookie") == []


@pytest.mark.covers("SESS-15")
@pytest.mark.parametrize("mode", ["cookie", "server"])
@pytest.mark.anyio
async def test_websocket_when_logged_out_meanwhile_then_gets_no_new_tokens(
    mode: Any,
) -> None:
    """What was opened before goes on, without the account's server."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await HELLO(scope, receive, send)
            return
        await send({"type": "websocket.accept"})
        assert (await log_out(office, cookie)).status == 303
        office.clock.now += 2 * HOUR_S
        with pytest.raises((LoggedOut, RefreshUnavailable)):
            await scope["atproto"]._visit.current()

    office = Office(app, session=mode)
    cookie = await office.log_in()
    await ask(office.app, websocket_scope(headers=[cookie]))
    assert office.server.sent == []


@pytest.mark.covers("REF-21", "RFR-16")
@pytest.mark.anyio
async def test_websocket_when_its_tokens_were_renewed_long_ago_then_nobody_is_lost() -> (
    None
):
    """The session goes on in the browser's newer cookie; the socket gets no tokens."""
    lost: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await HELLO(scope, receive, send)
            return
        await send({"type": "websocket.accept"})
        office.clock.now += HOUR_S
        newer = next_cookie(await office.get("/", cookie), cookie)
        assert newer != cookie
        assert (await office.get("/", newer)).body == ALICE.encode()
        office.clock.now += 400
        with pytest.raises(RefreshUnavailable):
            await scope["atproto"]._visit.current()
        assert scope["atproto"].did == ALICE
        assert (await office.get("/", newer)).body == ALICE.encode()

    office = Office(
        app, session="cookie", on_session_lost=lambda *told: lost.append(told)
    )
    cookie = await office.log_in()
    await ask(office.app, websocket_scope(headers=[cookie]))
    assert (len(office.server.sent), lost) == (1, [])


@cache
def write_some() -> tuple[Desk, list[list[str]]]:
    """The cookies of two writes of one person, and of one of somebody else."""
    desk = Desk()
    sessions = [
        make_session(did=did, expires_at=LATER, access_token=TOO_LARGE[:4500])
        for did in (ALICE, ALICE, BOB)
    ]
    return desk, [desk.cookie(session)[1].split("; ") for session in sessions]


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.differing_executors],
)
@given(data=st.data())
@pytest.mark.covers("COOKIE-05", "COOKIE-09", "CKE-01", "CKE-03", "CKE-04")
def test_cookies_when_chunks_are_mixed_or_bits_changed_then_nobody(
    data: st.DataObject,
) -> None:
    """Signed out: never an error, never somebody else, never half of a session."""
    desk, written = write_some()
    every = [pair for pairs in written for pair in pairs]
    sent = data.draw(st.lists(st.sampled_from(every), min_size=1, max_size=6))
    if data.draw(st.booleans()):
        number = data.draw(st.integers(0, len(sent) - 1))
        name, _, value = sent[number].partition("=")
        place = data.draw(st.integers(0, len(value) - 1))
        other = chr(ord(value[place]) ^ (1 << data.draw(st.integers(0, 6))))
        sent[number] = f"{name}={value[:place]}{other}{value[place + 1 :]}"
    answer = anyio.run(desk.get, "/", ("cookie", "; ".join(sent)))
    is_whole = set(sent) in [set(pairs) for pairs in written]  # a pair may come twice
    expected = (ALICE if sent[0] not in written[2] else BOB) if is_whole else "nobody"
    assert (answer.status, answer.body) == (200, expected.encode())
    assert len(written[0]) > 1


@pytest.mark.anyio
async def test_tokens_when_two_tasks_of_a_request_need_new_ones_then_asked_for_once() -> (
    None
):
    """Whoever comes second takes what the first one was given, and asks nobody."""
    found: list[OAuthSession] = []
    asked: list[OpenedSession] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        visit = scope["atproto"]._visit
        stale = visit.session

        async def need() -> None:
            found.append(await visit.current())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(need)
            tasks.start_soon(need)
        # A PDS has refused the old token, which somebody else has replaced by now.
        found.append(await visit.renew(stale))
        await HELLO(scope, receive, send)

    office = Office(app)
    sessions: Any = office.site.sessions
    refresh = sessions.refresh

    async def counting(opened: OpenedSession, **options: Any) -> Any:
        asked.append(opened)
        return await refresh(opened, **options)

    sessions.refresh = counting
    cookie = await office.log_in(make_session())
    await office.get("/", cookie)
    assert len({id(each) for each in found}) == 1
    assert (len(asked), len(office.server.sent)) == (1, 1)


@pytest.mark.anyio
async def test_request_when_something_of_ours_is_broken_then_is_answered_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An application that could do without new tokens does not fail for them."""

    async def break_down() -> None:
        message = "out of order"
        raise RuntimeError(message)

    desk = Desk()
    desk.server.during = break_down
    sent = await desk.get("/", desk.cookie(make_session()))
    assert sent.body == ALICE.encode()
    assert "not refreshed ahead" in caplog.text


@pytest.mark.covers("COOKIE-13")
@pytest.mark.anyio
async def test_answer_when_what_came_since_cannot_be_read_here_then_writes_no_cookie(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Another worker has a newer secret: its cookie is the one that counts."""
    app = Waiting()
    office = Office(app, session="cookie")
    value = await office.site.sessions.begin(make_session())
    cookie = ("cookie", f"{office.site.session_cookie(None)}={value}")

    async def renew_elsewhere() -> None:
        (key,) = (
            k for (kind, k), _ in office.shared._rows.items() if kind == "outcome"
        )
        first = office.site.sessions.sealed.read(
            (await office.shared.load("outcome", key)).value.decode()  # type: ignore[union-attr]
        )
        assert isinstance(first, OpenedSession)
        await office.shared.save(
            "outcome", outcome_key(first), b"sealed", expires_at=LATER
        )

    app.meanwhile = renew_elsewhere
    sent = await office.get("/", cookie)
    assert (sent.body, sent.header("set-cookie")) == (ALICE.encode(), [])
    assert "cookie not written" in caplog.text


@pytest.mark.covers("COOKIE-08")
@pytest.mark.anyio
async def test_answer_when_the_session_was_moved_meanwhile_then_leads_there() -> None:
    """A slow answer does not bring back a cookie that has become too small."""
    app = Waiting()
    office = Office(app, session="cookie")
    value = await office.site.sessions.begin(make_session())
    cookie = ("cookie", f"{office.site.session_cookie(None)}={value}")
    refresh = office.server.refresh

    async def grow(session: OAuthSession, before_send: BeforeSend) -> OAuthSession:
        renewed = await refresh(session, before_send)
        return renewed.replace(access_token=TOO_LARGE)

    async def outgrow() -> None:
        tokens: Any = office.site.client.sessions.tokens
        tokens.renew = grow
        office.clock.now += 2 * HOUR_S
        await office.get("/", cookie)

    app.meanwhile = outgrow
    reference = next_cookie(await office.get("/", cookie), cookie)
    assert len(office.server.sent) == 2
    assert len(reference[1]) < 500
    assert (await office.get("/", reference)).body == ALICE.encode()


@pytest.mark.covers("COOKIE-13", "SESS-03")
@pytest.mark.anyio
async def test_answer_when_the_record_is_lost_meanwhile_then_reference_stays_away() -> (
    None
):
    """A cookie that leads nowhere is not written anew."""
    app = Waiting()
    office = Office(app)
    cookie = await office.log_in()
    rotated = Desk(app, store=office.shared, secret_key=[OTHER_SECRET, SECRET])

    async def lose() -> None:
        [(row, _)] = office.shared._rows.items()
        await office.shared.delete(*row)

    app.meanwhile = lose
    assert (await rotated.get("/", cookie)).header("set-cookie") == []


@pytest.mark.covers("LOGOUT-02")
@pytest.mark.anyio
async def test_logout_when_another_tab_was_quicker_then_revokes_nothing_twice() -> None:
    """The second one has nothing left to end, and is no failure."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        auth = scope["atproto"]
        await log_out(office, cookie)
        await auth.logout()
        await HELLO(scope, receive, send)

    office = Office(app)
    cookie = await office.log_in()
    assert (await office.get("/", cookie)).body == b"nobody"
    assert len(office.server.revoked) == 1
