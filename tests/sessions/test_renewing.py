from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, cast

import anyio
import pytest
from typing_extensions import override

from atproto_oauth_asgi.client import OAuthClient
from atproto_oauth_asgi.exceptions import (
    AccountMoved,
    AuthorizationServerError,
    ConfigurationError,
    OAuthError,
    RefreshUnavailable,
    SessionExpired,
    SessionRevoked,
    StoreError,
    Unreachable,
)
from atproto_oauth_asgi.models import OAuthSession
from atproto_oauth_asgi.sessions import patience, renewing
from atproto_oauth_asgi.sessions.keeper import (
    KeptSessions,
    OnePerAccount,
    SessionKeeper,
)
from atproto_oauth_asgi.sessions.lifetime import Lifetime
from atproto_oauth_asgi.sessions.marks import Mark
from atproto_oauth_asgi.sessions.own_tokens import OwnTokens
from atproto_oauth_asgi.sessions.record_sealer import RecordSealer
from atproto_oauth_asgi.sessions.records import RecordedSessions
from atproto_oauth_asgi.sessions.renewing import SharedRenewal
from atproto_oauth_asgi.sessions.tokens import (
    BeforeSend,
    TokenRenewal,
    nothing_to_do,
)
from atproto_oauth_asgi.stores.memory import MemorySessionStore, MemoryStore
from tests.sessions.making import NOW, SECRET, Clock, make_session, when

pytestmark = pytest.mark.anyio


class Server:
    """Rotates refresh tokens; takes each one once, as the reference server does."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.sent: list[str | None] = []
        self.revoked: list[str | None] = []
        self.failure: OAuthError | None = None

    async def renew(
        self, session: OAuthSession, before_send: BeforeSend = nothing_to_do
    ) -> OAuthSession:
        await anyio.sleep(0.01)
        await before_send()
        if session.refresh_token in self.sent:
            raise SessionRevoked("the refresh token was used twice")
        self.sent.append(session.refresh_token)
        if self.failure is not None:
            raise self.failure
        return session.replace(
            access_token=f"{session.access_token}+",
            refresh_token=f"{session.refresh_token}+",
            expires_at=when(self.clock() + 3600),
            verified_at=when(self.clock()),
            renewals=session.renewals + 1,
        )

    async def revoke(self, session: OAuthSession) -> None:
        if self.failure is not None:
            raise self.failure
        self.revoked.append(session.refresh_token)


class FailingStore(MemorySessionStore):
    """Fails when told to."""

    is_down = False

    @override
    async def save_session(self, session: OAuthSession) -> None:
        if self.is_down:
            raise StoreError("the store is down")
        await super().save_session(session)


class Process:
    """One process that keeps sessions somewhere and renews them."""

    def __init__(self, server: Server, kept: KeptSessions | None) -> None:
        keeper = SessionKeeper(kept, None)
        tokens = cast("TokenRenewal", server)
        self.renewals = SharedRenewal(tokens, keeper, clock=server.clock)


@pytest.fixture(autouse=True)
def _in_no_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_WAITS_S", (0.0, 0.0, 0.0))


@pytest.fixture
def server() -> Server:
    return Server(Clock())


@pytest.fixture(params=["one per account", "records"])
def kept(request: pytest.FixtureRequest, server: Server) -> KeptSessions:
    if request.param == "one per account":
        return OnePerAccount(MemorySessionStore())
    clock = server.clock
    sealer = RecordSealer((SECRET,), client_id="client", clock=clock)
    return RecordedSessions(MemoryStore(clock=clock), sealer, lifetime=Lifetime())


def anybody(session: OAuthSession) -> bool:
    del session
    return True


async def begun(kept: KeptSessions) -> OAuthSession:
    session = make_session(refresh_token="r")
    await kept.save_new(session)
    return session


async def reason(kept: KeptSessions, session: OAuthSession) -> str | None:
    """Why a session is not kept any more, where the place can tell."""
    try:
        await kept.find(session.did, session.session_id, anybody)
    except OAuthError as error:
        return error.code
    return None


async def is_kept(kept: KeptSessions, session: OAuthSession) -> bool:
    with suppress(OAuthError):
        return await kept.find(session.did, session.session_id, anybody) is not None
    return False


@pytest.mark.covers("REF-02")
async def test_renew_when_sessions_are_kept_then_new_one_is_saved(
    server: Server, kept: KeptSessions
) -> None:
    """Who restores it finds the tokens that count."""
    session = await begun(kept)
    renewed = await Process(server, kept).renewals.renew(session)
    found = await kept.find(session.did, None, anybody)
    assert (renewed.refresh_token, found and found.refresh_token) == ("r+", "r+")


@pytest.mark.covers("REF-03", "RFR-01")
async def test_renew_when_many_ask_then_sends_once(
    server: Server, kept: KeptSessions
) -> None:
    """And all get the same tokens."""
    session, process = await begun(kept), Process(server, kept)
    got: list[OAuthSession] = []

    async def ask() -> None:
        got.append(await process.renewals.renew(session))

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(ask)
    assert server.sent == ["r"]
    assert {each.refresh_token for each in got} == {"r+"}


@pytest.mark.covers("REF-05")
async def test_renew_when_another_process_was_first_then_its_tokens_are_taken(
    server: Server, kept: KeptSessions
) -> None:
    """A used token is not sent again, and nobody is logged out."""
    session = await begun(kept)
    first, second = Process(server, kept), Process(server, kept)
    renewed = await first.renewals.renew(session)
    adopted = await second.renewals.renew(session)
    assert adopted.access_token == renewed.access_token
    assert server.sent == ["r"]


@pytest.mark.covers("REF-05")
async def test_renew_when_two_processes_share_records_then_one_waits(
    server: Server,
) -> None:
    """The lock of the store keeps them apart, at the same moment too."""
    clock = server.clock
    sealer = RecordSealer((SECRET,), client_id="client", clock=clock)
    kept = RecordedSessions(MemoryStore(clock=clock), sealer, lifetime=Lifetime())
    session = await begun(kept)
    got: list[str | None] = []

    async def ask(process: Process) -> None:
        got.append((await process.renewals.renew(session)).refresh_token)

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(ask, Process(server, kept))
    assert (server.sent, got) == (["r"], ["r+"] * 5)


@pytest.mark.covers("REF-15")
async def test_renew_when_race_is_lost_then_winner_is_looked_up() -> None:
    """Where no lock keeps processes apart, a refusal may be another's success."""
    kept = OnePerAccount(MemorySessionStore())
    session = await begun(kept)

    class LosesTheRace(Server):
        @override
        async def renew(
            self, session: OAuthSession, before_send: BeforeSend = nothing_to_do
        ) -> OAuthSession:
            won = session.replace(refresh_token="won", verified_at=when(NOW))
            await kept.save_renewed(won, was_kept=True)
            raise SessionRevoked("the refresh token was used")

    renewed = await Process(LosesTheRace(Clock()), kept).renewals.renew(session)
    assert renewed.refresh_token == "won"
    assert await is_kept(kept, session)


