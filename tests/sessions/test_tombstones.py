"""Who has logged out stays out, and nobody else."""

from __future__ import annotations

from typing import Any

import pytest
from typing_extensions import override

from atproto_oauth_asgi.exceptions import LoggedOut, StoreError
from atproto_oauth_asgi.sessions import tombstones as module
from atproto_oauth_asgi.sessions.tombstones import Tombstones
from atproto_oauth_asgi.stores.base import Record
from atproto_oauth_asgi.stores.memory import MemoryStore
from tests.sessions.making import (
    ALICE,
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

    @override
    async def save(self, kind: str, key: str, value: bytes, **named: Any) -> int | None:
        self.newest = (kind, key)
        return await super().save(kind, key, value, **named)

    @override
    async def load(self, kind: str, key: str) -> Record | None:
        self.loads += 1
        return await super().load(kind, key)


class House:
    """A store that processes share, each with tombstones of its own."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.store = CountingStore(clock=self.clock)
        self.ours = self.process()
        self.opened = make_sessions(self.clock).seal(make_session())
        self.session = self.opened.session

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
    assert not house.ours.are_current(house.session)
    await house.ours.check_lately(house.session)
    asked = house.store.loads
    house.clock.now += later_s
    assert house.ours.are_current(house.session) is is_current
    assert not house.ours.are_current(make_session())
    await house.ours.check_lately(house.session)
    assert (house.store.loads == asked) is is_current


async def test_bury_when_done_then_that_session_is_out_everywhere(house: House) -> None:
    """Here at once, elsewhere as soon as the store is asked; other sessions go on."""
    elsewhere, other = house.process(), make_session()
    for each in (house.ours, elsewhere):
        await each.check(house.session)
    await house.ours.bury(house.opened)
    with pytest.raises(LoggedOut):
        await house.ours.check_lately(house.session)
    house.clock.now += 2
    with pytest.raises(LoggedOut):
        await elsewhere.check_lately(house.session)
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
    await house.ours.check(house.session)
    await house.process().bury(house.opened)
    with pytest.raises(LoggedOut):
        await house.ours.check(house.session)
    assert not house.ours.are_current(house.session)


async def test_bury_account_when_done_then_ends_what_there_is_by_now(
    house: House,
) -> None:
    """Every session of the account up to this moment, on all devices, and no later."""
    made_now = make_session(created_at=when(NOW))
    later = make_session(created_at=when(NOW + 0.01))
    of_bob = make_session(did=BOB)
    for session in (house.session, made_now, later, of_bob):
        await house.ours.check(session)
    await house.ours.bury_account(ALICE)
    for ended in (house.session, made_now):
        with pytest.raises(LoggedOut):
            await house.ours.check_lately(ended)
        with pytest.raises(LoggedOut):
            await house.process().check(ended)
    for process in (house.ours, house.process()):
        await process.check(later)
        await process.check(of_bob)
    record = await house.record()
    assert record.expires_at == NOW + 400 * 86400


async def test_check_when_the_record_is_of_somebody_else_then_fails_closed(
    house: House,
) -> None:
    """A store that holds something odd is an error, never "not logged out"."""
    await house.ours.bury_account(ALICE)
    kind, key = house.store.newest
    await house.store.save(kind, key, b"\xff", expires_at=NOW + 100)
    with pytest.raises(StoreError):
        await house.ours.check(house.session)


async def test_answers_when_there_are_many_then_the_oldest_go(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded, whoever comes by."""
    monkeypatch.setattr(module, "_ANSWERS_KEPT", 2)
    sessions = [make_session() for _ in range(3)]
    for session in sessions:
        await house.ours.check(session)
    assert [house.ours.are_current(each) for each in sessions] == [False, True, True]
    await house.ours.check(sessions[1])
    await house.ours.check(sessions[0])
    assert [house.ours.are_current(each) for each in sessions] == [True, True, False]
