"""Refreshes that are cut off: by a kill, a frozen process, a store that fails."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import pytest
from typing_extensions import override

from atproto_oauth_asgi.exceptions import (
    CookieTooLarge,
    RefreshInterrupted,
    RefreshUnavailable,
    SessionExpired,
    SessionRevoked,
    StoreError,
    TimedOut,
)
from atproto_oauth_asgi.sessions import outcomes as outcomes_module
from atproto_oauth_asgi.sessions import patience
from atproto_oauth_asgi.sessions.lifecycle import OpenedSession, Reference
from atproto_oauth_asgi.sessions.marks import LEASE_S
from atproto_oauth_asgi.sessions.outcomes import Fit, Outcomes, outcome_key
from atproto_oauth_asgi.sessions.tokens import SEND_BUDGET_S
from atproto_oauth_asgi.sessions.tombstones import Tombstones
from atproto_oauth_asgi.stores.base import Record
from atproto_oauth_asgi.stores.locks import Lease
from atproto_oauth_asgi.stores.memory import MemoryStore
from tests.sessions.making import (
    ALICE,
    Clock,
    Coordinator,
    as_it_is,
    make_session,
    make_sessions,
)
from tests.sessions.token_server import TokenServer

pytestmark = pytest.mark.anyio


class FlakyStore(MemoryStore):
    """Fails to save so many times, and can lend a lock that is nearly over.

    ``meet`` lets that many callers look at once, before any of them writes.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock=clock)
        self.clock = clock
        self.failures = 0
        self.lease_left_s: float | None = None
        self.expected = 0
        self.all_have_looked = anyio.Event()

    def meet(self, callers: int) -> None:
        self.expected = callers

    @override
    async def load(self, kind: str, key: str) -> Record | None:
        record = await super().load(kind, key)
        if self.expected:
            self.expected -= 1
            if self.expected == 0:
                self.all_have_looked.set()
            await self.all_have_looked.wait()
        return record

    @override
    async def save(self, kind: str, key: str, value: bytes, **named: Any) -> int | None:
        if self.failures > 0 and not value.startswith(b"started"):
            self.failures -= 1
            raise StoreError("the store is down")
        return await super().save(kind, key, value, **named)

    @override
    def lock(self, key: str, lease_s: float) -> AbstractAsyncContextManager[Lease]:
        if self.lease_left_s is None:
            return super().lock(key, lease_s)
        return self._nearly_over(self.lease_left_s)

    @asynccontextmanager
    async def _nearly_over(self, left_s: float) -> AsyncIterator[Lease]:
        yield Lease(left_s, clock=self.clock, monotonic=self.clock)


class House:
    """A store, a server, and as many processes as a test wants."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.store = FlakyStore(self.clock)
        self.server = TokenServer(self.clock)
        self.opened = make_sessions(self.clock).seal(make_session())
        self.key = outcome_key(self.opened)

    def process(self) -> Coordinator:
        return Coordinator(
            store=self.store,
            sessions=make_sessions(self.clock),
            send=self.server.refresh,
            revoke=self.server.revoke,
            fit=as_it_is,
            clock=self.clock,
        )

    def outcomes(self, fit: Fit = as_it_is) -> Outcomes:
        sessions = make_sessions(self.clock)
        return Outcomes(
            store=self.store,
            sessions=sessions,
            fit=fit,
            check=Tombstones(self.store, clock=self.clock).check,
            revoke=self.server.revoke,
            clock=self.clock,
        )

    async def kill_before_send(self) -> None:
        """Somebody has said that it will send, and was never heard of again."""
        await self.outcomes().mark(self.opened)

    async def kill_before_save(self) -> None:
        """Somebody has sent the token, and died with the answer in its hands."""
        await self.kill_before_send()
        await self.server.refresh(self.opened.session)

    def renewed(self, token: str) -> OpenedSession:
        session = self.opened.session.replace(access_token=token, renewals=1)
        return make_sessions(self.clock).seal(session)


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setattr(patience, "_WAITS_S", (0.0, 0.0))
    return House()


# --- killed --------------------------------------------------------------------------


@pytest.mark.covers("REF-17", "RFR-05")
async def test_refresh_when_another_may_still_send_then_waits(house: House) -> None:
    """A mark that is fresh keeps everybody else from sending; nobody is logged out."""
    await house.kill_before_send()
    house.clock.now += LEASE_S - 1
    with pytest.raises(RefreshUnavailable):
        await house.process().refresh(house.opened)
    assert house.server.sent == []


@pytest.mark.covers("REF-17")
async def test_refresh_when_the_other_was_killed_before_it_sent_then_goes_on(
    house: House,
) -> None:
    """The token was not used, and the session lives."""
    await house.kill_before_send()
    house.clock.now += LEASE_S
    renewed = await house.process().refresh(house.opened)
    assert renewed.session.access_token != house.opened.session.access_token
    assert len(house.server.sent) == 1


@pytest.mark.covers("REF-17", "RFR-05")
async def test_refresh_when_the_other_was_killed_before_it_saved_then_ends_with_reason(
    house: House,
) -> None:
    """Nobody can know the new tokens; everybody learns why the session is over."""
    await house.kill_before_save()
    house.clock.now += LEASE_S
    for process in (house.process(), house.process()):
        with pytest.raises(RefreshInterrupted):
            await process.refresh(house.opened)
    assert len(house.server.sent) == 2


async def test_refresh_when_session_was_revoked_then_is_not_called_interrupted(
    house: House,
) -> None:
    """Without an earlier try the server's word is what it says."""
    house.server.is_ended = True
    with pytest.raises(SessionRevoked) as raised:
        await house.process().refresh(house.opened)
    assert type(raised.value) is SessionRevoked


