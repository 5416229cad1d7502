from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import anyio
import anyio.lowlevel
import pytest
from joserfc import jws
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from atproto_oauth_asgi.client import OAuthClient
from atproto_oauth_asgi.client_keys import ClientKey
from atproto_oauth_asgi.config import OAuthConfig
from atproto_oauth_asgi.crypto.keys import (
    generate_private_key,
    private_jwk,
    thumbprint,
)
from atproto_oauth_asgi.exceptions import (
    AccountMoved,
    AuthorizationServerError,
    Blocked,
    CallbackError,
    ClientKeyRetired,
    ConfigurationError,
    DidNotResolved,
    DiscoveryError,
    InvalidIdentifier,
    IssuerMismatch,
    LoginDenied,
    OAuthStateError,
    OAuthTokenError,
    RefreshUnavailable,
    SessionRevoked,
    StoreError,
    SubjectMismatch,
    TimedOut,
    Unreachable,
    WrongBrowser,
)
from atproto_oauth_asgi.models import OAuthSession, OAuthState
from atproto_oauth_asgi.protocol.callback import CallbackAnswer
from atproto_oauth_asgi.sessions.pending import AuthorizationRequest
from atproto_oauth_asgi.stores.base import StateStore
from atproto_oauth_asgi.stores.memory import (
    MemorySessionStore,
    MemoryStateStore,
    MemoryStore,
)
from atproto_oauth_asgi.testing import behaviours
from tests.network.atproto import (
    ALICE,
    BOB,
    CLIENT_ID,
    HANDLE,
    ISSUER,
    METADATA,
    OTHER_ISSUER,
    PAR,
    PDS,
    PDS2,
    REDIRECT_URI,
    REVOKE,
    SCOPE,
    SECOND_URI,
    TOKEN,
    Servers,
    assert_given_back,
)
from tests.network.in_memory import (
    network,
    open_client,
)
from tests.network.programs import (
    after,
    answer,
)
from tests.sessions.making import make_session

pytestmark = pytest.mark.anyio
KEY = ClientKey(generate_private_key(), kid="key-1")


@pytest.fixture
def client(internet: Servers) -> OAuthClient:
    return open_client(internet)


async def begin(
    internet: Servers, client: OAuthClient, **options: Any
) -> tuple[AuthorizationRequest, dict[str, str]]:
    """Begin a login and approve it."""
    request = await client.start_authorization(HANDLE, **options)
    return request, internet.approve(request[0])


async def log_in(
    internet: Servers, client: OAuthClient, **options: Any
) -> OAuthSession:
    request, callback = await begin(internet, client, **options)
    binding = request.browser_binding
    return await client.handle_callback(**callback, browser_binding=binding)


# --- the whole way -----------------------------------------------------------------


@pytest.mark.covers("PAR-01", "PAR-02", "PAR-03", "PAR-09", "TOK-01", "DPOP-08")
async def test_login_when_all_is_well_then_gives_a_session(
    internet: Servers, client: OAuthClient
) -> None:
    """Pushed, approved, redeemed: with one key, and nothing in the URL."""
    request, callback = await begin(internet, client)
    url, state = request
    assert url.startswith(f"{ISSUER}/oauth/authorize?")
    assert parse_qs(urlsplit(url).query).keys() == {"client_id", "request_uri"}
    session = await client.handle_callback(
        callback["code"], callback["state"], callback["iss"]
    )
    assert (session.did, session.handle, session.pds_url) == (ALICE, HANDLE, PDS)
    assert internet.paths() == [PAR, PAR, TOKEN]
    [pushed], [redeemed] = internet.taken(PAR), internet.taken(TOKEN)
    assert pushed.form["state"] == state == callback["state"]
    assert pushed.form["client_id"] == redeemed.form["client_id"] == CLIENT_ID
    assert (pushed.form["scope"], pushed.form["redirect_uri"]) == (SCOPE, REDIRECT_URI)
    assert pushed.thumbprint == redeemed.thumbprint
    assert pushed.thumbprint == thumbprint(session.dpop_private_key)


@pytest.mark.covers("DPOP-18")
async def test_login_when_server_always_challenges_first_then_works(
    internet: Servers, client: OAuthClient
) -> None:
    """The code is not lost to a challenge at the token endpoint."""
    request, callback = await begin(internet, client)
    internet.net.rotate_nonces()
    session = await client.handle_callback(**callback)
    assert session.did == ALICE
    assert internet.paths() == [PAR, PAR, TOKEN, TOKEN]
    assert request[1] == callback["state"]


@pytest.mark.covers("PAR-04")
@pytest.mark.parametrize(
    ("typed", "hint"),
    [(HANDLE, HANDLE), (f" @{HANDLE.upper()} ", HANDLE), (ALICE, ALICE)],
)
async def test_login_when_begun_then_hint_is_what_was_typed(
    internet: Servers, client: OAuthClient, typed: str, hint: str
) -> None:
    """The handle in its proper form, or the DID; never the one for the other."""
    await client.start_authorization(typed)
    assert internet.sent(PAR)[0].form["login_hint"] == hint


