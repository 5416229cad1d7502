"""A refresh token is sent once, and what comes back is never lost."""

from __future__ import annotations

import asyncio  # noqa: TID251 - how applications on asyncio cancel
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import anyio
import pytest
from typing_extensions import override

from atproto_oauth_asgi.exceptions import (
    AccountMoved,
    ClientKeyRetired,
    DiscoveryError,
    OAuthError,
    RefreshUnavailable,
    SessionError,
    SessionExpired,
    SessionRevoked,
    StoreError,
    TimedOut,
    Unreachable,
)
from atproto_oauth_asgi.sessions import refresh, revocation
from atproto_oauth_asgi.sessions.lifecycle import OpenedSession, SealedSessions
from atproto_oauth_asgi.sessions.lifetime import Lifetime
from atproto_oauth_asgi.sessions.outcomes import outcome_key
from atproto_oauth_asgi.stores import MemoryStore
from tests.sessions.making import (
    HOUR_S,
    MAX_AGE_S,
    NOW,
    SECRET,
    Clock,
    Coordinator,
    as_it_is,
    make_session,
    make_sessions,
)
from tests.sessions.token_server import TokenServer

pytestmark = pytest.mark.anyio


class House:
    """A coordinator with a store, a clock and a server of its own."""

    def __init__(self, *, store: MemoryStore | None = None, **server: Any) -> None:
        self.clock = Clock()
        self.server = TokenServer(self.clock, **server)
        self.sessions = make_sessions(self.clock)
        self.store = store or MemoryStore(clock=self.clock)
        self.coordinator = self.another_process()

    def another_process(self) -> Coordinator:
        """A coordinator that shares nothing but the store and the secret."""
        return Coordinator(
            store=self.store,
            sessions=make_sessions(self.clock),
            send=self.server.refresh,
            revoke=self.server.revoke,
            fit=as_it_is,
            clock=self.clock,
        )

    def log_in(self, **session: Any) -> OpenedSession:
        return self.sessions.seal(make_session(**session))

    async def records(self) -> dict[str, float]:
        """What the store holds, by kind, with the time when it ends."""
        rows = self.store._rows.items()
        return {kind: row.record.expires_at for (kind, _), row in rows}


@pytest.mark.covers("REF-03", "REF-05", "REF-22", "RFR-01", "RFR-17")
async def test_refresh_when_fifty_ask_then_one_is_sent() -> None:
    """Everybody gets the same new cookie value, from one use of the old token."""
    house = House(during=lambda: anyio.sleep(0.01))
    opened = house.log_in()
    values: list[str] = []

    async def ask(coordinator: Coordinator) -> None:
        values.append((await coordinator.refresh(opened)).value)

    async with anyio.create_task_group() as group:
        for number in range(50):
            process = house.coordinator if number % 2 else house.another_process()
            group.start_soon(ask, process)
    assert house.server.sent == [opened.session.refresh_token]
    assert len(values) == 50
    assert len(set(values)) == 1


@pytest.mark.covers("REF-03")
async def test_refresh_when_two_sessions_are_due_then_neither_waits() -> None:
    """The lock is the session's: somebody else's slow server holds up nobody."""
    house = House()
    both_inside = anyio.Event()

    async def meet() -> None:
        if len(house.server.sent) == 2:
            both_inside.set()
        with anyio.fail_after(5):
            await both_inside.wait()

    house.server.during = meet
    async with anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(house.coordinator.refresh, house.log_in())
    assert len(set(house.server.sent)) == 2


@pytest.mark.covers("REF-05", "REF-22")
async def test_refresh_when_somebody_comes_late_then_adopts_the_same_bytes() -> None:
    """A response that was lost is made up for, as long as the session may last."""
    house = House()
    opened = house.log_in()
    first = await house.coordinator.refresh(opened)
    house.clock.now += HOUR_S / 2
    late = await house.another_process().refresh(opened)
    assert late.value == first.value
    assert late.session.access_token == first.session.access_token
    assert len(house.server.sent) == 1