@pytest.mark.covers("REF-16", "RFR-05")
async def test_refresh_when_the_answer_was_lost_then_the_end_is_told_as_what_it_is(
    house: House,
) -> None:
    """After a timeout it is tried again; if the token was used, that was the reason."""
    process = house.process()
    house.server.failures = [TimedOut("no answer")]
    with pytest.raises(RefreshUnavailable):
        await process.refresh(house.opened)
    house.clock.now += 2
    with pytest.raises(RefreshInterrupted):
        await process.refresh(house.opened)


async def test_refresh_when_it_failed_before_it_was_sent_then_leaves_no_mark(
    house: House,
) -> None:
    """Another process may go on at once."""

    async def fail(*_: object) -> Any:
        raise TimedOut("the directory does not answer")

    broken = Coordinator(
        store=house.store,
        sessions=make_sessions(house.clock),
        send=fail,
        revoke=house.server.revoke,
        fit=as_it_is,
        clock=house.clock,
    )
    with pytest.raises(RefreshUnavailable):
        await broken.refresh(house.opened)
    await house.process().refresh(house.opened)
    assert len(house.server.sent) == 1


# --- frozen --------------------------------------------------------------------------


@pytest.mark.covers("REF-07", "RFR-04")
async def test_refresh_when_the_lease_is_nearly_over_then_nothing_is_sent(
    house: House,
) -> None:
    """A process that was frozen must not thaw and send what others send meanwhile."""
    house.store.lease_left_s = SEND_BUDGET_S + 5
    with pytest.raises(RefreshUnavailable, match="held up"):
        await house.process().refresh(house.opened)
    assert house.server.sent == []
    house.store.lease_left_s = LEASE_S
    house.clock.now += 2
    await house.process().refresh(house.opened)
    assert len(house.server.sent) == 1


@pytest.mark.covers("REF-06", "RFR-03", "ASG-13")
async def test_outcome_when_a_slow_one_comes_late_then_the_newer_one_stays(
    house: House,
) -> None:
    """Who was taken for dead takes what others have kept."""
    slow, quick = house.outcomes(), house.outcomes()
    mark = await slow.mark(house.opened)
    house.clock.now += LEASE_S
    second = await quick.mark(house.opened)
    assert second.was_interrupted
    theirs = await quick.keep(
        house.opened, house.renewed("quick"), version=second.version
    )
    ours = await slow.keep(house.opened, house.renewed("slow"), version=mark.version)
    assert isinstance(ours, OpenedSession)
    assert (ours.value, ours.session.access_token) == (theirs.value, "quick")


async def test_outcome_when_the_store_lost_the_mark_then_is_kept_all_the_same(
    house: House,
) -> None:
    """A store that was emptied costs nobody a session."""
    outcomes = house.outcomes()
    mark = await outcomes.mark(house.opened)
    await house.store.delete("outcome", house.key)
    new = house.renewed("new")
    assert await outcomes.keep(house.opened, new, version=mark.version) is new
    found = await house.outcomes().find(house.opened)
    assert isinstance(found, OpenedSession)
    assert found.session.access_token == "new"