async def test_renew_when_kept_session_is_older_then_given_one_is_renewed(
    server: Server, kept: KeptSessions
) -> None:
    """A store that missed something does not bring old tokens back."""
    session = await begun(kept)
    given = session.replace(refresh_token="newer", verified_at=when(NOW + 60))
    renewed = await Process(server, kept).renewals.renew(given)
    assert (server.sent, renewed.refresh_token) == (["newer"], "newer+")


async def test_renew_when_saving_fails_then_is_saved_by_the_next_call(
    server: Server,
) -> None:
    """The tokens are not lost, and the used one is not sent again."""
    store = FailingStore()
    process = Process(server, OnePerAccount(store))
    session = make_session(refresh_token="r")
    store.is_down = True
    for _ in range(2):
        with pytest.raises(StoreError):
            await process.renewals.renew(session)
    store.is_down = False
    assert (await process.renewals.renew(session)).refresh_token == "r+"
    found = await store.get_session(session.did)
    assert found is not None
    assert (found.refresh_token, server.sent) == ("r+", ["r"])


async def test_renew_when_an_old_save_comes_late_then_newer_tokens_stay(
    server: Server,
) -> None:
    """Only who has renewed saves: nobody writes older tokens over newer ones."""
    store = MemorySessionStore()
    process = Process(server, OnePerAccount(store))
    session = make_session(refresh_token="r")
    first = await process.renewals.renew(session)
    server.clock.now += 1
    await process.renewals.renew(first)
    await process.renewals.renew(session)
    found = await store.get_session(session.did)
    assert found is not None
    assert found.refresh_token == "r++"