@pytest.mark.covers("DPOP-01", "DPO-10", "LGN-13")
async def test_logins_when_in_parallel_then_do_not_mix(
    internet: Servers, client: OAuthClient
) -> None:
    """The first can be ended after the second, each with its own key."""
    first, second = await begin(internet, client), await begin(internet, client)
    ended = [await client.handle_callback(**flow[1]) for flow in (second, first)]
    assert len({each.session_id for each in ended}) == 2
    assert len({each.thumbprint for each in internet.taken(PAR)}) == 2


@pytest.mark.covers("PAR-14")
async def test_login_when_another_redirect_uri_is_chosen_then_is_sent_twice(
    internet: Servers,
) -> None:
    """The token endpoint gets the very string of the request."""
    client = open_client(internet, redirect_uris=(SECOND_URI,))
    await log_in(internet, client, redirect_uri=SECOND_URI)
    assert internet.sent(PAR)[0].form["redirect_uri"] == SECOND_URI
    assert internet.sent(TOKEN)[0].form["redirect_uri"] == SECOND_URI


@pytest.mark.covers("LOG-02", "LOG-03", "WEB-15")
async def test_log_when_everything_is_told_then_holds_no_secret(
    internet: Servers, caplog: pytest.LogCaptureFixture
) -> None:
    """Login, refresh, revocation at DEBUG: no token, code, state or verifier."""
    caplog.set_level(logging.DEBUG)
    client = open_client(internet, KEY)
    request, callback = await begin(internet, client, app_state="canary")
    session = await client.handle_callback(**callback)
    await client.revoke_session(await client.refresh_session(session))
    secrets = {
        *internet.issued,
        *callback.values(),
        request.browser_binding,
        internet.sent(TOKEN)[0].form["code_verifier"],
        *(seen.form["client_assertion"] for seen in internet.seen if seen.kid),
        "canary",
    } - {ISSUER}
    for secret in secrets:
        assert secret not in caplog.text
        assert secret not in repr([client, session])


# --- beginning ---------------------------------------------------------------------


class BrokenStore(MemoryStateStore):
    """A store that cannot save."""

    @override
    async def save_state(self, state: OAuthState) -> None:
        raise StoreError("the database is down")


@pytest.mark.covers("PAR-11", "STORE-01")
async def test_begin_when_store_fails_then_gives_no_url(internet: Servers) -> None:
    """Nobody is sent to a login that could not be ended."""
    client = open_client(internet, state_store=BrokenStore())
    with pytest.raises(StoreError):
        await client.start_authorization(HANDLE)


async def test_begin_when_there_is_no_store_then_says_so(internet: Servers) -> None:
    """Before anything is sent."""
    client = open_client(internet, state_store=None)
    with pytest.raises(ConfigurationError, match="state_store"):
        await client.start_authorization(HANDLE)
    with pytest.raises(ConfigurationError, match="state_store"):
        await client.handle_callback("c", "s" * 43, ISSUER)
    assert internet.seen == []


@pytest.mark.covers("ID-01", "LGN-21", "PAR-15")
@pytest.mark.parametrize(
    ("identifier", "options"),
    [
        ("", {}),
        ("alice", {}),
        ("alice@example.com", {}),
        ("did:key:zabc", {}),
        ("https://pds.example.com/login?x", {}),
        ("https://alice@pds.example.com", {}),
        ("http://pds.example.com", {}),
        ("x" * 1_000_000, {}),
    ],
)
async def test_begin_when_identifier_is_none_then_is_silent(
    internet: Servers, client: OAuthClient, identifier: str, options: Any
) -> None:
    """A person's mistake costs no request."""
    with pytest.raises(InvalidIdentifier):
        await client.start_authorization(identifier, **options)
    assert internet.seen == []


@pytest.mark.covers("DISC-18", "DISC-19", "TOK-07")
@pytest.mark.parametrize("server", [PDS, f"{ISSUER}/"])
@pytest.mark.parametrize("signs_in", [ALICE, BOB])
async def test_login_when_a_server_is_named_then_it_says_who_signed_in(
    internet: Servers, client: OAuthClient, server: str, signs_in: str
) -> None:
    """Whoever signs in there, if their account leads to that server."""
    internet.signs_in = signs_in
    request = await client.start_authorization(server, app_state="x")
    assert "login_hint" not in internet.sent(PAR)[0].form
    session = await client.handle_callback(**internet.approve(request[0]))
    handle = HANDLE if signs_in == ALICE else "bob.example.com"
    assert (session.did, session.handle) == (signs_in, handle)
    assert (session.pds_url, session.authserver_iss) == (PDS, ISSUER)
    assert session.app_state == "x"


@pytest.mark.covers("DISC-19", "CB-08", "MIX-01")
async def test_login_when_a_server_is_named_then_only_that_one_may_answer(
    internet: Servers, client: OAuthClient
) -> None:
    """The login is bound to the issuer, as any other."""
    request = await client.start_authorization(PDS)
    callback = internet.approve(request[0]) | {"iss": OTHER_ISSUER}
    with pytest.raises(IssuerMismatch):
        await client.handle_callback(**callback)
    assert internet.sent(TOKEN) == []


