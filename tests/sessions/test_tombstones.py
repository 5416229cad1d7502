"""Who has logged out stays out, and nobody else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from typing_extensions import override

from atproto_oauth_asgi.exceptions import LoggedOut
from atproto_oauth_asgi.sessions import tombstones as module
from atproto_oauth_asgi.sessions.lifecycle import OpenedSession
from atproto_oauth_asgi.sessions.tombstones import Tombstones
from atproto_oauth_asgi.stores.base import Record
from atproto_oauth_asgi.stores.memory import MemoryStore
from tests.sessions.making import (
    ALICE,
    HOUR_S,
    NOW,
    Clock,
    make_session,
    make_sessions,
    when,
)

pytestmark = pytest.mark.anyio

BOB = "did:plc:bbbbbbbbbbbbbbbbbbbbbbbb"


class CountingStore(MemoryStore):
    """Counts how often it is asked, and knows what was saved last."""

    loads = 0
    newest = ("", "")
    meanwhile: Callable[[], Awaitable[None]] | None = None

    @override
    async def save(self, kind: str, key: str, value: bytes, **named: Any) -> int | None:
        self.newest = (kind, key)
        return await super().save(kind, key, value, **named)

    @override
    async def load(self, kind: str, key: str) -> Record | None:
        self.loads += 1
        found = await super().load(kind, key)
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        return found


class House:
    """A store that processes share, each with tombstones of its own."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.store = CountingStore(clock=self.clock)
        self.ours = self.process()
        self.opened = self.log_in()

    def log_in(self, *, generation: str = "", **changes: Any) -> OpenedSession:
        opened = make_sessions(self.clock).seal(make_session(**changes))
        return replace(opened, generation=generation)

    def process(self) -> Tombstones:
        return Tombstones(self.store, clock=self.clock)

    async def record(self) -> Record:
        found = await self.store.load(*self.store.newest)
        assert found is not None
        return found


@pytest.fixture
def house() -> House:
    return House()


@pytest.mark.parametrize(
    ("later_s", "is_current"),
    [(0.0, True), (0.5, True), (1.99, True), (2.0, False), (-0.01, False)],
)
async def test_answer_when_time_passes_then_counts_for_two_seconds(
    house: House, later_s: float, is_current: bool
) -> None:
    """The store is asked again after two seconds, or if the clock was set back."""
    session = house.opened.session
    assert not house.ours.are_current(session)
    await house.ours.check_lately(house.opened)
    asked = house.store.loads
    house.clock.now += later_s
    assert house.ours.are_current(session) is is_current
    assert not house.ours.are_current(make_session())
    await house.ours.check_lately(house.opened)
    assert (house.store.loads == asked) is is_current


async def test_bury_when_done_then_that_session_is_out_everywhere(house: House) -> None:
    """Here at once, elsewhere as soon as the store is asked; other sessions go on."""
    elsewhere, other = house.process(), house.log_in()
    for each in (house.ours, elsewhere):
        await each.check(house.opened)
    await house.ours.bury(house.opened)
    with pytest.raises(LoggedOut):
        await house.ours.check_lately(house.opened)
    house.clock.now += 2
    with pytest.raises(LoggedOut):
        await elsewhere.check_lately(house.opened)
    await elsewhere.check(other)


async def test_bury_when_written_then_lasts_as_long_as_a_cookie_and_says_nothing(
    house: House,
) -> None:
    """What lies in the store is a mark, which nobody can learn anything from."""
    await house.ours.bury(house.opened)
    record = await house.record()
    assert (record.value, record.expires_at) == (b"1", house.opened.ends_at)


async def test_check_when_it_refuses_then_an_older_answer_counts_no_more(
    house: House,
) -> None:
    """A refusal is not followed by two seconds of the answer before it."""
    await house.ours.check(house.opened)
    await house.process().bury(house.opened)
    with pytest.raises(LoggedOut):
        await house.ours.check(house.opened)
    assert not house.ours.are_current(house.opened.session)