@pytest.mark.covers("REF-05", "CKE-08")
async def test_refresh_when_several_have_passed_then_leads_to_the_newest() -> None:
    """A browser that comes back with an old cookie misses no step."""
    house = House()
    opened = [house.log_in()]
    for _ in range(3):
        house.clock.now += HOUR_S
        opened.append(await house.coordinator.refresh(opened[-1]))
    adopted = await house.another_process().refresh(opened[0])
    assert adopted.value == opened[-1].value
    # The last one has ended by now, so that the next in the row is asked for.
    house.clock.now += HOUR_S
    renewed = await house.another_process().refresh(opened[0])
    assert house.server.sent[-1] == opened[-1].session.refresh_token
    assert renewed.session.access_token != adopted.session.access_token
    assert not house.server.is_ended


async def test_refresh_when_a_cookie_is_far_behind_then_the_search_has_an_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One request reads the store so many times at most, and sends no used token."""
    monkeypatch.setattr(refresh, "_LONGEST_CHAIN", 2)
    house = House()
    opened = [house.log_in()]
    for _ in range(3):
        house.clock.now += HOUR_S
        opened.append(await house.coordinator.refresh(opened[-1]))
    with pytest.raises(RefreshUnavailable, match="too often"):
        await house.another_process().refresh(opened[0])
    assert len(house.server.sent) == 3
    assert (await house.another_process().refresh(opened[2])).value == opened[3].value


@pytest.mark.covers("REF-02", "RFR-11")
async def test_refresh_when_the_server_keeps_the_token_then_it_is_sent_again() -> None:
    """A server that does not rotate stops neither the next refresh nor a logout."""
    house = House(rotates=False)
    first = await house.coordinator.refresh(house.log_in())
    house.clock.now += HOUR_S
    second = await house.coordinator.refresh(first)
    assert second.session.access_token != first.session.access_token
    assert len(house.server.sent) == 2
    with anyio.fail_after(5):
        await house.coordinator.end(first)
    assert house.server.revoked == [second.session.refresh_token]


@pytest.mark.covers("REF-14", "REF-16", "RFR-12", "RFR-13")
@pytest.mark.parametrize(
    "failure",
    [
        RefreshUnavailable("the server is out of order"),
        TimedOut("too slow"),
        Unreachable("gone"),
        DiscoveryError("no metadata"),
    ],
)
async def test_refresh_when_the_server_fails_then_the_session_lives_on(
    failure: OAuthError,
) -> None:
    """An outage is no end: it is asked again later, and then all is well."""
    house = House(failures=[failure])
    opened = house.log_in()
    with pytest.raises(RefreshUnavailable):
        await house.coordinator.refresh(opened)
    house.clock.now += 1
    # The server has not seen the token: this one failed before it was looked at.
    house.server.sent.clear()
    assert (await house.coordinator.refresh(opened)).session.did == opened.session.did


@pytest.mark.covers("REF-14", "REF-20", "DPO-18")
async def test_refresh_when_failures_repeat_then_pauses_grow_to_a_minute() -> None:
    """1, 2, 4 ... 60 seconds: a server that is down is not asked for each request."""
    house = House(failures=[TimedOut("too slow")] * 8)
    opened = house.log_in()
    for pause_s in (1, 2, 4, 8, 16, 32, 60, 60):
        with pytest.raises(RefreshUnavailable):
            await house.coordinator.refresh(opened)
        sent = len(house.server.sent)
        house.clock.now += pause_s - 0.01
        with pytest.raises(RefreshUnavailable):
            await house.coordinator.refresh(opened)
        assert len(house.server.sent) == sent
        house.clock.now += 0.01
    assert len(house.server.sent) == 8


@pytest.mark.covers("REF-14")
async def test_refresh_when_many_wait_for_a_failure_then_it_is_sent_once() -> None:
    """Those who waited for the lock do not each try the server that is down."""
    house = House(failures=[TimedOut("too slow")] * 10)
    opened = house.log_in()
    refused = 0

    async def ask() -> None:
        nonlocal refused
        with pytest.raises(RefreshUnavailable):
            await house.coordinator.refresh(opened)
        refused += 1

    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(ask)
    assert (refused, len(house.server.sent)) == (10, 1)


@pytest.mark.covers("ASG-14")
async def test_refresh_when_the_clock_is_set_back_then_a_pause_does_not_last() -> None:
    """A pause is a minute at most, whatever clocks do."""
    house = House(failures=[TimedOut("too slow")])
    opened = house.log_in()
    with pytest.raises(RefreshUnavailable):
        await house.coordinator.refresh(opened)
    house.clock.now -= 30
    house.server.sent.clear()
    assert await house.coordinator.refresh(opened) is not None


@pytest.mark.covers("REF-14", "RFR-14", "RFR-15", "RFR-08", "CAUTH-07")
@pytest.mark.parametrize(
    "ending", [SessionRevoked, AccountMoved, ClientKeyRetired, SessionExpired]
)
async def test_refresh_when_the_session_has_ended_then_everybody_learns_why(
    ending: type[SessionError],
) -> None:
    """A definite answer is asked for once, and shared with other processes."""
    house = House(failures=[ending("over")])
    opened = house.log_in()
    for process in (house.coordinator, house.coordinator, house.another_process()):
        with pytest.raises(ending):
            await process.refresh(opened)
    assert len(house.server.sent) == 1


@pytest.mark.covers("REF-23")
async def test_refresh_when_there_is_no_refresh_token_then_expired() -> None:
    """Nothing to send is the end, told as what it is."""
    house = House()
    with pytest.raises(SessionExpired):
        await house.coordinator.refresh(house.log_in(refresh_token=None))
    assert house.server.sent == []


@pytest.mark.covers("REF-21", "RFR-16", "ASG-03")
async def test_refresh_when_it_may_not_send_then_adopts_but_never_sends() -> None:
    """After the response has begun, only what others have fetched can be used."""
    house = House()
    opened = house.log_in()
    with pytest.raises(RefreshUnavailable, match="response has begun"):
        await house.coordinator.refresh(opened, may_send=False)
    assert house.server.sent == []
    # Unless somebody says otherwise it may.
    renewed = await super(Coordinator, house.coordinator).refresh(opened)
    adopted = await house.coordinator.refresh(opened, may_send=False)
    assert adopted.value == renewed.value


@pytest.mark.covers("LOGOUT-03", "LOGOUT-08")
async def test_end_when_the_session_was_renewed_then_the_newest_token_is_revoked() -> (
    None
):
    """Revoking a token that was rotated ends nothing, so the last one is looked up."""
    house = House()
    opened = house.log_in()
    renewed = await house.coordinator.refresh(opened)
    await house.another_process().end(opened)
    assert house.server.revoked == [renewed.session.refresh_token]
    house.clock.now += HOUR_S
    for each in (opened, renewed):
        with pytest.raises(SessionRevoked):
            await house.coordinator.tombstones.check(each)
        with pytest.raises(SessionRevoked):
            await house.coordinator.refresh(each)


@pytest.mark.covers("LOGOUT-08", "OUT-03")
async def test_end_when_a_refresh_is_under_way_then_its_new_tokens_are_revoked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The tombstone wins over whatever the refresh brings."""
    monkeypatch.setattr(refresh, "LOGOUT_LOCK_S", 0.01)
    house = House()
    opened = house.log_in()

    async def log_out_meanwhile() -> None:
        await house.another_process().end(opened)

    house.server.during = log_out_meanwhile
    with pytest.raises(SessionRevoked):
        await house.coordinator.refresh(opened)
    old, new = house.server.revoked
    assert old == opened.session.refresh_token
    assert [new] == house.server.given
    for process in (house.coordinator, house.another_process()):
        with pytest.raises(SessionRevoked):
            await process.refresh(opened, may_send=False)