@pytest.mark.covers("TOK-07", "TOK-14", "MIX-09", "MIX-10")
@pytest.mark.parametrize("lie", ["other server", "no such account", "not served"])
async def test_login_when_a_server_vouches_for_a_stranger_then_is_refused(
    internet: Servers, client: OAuthClient, lie: str
) -> None:
    """A server's word counts only for accounts that lead to it."""
    request = await client.start_authorization(ISSUER)
    if lie == "other server":
        internet.lead(PDS, OTHER_ISSUER)
    elif lie == "no such account":
        internet.signs_in = "did:plc:cccccccccccccccccccccccc"
    else:
        internet.net.move(ALICE, PDS2)
        internet.cut(PDS2)
    with pytest.raises((SubjectMismatch, DidNotResolved, Unreachable)):
        await client.handle_callback(**internet.approve(request[0]))
    assert_given_back(internet)


@pytest.mark.covers("TOK-06")
async def test_login_when_store_lost_the_account_then_nobody_is_let_in(
    internet: Servers, client: OAuthClient
) -> None:
    """A forgetful store does not turn a login of one account into anybody's."""
    request, pending = await client.begin_login(HANDLE)
    internet.signs_in = BOB
    store = client._require_state_store()
    await store.save_state(pending.replace(did=None, handle=None, pds_url=None))
    with pytest.raises(SubjectMismatch):
        await client.handle_callback(**internet.approve(request[0]))
    assert_given_back(internet)


@pytest.mark.covers("ID-24", "ID-33")
async def test_login_when_account_is_a_did_web_then_works(
    internet: Servers, client: OAuthClient
) -> None:
    """An account may publish its document itself; the DID is who it is."""
    did = "did:web:alice.example.com"
    internet.signs_in = did
    for handle in (HANDLE, "renamed.example.com"):
        internet.create_account(handle, did)
        internet.clock.now += 301
        request = await client.start_authorization(did)
        session = await client.handle_callback(**internet.approve(request[0]))
        assert (session.did, session.handle) == (did, handle)
    asked = {seen.url for seen in internet.seen if seen.path.endswith("did.json")}
    assert asked == {"https://alice.example.com/.well-known/did.json"}


@pytest.mark.covers("LGN-21", "PAR-15")
@pytest.mark.parametrize(
    "options",
    [
        {"state": "x"},
        {"request_uri": "x"},
        {"redirect_uri": "https://evil.example"},
        {"scope": f"{SCOPE} transition:generic"},
        {"scope": "transition:generic"},
        {"prompt": "evil"},
    ],
    ids=str,
)
async def test_begin_when_option_is_not_allowed_then_is_silent(
    internet: Servers, client: OAuthClient, options: dict[str, Any]
) -> None:
    """What an application passes on cannot change what protects the login."""
    with pytest.raises(ConfigurationError):
        await client.start_authorization(HANDLE, **options)
    assert internet.seen == []


@pytest.mark.covers("MIX-05", "DISC-16", "MIX-15")
@pytest.mark.parametrize(
    "changes",
    [
        {"protected_resources": ["https://other.example.com"]},
        {"require_pushed_authorization_requests": False},
        {"code_challenge_methods_supported": ["plain"]},
        {"token_endpoint": "https://evil.example/token"},
        {"issuer": OTHER_ISSUER},
        {"dpop_signing_alg_values_supported": ["none", "HS256"]},
    ],
    ids=str,
)
async def test_begin_when_server_is_not_right_then_nothing_is_pushed(
    internet: Servers, client: OAuthClient, changes: dict[str, Any]
) -> None:
    """There is no login with less than the profile asks for."""
    internet.alter(ISSUER + METADATA, changes)
    with pytest.raises(DiscoveryError):
        await client.start_authorization(HANDLE)
    assert internet.paths() == []


@pytest.mark.covers("DPOP-24", "DPO-22")
async def test_begin_when_server_lists_other_algorithms_first_then_signs_es256(
    internet: Servers, client: OAuthClient
) -> None:
    """The list of the server chooses nothing."""
    algorithms = ["none", "ES256K", "ES256"]
    internet.alter(ISSUER + METADATA, {"dpop_signing_alg_values_supported": algorithms})
    await client.start_authorization(HANDLE)
    proof = internet.sent(PAR)[0].headers["dpop"].encode()
    assert jws.extract_compact(proof).headers()["alg"] == "ES256"


@pytest.mark.covers("PAR-13")
async def test_begin_when_push_is_refused_then_error_tells_why(
    internet: Servers, client: OAuthClient
) -> None:
    """The code is there, the server's words are apart."""
    members = {"error": "invalid_scope", "error_description": "<b>"}
    internet.on(ISSUER + PAR, answer(400, members))
    with pytest.raises(AuthorizationServerError) as caught:
        await client.start_authorization(HANDLE)
    assert caught.value.error == "invalid_scope"
    assert "<b>" not in str(caught.value)


