"""The in-process servers refuse what the official ones refuse; measured there."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from typing_extensions import override

from atproto_oauth_asgi.crypto.encoding import b64url
from atproto_oauth_asgi.crypto.keys import (
    JwtSigner,
    PrivateKey,
    generate_private_key,
    private_jwk,
    public_jwk,
    thumbprint,
)
from atproto_oauth_asgi.testing import AtprotoNetwork, SignInError, approve, behaviours
from tests.contract.peers import Login, Peer, Teller, in_process

HOST = "app.example.com"
PATH = "/oauth-client-metadata.json"
CLIENT_ID = f"https://{HOST}{PATH}"
REDIRECT_URI = f"https://{HOST}/callback"
START = 1_800_000_000.0
TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def net(clock: Clock) -> Iterator[AtprotoNetwork]:
    with AtprotoNetwork(clock=clock) as network:
        yield network


@pytest.fixture
def peer(net: AtprotoNetwork) -> Peer:
    return in_process(net)


class Timed(Teller):
    """A client whose proofs are made at a time of the test's choice."""

    ahead_s = 0
    changes: dict[str, Any] = {}  # noqa: RUF012 - replaced, never changed

    @override
    def proof(self, method: str, url: str, token: str | None = None) -> str:
        ath = token and b64url(hashlib.sha256(token.encode()).digest())
        claims = {
            "jti": secrets.token_urlsafe(),
            "htm": method,
            "htu": url,
            "iat": int(START) + self.ahead_s,
            "nonce": self.nonce,
            "ath": ath,
            **self.changes,
        }
        header = {"typ": "dpop+jwt", "jwk": public_jwk(self.key)}
        kept = {name: value for name, value in claims.items() if value is not None}
        return JwtSigner(self.key, header).sign(kept)


def outcome(answer: httpx.Response) -> tuple[int, Any]:
    return answer.status_code, answer.json().get("error")


@pytest.mark.parametrize(
    ("ahead_s", "status"), [(-190, 201), (-191, 401), (180, 201), (181, 401)]
)
def test_proof_when_its_time_is_off_then_counts_within_limits(
    peer: Peer, ahead_s: int, status: int
) -> None:
    """190 seconds late or 180 early is the most."""
    teller = Timed(peer)
    teller.ahead_s = ahead_s
    assert Login(teller).push().status_code == status


@pytest.mark.parametrize(
    "changes",
    [{"iat": None}, {"iat": "now"}, {"jti": None}, {"jti": ""}, {"ath": "x"}],
    ids=str,
)
def test_proof_when_a_claim_is_missing_or_odd_then_401(
    peer: Peer, changes: dict[str, Any]
) -> None:
    """Every claim has to be there, and none that is not wanted."""
    teller = Timed(peer)
    teller.post("/oauth/par", Login(teller).form(), proof="")
    teller.changes = changes
    assert outcome(Login(teller).push()) == (401, "invalid_dpop_proof")


@pytest.mark.parametrize("passed_s", [59, 61, 121])
def test_nonce_when_old_then_counts_for_two_minutes(
    net: AtprotoNetwork, clock: Clock, passed_s: int
) -> None:
    """The nonce that is handed out is the next one: it counts long enough."""
    offered = net.nonces.next
    clock.now += passed_s
    assert net.nonces.is_valid(offered)
    clock.now = START + 181
    assert not net.nonces.is_valid(offered)


