"""The in-process network answers as the official PDS does, over the wire."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from atproto_oauth_asgi.crypto.keys import JwtSigner, public_jwk
from atproto_oauth_asgi.protocol.server_metadata import (
    check_protected_resource,
    parse_protected_resource,
    parse_server_metadata,
)
from atproto_oauth_asgi.protocol.urls import UrlPolicy
from tests.contract.peers import (
    CLIENT_ID,
    COLLECTION,
    REDIRECT_URI,
    SCOPE,
    Login,
    Loopback,
    Peer,
    Teller,
    answer_in,
    outcome,
)

ELSEWHERE_ID = "http://localhost?redirect_uri=https%3A%2F%2Fevil.example%2Fcallback"
WITH_PORT_ID = CLIENT_ID.replace("127.0.0.1%2F", "127.0.0.1%3A9%2F")


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
        ({"prompt": "bogus"}, "invalid_request"),
        ({"response_mode": "bogus"}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"scope": None}, "invalid_scope"),
        ({"scope": ""}, "invalid_request"),
        ({"scope": "atproto  repo:com.example.note"}, "invalid_request"),
        ({"nonce": "n"}, "invalid_request"),
        ({"max_age": "soon"}, "invalid_request"),
        ({"display": "tv"}, "invalid_request"),
        ({"ui_locales": "English"}, "invalid_request"),
        ({"login_hint": ""}, "invalid_request"),
        ({"login_hint": "alice"}, "invalid_request"),
        ({"login_hint": "did:plc:short"}, "invalid_request"),
        ({"login_hint": "did:key:abc"}, "invalid_request"),
        ({"client_id": "http://localhost:8000"}, "invalid_client_metadata"),
        ({"client_id": "http://localhost?x=1"}, "invalid_client_metadata"),
        ({"client_id": "http://localhost?scope=email"}, "invalid_client_metadata"),
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


@pytest.mark.parametrize(
    "change",
    [
        {"redirect_uri": None},
        {"state": None},
        {"login_hint": "ALICE.test"},
        {"prompt": "login"},
        {"prompt": "create"},
        {"prompt": "select_account"},
        {"response_mode": "query"},
        {"response_mode": "fragment"},
        {"response_mode": "form_post"},
        {"max_age": "0"},
        {"display": "popup"},
        {"ui_locales": "de-AT en"},
        {"login_hint": "did:plc:" + "a" * 24},
        {"login_hint": "did:web:alice.test"},
        {"scope": "atproto atproto"},
        {"unknown": "parameter"},
    ],
    ids=str,
)
def test_par_when_something_is_unusual_then_is_accepted(
    login: Login, change: dict[str, str | None]
) -> None:
    """What may be left out or chosen is not refused."""
    assert login.push(**change).status_code == 201


def test_par_when_there_is_no_proof_then_token_request_binds(login: Login) -> None:
    """A key that was not announced is that of the token request."""
    pushed = login.teller.post("/oauth/par", login.form(), proof="")
    assert pushed.status_code == 201
    query = {"client_id": CLIENT_ID, "request_uri": pushed.json()["request_uri"]}
    peer = login.teller.peer
    url = str(httpx.URL(f"{peer.issuer}/oauth/authorize", params=query))
    tokens = login.redeem(answer_in(peer.approve(url, None))["code"]).json()
    assert login.teller.whoami(tokens["access_token"]).status_code == 200


def test_scope_when_it_means_nothing_then_is_not_granted(teller: Teller) -> None:
    """What the server does not know is left out, without a word."""
    side = Loopback()
    side.scope = f"{SCOPE} foo:bar repo:nothing"
    side.client_id = CLIENT_ID.replace(
        quote(SCOPE, safe=""), quote(side.scope, safe="")
    )
    tokens = Login(teller, side=side).tokens()
    assert set(tokens["scope"].split(" ")) == set(SCOPE.split(" "))


def test_par_when_key_is_not_the_announced_one_then_401(login: Login) -> None:
    """A request that names its key is sent with that key."""
    answer = login.push(dpop_jkt="A" * 43)
    assert outcome(answer) == (401, "invalid_token")


def test_par_when_body_is_huge_then_413(login: Login) -> None:
    """A server reads no more than 100 kB."""
    assert login.push(state="x" * 90_000).status_code == 201
    answer = login.teller.post("/oauth/par", login.form(state="x" * 110_000))
    assert outcome(answer) == (413, "invalid_request")


def test_body_when_it_is_json_then_counts_as_a_form(login: Login) -> None:
    """Every endpoint takes the parameters as JSON, and nothing else."""
    teller = login.teller

    def post(path: str, form: dict[str, str], **options: Any) -> httpx.Response:
        url = teller.peer.issuer + path
        headers = {"DPoP": teller.proof("POST", url), **options.pop("headers", {})}
        options = options or {"json": form}
        return teller.peer.send("POST", url, headers=headers, **options)

    login.push()
    assert post("/oauth/par", login.form()).status_code == 201
    code = login.approve()["code"]
    tokens = post(
        "/oauth/token",
        {
            **login.side.credentials(),
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": REDIRECT_URI,
            "code_verifier": login.verifier,
        },
    ).json()
    form = {**login.side.credentials(), "token": tokens["refresh_token"]}
    assert post("/oauth/revoke", form).status_code == 200
    assert teller.peer.sessions() == []
    headers = {"Content-Type": "text/plain"}
    answer = post("/oauth/par", {}, content=b"scope=atproto", headers=headers)
    assert answer.status_code == 415
    headers = {"Content-Type": "application/json"}
    for content in ("{", json.dumps({**login.form(), "scope": 1})):
        answer = post("/oauth/par", {}, content=content, headers=headers)
        assert outcome(answer) == (400, "invalid_request")


def test_keys_when_read_then_are_a_set(peer: Peer) -> None:
    """A client that looks for the keys of the server finds a document of them."""
    answer = peer.send("GET", f"{peer.issuer}/oauth/jwks")
    assert answer.status_code == 200
    assert isinstance(answer.json()["keys"], list)


def test_metadata_when_read_then_offers_the_same(peer: Peer) -> None:
    """What a client chooses by stands in the metadata of both alike."""
    url = "/.well-known/oauth-authorization-server"
    answer = peer.send("GET", peer.issuer + url)
    found = answer.json()
    assert answer.headers["cache-control"] == "max-age=300"
    assert set(found["response_modes_supported"]) == {"query", "fragment", "form_post"}
    assert set(found["prompt_values_supported"]) == {
        "none",
        "login",
        "consent",
        "select_account",
        "create",
    }
    assert set(found["scopes_supported"]) == {
        "atproto",
        "transition:email",
        "transition:generic",
        "transition:chat.bsky",
    }
    assert found["grant_types_supported"] == ["authorization_code", "refresh_token"]
    assert found["code_challenge_methods_supported"] == ["S256"]
    methods = found["token_endpoint_auth_methods_supported"]
    assert methods == ["none", "private_key_jwt"]
    assert found["require_pushed_authorization_requests"] is True
    assert found["authorization_response_iss_parameter_supported"] is True
    assert found["client_id_metadata_document_supported"] is True


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
        JwtSigner(teller.key, {"typ": "jwt", "jwk": public_jwk(teller.key)}).sign({}),
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


def test_consent_when_there_is_no_state_then_none_comes_back(login: Login) -> None:
    """What was not sent is not made up."""
    url = login.auth_url(state=None)
    assert set(answer_in(login.teller.peer.approve(url, None))) == {"iss", "code"}


def test_consent_when_denied_then_error_state_and_issuer_come_back(
    login: Login,
) -> None:
    """A no comes back as an error, to the same login."""
    answer = answer_in(login.teller.peer.deny(login.auth_url()))
    assert answer["error"] == "access_denied"
    assert answer["state"] == login.state
    assert answer["iss"] == login.teller.peer.issuer
    assert "code" not in answer


def test_consent_when_fragment_is_asked_for_then_answer_is_there(
    login: Login,
) -> None:
    """The answer stands behind the mark, where servers do not see it."""
    back = login.teller.peer.approve(login.auth_url(response_mode="fragment"), None)
    assert "?" not in back
    answer = answer_in(back)
    assert (answer["state"], answer["iss"]) == (login.state, login.teller.peer.issuer)
    assert login.redeem(answer["code"]).status_code == 200


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
    answer = answer_in(login.teller.peer.approve(auth_url, None))
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
        {"code_verifier": None},
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
    assert outcome(login.redeem(code, redirect_uri=None)) == (400, "invalid_grant")
    assert login.redeem(code).status_code == 200


def test_token_when_grant_type_is_unknown_then_invalid_grant(login: Login) -> None:
    """The official server has no code of its own for this."""
    answer = login.redeem("cod-" + "0" * 64, grant_type="password")
    assert outcome(answer) == (400, "invalid_grant")


def test_token_when_there_is_no_proof_then_401(login: Login) -> None:
    """Tokens are bound to a key, so there has to be one."""
    form = {**login.side.credentials(), "grant_type": "refresh_token"}
    form["refresh_token"] = "ref-" + "0" * 64
    answer = login.teller.post("/oauth/token", form, proof="")
    assert outcome(answer) == (401, "invalid_dpop_proof")


def test_token_when_weighed_then_is_as_heavy_as_the_real_one(login: Login) -> None:
    """Whoever keeps tokens in cookies has to know how long they are."""
    tokens = login.tokens()
    assert tokens["access_token"].count(".") == 2
    assert len(tokens["access_token"]) == pytest.approx(555, abs=30)
    assert len(tokens["refresh_token"]) == 68


def test_challenge_when_used_in_two_logins_then_second_code_is_refused(
    teller: Teller,
) -> None:
    """PKCE that is not new protects nobody."""
    first = Login(teller)
    second = Login(teller, verifier=first.verifier)
    assert first.redeem(first.approve()["code"]).status_code == 200
    answer = second.redeem(second.approve()["code"])
    assert outcome(answer) == (400, "invalid_grant")


def test_refresh_when_sent_twice_at_once_then_one_gets_tokens(login: Login) -> None:
    """The other one fails, and if it fails by 500 the session is as it was."""
    old = login.tokens()["refresh_token"]
    with ThreadPoolExecutor(2) as pool:
        refresh = [Login(replace(login.teller)).refresh for _ in range(2)]
        answers = [each.result() for each in [pool.submit(r, old) for r in refresh]]
    found = sorted(outcome(answer) for answer in answers)
    won, lost = found
    assert won == (200, None)
    alive = len(login.teller.peer.sessions())
    assert (lost, alive) in {((500, "server_error"), 1), ((400, "invalid_grant"), 0)}
    assert outcome(login.refresh(old)) == (400, "invalid_grant")
    assert login.teller.peer.sessions() == []


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
    assert outcome(login.revoke("")) == (400, "invalid_request")
    for answer in (
        login.revoke("garbage"),
        login.revoke(old["access_token"]),
        thief.revoke(new["refresh_token"]),
    ):
        assert (answer.status_code, answer.json()) == (200, {})
    assert len(login.teller.peer.sessions()) == 1
    form = {**login.side.credentials(), "token": new["refresh_token"]}
    assert login.teller.post("/oauth/revoke", form, proof="").json() == {}
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


def test_record_when_the_body_is_no_json_then_refused(login: Login) -> None:
    """A body that is cut off writes nothing."""
    answer = login.teller.call(
        "POST",
        "com.atproto.repo.createRecord",
        login.tokens()["access_token"],
        content=b"{",
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 400
