from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from atproto_oauth_asgi.client_keys import ClientKey
from atproto_oauth_asgi.crypto.keys import generate_private_key, thumbprint
from atproto_oauth_asgi.exceptions import (
    AccountMoved,
    ClientKeyRetired,
    DidNotResolved,
    OAuthError,
    OAuthTokenError,
    ScopeMissingError,
    SubjectMismatch,
    Unreachable,
)
from atproto_oauth_asgi.models import OAuthSession, OAuthState
from atproto_oauth_asgi.network.services import NetworkServices
from atproto_oauth_asgi.pkce import PKCEManager
from atproto_oauth_asgi.sessions.exchange import CodeExchange
from atproto_oauth_asgi.testing import behaviours
from tests.network.atproto import (
    ALICE,
    BOB,
    HANDLE,
    ISSUER,
    METADATA,
    OTHER_ISSUER,
    PDS,
    PDS2,
    PLC,
    REDIRECT_URI,
    REVOKE,
    SCOPE,
    TOKEN,
    Servers,
    assert_given_back,
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

pytestmark = pytest.mark.anyio


@pytest.fixture
def services(internet: Servers) -> NetworkServices:
    return open_services(internet)


def pending(
    internet: Servers, kid: str | None = None, *, is_for_anyone: bool = False
) -> tuple[OAuthState, str]:
    """A login that has been approved, and the code that the server knows."""
    verifier, challenge = PKCEManager.generate_pair()
    made = OAuthState(
        state="s" * 43,
        pkce_verifier=verifier,
        redirect_uri=REDIRECT_URI,
        scope=SCOPE,
        authserver_iss=ISSUER,
        dpop_private_key=generate_private_key(),
        did=None if is_for_anyone else ALICE,
        handle=None if is_for_anyone else HANDLE,
        pds_url=None if is_for_anyone else PDS,
        extra=json.dumps(
            {"binding": "", "anyone": is_for_anyone, "kid": kid, "app_state": None}
        ),
    )
    form = {"code_challenge": challenge, "redirect_uri": REDIRECT_URI}
    key = thumbprint(made.dpop_private_key)
    return made, internet.expect_code(form, dpop_thumbprint=key)


async def redeem(
    internet: Servers,
    services: NetworkServices,
    login: tuple[OAuthState, str] | None = None,
    *,
    required_scopes: Sequence[str] = (),
) -> OAuthSession:
    exchange = CodeExchange(
        services.accounts,
        services.server,
        required_scopes=required_scopes,
        clock=internet.clock,
    )
    made, code = login or pending(internet)
    return await exchange.redeem(made, code=code)


@pytest.mark.covers("TOK-01", "TOK-17", "PAR-14")
async def test_redeem_when_right_then_gives_the_session(
    internet: Servers, services: NetworkServices
) -> None:
    """The session says who, where, what and until when."""
    made, code = pending(internet)
    session = await redeem(internet, services, (made, code))
    assert (session.did, session.handle, session.pds_url) == (ALICE, HANDLE, PDS)
    assert (session.authserver_iss, session.scope) == (ISSUER, SCOPE)
    assert [session.access_token, session.refresh_token] == internet.issued
    assert session.dpop_private_key is made.dpop_private_key
    now = datetime.fromtimestamp(internet.clock(), UTC)
    assert (session.created_at, session.verified_at) == (now, now)
    assert len(session.session_id) == 43
    [seen] = internet.taken(TOKEN)
    assert seen.form["code"] == code
    assert seen.form["code_verifier"] == made.pkce_verifier
    assert seen.form["redirect_uri"] == REDIRECT_URI
    assert internet.sent(REVOKE) == []


@pytest.mark.covers("SESS-03")
async def test_redeem_when_repeated_then_session_ids_differ(
    internet: Servers, services: NetworkServices
) -> None:
    """Every login is a session of its own."""
    first = await redeem(internet, services)
    second = await redeem(internet, services)
    assert first.session_id != second.session_id


@pytest.mark.covers("TOK-11")
async def test_expiry_when_server_is_slow_then_counts_from_before(
    internet: Servers, services: NetworkServices
) -> None:
    """The token is never thought to live longer than it does."""
    began_at = internet.clock()

    async def be_slow() -> None:
        internet.clock.now += 8

    login = pending(internet)
    internet.on(ISSUER + METADATA, after(be_slow))
    session = await redeem(internet, services, login)
    assert session.expires_at is not None
    assert session.expires_at.timestamp() == began_at + 3600


@pytest.mark.covers("TOK-11")
async def test_expiry_when_server_does_not_say_then_is_unknown(
    internet: Servers, services: NetworkServices
) -> None:
    """An unknown end is no end in the past."""
    internet.alter(ISSUER + TOKEN, {}, without=("expires_in",))
    assert (await redeem(internet, services)).expires_at is None


@pytest.mark.covers("TOK-06", "TOK-14", "MIX-07", "MIX-08")
@pytest.mark.parametrize("sub", [BOB, "did:web:bob.example.com"])
async def test_redeem_when_another_account_signs_in_then_is_refused(
    internet: Servers, services: NetworkServices, sub: str
) -> None:
    """Nobody becomes somebody else, and the tokens are revoked."""
    internet.signs_in = sub
    with pytest.raises(SubjectMismatch):
        await redeem(internet, services)
    assert_given_back(internet)


@pytest.mark.covers("TOK-06", "MIX-08")
async def test_redeem_when_the_store_lost_the_account_then_is_refused(
    internet: Servers, services: NetworkServices
) -> None:
    """A login that began for somebody does not become one for anybody."""
    made, code = pending(internet)
    with pytest.raises(OAuthError):
        await redeem(internet, services, (made.replace(did=None), code))
    assert_given_back(internet)


@pytest.mark.covers("DISC-19")
@pytest.mark.parametrize(("who", "handle"), [(ALICE, HANDLE), (BOB, "bob.example.com")])
async def test_redeem_when_a_server_was_named_then_takes_who_signs_in(
    internet: Servers, services: NetworkServices, who: str, handle: str
) -> None:
    """The account itself leads to that server, so its word counts."""
    internet.signs_in = who
    login = pending(internet, is_for_anyone=True)
    session = await redeem(internet, services, login)
    assert (session.did, session.handle, session.pds_url) == (who, handle, PDS)
    assert session.authserver_iss == ISSUER
    assert internet.sent(REVOKE) == []


@pytest.mark.covers("DISC-19", "MIX-09")
async def test_redeem_when_a_server_names_an_account_of_another_then_is_refused(
    internet: Servers, services: NetworkServices
) -> None:
    """A server can sign in its own people only."""
    internet.net.move(ALICE, PDS2)
    internet.lead(PDS2, OTHER_ISSUER)
    with pytest.raises(SubjectMismatch):
        await redeem(internet, services, pending(internet, is_for_anyone=True))
    assert_given_back(internet)


@pytest.mark.covers("TOK-14")
async def test_redeem_when_what_is_required_was_not_granted_then_names_it(
    internet: Servers, services: NetworkServices
) -> None:
    """The person can be asked for exactly that; these tokens are given back."""
    missing = ("repo:com.example.like", "rpc:com.example.get?aud=*")
    with pytest.raises(ScopeMissingError, match=" ".join(map(re.escape, missing))) as (
        caught
    ):
        await redeem(internet, services, required_scopes=("atproto", *missing))
    assert caught.value.missing == missing
    assert_given_back(internet)


async def test_redeem_when_what_is_required_was_granted_then_gives_the_session(
    internet: Servers, services: NetworkServices
) -> None:
    """Also where a permission set may bring it, which only the server can tell."""
    login = pending(internet)
    assert (await redeem(internet, services, login, required_scopes=SCOPE.split())).did
    internet.alter(ISSUER + TOKEN, {"scope": "atproto include:com.example.full"})
    await redeem(internet, services, required_scopes=("repo:com.example.like",))


@pytest.mark.covers("DPOP-17")
async def test_redeem_when_the_answer_has_no_nonce_then_is_refused(
    internet: Servers, services: NetworkServices
) -> None:
    """Nothing is lost here: the tokens are given back."""
    silent = behaviours.altered(without_headers=["dpop-nonce"])
    login = pending(internet)
    internet.on(ISSUER + TOKEN, in_turn(as_usual, silent))
    with pytest.raises(OAuthTokenError):
        await redeem(internet, services, login)
    assert internet.issued[-1] in internet.revoked()
    assert internet.net.sessions() == []


async def test_redeem_when_the_login_brings_a_nonce_then_one_request_is_spared(
    internet: Servers, services: NetworkServices
) -> None:
    """Another process has learnt it when it began the login."""
    await redeem(internet, services)
    challenged, taken = internet.sent(TOKEN)
    assert "nonce" not in challenged.proof
    made, code = pending(internet)
    made = made.replace(dpop_authserver_nonce=taken.proof["nonce"])
    await redeem(internet, open_services(internet), (made, code))
    assert len(internet.sent(TOKEN)) == 3


@pytest.mark.covers("TOK-07", "TOK-08", "TOK-14", "IDN-17", "MIX-09")
@pytest.mark.parametrize("where", ["pds", "issuer"])
async def test_redeem_when_account_has_moved_then_is_refused(
    internet: Servers, services: NetworkServices, where: str
) -> None:
    """The account must still lead to the server that answers."""
    home = PDS2 if where == "pds" else PDS
    internet.net.move(ALICE, home)
    internet.lead(home, OTHER_ISSUER)
    with pytest.raises(AccountMoved):
        await redeem(internet, services)
    assert_given_back(internet)


@pytest.mark.covers("TOK-08", "TOK-14")
@pytest.mark.parametrize(
    ("origin", "error"),
    [(PLC, Unreachable), (PDS, Unreachable), (None, DidNotResolved)],
)
async def test_redeem_when_account_cannot_be_looked_up_then_is_refused(
    internet: Servers,
    services: NetworkServices,
    origin: str | None,
    error: type[OAuthError],
) -> None:
    """At a login there is no benefit of the doubt; the tokens are revoked."""
    if origin is None:
        del internet.net.directory.documents[ALICE]
    else:
        internet.cut(origin)
    with pytest.raises(error):
        await redeem(internet, services)
    assert_given_back(internet)


@pytest.mark.covers("TOK-14")
async def test_redeem_when_there_is_no_refresh_token_then_access_token_is_revoked(
    internet: Servers, services: NetworkServices
) -> None:
    """Something is always given back."""
    internet.signs_in = BOB
    internet.alter(ISSUER + TOKEN, {}, without=("refresh_token",))
    with pytest.raises(SubjectMismatch):
        await redeem(internet, services)
    access_token, _ = internet.issued
    assert internet.revoked() == [access_token]
    assert internet.net.sessions() == []


@pytest.mark.covers("TOK-14", "OUT-02")
async def test_redeem_when_revoking_fails_then_first_error_stays(
    internet: Servers, services: NetworkServices
) -> None:
    """A failing clean-up hides nothing."""
    internet.signs_in = BOB
    internet.on(ISSUER + REVOKE, answer(500, {}))
    with pytest.raises(SubjectMismatch):
        await redeem(internet, services)
    assert len(internet.sent(REVOKE)) == 1


@pytest.mark.covers("TOK-18")
@pytest.mark.parametrize("status", [400, 500, 503])
async def test_redeem_when_refused_then_code_is_not_sent_again(
    internet: Servers, services: NetworkServices, status: int
) -> None:
    """A code is sent once."""
    internet.on(ISSUER + TOKEN, answer(status, {"error": "server_error"}))
    with pytest.raises(OAuthTokenError):
        await redeem(internet, services)
    assert len(internet.sent(TOKEN)) == 1


@pytest.mark.covers("ID-22", "IDN-17")
async def test_redeem_when_handle_was_given_up_then_is_left_out(
    internet: Servers, services: NetworkServices
) -> None:
    """A handle is shown only while the account claims it."""
    internet.claim(ALICE, "other.example.com")
    session = await redeem(internet, services)
    assert (session.did, session.handle) == (ALICE, None)


@pytest.mark.covers("REF-13")
async def test_redeem_when_only_the_pds_changed_then_session_has_the_new_one(
    internet: Servers, services: NetworkServices
) -> None:
    """The server may have moved the account between its hosts."""
    internet.net.move(ALICE, PDS2)
    assert (await redeem(internet, services)).pds_url == PDS2


@pytest.mark.covers("CAUTH-06", "CAUTH-07")
async def test_redeem_when_confidential_then_key_of_the_login_is_used(
    internet: Servers,
) -> None:
    """A login that began before a rotation ends with its own key, or not at all."""
    old = ClientKey(generate_private_key(), "publish", kid="key-0")
    new = ClientKey(generate_private_key(), kid="key-1")
    services = open_services(internet, new, old)
    session = await redeem(internet, services, pending(internet, kid="key-0"))
    assert session.kid == "key-0"
    [seen] = internet.taken(TOKEN)
    assert seen.kid == "key-0"
    asked = len(internet.sent(TOKEN))
    with pytest.raises(ClientKeyRetired):
        await redeem(internet, open_services(internet, new), pending(internet, "key-0"))
    assert len(internet.sent(TOKEN)) == asked