async def test_outcome_when_two_come_without_a_mark_then_one_of_them_counts(
    house: House,
) -> None:
    """Both browsers end with the same tokens, also where the store was emptied."""
    values: list[str] = []
    house.store.meet(2)

    async def keep(token: str) -> None:
        counts = await house.outcomes().keep(
            house.opened, house.renewed(token), version=7
        )
        values.append(counts.value)

    async with anyio.create_task_group() as group:
        group.start_soon(keep, "one")
        group.start_soon(keep, "other")
    assert len(values) == 2
    assert len(set(values)) == 1


@pytest.mark.covers("REF-06", "RFR-03")
async def test_refresh_when_overtaken_while_it_sends_then_adopts_what_others_kept(
    house: House,
) -> None:
    """The answer of who was taken for dead never replaces a newer one."""

    async def overtake() -> None:
        house.clock.now += LEASE_S
        quick = house.outcomes()
        mark = await quick.mark(house.opened)
        await quick.keep(house.opened, house.renewed("quick"), version=mark.version)

    house.server.during = overtake
    renewed = await house.process().refresh(house.opened)
    assert renewed.session.access_token == "quick"


async def test_unmark_when_others_have_kept_an_outcome_then_it_stays(
    house: House,
) -> None:
    """That nothing came of our try says nothing of theirs."""
    ours, theirs = house.outcomes(), house.outcomes()
    mark = await ours.mark(house.opened)
    await theirs.keep(house.opened, house.renewed("theirs"), version=mark.version)
    await ours.unmark(house.opened, mark)
    found = await house.outcomes().find(house.opened)
    assert isinstance(found, OpenedSession)
    assert found.session.access_token == "theirs"


async def test_outcome_when_the_session_was_moved_then_leads_to_the_record(
    house: House,
) -> None:
    """What did not fit into cookies any more is found; another session's is not."""
    sessions = make_sessions(house.clock)

    async def move(opened: OpenedSession) -> Reference:
        return sessions.refer(opened.session)

    outcomes = house.outcomes(move)
    moved = await outcomes.keep(house.opened, house.renewed("new"), version=0)
    found = await house.outcomes().find(house.opened)
    assert isinstance(found, Reference)
    assert found.value == moved.value
    assert found.session_id == house.opened.session.session_id
    elsewhere = sessions.refer(make_session())
    await house.store.save(
        "outcome", house.key, elsewhere.value.encode(), expires_at=house.clock() + 9
    )
    with pytest.raises(RefreshUnavailable):
        await house.outcomes().find(house.opened)


async def test_outcome_when_it_fits_nowhere_then_says_so_and_is_not_tried_again(
    house: House,
) -> None:
    """No later request can make it smaller."""

    async def refuse(_: OpenedSession) -> OpenedSession:
        raise CookieTooLarge("more than a browser takes")

    outcomes = house.outcomes(refuse)
    with pytest.raises(CookieTooLarge):
        await outcomes.keep(house.opened, house.renewed("new"), version=0)
    assert outcomes._unsaved == {}


async def test_outcome_when_it_comes_to_fit_nowhere_then_others_do_not_suffer(
    house: House,
) -> None:
    """Whoever comes while another's tokens wait to be kept is not told of that."""

    async def refuse(opened: OpenedSession) -> OpenedSession:
        if not house.store.failures:
            raise CookieTooLarge("more than a browser takes")
        return opened

    sessions = make_sessions(house.clock)
    outcomes = house.outcomes(refuse)
    house.store.failures = 100
    with pytest.raises(StoreError):
        await outcomes.keep(house.opened, house.renewed("new"), version=0)
    house.store.failures = 0
    assert await outcomes.find(sessions.seal(make_session())) is None
    assert outcomes._unsaved == {}


async def test_outcome_when_it_is_no_later_state_then_leads_nobody_in_a_circle(
    house: House,
) -> None:
    """A store that gives back what was there before ends nobody's request never."""
    await house.outcomes().keep(house.opened, house.opened, version=0)
    with anyio.fail_after(5), pytest.raises(RefreshUnavailable):
        await house.process().refresh(house.opened)
    assert house.server.sent == []


@pytest.mark.parametrize("value", [b"", b"\xff\xfe", b"somebody else's"])
async def test_outcome_when_somebody_else_wrote_there_then_nothing_is_sent(
    house: House, value: bytes
) -> None:
    """It cannot be read, in the one way that callers expect; the session lives."""
    await house.store.save("outcome", house.key, value, expires_at=house.clock() + 9)
    with pytest.raises(RefreshUnavailable):
        await house.process().refresh(house.opened)
    assert house.server.sent == []


async def test_refresh_when_the_end_is_set_then_new_tokens_do_not_move_it(
    house: House,
) -> None:
    """A session lasts as long as it was to last at the login, however it is renewed."""
    opened = make_sessions(house.clock, max_age_s=5000).seal(make_session())
    assert opened.ends_at != house.opened.ends_at
    assert (await house.process().refresh(opened)).ends_at == opened.ends_at


