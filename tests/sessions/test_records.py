from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

import pytest
from typing_extensions import override

from atproto_oauth_asgi.crypto.keys import generate_private_key
from atproto_oauth_asgi.exceptions import (
    AccountMoved,
    ClientKeyRetired,
    RefreshUnavailable,
    SessionError,
    SessionExpired,
    SessionRevoked,
    StoreError,
)
from atproto_oauth_asgi.models import (
    OAuthSession,
    OAuthState,
    serialize_oauth_session,
    serialize_oauth_state,
)
from atproto_oauth_asgi.sessions.lifetime import Lifetime
from atproto_oauth_asgi.sessions.record_sealer import RecordSealer
from atproto_oauth_asgi.sessions.recorded_states import RecordedStates
from atproto_oauth_asgi.sessions.records import RecordedSessions
from atproto_oauth_asgi.stores.base import Record
from atproto_oauth_asgi.stores.memory import MemoryStore
from tests.sessions.making import ALICE, NOW, SECRET, Clock, make_session, when

pytestmark = pytest.mark.anyio

CLIENT_ID = "https://app.example.com/oauth-client-metadata.json"
BOB = "did:plc:bbbbbbbbbbbbbbbbbbbbbbbb"
DAY_S = 86400.0


class SeenStore(MemoryStore):
    """Remembers all that a store gets to see."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock=clock)
        self.seen: list[str] = []

    @override
    async def save(
        self,
        kind: str,
        key: str,
        value: bytes,
        *,
        expires_at: float,
        owner: str | None = None,
        if_version: int | None = None,
    ) -> int | None:
        self.seen += [kind, key, value.decode("latin-1"), owner or ""]
        return await super().save(
            kind,
            key,
            value,
            expires_at=expires_at,
            owner=owner,
            if_version=if_version,
        )

    @override
    async def load(self, kind: str, key: str) -> Record | None:
        self.seen += [kind, key]
        return await super().load(kind, key)

    @override
    async def keys(self, kind: str, owner: str) -> list[str]:
        self.seen += [kind, owner]
        return await super().keys(kind, owner)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> SeenStore:
    return SeenStore(clock)


def sealer(clock: Clock, *secrets: bytes, client_id: str = CLIENT_ID) -> RecordSealer:
    return RecordSealer(secrets or (SECRET,), client_id=client_id, clock=clock)


def recorded(store: MemoryStore, with_sealer: RecordSealer) -> RecordedSessions:
    return RecordedSessions(store, with_sealer, lifetime=Lifetime())


@pytest.fixture
def sessions(store: SeenStore, clock: Clock) -> RecordedSessions:
    return recorded(store, sealer(clock))


@pytest.fixture
def states(store: SeenStore, clock: Clock) -> RecordedStates:
    return RecordedStates(store, sealer(clock))


def make_state(state: str = "state-canary-1") -> OAuthState:
    return OAuthState(
        state=state,
        pkce_verifier="verifier-canary",
        redirect_uri="https://app.example.com/callback",
        scope="atproto",
        authserver_iss="https://as.example.com",
        dpop_private_key=generate_private_key(),
        did=ALICE,
        created_at=when(NOW),
        extra='{"binding":"canary-binding"}',
    )


def anybody(session: OAuthSession) -> bool:
    del session
    return True


def text_of(session: OAuthSession | None) -> str:
    assert session is not None
    return serialize_oauth_session(session)


# --- pending logins ----------------------------------------------------------------


@pytest.mark.covers("PAR-11")
async def test_state_when_saved_then_comes_back_whole(states: RecordedStates) -> None:
    """Every field, the key and ``extra`` included."""
    state = make_state()
    await states.save_state(state)
    kept = await states.get_state(state.state)
    assert kept is not None
    assert serialize_oauth_state(kept) == serialize_oauth_state(state)


@pytest.mark.covers("CB-05")
async def test_state_when_taken_twice_then_is_given_once(
    states: RecordedStates,
) -> None:
    """A login is for one callback."""
    await states.save_state(make_state())
    assert await states.take_state("state-canary-1") is not None
    assert await states.take_state("state-canary-1") is None
    assert await states.get_state("state-canary-1") is None


async def test_state_when_deleted_then_is_gone(states: RecordedStates) -> None:
    """And deleting it once more is no error."""
    await states.save_state(make_state())
    await states.delete_state("state-canary-1")
    await states.delete_state("state-canary-1")
    assert await states.get_state("state-canary-1") is None


@pytest.mark.covers("PAR-12")
async def test_state_when_ten_minutes_have_passed_then_is_gone(
    states: RecordedStates, clock: Clock
) -> None:
    """Not a second earlier, and not a second later."""
    await states.save_state(make_state())
    clock.now += 599
    assert await states.get_state("state-canary-1") is not None
    clock.now += 1
    assert await states.take_state("state-canary-1") is None


# --- sessions ----------------------------------------------------------------------


async def test_session_when_saved_then_comes_back_whole(
    sessions: RecordedSessions,
) -> None:
    """By its id, and as the only one of the account."""
    session = make_session()
    await sessions.save_new(session)
    by_id = await sessions.find(ALICE, session.session_id, anybody)
    assert text_of(by_id) == text_of(session)
    assert text_of(await sessions.find(ALICE, None, anybody)) == text_of(session)


async def test_session_when_account_has_several_then_newest_is_found(
    sessions: RecordedSessions,
) -> None:
    """The one that was renewed last, whichever was begun last."""
    first = make_session(created_at=when(NOW - 9), verified_at=when(NOW + 5))
    second = make_session(created_at=when(NOW), verified_at=None)
    others = make_session(did=BOB, created_at=when(NOW + 99))
    for each in (first, second, others):
        await sessions.save_new(each)
    assert text_of(await sessions.find(ALICE, None, anybody)) == text_of(first)
    by_id = await sessions.find(ALICE, second.session_id, anybody)
    assert text_of(by_id) == text_of(second)


async def test_session_when_asked_for_with_another_account_then_is_not_given(
    sessions: RecordedSessions,
) -> None:
    """An id alone is no key to somebody's session."""
    session = make_session()
    await sessions.save_new(session)
    assert await sessions.find(BOB, session.session_id, anybody) is None
    assert await sessions.find(BOB, None, anybody) is None


