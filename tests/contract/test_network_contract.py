"""The in-process network answers as the official PDS does, over the wire."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from atproto_oauth_asgi.protocol.server_metadata import (
    check_protected_resource,
    parse_protected_resource,
    parse_server_metadata,
)
from atproto_oauth_asgi.protocol.urls import UrlPolicy
from atproto_oauth_asgi.testing import SignInError as OurSignInError
from tests.contract.peers import (
    CLIENT_ID,
    COLLECTION,
    REDIRECT_URI,
    SCOPE,
    Login,
    Peer,
    Teller,
    answer_in,
    in_process,
    reference,
)
from tests.reference_network.sign_in import SignInError

ELSEWHERE_ID = "http://localhost?redirect_uri=https%3A%2F%2Fevil.example%2Fcallback"
WITH_PORT_ID = CLIENT_ID.replace("127.0.0.1%2F", "127.0.0.1%3A9%2F")

_NETWORKS = ["in-process", pytest.param("reference", marks=pytest.mark.network)]


@pytest.fixture(params=_NETWORKS)
def peer(request: pytest.FixtureRequest) -> Iterator[Peer]:
    """Each network in turn."""
    if request.param == "in-process":
        yield in_process(request.getfixturevalue("atproto_network"))
        return
    with httpx.Client(trust_env=False, timeout=30) as http:
        yield reference(request.getfixturevalue("fresh_network"), http)


@pytest.fixture
def teller(peer: Peer) -> Teller:
    return Teller(peer)


@pytest.fixture
def login(teller: Teller) -> Login:
    return Login(teller)


def outcome(answer: httpx.Response) -> tuple[int, Any]:
    return answer.status_code, answer.json().get("error")


def test_discovery_when_asked_then_our_own_parsers_accept_it(peer: Peer) -> None:
    """Both documents are there, name each other, and hold what atproto asks for."""
    policy = UrlPolicy(
        http_hosts=("localhost",), private_hosts=("localhost",), test_names=True
    )
    url = "/.well-known/oauth-protected-resource"
    answer = peer.send("GET", peer.pds_url + url)
    issuer = parse_protected_resource(answer.content, peer.pds_url, policy=policy)
    assert issuer == peer.issuer
    url = "/.well-known/oauth-authorization-server"
    answer = peer.send("GET", peer.issuer + url)
    found = parse_server_metadata(answer.content, peer.issuer, policy=policy)
    check_protected_resource(found, peer.pds_url)
    assert found.revocation_endpoint == f"{peer.issuer}/oauth/revoke"


def test_handle_when_resolved_then_is_the_account_or_an_error(peer: Peer) -> None:
    """A handle leads to its DID; one that nobody has is a 400."""
    url = f"{peer.pds_url}/xrpc/com.atproto.identity.resolveHandle"
    answer = peer.send("GET", url, params={"handle": "alice.test"})
    assert answer.json() == {"did": peer.dids["alice.test"]}
    answer = peer.send("GET", url, params={"handle": "nobody.test"})
    assert answer.status_code == 400


def test_par_when_nonce_is_missing_then_is_challenged_once(login: Login) -> None:
    """The first request comes back with a nonce, the second one is taken."""
    first = login.teller.post("/oauth/par", login.form())
    assert outcome(first) == (400, "use_dpop_nonce")
    assert first.headers["dpop-nonce"]
    second = login.teller.post("/oauth/par", login.form())
    assert second.status_code == 201
    assert second.json()["request_uri"].startswith("urn:")
    assert 0 < second.json()["expires_in"] <= 300
    assert second.headers["dpop-nonce"]


def test_par_when_nonces_rotate_then_is_challenged_again(login: Login) -> None:
    """A nonce that has become stale is refused like none."""
    assert login.push().status_code == 201
    login.teller.peer.rotate_nonces()
    assert outcome(login.teller.post("/oauth/par", login.form())) == (
        400,
        "use_dpop_nonce",
    )


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"scope": "atproto repo:com.example.other"}, "invalid_scope"),
        ({"scope": f"repo:{COLLECTION}"}, "invalid_scope"),
        ({"redirect_uri": "http://127.0.0.1/elsewhere"}, "invalid_request"),
        ({"redirect_uri": "http://localhost/callback"}, "invalid_request"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"login_hint": "alice@mail.test"}, "invalid_request"),
        ({"prompt": "none"}, "invalid_request"),
        ({"client_id": "http://localhost:8000"}, "invalid_client_metadata"),
        ({"client_id": "http://localhost?x=1"}, "invalid_client_metadata"),
        ({"client_id": ELSEWHERE_ID}, "invalid_client_metadata"),
        ({"client_id": WITH_PORT_ID}, "invalid_request"),
    ],
    ids=str,
)
def test_par_when_something_is_wrong_then_is_refused(
    login: Login, change: dict[str, str | None], error: str
) -> None:
    """What the client may not ask for is refused, with the same error."""
    assert outcome(login.push(**change)) == (400, error)


def test_par_when_proof_is_wrong_then_401(login: Login) -> None:
    """A proof for another URL or method, or one that was used, is refused."""
    teller, form = login.teller, login.form()
    url = f"{teller.peer.issuer}/oauth/par"
    login.push()
    used = teller.proof("POST", url)
    assert teller.post("/oauth/par", form, proof=used).status_code == 201
    wrong = [
        used,
        teller.proof("GET", url),
        teller.proof("POST", f"{teller.peer.issuer}/oauth/token"),
        "not a proof",
    ]
    for proof in wrong:
        answer = teller.post("/oauth/par", form, proof=proof)
        assert outcome(answer) == (401, "invalid_dpop_proof")


def test_consent_when_given_then_code_state_and_issuer_come_back(login: Login) -> None:
    """The redirect holds what RFC 9207 and RFC 6749 ask for."""
    answer = login.approve()
    assert answer.keys() == {"code", "state", "iss"}
    assert answer["state"] == login.state
    assert answer["iss"] == login.teller.peer.issuer


def test_consent_when_denied_then_error_state_and_issuer_come_back(
    login: Login,
) -> None:
    """A no comes back as an error, to the same login."""
    answer = answer_in(login.teller.peer.deny(login.auth_url()))
    assert answer["error"] == "access_denied"
    assert answer["state"] == login.state
    assert answer["iss"] == login.teller.peer.issuer
    assert "code" not in answer


def test_consent_when_request_is_opened_again_then_its_code_is_lost(
    login: Login,
) -> None:
    """A request URI works once; opened again, it takes the code back."""
    auth_url = login.auth_url()
    first = answer_in(login.teller.peer.approve(auth_url, None))
    again = answer_in(login.teller.peer.approve(auth_url, None))
    assert again["error"] == "access_denied"
    assert outcome(login.redeem(first["code"])) == (400, "invalid_grant")


def test_consent_when_client_is_another_then_no_code(login: Login) -> None:
    """A request URI belongs to the client that pushed it."""
    auth_url = login.auth_url("http://localhost")
    try:
        answer = answer_in(login.teller.peer.approve(auth_url, None))
    except (SignInError, OurSignInError):
        return
    assert answer["error"] == "access_denied"
    assert "code" not in answer


def test_token_when_redeemed_then_answer_is_complete(login: Login) -> None:
    """A code becomes a session, and tokens that hold its account and scope."""
    tokens = login.tokens()
    assert tokens.keys() == {
        "access_token",
        "expires_in",
        "refresh_token",
        "scope",
        "sub",
        "token_type",
    }
    peer = login.teller.peer
    assert tokens["sub"] == peer.dids["alice.test"]
    assert tokens["token_type"] == "DPoP"
    assert set(tokens["scope"].split(" ")) == set(SCOPE.split(" "))
    assert 3500 < tokens["expires_in"] <= 3600
    (session,) = peer.sessions()
    assert (session["did"], session["clientId"]) == (tokens["sub"], CLIENT_ID)


def test_token_when_consent_was_narrower_then_scope_says_so(login: Login) -> None:
    """Less may be granted than was asked for; the PDS holds to it."""
    tokens = login.tokens("atproto")
    assert tokens["scope"] == "atproto"
    answer = login.teller.create_note(tokens["access_token"], "no")
    assert outcome(answer) == (403, "ScopeMissingError")


def test_code_when_used_twice_then_session_is_ended(login: Login) -> None:
    """A code that comes again has been stolen: nobody keeps anything."""
    code = login.approve()["code"]
    assert login.redeem(code).status_code == 200
    assert outcome(login.redeem(code)) == (400, "invalid_grant")
    assert login.teller.peer.sessions() == []


@pytest.mark.parametrize(
    "change",
    [
        {"code_verifier": "x" * 43},
        {"redirect_uri": REDIRECT_URI.replace("8000", "8001")},
        {"client_id": "http://localhost"},
    ],
    ids=str,
)
def test_code_when_redeemed_wrongly_then_is_burnt(
    login: Login, change: dict[str, str | None]
) -> None:
    """One wrong try, and the code counts no more."""
    code = login.approve()["code"]
    assert outcome(login.redeem(code, **change)) == (400, "invalid_grant")
    assert outcome(login.redeem(code)) == (400, "invalid_grant")


def test_code_when_key_is_another_then_is_refused(login: Login) -> None:
    """The key that pushed the request is the one that gets the tokens."""
    code = login.approve()["code"]
    thief = Login(Teller(login.teller.peer), verifier=login.verifier)
    assert outcome(thief.redeem(code)) == (400, "invalid_grant")


def test_code_when_form_lacks_a_field_then_is_not_burnt(login: Login) -> None:
    """A form that is no token request at all changes nothing."""
    code = login.approve()["code"]
    assert login.redeem(code, redirect_uri=None).status_code == 400
    assert login.redeem(code).status_code == 200


def test_refresh_when_sent_then_both_tokens_are_new(login: Login) -> None:
    """Tokens rotate, and the access token before counts no more."""
    old = login.tokens()
    new = login.refresh(old["refresh_token"]).json()
    assert new["access_token"] != old["access_token"]
    assert new["refresh_token"] != old["refresh_token"]
    teller = login.teller
    assert outcome(teller.whoami(old["access_token"])) == (401, "invalid_token")
    assert teller.whoami(new["access_token"]).json()["did"] == new["sub"]


def test_refresh_when_replayed_then_session_is_ended(login: Login) -> None:
    """A refresh token that comes again takes the newest tokens with it."""
    old = login.tokens()
    new = login.refresh(old["refresh_token"]).json()
    assert outcome(login.refresh(old["refresh_token"])) == (400, "invalid_grant")
    assert login.teller.peer.sessions() == []
    assert outcome(login.refresh(new["refresh_token"])) == (400, "invalid_grant")


def test_refresh_when_key_is_another_then_session_is_ended(login: Login) -> None:
    """Who holds the token but not the key is a thief."""
    tokens = login.tokens()
    thief = Login(Teller(login.teller.peer))
    assert outcome(thief.refresh(tokens["refresh_token"])) == (400, "invalid_grant")
    assert login.teller.peer.sessions() == []


def test_revocation_when_token_is_right_then_session_is_ended(login: Login) -> None:
    """The refresh token ends the session."""
    tokens = login.tokens()
    answer = login.revoke(tokens["refresh_token"])
    assert (answer.status_code, answer.json()) == (200, {})
    assert login.teller.peer.sessions() == []
    token = tokens["access_token"]
    assert outcome(login.teller.whoami(token)) == (401, "invalid_token")


def test_revocation_when_wrong_then_200_and_nothing_ends(login: Login) -> None:
    """The answer is 200 to anything: garbage, another key, a rotated access token."""
    old = login.tokens()
    new = login.refresh(old["refresh_token"]).json()
    thief = Login(Teller(login.teller.peer))
    for answer in (
        login.revoke("garbage"),
        login.revoke(old["access_token"]),
        thief.revoke(new["refresh_token"]),
    ):
        assert (answer.status_code, answer.json()) == (200, {})
    assert len(login.teller.peer.sessions()) == 1
    login.revoke(old["refresh_token"])
    assert login.teller.peer.sessions() == []


def test_pds_when_nobody_is_named_then_auth_missing(peer: Peer) -> None:
    """Without credentials there is neither a challenge nor a nonce."""
    answer = peer.send("GET", f"{peer.pds_url}/xrpc/com.atproto.server.getSession")
    assert outcome(answer) == (401, "AuthMissing")
    assert "dpop-nonce" not in answer.headers


def test_pds_when_token_is_sent_without_proof_then_refused(login: Login) -> None:
    """A DPoP token is no bearer token."""
    token = login.tokens()["access_token"]
    peer = login.teller.peer
    url = f"{peer.pds_url}/xrpc/com.atproto.server.getSession"
    answer = peer.send("GET", url, headers={"Authorization": f"Bearer {token}"})
    assert outcome(answer) == (400, "InvalidToken")
    answer = peer.send("GET", url, headers={"Authorization": f"DPoP {token}"})
    assert outcome(answer) == (401, "invalid_dpop_proof")
    assert answer.headers["www-authenticate"].startswith("DPoP ")


def test_pds_when_nonce_is_missing_then_is_challenged(login: Login) -> None:
    """The challenge stands in the header, the nonce beside it."""
    token = login.tokens()["access_token"]
    teller = login.teller
    url = f"{teller.peer.pds_url}/xrpc/com.atproto.server.getSession"
    teller.nonce = None
    headers = {
        "Authorization": f"DPoP {token}",
        "DPoP": teller.proof("GET", url, token),
    }
    answer = teller.peer.send("GET", url, headers=headers)
    assert outcome(answer) == (401, "use_dpop_nonce")
    assert 'error="use_dpop_nonce"' in answer.headers["www-authenticate"]
    assert answer.headers["dpop-nonce"]


def test_pds_when_proof_is_not_for_this_token_then_refused(login: Login) -> None:
    """Neither another key nor another token's hash will do."""
    token = login.tokens()["access_token"]
    thief = Teller(login.teller.peer)
    assert outcome(thief.whoami(token)) == (401, "invalid_token")
    teller = login.teller
    url = f"{teller.peer.pds_url}/xrpc/com.atproto.server.getSession"
    headers = {
        "Authorization": f"DPoP {token}",
        "DPoP": teller.proof("GET", url, "another"),
    }
    answer = teller.peer.send("GET", url, headers=headers)
    assert outcome(answer) == (401, "invalid_dpop_proof")