@pytest.mark.parametrize("state", ["started", "tried"])
async def test_outcome_when_another_mark_took_the_place_then_is_kept_over_it(
    house: House, state: str
) -> None:
    """Tokens that have come are worth more than somebody's wish to fetch some."""
    outcomes = house.outcomes()
    mark = await outcomes.mark(house.opened)
    house.clock.now += LEASE_S
    theirs = await house.outcomes().mark(house.opened)
    if state == "tried":
        await house.outcomes().unmark(house.opened, theirs)
    await outcomes.keep(house.opened, house.renewed("new"), version=mark.version)
    found = await house.outcomes().find(house.opened)
    assert isinstance(found, OpenedSession)
    assert found.session.access_token == "new"


async def test_mark_when_two_set_it_then_one_of_them_sends(house: House) -> None:
    """Also where the lock has failed: the mark is set by comparing first."""
    first, second = house.outcomes(), house.outcomes()
    results: list[str] = []
    house.store.meet(2)

    async def try_to(outcomes: Outcomes, name: str) -> None:
        try:
            await outcomes.mark(house.opened)
        except RefreshUnavailable:
            results.append(f"{name} waits")
        else:
            results.append(f"{name} sends")

    async with anyio.create_task_group() as group:
        group.start_soon(try_to, first, "a")
        group.start_soon(try_to, second, "b")
    assert sorted(each.split()[1] for each in results) == ["sends", "waits"]


# --- a store that fails --------------------------------------------------------------


@pytest.mark.covers("REF-19", "RFR-19")
async def test_outcome_when_saving_fails_for_a_moment_then_is_tried_again(
    house: House,
) -> None:
    """The tokens are there, so a hiccup is waited out."""
    house.store.failures = 2
    renewed = await house.process().refresh(house.opened)
    found = await house.outcomes().find(house.opened)
    assert isinstance(found, OpenedSession)
    assert found.value == renewed.value


@pytest.mark.covers("REF-19", "RFR-19", "STORE-02")
async def test_outcome_when_saving_keeps_failing_then_the_next_request_has_it(
    house: House,
) -> None:
    """Nothing is lost, nothing is sent twice, and the old cookie stays good for it."""
    process = house.process()
    house.store.failures = 100
    for _ in range(2):
        with pytest.raises(StoreError):
            await process.refresh(house.opened)
    house.store.failures = 0
    renewed = await process.refresh(house.opened)
    assert renewed.session.refresh_token == house.server.given[-1]
    assert len(house.server.sent) == 1
    adopted = await house.process().refresh(house.opened)
    assert adopted.value == renewed.value


async def test_outcome_when_many_ask_after_an_outage_then_all_get_it(
    house: House,
) -> None:
    """Whoever saves it first; the others find it saved."""
    process = house.process()
    house.store.failures = 100
    with pytest.raises(StoreError):
        await process.refresh(house.opened)
    house.store.failures = 0
    values: list[str] = []

    async def ask() -> None:
        values.append((await process.newest(house.opened)).value)

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(ask)
    assert len(values) == 3
    assert len(set(values)) == 1


async def test_outcome_when_the_store_is_back_then_is_saved_by_any_request(
    house: House,
) -> None:
    """Before another process takes it for lost and sends the used token."""
    process = house.process()
    house.store.failures = 100
    with pytest.raises(StoreError):
        await process.refresh(house.opened)
    # Whoever comes meanwhile is not the one to suffer.
    await process.newest(make_sessions(house.clock).seal(make_session()))
    house.store.failures = 0
    somebody_else = make_sessions(house.clock).seal(make_session())
    await process.newest(somebody_else)
    assert process._outcomes._unsaved == {}
    house.clock.now += LEASE_S
    adopted = await house.process().refresh(house.opened)
    assert adopted.session.refresh_token == house.server.given[-1]
    assert len(house.server.sent) == 1