@pytest.mark.covers("DOS-01", "DOS-A01")
async def test_begin_when_hosts_are_slow_then_ends_in_time(
    internet: Servers,
) -> None:
    """All steps together have a limit."""
    internet.on(ISSUER + PAR, behaviours.hang())
    client = open_client(internet, network=network(login_budget_s=0.05))
    with anyio.fail_after(5), pytest.raises(TimedOut):
        await client.start_authorization(HANDLE)


@pytest.mark.covers("DOS-07", "DOS-A08")
async def test_begin_when_counted_then_costs_few_requests(
    internet: Servers, client: OAuthClient
) -> None:
    """One login is a handful of requests, even with a challenge."""
    await client.start_authorization(HANDLE)
    # One of them is a guess, which may be given up before it is sent.
    assert 6 <= len(internet.seen) <= 7


# --- who the client is -------------------------------------------------------------


@pytest.mark.covers("CAUTH-01", "CAUTH-04", "CAUTH-05", "CAUTH-06", "DPO-20")
async def test_client_when_confidential_then_proves_itself_everywhere(
    internet: Servers,
) -> None:
    """Push, exchange, refresh, revocation: each attempt with a new assertion."""
    client = open_client(internet, KEY)
    session = await log_in(internet, client)
    internet.net.rotate_nonces()
    session = await client.refresh_session(session)
    internet.net.rotate_nonces()
    await client.revoke_session(session)
    assert session.kid == "key-1"
    # The exchange is not challenged: its nonce is that of the push.
    assert internet.paths() == [PAR, PAR, TOKEN, TOKEN, TOKEN, REVOKE, REVOKE]
    sent = [seen for seen in internet.seen if seen.path in {PAR, TOKEN, REVOKE}]
    assert {seen.kid for seen in sent} == {"key-1"}
    assert len({seen.assertion["jti"] for seen in sent}) == len(sent)


@pytest.mark.covers("CAUTH-06", "CAUTH-07", "RFR-15")
async def test_client_when_key_is_retired_then_session_ends_silently(
    internet: Servers,
) -> None:
    """Rotation keeps old sessions, retirement ends them, with no request."""
    session = await log_in(internet, open_client(internet, KEY))
    new = ClientKey(generate_private_key(), kid="key-2")
    published = ClientKey(KEY.private_key, "publish", kid="key-1")
    session = await open_client(internet, new, published).refresh_session(session)
    assert internet.seen[-1].kid == "key-1"
    internet.net.clear_traffic()
    retired = ClientKey(KEY.private_key, "retired", kid="key-1")
    with pytest.raises(ClientKeyRetired):
        await open_client(internet, new, retired).refresh_session(session)
    assert internet.seen == []


@pytest.mark.parametrize("kid", [None, "mine"])
async def test_client_when_given_one_key_then_is_confidential(
    internet: Servers, kid: str | None
) -> None:
    """A JWK is enough; its name is the thumbprint unless given."""
    expected = kid or thumbprint(KEY.private_key)
    internet.know_keys(ClientKey(KEY.private_key, kid=expected))
    client = open_client(
        internet, client_secret_key=private_jwk(KEY.private_key), client_secret_kid=kid
    )
    await client.start_authorization(HANDLE)
    assert internet.sent(PAR)[0].kid == expected


@pytest.mark.covers("CAUTH-08", "DEV-03")
@pytest.mark.parametrize(
    ("client_id", "keys"),
    [
        (CLIENT_ID, [ClientKey(KEY.private_key, "publish")]),
        (CLIENT_ID, [KEY, ClientKey(generate_private_key())]),
        ("http://localhost", [KEY]),
    ],
    ids=range(3),
)
def test_client_when_keys_do_not_go_together_then_is_refused(
    client_id: str, keys: list[ClientKey]
) -> None:
    """At the start, not at the first login."""
    with pytest.raises(ConfigurationError, match="client_keys"):
        OAuthClient(client_id, REDIRECT_URI, "atproto", client_keys=keys)


@pytest.mark.covers("DEV-01")
@pytest.mark.parametrize("client_id", ["http://localhost", "http://localhost/"])
async def test_client_when_loopback_then_id_is_completed(
    internet: Servers, client_id: str
) -> None:
    """Redirect URI and scope are put into the client id."""
    redirect_uri = "http://127.0.0.1:8000/cb"
    client = OAuthClient(
        client_id,
        redirect_uri,
        SCOPE,
        MemoryStateStore(),
        network=network(),
        clock=internet.clock,
    )
    await client.start_authorization(HANDLE)
    sent = internet.sent(PAR)[0].form["client_id"]
    query = dict(parse_qsl(urlsplit(sent).query))
    assert query == {"redirect_uri": redirect_uri, "scope": SCOPE}


async def test_client_when_from_config_then_asks_for_the_login_scope(
    internet: Servers,
) -> None:
    """What the configuration says is what is sent."""
    config = OAuthConfig(
        secret_key="Zr8-kq3_uT1vYx5wNb7cMd9eAf2gHj4k",
        public_url="https://app.notes.internal",
        scope=SCOPE,
        login_scope="atproto",
        network=network(),
        clock=internet.clock,
    )
    client = OAuthClient.from_config(config, state_store=MemoryStateStore())
    await client.start_authorization(HANDLE)
    await client.start_authorization(HANDLE, scope=SCOPE)
    first, second = internet.taken(PAR)
    assert (first.form["client_id"], first.form["redirect_uri"]) == (
        CLIENT_ID,
        REDIRECT_URI,
    )
    assert (first.form["scope"], second.form["scope"]) == ("atproto", SCOPE)


