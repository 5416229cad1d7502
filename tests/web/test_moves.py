"""A session that outgrows its cookie while other things happen to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from typing_extensions import override

from atproto_oauth_asgi.exceptions import LoggedOut, StoreError
from atproto_oauth_asgi.models import OAuthSession
from atproto_oauth_asgi.sessions import patience
from atproto_oauth_asgi.sessions.lifecycle import OpenedSession
from atproto_oauth_asgi.sessions.marks import LEASE_S
from atproto_oauth_asgi.sessions.records import RecordedSessions
from atproto_oauth_asgi.sessions.tokens import BeforeSend
from atproto_oauth_asgi.stores import MemoryStore, Record
from tests.sessions.making import ALICE, HOUR_S, Clock, make_session
from tests.sessions.token_server import TokenServer
from tests.web.desk import LATER, Desk, noise
from tests.web.test_session_modes import log_out, next_cookie

pytestmark = pytest.mark.anyio

Header = tuple[str, str]


class Store(MemoryStore):
    """Takes no sessions while it is full, and may fail to say who has logged out."""

    is_full = False
    hides_tombstones = False

    @override
    async def load(self, kind: str, key: str) -> Record | None:
        if self.hides_tombstones and kind == "tombstone":
            message = "as if the worker were killed: it gets no answer any more"
            raise StoreError(message)
        return await super().load(kind, key)

    @override
    async def save(self, kind: str, *args: Any, **named: Any) -> int | None:
        if self.is_full and kind == "session":
            message = "full"
            raise StoreError(message)
        return await super().save(kind, *args, **named)


class Worker(Desk):
    """One whose tokens outgrow a cookie; something may happen before it has them."""

    def __init__(self, store: MemoryStore, server: TokenServer) -> None:
        super().__init__(session="cookie", store=store)
        self.server = server
        self.meanwhile: Callable[[], Awaitable[object]] | None = None
        tokens: Any = self.site.client.sessions.tokens
        tokens.renew, tokens.revoke = self._renew, server.revoke

    async def _renew(self, session: OAuthSession, ready: BeforeSend) -> OAuthSession:
        renewed = await self.server.refresh(session, ready)
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        return renewed.replace(access_token="".join(noise(9000)))

    async def log_in(self, session: OAuthSession) -> Header:
        value = await self.site.sessions.begin(session)
        return ("cookie", f"{self.site.session_cookie(None)}={value}")

    async def who(self, cookie: Header) -> str:
        return (await self.get("/", cookie)).body.decode()

    @property
    def records(self) -> RecordedSessions:
        records = self.site.client.sessions.records
        assert records is not None
        return records


class House:
    """Two workers over one store, and a session that one of them is about to move."""

    def __init__(self, *, rotates: bool = True) -> None:
        self.clock = Clock()
        self.store = Store(clock=self.clock)
        self.server = TokenServer(self.clock, rotates=rotates)
        self.slow, self.quick = (Worker(self.store, self.server) for _ in range(2))
        self.session = make_session()

    def wait(self, seconds: float) -> None:
        for clock in (self.clock, self.slow.clock, self.quick.clock):
            clock.now += seconds

    async def load(self) -> OAuthSession:
        kept = await self.quick.records.load(ALICE, self.session.session_id)
        assert kept is not None
        return kept.session


@pytest.mark.covers("REF-05", "COOKIE-08", "SESS-13")
async def test_move_when_it_comes_late_then_newer_tokens_stay() -> None:
    """Others took the worker for dead, moved the session, and renewed it since."""
    house = House(rotates=False)
    cookie = await house.slow.log_in(house.session)

    async def go_on() -> None:
        for seconds in (LEASE_S, 2 * HOUR_S, 2 * HOUR_S):
            house.wait(seconds + 1)
            assert await house.quick.who(cookie) == ALICE

    house.slow.meanwhile = go_on
    assert await house.slow.who(cookie) == ALICE
    assert (await house.load()).renewals == 3


@pytest.mark.covers("LOGOUT-08", "OUT-03", "COOKIE-08")
async def test_move_when_it_comes_after_a_logout_then_the_session_stays_ended() -> None:
    """Nobody gets in again with a copy of the reference that the log-out has ended."""
    house = House(rotates=False)
    cookie = await house.slow.log_in(house.session)
    references: list[Header] = []

    async def log_out_there() -> None:
        house.wait(LEASE_S + 1)
        reference = next_cookie(await house.quick.get("/", cookie), cookie)
        references.append(reference)
        assert await house.quick.who(reference) == ALICE
        await log_out(house.quick, reference)
        house.server.revoked.clear()

    house.slow.meanwhile = log_out_there
    await house.slow.get("/", cookie)
    for each in (cookie, *references):
        assert await house.quick.who(each) == "nobody"
    with pytest.raises(LoggedOut):
        await house.load()
    assert len(house.server.revoked) == 1


@pytest.mark.covers("LOGOUT-05", "LOGOUT-08", "SESS-13")
async def test_move_when_the_account_was_logged_out_everywhere_then_no_record_stays() -> (
    None
):
    """The record is written after the log-out has looked: whoever wrote it ends it."""
    house = House()
    cookie = await house.slow.log_in(house.session)
    mine = await house.quick.log_in(make_session(expires_at=LATER))

    async def log_out_everywhere() -> None:
        await log_out(house.quick, mine, everywhere="1")

    house.slow.meanwhile = log_out_everywhere
    assert await house.slow.who(cookie) == "nobody"
    assert house.server.given[-1] in house.server.revoked
    with pytest.raises(LoggedOut):
        await house.load()


@pytest.mark.covers("LOGOUT-05", "LOGOUT-08", "SESS-13")
async def test_everywhere_when_a_session_moves_in_between_then_it_ends_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither what is in cookies nor what lies in the store slips through."""
    house = House()
    cookie = await house.slow.log_in(house.session)
    mine = await house.quick.log_in(make_session(expires_at=LATER))
    tombstones = house.quick.site.sessions.in_cookies.tombstones
    bury_account = tombstones.bury_account
    references: list[Header] = []

    async def bury_late(did: str) -> None:
        references.append(next_cookie(await house.slow.get("/", cookie), cookie))
        await bury_account(did)

    monkeypatch.setattr(tombstones, "bury_account", bury_late)
    await log_out(house.quick, mine, everywhere="1")
    house.wait(3)
    for each in (cookie, *references):
        assert await house.slow.who(each) == "nobody"
    assert house.server.given[-1] in house.server.revoked