@pytest.mark.parametrize(
    "ending", [SessionExpired, SessionRevoked, AccountMoved, ClientKeyRetired]
)
async def test_session_when_ended_then_tells_why(
    sessions: RecordedSessions, ending: type[SessionError]
) -> None:
    """Restoring it says what happened, by id and by account."""
    session = make_session()
    await sessions.save_new(session)
    await sessions.end(session, code=ending.code)
    for session_id in (session.session_id, None):
        with pytest.raises(ending) as raised:
            await sessions.find(ALICE, session_id, anybody)
        assert type(raised.value) is ending


async def test_session_when_another_one_lives_then_that_is_found(
    sessions: RecordedSessions,
) -> None:
    """An ended session does not hide the account's other ones."""
    ended, alive = make_session(), make_session()
    for each in (ended, alive):
        await sessions.save_new(each)
    await sessions.end(ended, code=SessionRevoked.code)
    assert text_of(await sessions.find(ALICE, None, anybody)) == text_of(alive)


async def test_session_when_ended_meanwhile_then_renewed_one_is_refused(
    sessions: RecordedSessions,
) -> None:
    """A refresh that comes back late does not undo a logout."""
    session = make_session()
    await sessions.save_new(session)
    await sessions.end(session, code=SessionRevoked.code)
    with pytest.raises(SessionRevoked):
        await sessions.save_renewed(session.replace(access_token="new"), was_kept=False)
    with pytest.raises(SessionRevoked):
        await sessions.find(ALICE, session.session_id, anybody)


async def test_session_when_renewed_then_replaces_the_old_one(
    sessions: RecordedSessions,
) -> None:
    """There is one record of a session, also if it was not kept here before."""
    session = make_session()
    renewed = session.replace(access_token="new")
    await sessions.save_renewed(session, was_kept=False)
    await sessions.save_renewed(renewed, was_kept=False)
    assert text_of(await sessions.find(ALICE, None, anybody)) == text_of(renewed)