@pytest.mark.covers("REF-18", "RFR-06")
async def test_renew_when_cancelled_then_is_saved_all_the_same(
    server: Server, kept: KeptSessions
) -> None:
    """A request that goes away loses no session."""
    session = await begun(kept)
    with anyio.move_on_after(0.001):
        await Process(server, kept).renewals.renew(session)
    found = await kept.find(session.did, None, anybody)
    assert found is not None
    assert found.refresh_token == "r+"


@pytest.mark.covers("REF-14")
@pytest.mark.parametrize("error", [SessionRevoked("ended"), AccountMoved("moved")])
async def test_renew_when_session_has_ended_then_is_forgotten(
    server: Server, kept: KeptSessions, error: OAuthError
) -> None:
    """A definite answer ends it here, too."""
    session = await begun(kept)
    server.failure = error
    with pytest.raises(type(error)):
        await Process(server, kept).renewals.renew(session)
    assert await reason(kept, session) in {None, error.code}
    assert not await is_kept(kept, session)


@pytest.mark.covers("REF-14")
async def test_renew_when_nothing_definite_is_learnt_then_session_stays(
    server: Server, kept: KeptSessions
) -> None:
    """Somebody else's outage ends nothing."""
    session = await begun(kept)
    server.failure = RefreshUnavailable("not now")
    with pytest.raises(RefreshUnavailable):
        await Process(server, kept).renewals.renew(session)
    assert await kept.find(session.did, session.session_id, anybody) is not None


async def test_renew_when_logged_out_meanwhile_then_new_tokens_are_revoked(
    server: Server,
) -> None:
    """What came too late belongs to nobody, and is ended at the server."""
    clock = server.clock
    sealer = RecordSealer((SECRET,), client_id="client", clock=clock)
    # Who ends it does not wait for the lock.
    kept = RecordedSessions(MemoryStore(clock=clock), sealer, lifetime=Lifetime())
    session = await begun(kept)

    class LoggedOutMeanwhile(Server):
        @override
        async def renew(
            self, session: OAuthSession, before_send: BeforeSend = nothing_to_do
        ) -> OAuthSession:
            renewed = await super().renew(session, before_send)
            await kept.end(session, code=SessionRevoked.code)
            return renewed

    other = LoggedOutMeanwhile(clock)
    with pytest.raises(SessionRevoked):
        await Process(other, kept).renewals.renew(session)
    assert other.revoked == ["r+"]


# --- the end -----------------------------------------------------------------------


@pytest.mark.covers("LOGOUT-03")
async def test_end_when_session_was_renewed_elsewhere_then_newest_is_revoked(
    server: Server, kept: KeptSessions
) -> None:
    """Revoking a token that was rotated ends nothing."""
    session = await begun(kept)
    await Process(server, kept).renewals.renew(session)
    await Process(server, kept).renewals.end(session)
    assert server.revoked == ["r+"]


@pytest.mark.parametrize(
    "error", [Unreachable("away"), AuthorizationServerError("refused")]
)
async def test_end_when_server_fails_then_is_forgotten_here(
    server: Server, kept: KeptSessions, error: OAuthError
) -> None:
    """The caller hears of it, and the session is over all the same."""
    session = await begun(kept)
    server.failure = error
    with pytest.raises(type(error)):
        await Process(server, kept).renewals.end(session)
    assert not await is_kept(kept, session)


async def test_end_when_session_has_ended_then_given_tokens_are_revoked(
    server: Server, kept: KeptSessions
) -> None:
    """Ending twice asks twice, and harms nothing."""
    session, process = await begun(kept), Process(server, kept)
    await process.renewals.end(session)
    await process.renewals.end(session)
    assert server.revoked == ["r", "r"]


# --- the keeper --------------------------------------------------------------------


async def test_keeper_when_nothing_is_kept_then_says_so() -> None:
    """Restoring without a store is a session that is not there."""
    keeper = SessionKeeper(None, None)
    session = make_session()
    assert await keeper.find_this(session) is None
    with pytest.raises(SessionExpired):
        await keeper.find(session.did, None, is_usable=anybody)
    await keeper.end(session, why=SessionRevoked())
    await keeper.unmark(session, Mark(1, was_interrupted=False))
    assert not await keeper.would_keep(session)