class Confidential:
    """A hosted client with a key, and its documents."""

    def __init__(self, net: AtprotoNetwork, clock: Clock) -> None:
        self.clock = clock
        self.issuer = net.issuer
        self.key = generate_private_key()
        self.teller = Timed(in_process(net))
        self.document: dict[str, Any] = {
            "client_id": CLIENT_ID,
            "client_name": "<b>Notes</b>",
            "redirect_uris": [REDIRECT_URI],
            "scope": "atproto",
            "response_types": ["code"],
            "grant_types": ["authorization_code", "refresh_token"],
            "dpop_bound_access_tokens": True,
            "token_endpoint_auth_method": "private_key_jwt",
            "jwks": {"keys": [{**public_jwk(self.key), "kid": thumbprint(self.key)}]},
        }
        net.serve_client(HOST, {PATH: self.document})
        self._net = net

    def publish(self, **changes: Any) -> None:
        self._net.serve_client(HOST, {PATH: {**self.document, **changes}})

    def assertion(
        self, *, key: PrivateKey | None = None, kid: str | None = None, **claims: Any
    ) -> str:
        now = int(self.clock())
        base = {
            "iss": CLIENT_ID,
            "sub": CLIENT_ID,
            "aud": self.issuer,
            "jti": secrets.token_urlsafe(),
            "iat": now - 15,
            "exp": now + 45,
        }
        header = {"kid": kid or thumbprint(self.key)}
        merged = {k: v for k, v in {**base, **claims}.items() if v is not None}
        return JwtSigner(key or self.key, header).sign(merged)

    def push(self, **changes: str | None) -> httpx.Response:
        login = Login(self.teller)
        changes = {"client_assertion": self.assertion(), **changes}
        form = login.form(
            client_id=CLIENT_ID,
            redirect_uri=REDIRECT_URI,
            scope="atproto",
            client_assertion_type=TYPE,
        )
        given = {name: text for name, text in changes.items() if text is not None}
        self.teller.post("/oauth/par", {})
        return self.teller.post("/oauth/par", {**form, **given})


@pytest.fixture
def confidential(net: AtprotoNetwork, clock: Clock) -> Confidential:
    return Confidential(net, clock)


def test_client_when_its_assertion_is_right_then_is_accepted(
    confidential: Confidential,
) -> None:
    """The assertion of a published key authenticates."""
    assert confidential.push().status_code == 201


@pytest.mark.covers("CAUTH-02")
@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "https://pds.test/"},
        {"aud": "https://pds.test/oauth/token"},
        {"iss": "https://other.example.com"},
        {"sub": "https://other.example.com"},
        {"iat": int(START) + 1},
        {"iat": int(START) - 61},
        {"iat": None},
        {"nbf": int(START) + 5},
        {"exp": int(START)},
    ],
    ids=str,
)
def test_assertion_when_a_claim_is_wrong_then_invalid_client(
    confidential: Confidential, claims: dict[str, Any]
) -> None:
    """An assertion is for this server, from this client, and from the recent past."""
    answer = confidential.push(client_assertion=confidential.assertion(**claims))
    assert outcome(answer) == (400, "invalid_client")


def test_assertion_when_used_twice_then_refused(confidential: Confidential) -> None:
    """Each one counts once."""
    assertion = confidential.assertion()
    assert confidential.push(client_assertion=assertion).status_code == 201
    again = confidential.push(client_assertion=assertion)
    assert outcome(again) == (400, "invalid_grant")


@pytest.mark.parametrize(
    "make",
    [
        lambda c: c.assertion(key=generate_private_key()),
        lambda c: c.assertion(kid="unknown"),
        lambda _: "no assertion",
        lambda _: "",
    ],
    ids=["another key", "another name", "garbage", "empty"],
)
def test_assertion_when_it_cannot_be_verified_then_invalid_client(
    confidential: Confidential, make: Callable[[Confidential], str]
) -> None:
    """Only the keys of the client's own document count."""
    answer = confidential.push(client_assertion=make(confidential))
    assert outcome(answer) == (400, "invalid_client")


def test_assertion_when_type_is_wrong_then_invalid_request(
    confidential: Confidential,
) -> None:
    """The type of the assertion is named in full."""
    answer = confidential.push(client_assertion_type="jwt")
    assert outcome(answer) == (400, "invalid_request")