async def test_session_when_store_always_changes_then_saving_gives_up(
    clock: Clock,
) -> None:
    """Five tries, and then an error that loses nothing."""

    class Busy(MemoryStore):
        tries = 0

        @override
        async def save(self, *args: object, **named: object) -> int | None:
            del args, named
            Busy.tries += 1
            return None

    with pytest.raises(StoreError, match="changed by others"):
        await recorded(Busy(), sealer(clock)).save_renewed(
            make_session(), was_kept=False
        )
    assert Busy.tries == 5


class Contested(MemoryStore):
    """Somebody else is quicker than so many of the next writes."""

    lost = 0

    @override
    async def save(self, *args: Any, **named: Any) -> int | None:
        if self.lost > 0:
            self.lost -= 1
            return None
        return await super().save(*args, **named)


@pytest.mark.parametrize("lost", [1, 4])
async def test_session_when_others_write_while_it_ends_then_has_ended_all_the_same(
    clock: Clock, lost: int
) -> None:
    """A log-out is not undone by a note that somebody wrote at the same time."""
    store = Contested(clock=clock)
    sessions = recorded(store, sealer(clock))
    session = make_session()
    await sessions.save_new(session)
    store.lost = lost
    assert text_of(await sessions.end(session, code=SessionRevoked.code))
    with pytest.raises(SessionRevoked):
        await sessions.find(ALICE, session.session_id, anybody)


async def test_session_when_store_always_changes_then_ending_gives_up(
    clock: Clock,
) -> None:
    """Whoever logs out is not told that they are, while the session lives on."""
    store = Contested(clock=clock)
    sessions = recorded(store, sealer(clock))
    session = make_session()
    await sessions.save_new(session)
    store.lost = 5
    with pytest.raises(StoreError, match="changed by others"):
        await sessions.end(session, code=SessionRevoked.code)


async def test_session_when_its_record_is_lost_then_a_renewed_one_is_refused(
    store: SeenStore, sessions: RecordedSessions
) -> None:
    """What somebody has deleted from the store does not come back by itself."""
    session = make_session()
    await sessions.save_new(session)
    await store.delete("session", store.seen[1])
    with pytest.raises(SessionRevoked):
        await sessions.save_renewed(session.replace(renewals=1), was_kept=True)
    assert await sessions.find(ALICE, session.session_id, anybody) is None


async def test_session_when_a_later_state_is_kept_then_an_earlier_one_is_not_saved(
    sessions: RecordedSessions,
) -> None:
    """Tokens that come late do not take the place of newer ones."""
    session = make_session()
    newest = session.replace(renewals=2)
    await sessions.save_new(newest)
    await sessions.save_renewed(session.replace(renewals=1), was_kept=True)
    found = await sessions.find(ALICE, session.session_id, anybody)
    assert text_of(found) == text_of(newest)


async def test_mark_when_a_later_state_is_kept_then_nothing_is_sent(
    sessions: RecordedSessions,
) -> None:
    """The refresh token that would be sent was used already."""
    session = make_session()
    await sessions.save_new(session.replace(renewals=1))
    with pytest.raises(RefreshUnavailable):
        await sessions.mark(session)


async def test_unmark_when_the_session_was_renewed_since_then_leaves_it_alone(
    sessions: RecordedSessions,
) -> None:
    """A late word of a failure does not make the next end look like a cut refresh."""
    session = make_session()
    await sessions.save_new(session)
    mark = await sessions.mark(session)
    assert mark is not None
    renewed = session.replace(renewals=1)
    await sessions.save_renewed(renewed, was_kept=True, mark=mark)
    await sessions.unmark(session, mark)
    again = await sessions.mark(renewed)
    assert again is not None
    assert not again.was_interrupted


async def test_session_when_not_renewed_for_half_a_year_then_is_gone(
    sessions: RecordedSessions, clock: Clock
) -> None:
    """Saving it again counts from then."""
    session = make_session()
    await sessions.save_new(session)
    clock.now += 179 * DAY_S
    await sessions.save_renewed(session, was_kept=False)
    clock.now += 179 * DAY_S
    assert await sessions.find(ALICE, None, anybody) is not None
    clock.now += 2 * DAY_S
    assert await sessions.find(ALICE, None, anybody) is None


