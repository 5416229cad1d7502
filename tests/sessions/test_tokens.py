from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest

from atproto_oauth_asgi.client_keys import ClientKey
from atproto_oauth_asgi.crypto.keys import generate_private_key
from atproto_oauth_asgi.exceptions import (
    AccountMoved,
    AuthorizationServerError,
    ClientKeyRetired,
    RefreshUnavailable,
    SessionExpired,
    SessionRevoked,
    Unreachable,
)
from atproto_oauth_asgi.models import OAuthSession, TokenResponse
from atproto_oauth_asgi.sessions import tokens
from atproto_oauth_asgi.sessions.keeper import OnePerAccount, SessionKeeper
from atproto_oauth_asgi.sessions.own_tokens import OwnTokens
from atproto_oauth_asgi.sessions.tokens import TokenRenewal, check_lease, to_revoke
from atproto_oauth_asgi.stores.locks import Lease
from atproto_oauth_asgi.stores.memory import MemorySessionStore
from atproto_oauth_asgi.testing import behaviours
from tests.network.atproto import (
    ALICE,
    BOB,
    ISSUER,
    METADATA,
    OTHER_ISSUER,
    PDS,
    PDS2,
    PLC,
    RESOURCE,
    REVOKE,
    SCOPE,
    TOKEN,
    Servers,
)
from tests.network.in_memory import (
    open_services,
)
from tests.network.programs import (
    after,
    answer,
    as_usual,
    in_turn,
)
from tests.sessions.making import Clock

pytestmark = pytest.mark.anyio
DAY_S = 24 * 3600


def open_renewal(internet: Servers, *keys: ClientKey) -> TokenRenewal:
    services = open_services(internet, *keys)
    return TokenRenewal(services.accounts, services.server, clock=internet.clock)


def verified(internet: Servers, ago_s: float = 0, **changes: Any) -> OAuthSession:
    """A session whose account was looked up some seconds ago."""
    moment = datetime.fromtimestamp(internet.clock() - ago_s, UTC)
    return internet.session(verified_at=moment, **changes)


def say(internet: Servers, path: str, status: int, members: Any) -> None:
    origin = PDS if path == RESOURCE else ISSUER
    internet.on(origin + path, answer(status, members, headers={"DPoP-Nonce": "n"}))


# --- a refresh ---------------------------------------------------------------------


@pytest.mark.covers("REF-02", "REF-12", "TOK-17")
async def test_renew_when_right_then_gives_new_tokens(internet: Servers) -> None:
    """New tokens, the same account, key and session."""
    old = internet.session(handle="alice.example.com", app_state="x")
    new = await open_renewal(internet).renew(old)
    assert {new.access_token, new.refresh_token}.isdisjoint(
        {old.access_token, old.refresh_token}
    )
    assert new.access_token in internet.issued
    same = ("did", "handle", "pds_url", "authserver_iss", "session_id", "app_state")
    for name in (*same, "created_at", "dpop_private_key", "kid"):
        assert getattr(new, name) == getattr(old, name), name
    assert new.renewals == old.renewals + 1
    assert new.expires_at == datetime.fromtimestamp(internet.clock() + 3600, UTC)
    assert new.verified_at == datetime.fromtimestamp(internet.clock(), UTC)
    [seen] = internet.taken(TOKEN)
    assert seen.form["refresh_token"] == old.refresh_token


@pytest.mark.covers("REF-12")
async def test_renew_when_repeated_then_key_stays(internet: Servers) -> None:
    """The tokens stay bound to the key of the login."""
    renewal, session = open_renewal(internet), internet.session()
    for _ in range(5):
        session = await renewal.renew(session)
    assert len({seen.thumbprint for seen in internet.sent(TOKEN)}) == 1


@pytest.mark.covers("REF-02", "RFR-11")
async def test_renew_when_no_refresh_token_comes_then_old_one_stays(
    internet: Servers,
) -> None:
    """As RFC 6749 says; it may be dead, but it is not lost."""
    internet.alter(ISSUER + TOKEN, {}, without=("refresh_token",))
    old = internet.session()
    assert (await open_renewal(internet).renew(old)).refresh_token == old.refresh_token