def test_assertion_when_client_is_public_then_refused(
    confidential: Confidential,
) -> None:
    """A client that says it has no key must not send one."""
    confidential.publish(token_endpoint_auth_method="none")
    assert outcome(confidential.push()) == (400, "invalid_client")


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": "https://other.example.com/x.json"},
        {"scope": "repo:com.example.note"},
        {"dpop_bound_access_tokens": False},
        {"dpop_bound_access_tokens": "true"},
        {"redirect_uris": []},
        {"response_types": ["token"]},
        {"grant_types": ["refresh_token"]},
        {"token_endpoint_auth_method": "client_secret_basic"},
        {"jwks": {"keys": []}},
        {"jwks": None},
        {"jwks": {"keys": [private_jwk(generate_private_key(), "with-secret")]}},
        {"jwks": {"keys": [public_jwk(generate_private_key())]}},
    ],
    ids=lambda changes: str(changes)[:40],
)
def test_client_when_its_document_is_wrong_then_refused(
    confidential: Confidential, changes: dict[str, Any]
) -> None:
    """A document that an atproto server would not accept is not accepted here."""
    confidential.publish(**changes)
    assert outcome(confidential.push()) == (400, "invalid_client_metadata")


def test_client_when_its_document_is_no_json_then_refused(
    confidential: Confidential, net: AtprotoNetwork
) -> None:
    """What cannot be read is no client."""
    net.on(HOST, PATH, behaviours.status(200, "<html>"))
    assert outcome(confidential.push()) == (400, "invalid_client_metadata")
    net.on(HOST, PATH, behaviours.redirect("https://app.example.com/elsewhere"))
    assert outcome(confidential.push()) == (400, "invalid_client_metadata")


def test_page_when_shown_then_names_are_escaped(
    confidential: Confidential, net: AtprotoNetwork
) -> None:
    """The name of a client is text."""
    url = auth_url(net, confidential)
    page = net.request("GET", url).text
    assert "&lt;b&gt;Notes&lt;/b&gt;" in page
    assert "<b>Notes" not in page


def test_prompt_none_when_confidential_then_login_is_required(
    confidential: Confidential, net: AtprotoNetwork
) -> None:
    """Nobody is signed in at this server beforehand, so there is no silent login."""
    back = approve(auth_url(net, confidential, prompt="none"), "alice.test")
    answer = dict(parse_qsl(urlsplit(back).query))
    assert (answer["error"], answer["iss"]) == ("login_required", net.issuer)


def auth_url(net: AtprotoNetwork, client: Confidential, **changes: str) -> str:
    pushed = client.push(**changes)
    assert pushed.status_code == 201, pushed.text
    query = {"client_id": CLIENT_ID, "request_uri": pushed.json()["request_uri"]}
    return str(httpx.URL(f"{net.issuer}/oauth/authorize", params=query))


def test_session_when_refreshed_with_another_client_key_then_is_ended(
    confidential: Confidential, net: AtprotoNetwork
) -> None:
    """A session stays tied to the client key that it began with."""
    other = generate_private_key()
    keys = [{**public_jwk(k), "kid": thumbprint(k)} for k in (confidential.key, other)]
    confidential.publish(jwks={"keys": keys})
    login = Login(confidential.teller)
    form = login.form(
        client_id=CLIENT_ID,
        redirect_uri=REDIRECT_URI,
        scope="atproto",
        client_assertion_type=TYPE,
        client_assertion=confidential.assertion(),
    )
    pushed = confidential.teller.post_twice("/oauth/par", form).json()
    query = {"client_id": CLIENT_ID, "request_uri": pushed["request_uri"]}
    url = httpx.URL(f"{net.issuer}/oauth/authorize", params=query)
    back = approve(str(url), "alice.test")
    code = dict(parse_qsl(urlsplit(back).query))["code"]
    proven = {"client_id": CLIENT_ID, "client_assertion_type": TYPE}
    tokens = login.redeem(
        code,
        redirect_uri=REDIRECT_URI,
        client_assertion=confidential.assertion(),
        **proven,
    ).json()
    refresh = {
        "grant_type": "refresh_token",
        "refresh_token": tokens["refresh_token"],
        "client_assertion": confidential.assertion(key=other, kid=thumbprint(other)),
        **proven,
    }
    answer = confidential.teller.post_twice("/oauth/token", refresh)
    assert outcome(answer) == (400, "invalid_grant")
    assert net.sessions() == []