@pytest.mark.covers("LOGOUT-08", "OUT-03")
async def test_end_when_it_waits_for_a_refresh_then_revokes_what_came_of_it() -> None:
    """A logout that gets the lock after a refresh ends the new tokens."""
    house = House()
    opened = house.log_in()
    started = anyio.Event()

    async def slowly() -> None:
        started.set()
        await anyio.sleep(0.05)

    house.server.during = slowly
    async with anyio.create_task_group() as group:

        async def refresh_now() -> None:
            with pytest.raises(SessionRevoked):
                await house.coordinator.refresh(opened)

        group.start_soon(refresh_now)
        await started.wait()
        await house.another_process().end(opened)
    assert set(house.server.given) <= set(house.server.revoked)


@pytest.mark.covers("LOGOUT-08", "OUT-03")
async def test_refresh_when_a_logout_is_under_way_then_nothing_is_sent() -> None:
    """Who waited for a logout to end finds the tombstone before sending."""
    house = House()
    opened = house.log_in()

    async with anyio.create_task_group() as group:

        async def refresh_late() -> None:
            with pytest.raises(SessionRevoked):
                await house.another_process().refresh(opened)

        async def revoke(session: Any) -> None:
            group.start_soon(refresh_late)
            await anyio.sleep(0.02)
            await house.server.revoke(session)

        house.coordinator._revoke = revoke
        await house.coordinator.end(opened)
    assert house.server.sent == []