@pytest.mark.covers("TOK-11")
async def test_expiry_when_token_endpoint_is_slow_then_counts_from_before(
    internet: Servers,
) -> None:
    """The answer's way does not lengthen the token's life."""
    began_at = internet.clock()

    async def be_slow() -> None:
        internet.clock.now += 8

    renewal, session = open_renewal(internet), internet.session()
    await renewal.renew(session)
    session = internet.session()
    internet.on(PDS + RESOURCE, after(be_slow))
    new = await renewal.renew(session)
    assert new.expires_at is not None
    assert new.expires_at.timestamp() == began_at + 8 + 3600


@pytest.mark.covers("REF-10", "REF-11", "RFR-10")
@pytest.mark.parametrize(
    ("answered", "kept"),
    [
        ("atproto", "atproto"),
        (f"{SCOPE} transition:generic", SCOPE),
        (f"transition:generic {SCOPE}", SCOPE),
        # What nobody can read was never granted.
        (f"{SCOPE} repo: unheard-of", SCOPE),
    ],
)
async def test_scope_when_it_changes_then_is_never_wider(
    internet: Servers, answered: str, kept: str
) -> None:
    """Less is believed, more is not."""
    internet.alter(ISSUER + TOKEN, {"scope": answered})
    assert (await open_renewal(internet).renew(internet.session())).scope == kept


@pytest.mark.parametrize(
    ("granted", "answered"),
    [
        ("atproto repo:a.b.c repo:a.b.d", "atproto repo?collection=a.b.c"),
        ("atproto of-a-later-specification", "atproto of-a-later-specification"),
    ],
)
async def test_scope_when_spelt_otherwise_or_unknown_then_stays(
    internet: Servers, granted: str, answered: str
) -> None:
    """A permission that was granted is not lost by its spelling, nor by our age."""
    internet.alter(ISSUER + TOKEN, {"scope": answered})
    session = internet.session(scope=granted)
    assert (await open_renewal(internet).renew(session)).scope == answered