async def test_keeper_when_later_session_came_then_older_one_leaves_it_alone() -> None:
    """A store of one session per account keeps the last login."""
    kept = OnePerAccount(MemorySessionStore())
    older, later = make_session(), make_session()
    await kept.save_new(older)
    await kept.save_new(later)
    await kept.save_renewed(older, was_kept=True)
    await kept.end(older, code=SessionRevoked.code)
    found = await kept.find(older.did, None, anybody)
    assert found is not None
    assert found.session_id == later.session_id
    assert await kept.find(older.did, older.session_id, anybody) is None


# --- what this process remembers -----------------------------------------------------


@pytest.fixture
def alone(server: Server) -> SharedRenewal:
    """The renewals of a client that nobody gave a store."""
    return Process(server, None).renewals


@pytest.mark.covers("REF-02")
@pytest.mark.parametrize("later_s", [61.0, 86400.0, -2.0, -86400.0])
async def test_renew_when_old_session_is_used_much_later_then_is_not_sent_again(
    server: Server, alone: SharedRenewal, later_s: float
) -> None:
    """Sessions are frozen, so people hold old ones; and clocks are set back."""
    session = make_session(refresh_token="r")
    first = await alone.renew(session)
    server.clock.now += later_s
    again = await alone.renew(session)
    assert server.sent == (["r"] if later_s < 3600 else ["r", "r+"])
    assert again.refresh_token in {first.refresh_token, "r++"}


async def test_renew_when_threads_have_loops_of_their_own_then_sends_once(
    server: Server, alone: SharedRenewal
) -> None:
    """A client may be shared by threads."""
    session = make_session(refresh_token="r")
    got: list[str | None] = []

    def in_a_loop() -> None:
        got.append(anyio.run(alone.renew, session).refresh_token)

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(anyio.to_thread.run_sync, in_a_loop)
    assert (server.sent, got) == (["r"], ["r+"] * 4)


async def test_renew_when_what_was_adopted_has_ended_then_is_renewed(
    server: Server, kept: KeptSessions
) -> None:
    """Nobody is given tokens that are of no use any more."""
    session = await begun(kept)
    await Process(server, kept).renewals.renew(session)
    server.clock.now += 3600
    renewed = await Process(server, kept).renewals.renew(session)
    assert (server.sent, renewed.refresh_token) == (["r", "r+"], "r++")


async def test_renew_when_session_has_ended_then_later_calls_send_nothing(
    server: Server, alone: SharedRenewal
) -> None:
    """The server has said so once, and that is remembered with its reason."""
    session = make_session(refresh_token="r")
    server.failure = AccountMoved("moved")
    for _ in range(2):
        with pytest.raises(AccountMoved):
            await alone.renew(session)
    assert server.sent == ["r"]


async def test_renew_when_it_was_logged_out_then_old_tokens_lead_to_the_end(
    server: Server, alone: SharedRenewal
) -> None:
    """And not to tokens that were revoked."""
    session = make_session(refresh_token="r")
    renewed = await alone.renew(session)
    await alone.end(renewed)
    for old in (session, renewed):
        with pytest.raises(SessionRevoked):
            await alone.renew(old)
    assert (server.sent, server.revoked) == (["r"], ["r+"])


@pytest.mark.covers("LOGOUT-03")
async def test_end_when_session_was_renewed_here_then_newest_is_revoked(
    server: Server, alone: SharedRenewal
) -> None:
    """Whichever state of it the caller still has."""
    session = make_session(refresh_token="r")
    await alone.renew(session)
    await alone.end(session)
    assert server.revoked == ["r+"]


@pytest.mark.covers("RFR-06")
async def test_end_when_a_renewal_is_under_way_then_comes_after_it(
    server: Server, kept: KeptSessions
) -> None:
    """No renewal brings a session back that was logged out."""
    session = await begun(kept)
    renewals = Process(server, kept).renewals
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(renewals.renew, session)
        await anyio.sleep(0.002)
        await renewals.end(session)
    assert server.revoked == ["r+"]
    assert not await is_kept(kept, session)