# --- the callback ------------------------------------------------------------------


@pytest.mark.covers("CB-02", "CB-11", "CB-15", "LGN-09")
@pytest.mark.parametrize(
    "changes",
    [
        {"state": None},
        {"state": ""},
        {"state": "x" * 1000},
        {"state": "../../etc"},
        {"code": None},
        {"code": ""},
        {"code": "x" * 5000},
    ],
    ids=str,
)
async def test_callback_when_malformed_then_store_is_not_asked(
    internet: Servers, changes: dict[str, Any]
) -> None:
    """What cannot be an answer of ours reaches neither store nor network."""

    class Untouched(BrokenStore):
        @override
        async def get_state(self, state_key: str) -> OAuthState | None:
            raise StoreError("was asked")

        @override
        async def take_state(self, state_key: str) -> OAuthState | None:
            raise StoreError("was asked")

    client = open_client(internet, state_store=Untouched())
    callback: dict[str, Any] = {"code": "c", "state": "s" * 43, "iss": ISSUER}
    with pytest.raises(CallbackError):
        await client.handle_callback(**(callback | changes))
    with pytest.raises(StoreError):
        await client.handle_callback(**callback)
    assert internet.seen == []


@pytest.mark.covers("CB-04", "LGN-04", "LGN-05")
async def test_callback_when_state_is_unknown_or_used_then_is_refused(
    internet: Servers, client: OAuthClient
) -> None:
    """One answer for one login; the state is not in the message."""
    _, callback = await begin(internet, client)
    await client.handle_callback(**callback)
    for state in (callback["state"], "x" * 43):
        with pytest.raises(OAuthStateError) as caught:
            await client.handle_callback(**(callback | {"state": state}))
        assert state not in str(caught.value)
    assert len(internet.sent(TOKEN)) == 1


class PlainStore(StateStore):
    """A store as people write it: no ``take_state``, and every step takes time."""

    def __init__(self) -> None:
        self.states: dict[str, OAuthState] = {}

    @override
    async def save_state(self, state: OAuthState) -> None:
        self.states[state.state] = state

    @override
    async def get_state(self, state_key: str) -> OAuthState | None:
        await anyio.lowlevel.checkpoint()
        return self.states.get(state_key)

    @override
    async def delete_state(self, state_key: str) -> None:
        await anyio.lowlevel.checkpoint()
        self.states.pop(state_key, None)


@pytest.mark.covers("CB-05", "LGN-04", "TOK-18")
@pytest.mark.parametrize("make_store", [MemoryStateStore, PlainStore])
async def test_callback_when_twenty_at_once_then_one_succeeds(
    internet: Servers, make_store: Callable[[], StateStore]
) -> None:
    """The code is sent once, whatever the store is."""
    client = open_client(internet, state_store=make_store())
    request, callback = await begin(internet, client)
    outcomes: list[type] = []

    async def answer_once() -> None:
        try:
            session = await client.handle_callback(
                **callback, browser_binding=request.browser_binding
            )
            outcomes.append(type(session))
        except OAuthStateError as error:
            outcomes.append(type(error))

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(answer_once)
    assert outcomes.count(OAuthSession) == 1
    assert outcomes.count(OAuthStateError) == 19
    assert len(internet.sent(TOKEN)) == 1


@pytest.mark.covers("CB-06", "LGN-02", "LGN-08")
async def test_callback_when_in_another_browser_then_is_not_taken(
    internet: Servers, client: OAuthClient
) -> None:
    """The login stays where it is, and ends in its own browser."""
    request, callback = await begin(internet, client)
    other = await client.start_authorization(HANDLE)
    denied = {"state": callback["state"], "iss": ISSUER, "error": "access_denied"}
    for binding in (other.browser_binding, "", "x", "\udc80"):
        for parameters in (callback, denied):
            with pytest.raises(WrongBrowser):
                await client.handle_callback(**parameters, browser_binding=binding)
    assert internet.sent(TOKEN) == []
    binding = request.browser_binding
    session = await client.handle_callback(**callback, browser_binding=binding)
    assert session.did == ALICE


@pytest.mark.covers("CB-18", "PAR-12", "LGN-12")
async def test_callback_when_late_then_is_refused(internet: Servers) -> None:
    """The record's own time counts, however long a store keeps it."""
    client = open_client(internet, state_store=PlainStore())
    _, callback = await begin(internet, client)
    internet.clock.now += 601
    with pytest.raises(OAuthStateError):
        await client.handle_callback(**callback)
    assert internet.sent(TOKEN) == []