@pytest.mark.covers("LOGOUT-02", "OUT-02")
@pytest.mark.parametrize("failure", [Unreachable("gone"), TimedOut("too slow")])
async def test_end_when_the_server_fails_then_it_is_over_all_the_same(
    failure: OAuthError,
) -> None:
    """Logging out here does not depend on somebody else's server."""
    house = House()
    opened = house.log_in()

    async def fail(_: object) -> None:
        raise failure

    house.coordinator._revoke = fail
    await house.coordinator.end(opened)
    with pytest.raises(SessionRevoked):
        await house.coordinator.tombstones.check(opened)


@pytest.mark.covers("LOGOUT-02", "OUT-02")
async def test_end_when_the_server_hangs_then_gives_up_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A server that never answers keeps nobody at the logout."""
    monkeypatch.setattr(revocation, "_BUDGET_S", 0.01)
    house = House()
    opened = house.log_in()
    house.coordinator._revoke = lambda _: anyio.sleep_forever()
    with anyio.fail_after(5):
        await house.coordinator.end(opened)
    with pytest.raises(SessionRevoked):
        await house.coordinator.tombstones.check(opened)


@pytest.mark.covers("LOGOUT-02")
async def test_end_when_the_browser_leaves_then_the_revocation_is_still_sent() -> None:
    """Whoever clicks and closes the window is logged out at the server as well."""
    house = House()
    opened = house.log_in()
    with anyio.CancelScope() as scope:

        async def revoke(session: Any) -> None:
            scope.cancel()
            await anyio.sleep(0.01)
            await house.server.revoke(session)

        house.coordinator._revoke = revoke
        await house.coordinator.end(opened)
    assert house.server.revoked == [opened.session.refresh_token]


@pytest.mark.covers("SESS-06", "CKE-09")
async def test_end_when_it_is_over_then_the_tombstone_outlives_every_cookie() -> None:
    """It is kept for as long as a copy of the cookie could be shown."""
    house = House()
    opened = house.log_in()
    await house.coordinator.end(opened)
    assert (await house.records())["tombstone"] == pytest.approx(
        opened.session.created_at.timestamp() + MAX_AGE_S
    )


async def test_refresh_when_its_turn_does_not_come_then_says_so_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Somebody else's refresh that hangs holds nobody up for ever, and ends nothing."""
    monkeypatch.setattr(refresh, "LOCK_WAIT_S", 0.01)
    house = House()
    opened = house.log_in()
    async with house.coordinator._lock(opened.session):
        with anyio.fail_after(5), pytest.raises(RefreshUnavailable):
            await house.another_process().refresh(opened)
    assert house.server.sent == []


async def test_confirm_when_the_new_cookie_came_back_then_the_outcome_may_go() -> None:
    """What was kept for lost responses goes five minutes after none was lost."""
    house = House()
    opened = house.log_in()
    renewed = await house.coordinator.refresh(opened)
    assert (await house.records())["outcome"] > NOW + 13 * 86400
    await house.coordinator.confirm(opened)
    assert (await house.records())["outcome"] > NOW + 13 * 86400
    await house.coordinator.confirm(renewed)
    assert (await house.records())["outcome"] == NOW + 300
    house.clock.now += 299
    # Somebody else may still come with the old cookie.
    assert (await house.another_process().refresh(opened)).value == renewed.value
    # Confirming again, here or elsewhere, does not keep it any longer.
    await house.coordinator.confirm(renewed)
    await house.another_process().confirm(renewed)
    assert (await house.records())["outcome"] == NOW + 300
    house.clock.now += 1
    assert "outcome" not in await house.records()
    await house.another_process().confirm(renewed)
    assert "outcome" not in await house.records()