async def test_end_when_nothing_is_kept_then_can_be_cancelled(server: Server) -> None:
    """Who has no time for a server that hangs need not wait for it."""

    class Hanging(Server):
        @override
        async def revoke(self, session: OAuthSession) -> None:
            await anyio.sleep_forever()

    began = anyio.current_time()
    with anyio.move_on_after(0.05) as budget:
        await Process(Hanging(Clock()), None).renewals.end(make_session())
    assert budget.cancelled_caught
    assert anyio.current_time() - began < 5


@pytest.mark.covers("REF-18")
async def test_renew_when_waiting_for_somebody_else_then_can_be_cancelled(
    server: Server,
) -> None:
    """Only what is sent and saved may not be broken off."""
    clock = server.clock
    store = MemoryStore(clock=clock)
    sealer = RecordSealer((SECRET,), client_id="client", clock=clock)
    kept = RecordedSessions(store, sealer, lifetime=Lifetime())
    session = await begun(kept)
    async with kept.lock(session):
        with anyio.move_on_after(0.02) as budget:
            await Process(server, kept).renewals.renew(session)
    assert budget.cancelled_caught
    assert server.sent == []


async def test_end_when_the_store_is_down_then_given_tokens_are_revoked(
    server: Server,
) -> None:
    """The caller hears of the store, and the session is over at its server."""

    class Down(MemorySessionStore):
        @override
        async def get_session(self, did: str) -> OAuthSession | None:
            raise StoreError("the store is down")

    session = make_session(refresh_token="r")
    with pytest.raises(StoreError):
        await Process(server, OnePerAccount(Down())).renewals.end(session)
    assert server.revoked == ["r"]


# --- several sessions of one account -------------------------------------------------


async def test_renew_when_clock_of_another_host_is_ahead_then_its_tokens_are_found(
    server: Server,
) -> None:
    """What counts is how often a session was renewed, not what some clock said."""
    store = MemorySessionStore()
    kept = OnePerAccount(store)
    session = await begun(kept)
    first = await Process(server, kept).renewals.renew(session)
    server.clock.now -= 30
    second = await Process(server, kept).renewals.renew(first)
    server.clock.now += 30
    third = await Process(server, kept).renewals.renew(first)
    assert third.refresh_token == second.refresh_token
    assert server.sent == ["r", "r+"]


async def test_store_when_it_lost_the_session_ids_then_sessions_are_kept_all_the_same(
    server: Server,
) -> None:
    """A store with columns of its own has none for them."""

    class Columns(MemorySessionStore):
        @override
        async def save_session(self, session: OAuthSession) -> None:
            await super().save_session(session.replace(session_id=""))

    kept = OnePerAccount(Columns())
    session = await begun(kept)
    renewed = await Process(server, kept).renewals.renew(session)
    found = await kept.find(session.did, None, anybody)
    assert found is not None
    assert found.refresh_token == renewed.refresh_token
    await Process(server, kept).renewals.end(renewed)
    assert not await is_kept(kept, session)


async def test_own_tokens_when_a_later_login_took_the_place_then_are_not_renewed(
    server: Server,
) -> None:
    """A store of one session per account would drop the new tokens."""
    kept = OnePerAccount(MemorySessionStore())
    older = await begun(kept)
    await begun(kept)
    keeper = SessionKeeper(kept, None)
    renewals = Process(server, kept).renewals
    own = OwnTokens(older, refresh=renewals.renew, keeper=keeper, clock=server.clock)
    with pytest.raises(RefreshUnavailable, match="nobody would keep"):
        await own.renew(older)
    assert server.sent == []


async def test_records_when_sessions_have_no_id_then_accounts_stay_apart(
    server: Server,
) -> None:
    """Sessions that were made by hand, out of data from elsewhere."""
    clock = server.clock
    sealer = RecordSealer((SECRET,), client_id="client", clock=clock)
    kept = RecordedSessions(MemoryStore(clock=clock), sealer, lifetime=Lifetime())
    alice = make_session(refresh_token="a", session_id="")
    bob = make_session(refresh_token="b", session_id="", did="did:plc:" + "b" * 24)
    for each in (alice, bob):
        await Process(server, kept).renewals.renew(each)
    for each, token in ((alice, "a+"), (bob, "b+")):
        found = await kept.find(each.did, None, anybody)
        assert found is not None
        assert found.refresh_token == token


# --- the hook ------------------------------------------------------------------------