@pytest.mark.covers("CB-08", "CB-09", "MIX-01", "MIX-02", "MIX-03", "MIX-18")
@pytest.mark.parametrize(
    "iss", [None, "", OTHER_ISSUER, f"{ISSUER}/", ISSUER.upper(), f"{ISSUER}:443"]
)
@pytest.mark.parametrize("kind", ["code", "error"])
async def test_callback_when_another_server_answers_then_nothing_is_sent(
    internet: Servers, client: OAuthClient, iss: str | None, kind: str
) -> None:
    """Neither the code is sent nor the error believed."""
    _, callback = await begin(internet, client, app_state="mine")
    asked = len(internet.seen)
    parameters: dict[str, Any] = {kind: callback["code"], "state": callback["state"]}
    with pytest.raises(IssuerMismatch) as caught:
        await client.handle_callback(**parameters, iss=iss)
    assert caught.value.app_state == "mine"
    assert len(internet.seen) == asked
    with pytest.raises(OAuthStateError):
        await client.handle_callback(**callback)


@pytest.mark.covers("CB-10", "CB-12", "LGN-07")
@pytest.mark.parametrize("code", [None, "code-x"])
async def test_callback_when_denied_then_login_is_over(
    internet: Servers, client: OAuthClient, code: str | None
) -> None:
    """No token request, also if a code came along; the login is used up."""
    _, callback = await begin(internet, client, app_state="mine")
    parameters: dict[str, Any] = {**callback, "code": code, "error": "access_denied"}
    with pytest.raises(LoginDenied) as caught:
        await client.handle_callback(**parameters, error_description="no")
    assert caught.value.error == "access_denied"
    assert caught.value.error_description == "no"
    assert caught.value.app_state == "mine"
    with pytest.raises(OAuthStateError):
        await client.handle_callback(**callback)
    assert internet.sent(TOKEN) == []


Prepare = Callable[[Servers], None]


def let_bob_sign_in(internet: Servers) -> None:
    internet.alter(ISSUER + TOKEN, {"sub": BOB})


def move_alice(internet: Servers) -> None:
    internet.lead(PDS, OTHER_ISSUER)


def give_a_bearer_token(internet: Servers) -> None:
    internet.alter(ISSUER + TOKEN, {"token_type": "Bearer"})


def grant_no_atproto(internet: Servers) -> None:
    internet.alter(ISSUER + TOKEN, {"scope": "transition:generic"})


def forget_the_nonce(internet: Servers) -> None:
    silent = behaviours.altered(without_headers=["dpop-nonce"])
    internet.on(ISSUER + TOKEN, silent)


@pytest.mark.covers(
    "TOK-03", "TOK-06", "TOK-08", "TOK-09", "TOK-14", "DPOP-17", "MIX-07", "MIX-08"
)
@pytest.mark.parametrize(
    ("prepare", "error"),
    [
        (let_bob_sign_in, SubjectMismatch),
        (move_alice, AccountMoved),
        (give_a_bearer_token, OAuthTokenError),
        (grant_no_atproto, OAuthTokenError),
        (forget_the_nonce, OAuthTokenError),
    ],
)
async def test_callback_when_a_check_fails_then_tokens_are_revoked(
    internet: Servers,
    client: OAuthClient,
    prepare: Prepare,
    error: type[CallbackError],
) -> None:
    """There is no session, nothing is left at the server, and the login is known."""
    _, callback = await begin(internet, client, app_state="mine")
    prepare(internet)
    with pytest.raises(error) as caught:
        await client.handle_callback(**callback)
    assert caught.value.app_state == "mine"
    assert internet.issued[1] in internet.revoked()
    assert internet.net.sessions() == []


@pytest.mark.covers("TOK-10", "LGN-15")
async def test_callback_when_less_is_granted_then_session_has_that(
    internet: Servers, client: OAuthClient
) -> None:
    """The session holds what was granted, not what was asked for."""
    internet.alter(ISSUER + TOKEN, {"scope": "atproto"})
    assert (await log_in(internet, client)).scope == "atproto"


@pytest.mark.parametrize("app_state", [None, "", "é\x00"])
async def test_app_state_when_given_then_comes_back(
    internet: Servers, client: OAuthClient, app_state: str | None
) -> None:
    """The application's own word travels along."""
    assert (await log_in(internet, client, app_state=app_state)).app_state == app_state


async def test_callback_when_store_lost_what_is_ours_then_says_so(
    internet: Servers,
) -> None:
    """A store that drops ``extra`` fails closed."""

    class Lossy(PlainStore):
        @override
        async def save_state(self, state: OAuthState) -> None:
            await super().save_state(state.replace(extra=""))

    client = open_client(internet, state_store=Lossy())
    request, callback = await begin(internet, client)
    for binding in (request.browser_binding, None):
        with pytest.raises(StoreError, match="state store"):
            await client.handle_callback(**callback, browser_binding=binding)
    assert internet.sent(TOKEN) == []