async def test_outcome_when_another_can_never_be_saved_then_has_its_turn_all_the_same(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record that the store refuses for ever stands in nobody's way."""
    process = house.process()
    refused = make_sessions(house.clock).seal(make_session())
    house.store.failures = 100
    for opened in (refused, house.opened):
        with pytest.raises(StoreError):
            await process.refresh(opened)
    house.store.failures = 0
    save = house.store.save

    async def save_others(kind: str, key: str, *args: Any, **named: Any) -> int | None:
        if key == outcome_key(refused):
            raise StoreError("too large")
        return await save(kind, key, *args, **named)

    monkeypatch.setattr(house.store, "save", save_others)
    for _ in range(2):
        await process.newest(make_sessions(house.clock).seal(make_session()))
    house.clock.now += LEASE_S
    adopted = await house.process().refresh(house.opened)
    assert adopted.session.refresh_token == house.server.given[-1]


async def test_outcome_when_others_have_kept_theirs_meanwhile_then_it_is_dropped(
    house: House,
) -> None:
    """What could not be saved replaces nothing, however late it is tried again."""
    ours, theirs = house.outcomes(), house.outcomes()
    mark = await ours.mark(house.opened)
    house.store.failures = 100
    with pytest.raises(StoreError):
        await ours.keep(house.opened, house.renewed("ours"), version=mark.version)
    house.store.failures = 0
    await theirs.keep(house.opened, house.renewed("theirs"), version=mark.version)
    found = await ours.find(house.opened)
    assert isinstance(found, OpenedSession)
    assert found.session.access_token == "theirs"


async def test_end_when_its_reason_is_not_known_here_then_it_is_an_end(
    house: House,
) -> None:
    """A newer version of this library may know reasons that this one does not."""
    ended = b"ended:of_a_later_version"
    await house.store.save("outcome", house.key, ended, expires_at=house.clock() + 9)
    with pytest.raises(SessionExpired):
        await house.process().refresh(house.opened)
    assert house.server.sent == []


async def test_outcomes_when_many_cannot_be_saved_then_memory_is_bounded(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest go first, and only as many as there are too many."""
    monkeypatch.setattr(outcomes_module, "_UNSAVED_KEPT", 2)
    outcomes, sessions = house.outcomes(), make_sessions(house.clock)
    opened = [sessions.seal(make_session()) for _ in range(3)]
    house.store.failures = 100
    for each in opened:
        renewed = sessions.seal(each.session.replace(renewals=1))
        with pytest.raises(StoreError):
            await outcomes.keep(each, renewed, version=0)
    house.store.failures = 0
    found = [await outcomes.find(each) is not None for each in opened]
    assert found == [False, True, True]


@pytest.mark.covers("REF-15", "RFR-16")
async def test_outcome_when_others_have_found_the_end_then_late_tokens_are_revoked(
    house: House,
) -> None:
    """Who was taken for dead tells of the same end, and leaves no tokens behind."""
    slow, quick = house.outcomes(), house.outcomes()
    mark = await slow.mark(house.opened)
    house.clock.now += LEASE_S
    second = await quick.mark(house.opened)
    await quick.end(house.opened, code="session_revoked", version=second.version)
    late = house.renewed("slow")
    with pytest.raises(SessionRevoked):
        await slow.keep(house.opened, late, version=mark.version)
    assert house.server.revoked == [late.session.refresh_token]


@pytest.mark.covers("REF-15")
async def test_end_when_somebody_else_has_renewed_then_their_tokens_stay(
    house: House,
) -> None:
    """A late refusal of a used token ends nothing that others keep alive."""

    async def lose(*_: object) -> Any:
        quick = house.outcomes()
        await quick.keep(house.opened, house.renewed("quick"), version=0)
        raise SessionRevoked("the refresh token was used")

    slow = Coordinator(
        store=house.store,
        sessions=make_sessions(house.clock),
        send=lose,
        revoke=house.server.revoke,
        fit=as_it_is,
        clock=house.clock,
    )
    assert (await slow.refresh(house.opened)).session.access_token == "quick"


async def test_mark_when_the_clock_is_set_back_then_blocks_nobody_for_hours(
    house: House,
) -> None:
    """A mark out of the future is none that somebody has just set."""
    await house.kill_before_send()
    house.clock.now -= 3600
    await house.process().refresh(house.opened)
    assert len(house.server.sent) == 1


@pytest.mark.covers("LOGOUT-02")
async def test_logout_when_the_store_fails_after_the_tombstone_then_is_revoked(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    """The server is asked all the same: a second try would find nobody logged in.

    The log says whose tokens those were, and why they may not be the newest.
    """

    class Half(FlakyStore):
        @override
        async def load(self, kind: str, key: str) -> Any:
            raise StoreError("the store is down")

        @override
        def lock(self, key: str, lease_s: float) -> Any:
            raise StoreError("the store is down")

    house.store = Half(house.clock)
    await house.process().end(house.opened)
    assert house.server.revoked == [house.opened.session.refresh_token]
    assert f"did={ALICE}: the store is down" in caplog.text