@pytest.mark.parametrize("passed_s", [299, 301])
def test_code_when_five_minutes_have_passed_then_counts_no_more(
    peer: Peer, clock: Clock, passed_s: int
) -> None:
    """A code lives for five minutes."""
    login = Login(Timed(peer))
    code = login.approve()["code"]
    clock.now += passed_s
    login.teller.changes = {"iat": int(clock.now)}  # type: ignore[attr-defined]
    expected = 200 if passed_s < 300 else 400
    assert login.redeem(code).status_code == expected


def test_request_when_five_minutes_have_passed_then_has_no_page(
    peer: Peer, clock: Clock
) -> None:
    """A pushed request lives for five minutes."""
    url = Login(Timed(peer)).auth_url()
    clock.now += 301
    with pytest.raises(SignInError, match="Unknown request_uri"):
        approve(url, "alice.test")


def test_challenge_when_used_in_two_logins_then_second_code_is_refused(
    peer: Peer,
) -> None:
    """PKCE that is not new protects nobody."""
    verifier = secrets.token_urlsafe(32)
    first, second = (Login(Timed(peer), verifier=verifier) for _ in range(2))
    assert first.redeem(first.approve()["code"]).status_code == 200
    answer = second.redeem(second.approve()["code"])
    assert outcome(answer) == (400, "invalid_grant")


def test_form_when_it_is_json_or_has_doubles_then_refused(peer: Peer) -> None:
    """One parameter has one value, and a form is a form."""
    url = f"{peer.issuer}/oauth/par"
    answer = peer.send("POST", url, json={"client_id": "http://localhost"})
    assert outcome(answer) == (400, "invalid_request")
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = peer.send("POST", url, content=b"scope=a&scope=b", headers=headers)
    assert outcome(answer) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("scope", "status"),
    [
        ("repo:com.example.note", 200),
        ("repo:*", 200),
        ("repo?collection=com.example.note", 200),
        ("repo:com.example.note?action=create", 200),
        ("repo:com.example.note?action=delete", 403),
        ("repo:com.example.other", 403),
        ("transition:generic", 200),
        ("blob:*/*", 403),
    ],
)
def test_record_when_scope_is_named_then_decides(
    net: AtprotoNetwork, peer: Peer, scope: str, status: int
) -> None:
    """The PDS holds to the permissions that were granted."""
    login = Login(Timed(peer))
    tokens = login.tokens()
    net.ledger.grants[0].scope = f"atproto {scope}"
    body = {"repo": tokens["sub"], "collection": "com.example.note", "record": {}}
    nsid, token = "com.atproto.repo.createRecord", tokens["access_token"]
    answer = login.teller.call("POST", nsid, token, json=body)
    assert answer.status_code == status


def test_repository_when_used_then_keeps_what_it_is_given(
    net: AtprotoNetwork, peer: Peer
) -> None:
    """Create, replace, list, delete; other people's repositories are closed."""
    login = Login(Timed(peer))
    tokens = login.tokens()
    net.ledger.grants[0].scope = "atproto transition:generic"
    token, did = tokens["access_token"], tokens["sub"]

    def call(name: str, **body: Any) -> httpx.Response:
        members = {"repo": did, "collection": "com.example.note", **body}
        nsid = f"com.atproto.repo.{name}"
        return login.teller.call("POST", nsid, token, json=members)

    for number in range(3):
        assert call("createRecord", record={"n": number}).status_code == 200
    call("putRecord", rkey="self", record={"n": 9})
    call("putRecord", rkey="self", record={"n": 10})
    found = net.list_records(did, "com.example.note")
    assert [each["value"]["n"] for each in found] == [10, 2, 1, 0]
    call("deleteRecord", rkey="self")
    assert net.get_record(did, "com.example.note", "self") is None
    bob = net.accounts["bob.test"].did
    for body in (
        {"repo": bob, "record": {}},
        {"repo": "did:plc:nobody", "record": {}},
        {"record": "text"},
        {"collection": 1, "record": {}},
    ):
        assert outcome(call("createRecord", **body)) == (400, "InvalidRequest")
    nsid = "com.atproto.repo.uploadBlob"
    answer = login.teller.call("POST", nsid, token, content=b"abc")
    blob = answer.json()["blob"]
    assert (blob["size"], blob["ref"]["$link"][:8]) == (3, "bafyreif")
    net.ledger.grants[0].scope = "atproto"
    refused = login.teller.call("POST", nsid, token, content=b"abc")
    assert outcome(refused) == (403, "ScopeMissingError")