@pytest.mark.covers("ASGI-16", "TOK-14")
@pytest.mark.parametrize("has_store", [True, False])
async def test_callback_when_waiter_is_cancelled_then_exchange_is_not_torn(
    internet: Servers, client: OAuthClient, has_store: bool
) -> None:
    """Tokens that come are checked to the end, as the wrong ones must be revoked."""
    request, pending = await client.begin_login(HANDLE)
    await client._require_state_store().save_state(pending)
    internet.signs_in = BOB
    callback = internet.approve(request[0])
    slowly(internet)
    ending = (
        client.handle_callback(**callback)
        if has_store
        else client.complete_login(pending, CallbackAnswer(**callback))
    )
    with anyio.move_on_after(0.001), pytest.raises(SubjectMismatch):
        await ending
    assert_given_back(internet)


# --- refreshing --------------------------------------------------------------------


def slowly(internet: Servers) -> None:
    async def be_slow() -> None:
        await anyio.sleep(0.02)

    internet.on(ISSUER + TOKEN, after(be_slow))


@pytest.mark.covers("REF-03", "REF-05", "RFR-01")
async def test_refresh_when_fifty_at_once_then_one_request_is_made(
    internet: Servers, client: OAuthClient
) -> None:
    """All get the same new session; later ones within a minute as well."""
    slowly(internet)
    session, got = internet.session(), []

    async def refresh() -> None:
        got.append(await client.refresh_session(session))

    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(refresh)
    await refresh()
    assert len({each.access_token for each in got}) == 1
    assert len(internet.taken(TOKEN)) == 1
    assert len(internet.sent(TOKEN)) == 2


@pytest.mark.covers("REF-03")
async def test_refresh_when_tokens_are_equal_then_accounts_stay_apart(
    internet: Servers, client: OAuthClient
) -> None:
    """A hostile server that hands out somebody's token gets nobody's session."""
    alice = internet.session()
    await client.refresh_session(alice)
    asked = len(internet.sent(TOKEN))
    with pytest.raises(SessionRevoked):
        await client.refresh_session(alice.replace(did=BOB))
    assert len(internet.sent(TOKEN)) == asked + 1


@pytest.mark.covers("REF-03", "REF-18", "RFR-06")
async def test_refresh_when_first_caller_is_cancelled_then_nothing_is_lost(
    internet: Servers, client: OAuthClient
) -> None:
    """The request is made once, and whoever asks again gets its result."""
    slowly(internet)
    session, got = internet.session(), []

    async def refresh() -> None:
        got.append(await client.refresh_session(session))

    async with anyio.create_task_group() as tasks:
        with anyio.move_on_after(0.001):
            tasks.start_soon(refresh)
            await client.refresh_session(session)
    got.append(await client.refresh_session(session))
    assert len({each.access_token for each in got}) == 1
    assert len(internet.taken(TOKEN)) == 1
    assert len(internet.sent(TOKEN)) == 2


@pytest.mark.covers("REF-18", "RFR-06")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_refresh_when_cancelled_natively_then_nothing_is_lost(
    internet: Servers, client: OAuthClient
) -> None:
    """``asyncio.wait_for`` and frameworks that cancel tasks lose no session."""
    import asyncio  # noqa: TID251 - what other frameworks do

    slowly(internet)
    session = internet.session()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(client.refresh_session(session), 0.005)
    renewed = await client.refresh_session(session)
    assert renewed.access_token in internet.issued
    assert len(internet.taken(TOKEN)) == 1


@pytest.mark.covers("REF-14")
async def test_refresh_when_it_failed_then_next_call_tries_anew(
    internet: Servers, client: OAuthClient
) -> None:
    """Failures are not remembered here."""
    session = internet.session()
    internet.cut(ISSUER)
    with pytest.raises(RefreshUnavailable):
        await client.refresh_session(session)
    internet.off(ISSUER)
    assert (await client.refresh_session(session)).access_token in internet.issued


# --- the PDS -----------------------------------------------------------------------