async def test_own_tokens_when_the_hook_failed_then_nobody_uses_them_untold(
    server: Server, alone: SharedRenewal
) -> None:
    """Also not a request that came while they were renewed."""
    told: list[str | None] = []

    async def hook(session: OAuthSession) -> None:
        told.append(session.refresh_token)
        raise KeyError("the database is down")

    keeper = SessionKeeper(None, hook)
    session = make_session(refresh_token="r")
    own = OwnTokens(session, refresh=alone.renew, keeper=keeper, clock=server.clock)
    failures: list[str] = []

    async def ask() -> None:
        try:
            await own.renew(session)
        except KeyError as error:
            failures.append(str(error))

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(ask)
    assert len(failures) == 3
    assert told == ["r+"] * 3
    assert server.sent == ["r"]


async def test_hook_when_it_is_a_plain_function_then_runs_beside_the_loop(
    server: Server, alone: SharedRenewal
) -> None:
    """It may wait for a database, or for a lock of a thread, without harm."""
    seen: list[int] = []

    def hook(session: OAuthSession) -> None:
        del session
        seen.append(threading.get_ident())

    keeper = SessionKeeper(None, hook)
    session = make_session(refresh_token="r")
    own = OwnTokens(session, refresh=alone.renew, keeper=keeper, clock=server.clock)
    await own.renew(session)
    assert len(seen) == 1
    assert seen[0] != threading.get_ident()


@pytest.mark.parametrize("name", ["state_store", "session_store"])
def test_store_when_it_is_none_of_ours_then_error_names_the_base_class(
    name: str,
) -> None:
    """A class of the same shape is told what to inherit from, at the start."""

    class Shape:
        async def save_state(self, state: object) -> None:
            del state

    stores: dict[str, Any] = {name: Shape()}
    with pytest.raises(ConfigurationError, match=f"{name}: a subclass of S"):
        OAuthClient("http://localhost", "http://127.0.0.1/c", "atproto", **stores)


# --- tokens that could not be saved at once ------------------------------------------


class Lossy(MemorySessionStore):
    """Saves, and loses the answer so many times."""

    lost = 0

    @override
    async def save_session(self, session: OAuthSession) -> None:
        await super().save_session(session)
        if self.lost > 0:
            self.lost -= 1
            raise StoreError("the answer was lost")


async def test_unsaved_when_another_has_renewed_since_then_newer_tokens_stay(
    server: Server,
) -> None:
    """What was remembered here is older by now, and is not written over them."""
    store = Lossy()
    kept = OnePerAccount(store)
    session = await begun(kept)
    one, other = Process(server, kept), Process(server, kept)
    store.lost = 4
    with pytest.raises(StoreError):
        await one.renewals.renew(session)
    server.clock.now += 3600
    newest = await other.renewals.renew(session)
    assert (await one.renewals.renew(session)).refresh_token == newest.refresh_token
    found = await kept.find(session.did, None, anybody)
    assert found is not None
    assert (found.refresh_token, server.sent) == ("r++", ["r", "r+"])


async def test_unsaved_when_it_was_logged_out_since_then_is_revoked(
    server: Server,
) -> None:
    """A session that ended is not brought back by what could not be saved."""
    store = FailingStore()
    kept = OnePerAccount(store)
    session = await begun(kept)
    process = Process(server, kept)
    store.is_down = True
    with pytest.raises(StoreError):
        await process.renewals.renew(session)
    store.is_down = False
    await store.delete_session(session.did)
    with pytest.raises(SessionRevoked):
        await process.renewals.renew(session)
    assert server.revoked == ["r+"]
    assert not await is_kept(kept, session)


async def test_unsaved_when_the_record_has_ended_since_then_is_revoked(
    server: Server,
) -> None:
    """The same where the store tells of the end."""
    clock = server.clock

    class Down(MemoryStore):
        saves_left = 99

        @override
        async def save(self, *args: Any, **named: Any) -> int | None:
            self.saves_left -= 1
            if self.saves_left < 0:
                raise StoreError("the store is down")
            return await super().save(*args, **named)

    store = Down(clock=clock)
    sealer = RecordSealer((SECRET,), client_id="client", clock=clock)
    kept = RecordedSessions(store, sealer, lifetime=Lifetime())
    session = await begun(kept)
    process = Process(server, kept)
    store.saves_left = 1  # the mark, and not the tokens
    with pytest.raises(StoreError):
        await process.renewals.renew(session)
    store.saves_left = 99
    await kept.end(session, code=SessionRevoked.code)
    with pytest.raises(SessionRevoked):
        await process.renewals.renew(session)
    assert server.revoked == ["r+"]