@pytest.mark.parametrize("limit", ["0", "101", "x"])
def test_list_when_limit_is_odd_then_refused(peer: Peer, limit: str) -> None:
    """At most a hundred records come at once."""
    url = f"{peer.pds_url}/xrpc/com.atproto.repo.listRecords"
    query = {"repo": peer.dids["alice.test"], "collection": "a.b.c", "limit": limit}
    assert outcome(peer.send("GET", url, params=query)) == (400, "InvalidRequest")


def test_secrets_when_objects_are_shown_then_stay_hidden(
    net: AtprotoNetwork, peer: Peer
) -> None:
    """No token, code or password stands in what a failing test prints."""
    login = Login(Timed(peer))
    code = login.approve()["code"]
    shown = repr([*net.ledger.codes.values(), *net.ledger.pushed.values()])
    tokens = login.redeem(code).json()
    shown += repr([net.ledger.grants, net.accounts, net.traffic, net.sessions()])
    hidden = [code, tokens["access_token"], tokens["refresh_token"], "alice-pass"]
    assert [text for text in hidden if text in shown] == []
    assert code not in json.dumps(net.sessions())


def test_code_when_redeemed_with_another_client_key_then_is_refused(
    confidential: Confidential, net: AtprotoNetwork
) -> None:
    """The client key that pushed the request is the one that gets the tokens."""
    other = generate_private_key()
    keys = [{**public_jwk(k), "kid": thumbprint(k)} for k in (confidential.key, other)]
    confidential.publish(jwks={"keys": keys})
    login = Login(confidential.teller)
    proven = {"client_id": CLIENT_ID, "redirect_uri": REDIRECT_URI}
    proven["client_assertion_type"] = TYPE
    confidential.teller.post("/oauth/par", {})
    form = login.form(scope="atproto", **proven)
    form["client_assertion"] = confidential.assertion()
    pushed = confidential.teller.post("/oauth/par", form).json()
    query = {"client_id": CLIENT_ID, "request_uri": pushed["request_uri"]}
    url = httpx.URL(f"{net.issuer}/oauth/authorize", params=query)
    back = approve(str(url), "alice.test")
    code = dict(parse_qsl(urlsplit(back).query))["code"]
    assertion = confidential.assertion(key=other, kid=thumbprint(other))
    answer = login.redeem(code, client_assertion=assertion, **proven)
    assert outcome(answer) == (400, "invalid_grant")


def test_revocation_when_client_is_another_then_nothing_ends(
    net: AtprotoNetwork, peer: Peer
) -> None:
    """A token is ended by the client that it was given to."""
    login = Login(Timed(peer))
    token = login.tokens()["refresh_token"]
    form = {"client_id": "http://localhost", "token": token}
    answer = login.teller.post_twice("/oauth/revoke", form)
    assert (answer.status_code, len(net.sessions())) == (200, 1)


def test_proof_when_there_are_two_then_401(net: AtprotoNetwork, peer: Peer) -> None:
    """One request has one proof."""
    teller = Timed(peer)
    teller.post("/oauth/par", {})
    url = f"{peer.issuer}/oauth/par"
    proofs = [("DPoP", teller.proof("POST", url)) for _ in range(2)]
    form = Login(teller).form()
    answer = net.request("POST", url, data=form, headers=proofs)
    assert outcome(answer) == (401, "invalid_dpop_proof")


def test_consent_when_sent_twice_then_second_is_refused(
    net: AtprotoNetwork, peer: Peer
) -> None:
    """A request is answered once, whatever a browser sends again."""
    url = Login(Timed(peer)).auth_url()
    query = dict(parse_qsl(urlsplit(url).query))
    alice = {"username": "alice.test", "password": "alice-pass"}
    form = {**query, **alice, "decision": "accept"}
    page = f"{net.issuer}/oauth/authorize"
    assert net.request("POST", page, data=form).status_code == 303
    assert net.request("POST", page, data=form).status_code == 400
    assert len(net.ledger.codes) == 1