@pytest.mark.covers("REF-15", "CKE-08")
async def test_refresh_when_the_outcome_was_confirmed_long_ago_then_nothing_is_sent() -> (
    None
):
    """A copy of an old cookie is over: its token was used, and must not come twice."""
    house = House()
    opened = house.log_in()
    renewed = await house.coordinator.refresh(opened)
    await house.coordinator.confirm(renewed)
    house.clock.now += 300
    with pytest.raises(SessionExpired):
        await house.another_process().refresh(opened)
    assert len(house.server.sent) == 1
    assert not house.server.is_ended


async def test_confirm_when_others_write_at_the_same_time_then_is_no_failure() -> None:
    """The browser has its cookie; that the note of it was lost fails no request."""

    class Contested(MemoryStore):
        @override
        async def save(self, kind: str, *args: Any, **named: Any) -> int | None:
            if kind == "reached":
                return None
            return await super().save(kind, *args, **named)

    clock = Clock()
    house = House(store=Contested(clock=clock))
    renewed = await house.coordinator.refresh(house.log_in())
    await house.coordinator.confirm(renewed)
    assert (await house.records())["outcome"] <= NOW + 300


@pytest.mark.covers("STORE-07")
async def test_refresh_when_a_record_is_junk_then_is_an_error_and_nothing_is_sent() -> (
    None
):
    """A store that somebody else writes into neither ends nor prolongs a session."""
    house = House()
    opened = house.log_in()
    await house.coordinator.confirm(await house.coordinator.refresh(opened))
    house.clock.now += 300
    (row,) = (row for row, _ in house.store._rows.items() if row[0] == "reached")
    await house.store.save(*row, b"junk", expires_at=house.clock.now + HOUR_S)
    with pytest.raises(StoreError, match="does not hold"):
        await house.coordinator.refresh(opened)
    assert len(house.server.sent) == 1


async def test_outcome_when_a_record_was_moved_then_it_is_not_adopted() -> None:
    """A store that gives back another session's outcome logs nobody in as them."""
    house = House()
    mine, other = house.log_in(), house.log_in(did="did:plc:bbbbbbbbbbbbbbbbbbbbbbbb")
    theirs = await house.coordinator.refresh(other)
    await house.store.save(
        "outcome",
        outcome_key(mine),
        theirs.value.encode(),
        expires_at=NOW + HOUR_S,
    )
    with pytest.raises(RefreshUnavailable):
        await house.coordinator.refresh(mine)
    assert len(house.server.sent) == 1


@pytest.mark.covers("REF-20", "DPO-18", "RES-10")
async def test_refresh_when_new_tokens_are_refused_at_once_then_not_sent_again() -> (
    None
):
    """A PDS that refuses every token does not make us ask for one each time."""
    house = House()
    renewed = await house.coordinator.refresh(house.log_in())
    for _ in range(10):
        with pytest.raises(RefreshUnavailable):
            await house.coordinator.refresh(renewed)
    assert len(house.server.sent) == 1
    house.clock.now += 60
    await house.coordinator.refresh(renewed)
    assert len(house.server.sent) == 2


@pytest.mark.covers("COOKIE-13", "ASG-15")
async def test_refresh_when_the_outcome_cannot_be_read_here_then_it_is_no_end() -> None:
    """A worker that has not got the new secret yet ends nobody's session."""
    house = House()
    opened = house.log_in()
    newer = SealedSessions(
        (b"a newer secret of 32 bytes or more", SECRET),
        context="test",
        clock=house.clock,
        lifetime=Lifetime(limit_s=MAX_AGE_S),
    )
    elsewhere = house.another_process()
    elsewhere._sessions = newer
    await elsewhere.refresh(opened)
    with pytest.raises(RefreshUnavailable):
        await house.coordinator.refresh(opened)
    assert len(house.server.sent) == 1