# --- what the store sees -----------------------------------------------------------


@pytest.mark.covers("STORE-04")
async def test_store_when_it_is_read_then_holds_nothing_readable(
    store: SeenStore, sessions: RecordedSessions, states: RecordedStates
) -> None:
    """No token, no state, no DID, no session id: neither in keys nor in values."""
    session, state = make_session(), make_state()
    await states.save_state(state)
    await states.get_state(state.state)
    await sessions.save_new(session)
    await sessions.find(ALICE, None, anybody)
    seen = " ".join(store.seen)
    for word in (
        session.access_token,
        session.refresh_token or "",
        session.session_id,
        ALICE,
        "alice.test",
        state.state,
        state.pkce_verifier,
        "canary",
    ):
        assert word not in seen


async def move(store: MemoryStore, kind: str, pair: Sequence[str]) -> None:
    """Put the value of one record under the key of another, as a thief would."""
    record = await store.load(kind, pair[0])
    assert record is not None
    await store.save(kind, pair[1], record.value, expires_at=NOW + DAY_S)


async def test_record_when_moved_or_changed_then_is_an_error(
    store: SeenStore, sessions: RecordedSessions, clock: Clock
) -> None:
    """Sealed for its own place, its own client; never taken for "logged out"."""
    mine, theirs = make_session(), make_session(did=BOB)
    await sessions.save_new(mine)
    await sessions.save_new(theirs)
    keys = [
        key
        for key, kind in zip(store.seen[1::4], store.seen[::4], strict=True)
        if kind == "session"
    ]
    await move(store, "session", (keys[1], keys[0]))
    with pytest.raises(StoreError, match="secret_key"):
        await sessions.find(ALICE, mine.session_id, anybody)
    other = recorded(store, sealer(clock, client_id="https://b.example/c.json"))
    with pytest.raises(StoreError):
        await other.find(BOB, theirs.session_id, anybody)


@pytest.mark.covers("STORE-07")
@pytest.mark.parametrize("junk", [b"", b"junk", b"\xff\xfe", pickle.dumps("x")])
async def test_record_when_value_is_junk_then_is_an_error(
    store: SeenStore, sessions: RecordedSessions, states: RecordedStates, junk: bytes
) -> None:
    """Nothing is loaded from it, whatever it is."""
    session = make_session()
    await sessions.save_new(session)
    await states.save_state(make_state())
    for kind, key in zip(store.seen[::4], store.seen[1::4], strict=True):
        await store.save(kind, key, junk, expires_at=NOW + DAY_S, owner="somebody")
    with pytest.raises(StoreError):
        await sessions.save_renewed(session, was_kept=False)
    with pytest.raises(StoreError):
        await sessions.find(ALICE, session.session_id, anybody)
    with pytest.raises(StoreError):
        await states.get_state("state-canary-1")


async def test_record_when_secret_is_rotated_then_opens_until_it_is_removed(
    store: SeenStore, sessions: RecordedSessions, clock: Clock
) -> None:
    """And one that does not open hides no other one of the account."""
    await sessions.save_new(make_session())
    new = b"another secret of the tests, 32 bytes or so"
    both = recorded(store, sealer(clock, new, SECRET))
    assert await both.find(ALICE, None, anybody) is not None
    alone = recorded(store, sealer(clock, new))
    with pytest.raises(StoreError):
        await alone.find(ALICE, None, anybody)
    later = make_session()
    await alone.save_new(later)
    assert text_of(await alone.find(ALICE, None, anybody)) == text_of(later)


async def test_session_when_its_secret_is_gone_then_can_be_ended_all_the_same(
    store: SeenStore, sessions: RecordedSessions, clock: Clock
) -> None:
    """Nothing can be revoked then, but the cookie that leads there is worth nothing."""
    session = make_session()
    await sessions.save_new(session)
    later = recorded(
        store, sealer(clock, b"another secret of the tests, 32 bytes or so")
    )
    assert await later.end(session, code=SessionRevoked.code) is None
    with pytest.raises(SessionRevoked):
        await later.find(ALICE, session.session_id, anybody)