@pytest.mark.covers("REF-07")
async def test_renew_when_the_server_hangs_then_gives_up_in_time(
    internet: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the others may take this process for dead; the session lives."""
    monkeypatch.setattr(tokens, "SEND_BUDGET_S", 0.01)
    internet.on(ISSUER + TOKEN, after(anyio.sleep_forever))
    with anyio.fail_after(5), pytest.raises(RefreshUnavailable):
        await open_renewal(internet).renew(internet.session())


async def test_renew_when_there_is_no_refresh_token_then_session_is_over(
    internet: Servers,
) -> None:
    """Nothing is sent."""
    with pytest.raises(SessionExpired):
        await open_renewal(internet).renew(internet.session(refresh_token=None))
    assert internet.seen == []


# --- answers that end a session, and those that do not -----------------------------


@pytest.mark.covers("REF-14", "RFR-14")
async def test_renew_when_grant_is_invalid_then_session_is_revoked(
    internet: Servers,
) -> None:
    """A used or revoked refresh token is the end."""
    renewal, session = open_renewal(internet), internet.session()
    await renewal.renew(session)
    with pytest.raises(SessionRevoked):
        await renewal.renew(session)


@pytest.mark.covers("REF-14", "RFR-12", "REF-16", "RFR-13")
@pytest.mark.parametrize(
    ("status", "members"),
    [
        (500, {"error": "server_error"}),
        (502, b"<html>"),
        (503, {}),
        (429, {"error": "slow_down"}),
        (400, {"error": "invalid_client"}),
        (401, {"error": "invalid_client"}),
        (400, {"error": "invalid_dpop_proof"}),
        (400, b"<html>"),
        (302, {}),
        (200, b"<html>"),
        (200, {}),
    ],
)
async def test_renew_when_answer_is_not_definite_then_session_lives(
    internet: Servers, status: int, members: Any
) -> None:
    """Somebody's trouble is nobody's log-out; the token is sent once."""
    say(internet, TOKEN, status, members)
    with pytest.raises(RefreshUnavailable):
        await open_renewal(internet).renew(internet.session())
    assert len(internet.sent(TOKEN)) == 1


@pytest.mark.covers("REF-14", "REF-16", "RFR-13")
async def test_renew_when_connection_breaks_then_session_lives(
    internet: Servers,
) -> None:
    """An ambiguous failure is not repeated within the call."""
    cut = behaviours.drop_after_processing()
    internet.on(ISSUER + TOKEN, in_turn(as_usual, cut))
    session = internet.session()
    with pytest.raises(RefreshUnavailable) as caught:
        await open_renewal(internet).renew(session)
    challenged, _ = internet.sent(TOKEN)
    assert challenged.received.status == 400
    assert len(internet.issued) == 4
    assert isinstance(caught.value.__cause__, Unreachable)


@pytest.mark.covers("REF-14", "RFR-12")
@pytest.mark.parametrize("status", [403, 404, 503])
async def test_renew_when_server_metadata_fails_then_session_lives(
    internet: Servers, status: int
) -> None:
    """Whatever kind of error it is underneath."""
    say(internet, METADATA, status, {})
    with pytest.raises(RefreshUnavailable):
        await open_renewal(internet).renew(internet.session())
    assert internet.sent(TOKEN) == []


@pytest.mark.covers("REF-09", "RFR-07")
async def test_renew_when_another_account_comes_then_session_ends(
    internet: Servers,
) -> None:
    """It never acts as somebody else, and the tokens are revoked."""
    internet.alter(ISSUER + TOKEN, {"sub": BOB})
    session = internet.session()
    with pytest.raises(SessionRevoked):
        await open_renewal(internet).renew(session)
    assert internet.revoked() == [internet.issued[-1]]
    assert session.refresh_token != internet.issued[-1]
    assert internet.net.sessions() == []


@pytest.mark.covers("REF-10", "RFR-10", "TOK-14")
@pytest.mark.parametrize(
    "changes",
    [{"token_type": "Bearer"}, {"scope": "transition:generic"}, {"sub": "did:key:z"}],
)
async def test_renew_when_tokens_must_not_be_used_then_session_ends(
    internet: Servers, changes: dict[str, Any]
) -> None:
    """The old tokens are used up and the new ones revoked: that is definite."""
    internet.alter(ISSUER + TOKEN, changes)
    with pytest.raises(SessionRevoked):
        await open_renewal(internet).renew(internet.session())
    assert len(internet.revoked()) == 2


@pytest.mark.covers("DPOP-17")
async def test_renew_when_nonce_is_missing_then_tokens_are_kept(
    internet: Servers,
) -> None:
    """At a refresh there would be something to lose."""
    silent = behaviours.altered(without_headers=["dpop-nonce"])
    internet.on(ISSUER + TOKEN, in_turn(as_usual, silent))
    new = await open_renewal(internet).renew(internet.session())
    assert new.access_token in internet.issued
    assert internet.sent(REVOKE) == []


# --- the account is looked up first ------------------------------------------------


@pytest.mark.covers("REF-08", "RFR-08")
@pytest.mark.parametrize("where", [PDS, PDS2])
async def test_renew_when_account_has_moved_then_token_is_not_sent(
    internet: Servers, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that the account has left gets no refresh token, however fresh.

    The log says whose session that was, where, and why it ended.
    """
    session = verified(internet)
    internet.net.move(ALICE, where)
    internet.lead(where, OTHER_ISSUER)
    with pytest.raises(AccountMoved) as caught:
        await open_renewal(internet).renew(session)
    assert internet.sent(TOKEN) == []
    told = f"session ended: did={ALICE} issuer={ISSUER} code=account_moved: "
    assert f"{told}{caught.value}" in caplog.text


@pytest.mark.covers("REF-13", "RFR-09")
async def test_renew_when_only_the_pds_changed_then_session_has_the_new_one(
    internet: Servers,
) -> None:
    """The next call goes to the new host."""
    internet.net.move(ALICE, PDS2)
    assert (await open_renewal(internet).renew(internet.session())).pds_url == PDS2


@pytest.mark.covers("REF-08", "RFR-12")
@pytest.mark.parametrize("origin", [PLC, PDS])
async def test_renew_when_directory_is_down_then_last_answer_counts_for_a_day(
    internet: Servers, origin: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An outage logs nobody out, but does not last for ever; the log tells of it."""
    caplog.set_level(logging.INFO)
    internet.cut(origin)
    renewal = open_renewal(internet)
    young, old = verified(internet, DAY_S - 1), verified(internet, DAY_S)
    new = await renewal.renew(young)
    assert (new.pds_url, new.verified_at) == (PDS, young.verified_at)
    assert f"account not checked: did={ALICE} code=unreachable" in caplog.text
    for session in (old, internet.session(verified_at=None)):
        with pytest.raises(RefreshUnavailable):
            await renewal.renew(session)
    assert len(internet.taken(TOKEN)) == 1


@pytest.mark.covers("REF-08")
async def test_renew_when_directory_stays_down_then_a_day_is_a_day(
    internet: Servers,
) -> None:
    """Refreshing in the meantime does not begin the day anew."""
    renewal, session = open_renewal(internet), verified(internet)
    internet.cut(PLC)
    for _ in range(24):
        session = await renewal.renew(session)
        internet.clock.now += 3600
    with pytest.raises(RefreshUnavailable):
        await renewal.renew(session)


@pytest.mark.covers("REF-08", "RES-16", "IDN-20")
@pytest.mark.parametrize("what", ["gone", "new home down", "no pds metadata"])
async def test_renew_when_answer_contradicts_then_token_is_not_sent(
    internet: Servers, what: str
) -> None:
    """Doubt is no outage: a fresh check does not help, and the session lives."""
    if what == "gone":
        del internet.net.directory.documents[ALICE]
    elif what == "new home down":
        internet.net.move(ALICE, PDS2)
        internet.cut(PDS2)
    else:
        say(internet, RESOURCE, 404, {})
    with pytest.raises(RefreshUnavailable):
        await open_renewal(internet).renew(verified(internet))
    assert internet.sent(TOKEN) == []


# --- client keys -------------------------------------------------------------------

NEW = ClientKey(generate_private_key(), kid="key-1")
OLD = ClientKey(generate_private_key(), "publish", kid="key-0")


@pytest.mark.covers("CAUTH-01", "CAUTH-06", "META-17")
async def test_renew_when_keys_were_rotated_then_old_session_keeps_its_key(
    internet: Servers,
) -> None:
    """A session is bound to the key of its login, refresh and revocation alike."""
    renewal = open_renewal(internet, NEW, OLD)
    session = await renewal.renew(internet.session(kid="key-0"))
    await renewal.revoke(session)
    assert session.kid == "key-0"
    assert {seen.kid for seen in internet.seen if seen.kid} == {"key-0"}
    assert len(internet.taken(TOKEN)) == len(internet.taken(REVOKE)) == 1


async def test_renew_when_key_is_an_older_one_then_log_names_the_session(
    internet: Servers, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever wants to take a key away sees what that would end."""
    caplog.set_level("INFO")
    renewal = open_renewal(internet, NEW, OLD)
    await renewal.renew(internet.session(kid="key-1"))
    assert "older client key" not in caplog.text
    await renewal.renew(internet.session(kid="key-0"))
    assert f"older client key: did={ALICE} kid=key-0" in caplog.text


@pytest.mark.covers("CAUTH-07", "RFR-15")
async def test_renew_when_key_is_retired_then_nothing_is_sent(
    internet: Servers,
) -> None:
    """Not even the directory is asked: nothing could come of it."""
    internet.cut(PLC)
    with pytest.raises(ClientKeyRetired):
        await open_renewal(internet, NEW).renew(internet.session(kid="key-0"))
    assert internet.seen == []


@pytest.mark.covers("CAUTH-04", "DPO-20")
async def test_renew_when_challenged_then_assertion_is_new(
    internet: Servers,
) -> None:
    """The retry for a nonce sends the same token with a new assertion."""
    await open_renewal(internet, NEW).renew(internet.session(kid="key-1"))
    first, second = internet.sent(TOKEN)
    assert first.form["refresh_token"] == second.form["refresh_token"]
    assert first.assertion["jti"] != second.assertion["jti"]


# --- the end -----------------------------------------------------------------------


@pytest.mark.covers("LOGOUT-03", "LOGOUT-04")
async def test_revoke_when_asked_then_sends_the_refresh_token(
    internet: Servers,
) -> None:
    """Revoking a rotated access token would end nothing."""
    session = internet.session()
    await open_renewal(internet).revoke(session)
    [seen] = internet.taken(REVOKE)
    assert seen.form["token"] == session.refresh_token
    assert seen.form["token_type_hint"] == "refresh_token"


async def test_revoke_when_there_is_only_an_access_token_then_sends_that(
    internet: Servers,
) -> None:
    """It is what there is."""
    session = internet.session(refresh_token=None)
    await open_renewal(internet).revoke(session)
    [seen] = internet.taken(REVOKE)
    assert seen.form["token"] == session.access_token
    assert seen.form["token_type_hint"] == "access_token"


@pytest.mark.covers("OUT-02")
async def test_revoke_when_server_fails_then_says_so(internet: Servers) -> None:
    """The caller decides what that means."""
    say(internet, REVOKE, 500, {})
    with pytest.raises(AuthorizationServerError):
        await open_renewal(internet).revoke(internet.session())
    internet.cut(ISSUER)
    with pytest.raises(Unreachable):
        await open_renewal(internet).revoke(internet.session())


@pytest.mark.covers("LOG-02", "LOG-03")
async def test_log_when_things_go_wrong_then_holds_no_secret(
    internet: Servers, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither messages nor errors hold tokens."""
    caplog.set_level(logging.DEBUG)
    internet.cut(PDS)
    internet.alter(ISSUER + TOKEN, {"sub": BOB})
    with pytest.raises(SessionRevoked) as caught:
        await open_renewal(internet).renew(verified(internet))
    assert ALICE in caplog.text
    for token in internet.issued:
        assert token not in caplog.text + repr(caught.value)


def test_revoked_when_an_answer_is_refused_then_the_refresh_token_if_there_is_one() -> (
    None
):
    """Each with the hint by which servers look for it first."""

    def answered(refresh_token: str | None) -> TokenResponse:
        return TokenResponse(
            access_token="a",
            refresh_token=refresh_token,
            sub=ALICE,
            scope="atproto",
            expires_in=None,
        )

    assert to_revoke(answered("r")) == [("refresh_token", "r")]
    assert to_revoke(answered(None)) == [("access_token", "a")]


@pytest.mark.covers("REF-07", "RFR-04")
@pytest.mark.parametrize(
    ("left_s", "may_send"), [(30.0, True), (20.1, True), (20.0, False), (-1.0, False)]
)
def test_lease_when_too_little_is_left_then_nothing_is_sent(
    left_s: float, may_send: bool
) -> None:
    """Twelve seconds to send and eight to save: the others wait for so long."""
    clock = Clock()
    lease = Lease(left_s, clock=clock, monotonic=clock)
    check_lease(None)
    if may_send:
        check_lease(lease)
    else:
        with pytest.raises(RefreshUnavailable, match="held up"):
            check_lease(lease)


# --- the tokens of a client --------------------------------------------------------


class Server:
    """Refreshes sessions, and remembers what was told and when."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.hook_error: Exception | None = None
        self.clock = Clock()

    async def refresh(self, session: OAuthSession) -> OAuthSession:
        self.events.append(f"refresh {session.access_token}")
        await anyio.sleep(0.01)
        return session.replace(access_token=f"{session.access_token}+")

    async def on_updated(self, session: OAuthSession) -> None:
        self.events.append(f"told {session.access_token}")
        if self.hook_error is not None:
            raise self.hook_error

    def own(self, session: OAuthSession) -> OwnTokens:
        keeper = SessionKeeper(None, self.on_updated)
        return OwnTokens(session, refresh=self.refresh, keeper=keeper, clock=self.clock)


def early() -> float:
    """A time at which no access token has ended."""
    return 0.0


@pytest.fixture
def session(internet: Servers) -> OAuthSession:
    return internet.session(access_token="a")


async def test_own_when_renewed_then_application_is_told_first(
    session: OAuthSession,
) -> None:
    """The hook has seen the new tokens before anybody uses them."""
    server = Server()
    own = server.own(session)
    assert await own.current() is session
    renewed = await own.renew(session)
    assert server.events == ["refresh a", "told a+"]
    assert await own.current() is renewed


async def test_own_when_nobody_keeps_them_then_refuses(session: OAuthSession) -> None:
    """Without a hook the refresh token would be used up and lost."""
    server = Server()
    own = OwnTokens(
        session,
        refresh=server.refresh,
        keeper=SessionKeeper(None, None),
        clock=server.clock,
    )
    with pytest.raises(RefreshUnavailable):
        await own.renew(session)
    assert server.events == []


async def test_own_when_a_later_session_is_kept_then_refuses(
    session: OAuthSession,
) -> None:
    """The store has room for one session of the account, and that is not this one."""
    server, store = Server(), MemorySessionStore()
    own = OwnTokens(
        session,
        refresh=server.refresh,
        keeper=SessionKeeper(OnePerAccount(store), None),
        clock=server.clock,
    )
    await store.save_session(session.replace(session_id="later"))
    with pytest.raises(RefreshUnavailable):
        await own.renew(session)
    assert server.events == []


@pytest.mark.covers("REF-01")
async def test_own_when_token_has_ended_then_is_renewed_before_use(
    session: OAuthSession,
) -> None:
    """A token whose end has come is not sent to be refused."""
    server = Server()
    ends_at = datetime.fromtimestamp(server.clock() + 60, UTC)
    own = server.own(session.replace(expires_at=ends_at))
    assert (await own.current()).access_token == "a"
    server.clock.now += 60
    assert (await own.current()).access_token == "a+"


@pytest.mark.covers("REF-03", "REF-05", "RFR-01")
async def test_own_when_many_ask_then_one_refresh_happens(
    session: OAuthSession,
) -> None:
    """Who comes late gets what the first one brought."""
    server = Server()
    own, got = server.own(session), []

    async def ask() -> None:
        got.append(await own.renew(session))

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(ask)
    assert server.events == ["refresh a", "told a+"]
    assert {each.access_token for each in got} == {"a+"}


@pytest.mark.covers("REF-18", "RFR-06")
async def test_own_when_cancelled_then_application_is_told_all_the_same(
    session: OAuthSession,
) -> None:
    """A request that goes away does not lose a session."""
    server = Server()
    own = server.own(session)
    with anyio.move_on_after(0.001):
        await own.renew(session)
    assert server.events == ["refresh a", "told a+"]


@pytest.mark.covers("REF-19")
async def test_own_when_hook_fails_then_is_told_again_before_tokens_are_used(
    session: OAuthSession,
) -> None:
    """The error is the application's own, and no token is sent twice or unkept."""
    server = Server()
    server.hook_error = KeyError("database is down")
    own = server.own(session)
    with pytest.raises(KeyError, match="database is down"):
        await own.renew(session)
    with pytest.raises(KeyError, match="database is down"):
        await own.current()
    server.hook_error = None
    assert (await own.renew(session)).access_token == "a+"
    assert (await own.current()).access_token == "a+"
    assert server.events == ["refresh a", "told a+", "told a+", "told a+"]