@pytest.mark.covers("COOKIE-13", "ASG-15")
async def test_refresh_when_others_kept_what_cannot_be_read_here_then_nothing_is_revoked() -> (
    None
):
    """The tokens that count may be these: a worker with a newer secret will tell."""
    house = House()
    opened = house.log_in()

    async def keep_elsewhere() -> None:
        key = outcome_key(opened)
        await house.store.save("outcome", key, b"sealed", expires_at=NOW + HOUR_S)

    house.server.during = keep_elsewhere
    with pytest.raises(RefreshUnavailable):
        await house.coordinator.refresh(opened)
    assert (len(house.server.given), house.server.revoked) == (1, [])


class StepwiseStore(MemoryStore):
    """A store every call of which may be the one in which a request is cancelled."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock=clock)
        self.steps = 0
        self.on_step: Callable[[int], None] = lambda _: None

    @override
    async def load(self, kind: str, key: str) -> Any:
        await self._step()
        record = await super().load(kind, key)
        await self._step()
        return record

    @override
    async def save(self, *args: Any, **options: Any) -> Any:
        await self._step()
        version = await super().save(*args, **options)
        await self._step()
        return version

    async def _step(self) -> None:
        self.steps += 1
        self.on_step(self.steps)
        await anyio.lowlevel.checkpoint()


async def _cancel_at(
    house: House, store: StepwiseStore, work: Callable[[], Awaitable[object]], step: int
) -> None:
    """Cancel some work at one of its steps, and let it end."""
    store.steps = 0
    with anyio.CancelScope() as scope:
        store.on_step = lambda number: scope.cancel() if number == step else None
        await work()
    store.on_step = lambda _: None


@pytest.mark.covers("REF-18", "RFR-06")
@pytest.mark.parametrize("step", range(1, 13))
async def test_refresh_when_cancelled_at_any_step_then_no_token_is_lost(
    step: int,
) -> None:
    """Once a token was sent, what came back is kept, whoever has gone meanwhile."""
    store = StepwiseStore(Clock())
    house = House(store=store, during=store._step)
    opened = house.log_in()
    await _cancel_at(house, store, lambda: house.coordinator.refresh(opened), step)
    renewed = await house.another_process().refresh(opened)
    assert len(house.server.sent) == 1
    assert renewed.session.access_token != opened.session.access_token
    assert not house.server.is_ended


@pytest.mark.covers("REF-18", "RFR-06")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_refresh_when_asyncio_cancels_its_task_then_no_token_is_lost() -> None:
    """``asyncio.wait_for`` in an application knows nothing of anyio's shields."""
    house = House(during=lambda: anyio.sleep(0.05))
    opened = house.log_in()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(house.coordinator.refresh(opened), timeout=0.01)
    renewed = await house.coordinator.refresh(opened)
    assert house.server.sent == [opened.session.refresh_token]
    assert renewed.session.access_token != opened.session.access_token


@pytest.mark.covers("LOGOUT-08", "OUT-03")
@pytest.mark.parametrize("step", range(1, 13))
async def test_end_when_it_meets_a_refresh_at_any_step_then_nothing_lives_on(
    step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the two interleave, the newest tokens are revoked and nobody is in."""
    monkeypatch.setattr(refresh, "LOGOUT_LOCK_S", 0.01)
    store = StepwiseStore(Clock())
    house = House(store=store, during=store._step)
    opened = house.log_in()
    reached, ended = anyio.Event(), anyio.Event()

    async def log_out() -> None:
        await reached.wait()
        await house.another_process().end(opened)
        ended.set()

    async with anyio.create_task_group() as group:
        group.start_soon(log_out)
        store.on_step = lambda number: reached.set() if number == step else None
        with suppress(SessionRevoked):
            await house.coordinator.refresh(opened)
        reached.set()
        await ended.wait()
    newest = [opened.session.refresh_token, *house.server.given][-1]
    assert newest in house.server.revoked
    with pytest.raises(SessionRevoked):
        await house.coordinator.refresh(opened)


@pytest.mark.covers("STORE-01", "ASG-12")
async def test_refresh_when_the_store_fails_then_nothing_is_sent() -> None:
    """Without the store nobody knows who else is sending: no is the safe answer."""

    class BrokenStore(MemoryStore):
        @override
        async def load(self, *_: Any) -> Any:
            message = "the store does not answer"
            raise StoreError(message)

    house = House(store=BrokenStore())
    with pytest.raises(StoreError):
        await house.coordinator.refresh(house.log_in())
    assert house.server.sent == []