@pytest.mark.covers("REF-19", "RFR-19")
async def test_unsaved_when_the_store_is_back_then_others_find_it(
    server: Server,
) -> None:
    """Whoever asks here first sees to it, before another process sends a used token."""

    class Down(MemoryStore):
        saves_left = 99

        @override
        async def save(self, *args: Any, **named: Any) -> int | None:
            self.saves_left -= 1
            if self.saves_left < 0:
                raise StoreError("the store is down")
            return await super().save(*args, **named)

    store = Down(clock=server.clock)
    sealer = RecordSealer((SECRET,), client_id="client", clock=server.clock)
    kept = RecordedSessions(store, sealer, lifetime=Lifetime())
    session = await begun(kept)
    one, other = Process(server, kept), Process(server, kept)
    store.saves_left = 1
    with pytest.raises(StoreError):
        await one.renewals.renew(session)
    await one.renewals.save_another()
    store.saves_left = 99
    await one.renewals.save_another()
    server.clock.now += 60
    assert (await other.renewals.renew(session)).refresh_token == "r+"
    assert server.sent == ["r"]


async def test_unsaved_when_another_can_never_be_saved_then_has_its_turn_all_the_same(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record that the store refuses for ever stands in nobody's way, nor holds up."""

    class Refusing(MemorySessionStore):
        refuses: Sequence[str] = ()
        tries = 0

        @override
        async def save_session(self, session: OAuthSession) -> None:
            self.tries += 1
            if session.did in self.refuses:
                raise StoreError("too large")
            await super().save_session(session)

    store = Refusing()
    kept = OnePerAccount(store)
    sessions = [
        make_session(did="did:plc:" + letter * 24, refresh_token=letter)
        for letter in "ab"
    ]
    one = Process(server, kept)
    for session in sessions:
        await kept.save_new(session)
        store.refuses = [each.did for each in sessions]
        with pytest.raises(StoreError):
            await one.renewals.renew(session)
        store.refuses = []
    refused, other = sessions
    store.refuses, store.tries = [refused.did], 0
    for _ in range(2):
        await one.renewals.save_another()
    assert store.tries == 2
    newest = await kept.find(other.did, None, anybody)
    assert newest is not None
    assert newest.refresh_token == "b+"


async def test_end_when_the_server_is_slow_then_nobody_renews_it_meanwhile(
    server: Server, kept: KeptSessions
) -> None:
    """It is over here before the server is asked."""
    session = await begun(kept)
    seen: list[bool] = []

    class Slow(Server):
        @override
        async def revoke(self, session: OAuthSession) -> None:
            seen.append(await is_kept(kept, session))

    await Process(Slow(server.clock), kept).renewals.end(session)
    assert seen == [False]


async def test_renew_when_somebody_holds_the_lock_for_long_then_it_is_no_fault_of_stores(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session lives, and it is tried again."""
    monkeypatch.setattr(renewing, "_LOCK_WAIT_S", 0.02)
    clock = server.clock
    sealer = RecordSealer((SECRET,), client_id="client", clock=clock)
    kept = RecordedSessions(MemoryStore(clock=clock), sealer, lifetime=Lifetime())
    session = await begun(kept)
    async with kept.lock(session):
        with pytest.raises(RefreshUnavailable):
            await Process(server, kept).renewals.renew(session)


@pytest.mark.covers("SESS-12")
async def test_store_when_it_gives_somebody_elses_session_then_is_an_error(
    server: Server,
) -> None:
    """Nobody becomes somebody else by a mistake in an application's store."""

    class Mixed(MemorySessionStore):
        @override
        async def get_session(self, did: str) -> OAuthSession | None:
            del did
            return make_session()

    kept = OnePerAccount(Mixed())
    bob = make_session(did="did:plc:" + "b" * 24, refresh_token="b")
    with pytest.raises(StoreError, match="another account"):
        await kept.find(bob.did, None, anybody)
    with pytest.raises(StoreError, match="another account"):
        await Process(server, kept).renewals.renew(bob)
    assert server.sent == []