def refuse_once(internet: Servers, token: str) -> None:
    """The PDS takes every token but this one."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        response = answer(200, {"ok": True})
        if Headers(scope=scope)["authorization"] == f"DPoP {token}":
            challenge = {"WWW-Authenticate": 'DPoP error="invalid_token"'}
            response = answer(401, {}, headers=challenge)
        await response(scope, receive, send)

    internet.on(PDS + "/xrpc/com.example.get", serve)


async def test_pds_client_when_nobody_keeps_tokens_then_refreshes_nothing(
    internet: Servers, client: OAuthClient
) -> None:
    """The refresh token would be used up for nothing."""
    session = internet.session()
    refuse_once(internet, session.access_token)
    with pytest.raises(RefreshUnavailable):
        await client.pds_client(session).query("com.example.get")
    assert internet.paths() == []


@pytest.mark.covers("RES-09", "REF-01")
async def test_pds_client_when_hook_is_given_then_refreshes_by_itself(
    internet: Servers,
) -> None:
    """The hook has seen the new session before the new token is used."""
    events: list[str] = []

    async def on_updated(session: OAuthSession) -> None:
        events.append(f"told, {len(internet.sent('/xrpc/com.example.get'))} sent")

    client = open_client(internet, on_session_updated=on_updated)
    session = internet.session()
    refuse_once(internet, session.access_token)
    pds = client.pds_client(session)
    assert (await pds.query("com.example.get")).status_code == 200
    assert (await pds.query("com.example.get")).status_code == 200
    assert events == ["told, 1 sent"]
    assert len(internet.sent("/xrpc/com.example.get")) == 3


@pytest.mark.covers("RES-02", "RES-06", "ASG-05")
async def test_pds_clients_when_of_two_people_then_do_not_mix(
    internet: Servers, client: OAuthClient
) -> None:
    """They share connections and nothing else."""
    alice, bob = internet.session(), internet.session(did=BOB)
    refuse_once(internet, "nobody")
    for session in (alice, bob):
        await client.pds_client(session).query("com.example.get")
        with pytest.raises(Blocked):
            await client.pds_client(session).get("https://evil.example/")
    tokens = [
        seen.headers["authorization"] for seen in internet.sent("/xrpc/com.example.get")
    ]
    assert tokens == [f"DPoP {each.access_token}" for each in (alice, bob)]


# --- a session store ---------------------------------------------------------------


async def test_session_store_when_given_then_keeps_new_and_forgets_ended_ones(
    internet: Servers,
) -> None:
    """A login saves, a revocation deletes."""
    store = MemorySessionStore()
    client = open_client(internet, session_store=store)
    session = await log_in(internet, client)
    assert await store.get_session(ALICE) is session
    await client.revoke_session(session)
    assert await store.get_session(ALICE) is None
    assert internet.revoked() == [session.refresh_token]


async def test_session_store_when_waiter_is_cancelled_then_has_the_session(
    internet: Servers,
) -> None:
    """A login that was ended is kept, whoever has gone away meanwhile."""
    store = MemorySessionStore()
    client = open_client(internet, session_store=store)
    _, callback = await begin(internet, client)
    slowly(internet)
    with anyio.move_on_after(0.001):
        await client.handle_callback(**callback)
    assert await store.get_session(ALICE) is not None
    assert internet.sent(REVOKE) == []


@pytest.mark.covers("TOK-14", "STORE-01")
async def test_session_store_when_it_fails_then_new_session_is_revoked(
    internet: Servers,
) -> None:
    """Tokens that nobody keeps are given back."""

    class Full(MemorySessionStore):
        @override
        async def save_session(self, session: OAuthSession) -> None:
            raise StoreError("full")

    client = open_client(internet, session_store=Full())
    with pytest.raises(StoreError):
        await log_in(internet, client)
    assert_given_back(internet)


async def test_session_store_when_tokens_are_renewed_then_has_them_first(
    internet: Servers,
) -> None:
    """A client that refreshes by itself saves before it uses."""
    store = MemorySessionStore()
    client = open_client(internet, session_store=store)
    session = internet.session()
    refuse_once(internet, session.access_token)
    await client.pds_client(session).query("com.example.get")
    kept = await store.get_session(ALICE)
    assert kept is not None
    sent = internet.sent("/xrpc/com.example.get")[-1].headers["authorization"]
    assert sent == f"DPoP {kept.access_token}"


@pytest.mark.covers("OUT-02")
async def test_revoke_when_server_is_down_then_store_forgets_all_the_same(
    internet: Servers,
) -> None:
    """Logging out here does not depend on others."""
    store = MemorySessionStore()
    client = open_client(internet, session_store=store)
    session = await log_in(internet, client)
    internet.cut(ISSUER)
    with pytest.raises(Unreachable):
        await client.revoke_session(session)
    assert await store.get_session(ALICE) is None


# --- sessions out of a store ---------------------------------------------------------


async def test_restore_when_newest_is_bound_to_a_key_that_is_gone_then_another_is_found() -> (
    None
):
    """The one that was renewed last, of those that can be used."""
    store = MemoryStore()
    old = ClientKey(generate_private_key(), kid="old")
    new = ClientKey(generate_private_key(), kid="new")
    options: dict[str, Any] = {"secret_key": "a secret of 32 bytes, or some more"}

    def client(*keys: ClientKey) -> OAuthClient:
        arguments = (CLIENT_ID, REDIRECT_URI, SCOPE, None, store)
        return OAuthClient(*arguments, client_keys=keys, **options)

    later = datetime.now(UTC) + timedelta(seconds=60)
    usable = make_session(kid="new", created_at=datetime(2020, 1, 1, tzinfo=UTC))
    newest = make_session(kid="old", verified_at=later)
    for each in (usable, newest):
        await client(new).sessions.begin(each)
    found = await client(new).restore(usable.did)
    assert found.session_id == usable.session_id
    both = client(new, replace(old, use="publish"))
    assert (await both.restore(usable.did)).session_id == newest.session_id
    with pytest.raises(ClientKeyRetired):
        await client(ClientKey(generate_private_key(), kid="x")).restore(usable.did)


def test_client_id_when_in_development_then_names_every_redirect_uri() -> None:
    """A server would refuse those that it does not name."""
    client = OAuthClient(
        "http://localhost",
        "http://127.0.0.1/a",
        "atproto",
        redirect_uris=["http://127.0.0.1/b"],
    )
    query = parse_qs(urlsplit(client._identity.client_id).query)
    assert query["redirect_uri"] == ["http://127.0.0.1/a", "http://127.0.0.1/b"]