async def test_bury_account_when_done_then_ends_what_there_is_by_now(
    house: House,
) -> None:
    """Every session of the account, on all devices; who logs in afterwards stays."""
    of_bob = house.log_in(did=BOB)
    assert await house.ours.generation(ALICE) == ""
    # The record of a log-out goes, after 400 days; the sessions of its generation stay.
    for opened in (house.opened, of_bob, house.log_in(generation="of long ago")):
        await house.ours.check(opened)
    await house.ours.bury_account(ALICE)
    assert (await house.record()).expires_at == NOW + 400 * 86400
    later = house.log_in(generation=await house.process().generation(ALICE))
    for process in (house.ours, house.process()):
        with pytest.raises(LoggedOut):
            await process.check_lately(house.opened)
        await process.check(later)
        await process.check(of_bob)
    await house.process().bury_account(ALICE)
    with pytest.raises(LoggedOut):
        await house.ours.check(later)


@pytest.mark.covers("LOGOUT-08")
@pytest.mark.parametrize(
    ("later_s", "is_over"), [(-HOUR_S, True), (HOUR_S - 1, True), (HOUR_S, False)]
)
async def test_bury_account_when_no_store_is_shared_then_later_logins_hold(
    house: House, later_s: float, is_over: bool
) -> None:
    """Workers without a common store know other names, and end no login of tomorrow.

    The clocks of hosts may be apart by an hour, not more.
    """
    await house.ours.bury_account(ALICE)
    opened = house.log_in(generation="theirs", created_at=when(NOW + later_s))
    if is_over:
        with pytest.raises(LoggedOut):
            await house.ours.check(opened)
    else:
        await house.ours.check(opened)


async def test_bury_account_when_repeated_then_each_generation_has_a_name_of_its_own(
    house: House,
) -> None:
    """No clock is asked, and nobody can guess a name: it would be a way back in."""
    names = set()
    for _ in range(20):
        await house.ours.bury_account(ALICE)
        names.add(await house.ours.generation(ALICE))
    assert len(names) == 20
    assert min(map(len, names)) >= 11


@pytest.mark.parametrize("value", [b"\xff", b"somebody else's"])
async def test_check_when_the_record_is_of_somebody_else_then_fails_closed(
    house: House, value: bytes
) -> None:
    """A store that holds something odd never says "not logged out"."""
    await house.ours.bury_account(ALICE)
    (kind, key), ends_at = house.store.newest, (await house.record()).expires_at
    await house.store.save(kind, key, value, expires_at=ends_at)
    with pytest.raises(LoggedOut):
        await house.ours.check(house.opened)


@pytest.mark.covers("LOGOUT-05")
@pytest.mark.parametrize("everywhere", [False, True])
async def test_check_when_somebody_logs_out_meanwhile_then_it_counts_for_now_only(
    house: House, *, everywhere: bool
) -> None:
    """What the store said before a log-out is no news after it, at each of them."""
    of_bob = house.log_in(did=BOB)

    async def log_out() -> None:
        if everywhere:
            await house.ours.bury_account(BOB)
        else:
            await house.ours.bury(of_bob)

    for _ in range(3):
        house.store.meanwhile = log_out
        await house.ours.check(house.opened)
        assert not house.ours.are_current(house.opened.session)
    await house.ours.check(house.opened)
    assert house.ours.are_current(house.opened.session)


async def test_answers_when_there_are_many_then_the_oldest_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Memory is bounded, whoever comes by."""
    monkeypatch.setattr(module, "_ANSWERS_KEPT", 2)
    house = House()
    opened = [house.log_in() for _ in range(3)]

    def current() -> list[bool]:
        return [house.ours.are_current(each.session) for each in opened]

    for each in opened:
        await house.ours.check(each)
    assert current() == [False, True, True]
    await house.ours.check(opened[1])
    await house.ours.check(opened[0])
    assert current() == [True, True, False]