def test_pds_when_token_has_expired_then_refresh_brings_one_that_counts(
    login: Login,
) -> None:
    """An access token ends at its time; the session goes on."""
    login.teller.peer.set_token_lifetime_s(1)
    tokens = login.tokens()
    time.sleep(1.2)
    answer = login.teller.whoami(tokens["access_token"])
    assert outcome(answer) == (401, "invalid_token")
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    login.teller.peer.set_token_lifetime_s(60)
    new = login.refresh(tokens["refresh_token"]).json()
    assert login.teller.whoami(new["access_token"]).status_code == 200


def test_pds_when_session_is_revoked_then_tokens_are_dead(login: Login) -> None:
    """What the server forgets counts nowhere."""
    tokens = login.tokens()
    assert login.teller.peer.revoke() == 1
    answer = login.teller.whoami(tokens["access_token"])
    assert outcome(answer) == (401, "invalid_token")
    assert outcome(login.refresh(tokens["refresh_token"])) == (400, "invalid_grant")


def test_record_when_written_then_anybody_reads_it(login: Login) -> None:
    """A record is written with a token, and read without one."""
    token = login.tokens()["access_token"]
    written = login.teller.create_note(token, "hello").json()
    did, _, rkey = written["uri"].removeprefix("at://").split("/")
    peer = login.teller.peer
    url = f"{peer.pds_url}/xrpc/com.atproto.repo.getRecord"
    query = {"repo": did, "collection": COLLECTION, "rkey": rkey}
    found = peer.send("GET", url, params=query).json()
    assert found["value"]["text"] == "hello"
    assert (found["uri"], found["cid"]) == (written["uri"], written["cid"])
    missing = peer.send("GET", url, params={**query, "rkey": "nothing"})
    assert outcome(missing) == (400, "RecordNotFound")
    listed = peer.send("GET", url.replace("getRecord", "listRecords"), params=query)
    assert found in listed.json()["records"]