@pytest.mark.covers("REF-19", "RFR-19", "COOKIE-08")
async def test_move_when_the_store_is_full_for_long_then_it_is_made_up_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The tokens are remembered where they came, and move as soon as they can."""
    monkeypatch.setattr(patience, "_WAITS_S", (0.0, 0.0))
    house = House()
    cookie = await house.slow.log_in(house.session)
    house.store.is_full = True
    for _ in range(2):
        sent = await house.slow.get("/", cookie)
        assert (sent.body, sent.header("set-cookie")) == (ALICE.encode(), [])
    house.store.is_full = False
    somebody_else = await house.slow.log_in(make_session())
    await house.slow.get("/", somebody_else)
    house.wait(LEASE_S + 1)
    reference = next_cookie(await house.quick.get("/", cookie), cookie)
    assert await house.quick.who(reference) == ALICE
    assert (await house.load()).refresh_token == house.server.given[0]
    assert house.server.sent.count(house.session.refresh_token) == 1


@pytest.mark.covers("LOGOUT-05", "LOGOUT-08", "SESS-13")
async def test_move_when_its_worker_dies_after_a_logout_then_nobody_adopts_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A request that was under way does not bring the session back by the reference."""
    house = House()
    cookie = await house.slow.log_in(house.session)
    mine = await house.quick.log_in(make_session(expires_at=LATER))
    opened = await house.quick.site.sessions.open(cookie[1].partition("=")[2])
    assert isinstance(opened, OpenedSession)

    async def log_out_everywhere() -> None:
        await log_out(house.quick, mine, everywhere="1")
        house.store.hides_tombstones = True

    monkeypatch.setattr(patience, "_WAITS_S", ())
    house.slow.meanwhile = log_out_everywhere
    await house.slow.get("/", cookie)
    house.store.hides_tombstones = False
    assert (await house.load()).refresh_token == house.server.given[0]
    with pytest.raises(LoggedOut):
        await house.quick.site.sessions.refresh(opened)


@pytest.mark.covers("LOGOUT-05", "LOGOUT-08", "COOKIE-08", "REF-19")
@pytest.mark.parametrize("everywhere", ["0", "1"])
async def test_move_when_it_is_made_up_for_after_a_logout_then_nothing_comes_back(
    monkeypatch: pytest.MonkeyPatch, everywhere: str
) -> None:
    """Tokens that no store took in time are given back: no job finds the session."""
    monkeypatch.setattr(patience, "_WAITS_S", (0.0, 0.0))
    house = House()
    cookie = await house.slow.log_in(house.session)
    mine = await house.quick.log_in(make_session(expires_at=LATER))
    house.store.is_full = True
    await house.slow.get("/", cookie)
    ending = mine if everywhere == "1" else cookie
    await log_out(house.quick, ending, everywhere=everywhere)
    house.store.is_full = False
    await house.slow.get("/", await house.slow.log_in(make_session()))
    with pytest.raises(LoggedOut):
        await house.load()
    assert house.server.given[0] in house.server.revoked
