"""The in-process servers refuse what the official ones refuse; measured there."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import anyio
import anyio.lowlevel
import httpx
import pytest
from typing_extensions import override

from atproto_oauth_asgi.crypto.encoding import b64url
from atproto_oauth_asgi.crypto.keys import (
    JwtSigner,
    public_jwk,
    thumbprint,
)
from atproto_oauth_asgi.testing import (
    AtprotoNetwork,
    Browser,
    SignInError,
    approve,
    grants,
)
from atproto_oauth_asgi.testing.clients import Client
from atproto_oauth_asgi.testing.refusals import Refusal
from atproto_oauth_asgi.testing.sessions import Sender
from atproto_oauth_asgi.testing.sign_in import COMING_BACK
from tests.contract.hosted import HOST, Hosted, Site
from tests.contract.peers import Login, Peer, Teller, answer_in, in_process, outcome

START = 1_800_000_000.0


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


@dataclass
class Timed(Teller):
    """A client whose proofs are made at a time of the test's choice."""

    clock: Callable[[], float] = Clock()  # noqa: RUF009 - it stands still
    ahead_s: int = 0
    changes: dict[str, Any] = field(default_factory=dict)

    @override
    def proof(self, method: str, url: str, token: str | None = None) -> str:
        ath = token and b64url(hashlib.sha256(token.encode()).digest())
        claims = {
            "jti": secrets.token_urlsafe(),
            "htm": method,
            "htu": url,
            "iat": int(self.clock()) + self.ahead_s,
            "nonce": self.nonce,
            "ath": ath,
            **self.changes,
        }
        header = {"typ": "dpop+jwt", "jwk": public_jwk(self.key)}
        kept = {name: value for name, value in claims.items() if value is not None}
        return JwtSigner(self.key, header).sign(kept)


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


@pytest.fixture
def hosted(net: AtprotoNetwork, clock: Clock) -> Hosted:
    """A confidential client whose proofs and assertions are made at the clock's time."""
    site = Site()
    net.serve_client(HOST, site)
    made = Hosted(in_process(net), site, clock=clock)
    made.teller = Timed(made.peer, clock=clock)
    made.teller.post("/oauth/par", {})
    return made


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({"iat_in_s": 0}, 201),
        ({"iat_in_s": 1}, 400),
        ({"iat_in_s": -60}, 201),
        ({"iat_in_s": -61}, 400),
        ({"nbf_in_s": 0}, 201),
        ({"nbf_in_s": 1}, 400),
        ({"exp_in_s": 1}, 201),
        ({"exp_in_s": 0}, 400),
        ({"jti": ""}, 400),
    ],
    ids=str,
)
def test_assertion_when_its_times_are_at_a_limit_then_decides(
    hosted: Hosted, claims: dict[str, Any], status: int
) -> None:
    """Nothing lies ahead, and nothing is older than a minute: to the second."""
    assert hosted.push_as(claims).status_code == status


def test_assertion_when_its_key_signs_the_proof_then_refused(hosted: Hosted) -> None:
    """A key has one purpose."""
    hosted.teller.key = hosted.key
    assert outcome(hosted.push()) == (400, "invalid_request")


def test_documents_when_ten_minutes_have_passed_then_are_read_anew(
    hosted: Hosted, net: AtprotoNetwork, clock: Clock
) -> None:
    """What was fetched counts for ten minutes, and no longer."""
    hosted.push()
    for passed_s, count in ((599, 1), (1, 2)):
        clock.now += passed_s
        hosted.push()
        fetched = [each for each in net.traffic if each.path == hosted.path]
        assert len(fetched) == count


DAY_S = 86400


@pytest.mark.parametrize(
    ("age", "error"),
    [
        (("public", 13), None),
        (("public", 15), "Session expired"),
        (("confidential", 80), None),
        (("confidential", 92), "Refresh token expired"),
        (("confidential", 729), None),
        (("confidential", 731), "Session expired"),
    ],
    ids=str,
)
def test_session_when_days_pass_then_ends_as_its_client_does(
    hosted: Hosted,
    net: AtprotoNetwork,
    clock: Clock,
    age: tuple[str, int],
    error: str | None,
) -> None:
    """Public clients have two weeks; others two years, and three months of silence."""
    kind, day = age
    if kind == "public":
        hosted.publish_public()
    login = hosted.login()
    token = login.tokens()["refresh_token"]
    (grant,) = net.ledger.grants
    if day > 92:
        grant.updated_at += (day - 1) * DAY_S
    clock.now += day * DAY_S
    answer = login.refresh(token)
    assert answer.json().get("error_description") == error
    assert len(net.sessions()) == (0 if error else 1)


def test_session_when_its_end_is_near_then_token_lives_no_longer(
    peer: Peer, clock: Clock
) -> None:
    """An access token ends with its session at the latest."""
    login = Login(Timed(peer, clock=clock))
    token = login.tokens()["refresh_token"]
    clock.now += 14 * DAY_S - 600
    assert login.refresh(token).json()["expires_in"] == 600


async def both(*calls: Callable[[], Awaitable[Any]]) -> list[Any]:
    """Await several calls that begin at once; give what they gave or raised."""
    found: list[Any] = []

    async def wait_for(call: Callable[[], Awaitable[Any]]) -> None:
        try:
            found.append(await call())
        except Refusal as refusal:
            found.append((refusal.status, refusal.error))

    async with anyio.create_task_group() as group:
        for call in calls:
            group.start_soon(wait_for, call)
    return found


@pytest.mark.anyio
async def test_refresh_when_two_overlap_then_one_fails_and_the_session_stays(
    net: AtprotoNetwork, peer: Peer
) -> None:
    """The loser of a race hears 500; who asks again then has lost the session."""
    login = Login(Timed(peer))
    form = {"refresh_token": login.tokens()["refresh_token"]}
    sender = sender_of(net)

    def refresh() -> Awaitable[Any]:
        return net.ledger.refresh(form, sender, issuer=net.issuer)

    assert (500, "server_error") in await both(refresh, refresh)
    assert len(net.sessions()) == 1
    assert await both(refresh) == [(400, "invalid_grant")]
    assert net.sessions() == []


@pytest.mark.anyio
async def test_refresh_when_session_is_revoked_meanwhile_then_fails(
    net: AtprotoNetwork, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A logout that overtakes a refresh ends the session."""
    monkeypatch.setattr(grants, "_WRITE_S", 0.5)
    login = Login(Timed(peer))
    token = login.tokens()["refresh_token"]
    sender = sender_of(net)

    def refresh() -> Awaitable[Any]:
        form = {"refresh_token": token}
        return net.ledger.refresh(form, sender, issuer=net.issuer)

    async def revoke() -> None:
        await anyio.lowlevel.checkpoint()
        net.ledger.revoke(token, sender)

    assert (500, "server_error") in await both(refresh, revoke)
    assert net.sessions() == []


@pytest.mark.anyio
async def test_code_when_two_redeem_it_at_once_then_the_winner_keeps_it(
    net: AtprotoNetwork, peer: Peer
) -> None:
    """Only who comes later is a thief: then the session ends."""
    login = Login(Timed(peer))
    Login(Timed(peer)).tokens()
    sender = replace(sender_of(net), thumbprint=thumbprint(login.teller.key))
    net.revoke()
    form = {
        "code": login.approve()["code"],
        "redirect_uri": login.side.redirect_uri,
        "code_verifier": login.verifier,
    }

    def redeem() -> Awaitable[Any]:
        return net.ledger.redeem(form, sender, issuer=net.issuer)

    assert (400, "invalid_grant") in await both(redeem, redeem)
    assert len(net.sessions()) == 1
    assert await both(redeem) == [(400, "invalid_grant")]
    assert net.sessions() == []


def sender_of(net: AtprotoNetwork) -> Sender:
    """The client of the one session that there is."""
    (grant,) = net.ledger.grants
    client = Client(
        client_id=grant.client_id, name="", redirect_uris=(), scopes=frozenset()
    )
    return Sender(client=client, thumbprint=grant.thumbprint)


def test_page_when_shown_then_names_are_escaped(
    hosted: Hosted, net: AtprotoNetwork
) -> None:
    """The name of a client is text."""
    hosted.publish(client_name="<b>Notes</b>")
    url = hosted.login().auth_url()
    page = net.request("GET", url, headers=COMING_BACK).text
    assert "&lt;b&gt;Notes&lt;/b&gt;" in page
    assert "<b>Notes" not in page


@pytest.mark.parametrize("passed_s", [299, 301])
def test_code_when_five_minutes_have_passed_then_counts_no_more(
    peer: Peer, clock: Clock, passed_s: int
) -> None:
    """A code lives for five minutes."""
    login = Login(Timed(peer, clock=clock))
    code = login.approve()["code"]
    clock.now += passed_s
    expected = 200 if passed_s < 300 else 400
    assert login.redeem(code).status_code == expected


def test_request_when_five_minutes_have_passed_then_has_no_page(
    net: AtprotoNetwork, peer: Peer, clock: Clock
) -> None:
    """A pushed request lives for five minutes, counted from its last page."""
    login = Login(Timed(peer))
    url, browser = login.auth_url(), Browser()
    for _ in range(2):
        clock.now += 299
        page = browser.request(net, "GET", url=url, headers=COMING_BACK)
        assert page.status_code == 200
    clock.now += 301
    page = browser.request(net, "GET", url=url, headers=COMING_BACK)
    answer = answer_in(page.headers["location"])
    assert (answer["error"], answer["error_description"]) == (
        "access_denied",
        "This request has expired",
    )


def test_form_when_it_has_doubles_then_refused(peer: Peer) -> None:
    """One parameter has one value. Spec: RFC 6749 section 3.1."""
    url = f"{peer.issuer}/oauth/par"
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
    assert net.get_record(did, "com.example.note", rkey="self") is None
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
    """A request is answered once; what is sent again takes the answer back."""
    url = Login(Timed(peer)).auth_url()
    query = dict(parse_qsl(urlsplit(url).query))
    alice = {"username": "alice.test", "password": "alice-pass"}
    form = {**query, **alice, "decision": "accept"}
    page, browser = f"{net.issuer}/oauth/authorize", Browser()
    first = browser.request(net, "POST", url=page, data=form)
    assert "code" in answer_in(first.headers["location"])
    second = browser.request(net, "POST", url=page, data=form)
    assert answer_in(second.headers["location"])["error"] == "access_denied"
    assert browser.request(net, "POST", url=page, data=form).status_code == 400
    assert net.ledger.codes == {}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"password": ""}, "alice.test"),
        ({"username": "", "password": ""}, "alice.test"),
        ({"username": "", "password": "alice-pass"}, "alice.test"),
        ({"username": "bob.test", "password": "bob-pass"}, "bob.test"),
        ({"username": "bob.test", "password": "alice-pass"}, None),
        ({"did": "", "username": "bob.test", "password": ""}, None),
        ({"did": "did:plc:nobody", "password": ""}, None),
    ],
    ids=str,
)
def test_page_when_somebody_is_signed_in_then_others_may_be_chosen(
    net: AtprotoNetwork, peer: Peer, fields: dict[str, str], expected: str | None
) -> None:
    """Nobody is taken for another, and who is signed in needs no password."""
    browser, login = Browser(), Login(Timed(peer))
    approve(login.auth_url(), "alice.test", browser=browser)
    again = Login(Timed(peer))
    url = again.auth_url()
    page = browser.request(net, "GET", url=url, headers=COMING_BACK)
    assert f'value="{net.accounts["alice.test"].did}" selected' in page.text
    form = {
        **dict(parse_qsl(urlsplit(url).query)),
        "decision": "accept",
        "did": net.accounts["alice.test"].did,
        "username": "alice.test",
        **fields,
    }
    page_url = f"{net.issuer}/oauth/authorize"
    answer = browser.request(net, "POST", url=page_url, data=form)
    if expected is None:
        assert answer.status_code == 400
        return
    code = answer_in(answer.headers["location"])["code"]
    assert net.ledger.codes[code].did == net.accounts[expected].did


def test_sign_in_when_a_week_has_passed_then_password_is_needed(
    net: AtprotoNetwork, hosted: Hosted, clock: Clock
) -> None:
    """A browser is trusted for seven days."""
    browser = Browser()
    approve(hosted.login().auth_url(), "alice.test", browser=browser)
    for passed_s, status in ((7 * DAY_S - 60, 303), (120, 200)):
        clock.now += passed_s
        url = hosted.login().auth_url()
        page = browser.request(net, "GET", url=url, headers=COMING_BACK)
        assert page.status_code == status


def test_browser_when_its_secret_is_wrong_then_is_a_new_one(
    net: AtprotoNetwork, hosted: Hosted
) -> None:
    """The name of a browser alone lets nobody in."""
    browser = Browser()
    approve(hosted.login().auth_url(), "alice.test", browser=browser)
    cookies = browser._cookies["pds.test"]
    thief = {"Cookie": f"dev-id={cookies['dev-id']}; ses-id=ses-wrong", **COMING_BACK}
    url = hosted.login().auth_url()
    assert net.request("GET", url, headers=thief).status_code == 200


def test_browser_when_nobody_wants_to_stay_then_is_forgotten(
    net: AtprotoNetwork, hosted: Hosted
) -> None:
    """The box is there to be left empty, too: whoever does so is signed out."""
    browser = Browser()
    approve(hosted.login().auth_url(), "alice.test", browser=browser)
    browser.stay_signed_in = False
    url = hosted.login().auth_url(prompt="login")
    approve(url, "alice.test", browser=browser)
    url = hosted.login().auth_url()
    page = browser.request(net, "GET", url=url, headers=COMING_BACK)
    assert page.status_code == 200


def test_prompt_login_when_somebody_is_signed_in_then_password_is_needed(
    hosted: Hosted,
) -> None:
    """A client may wish that somebody shows anew who they are."""
    browser = Browser()
    approve(hosted.login().auth_url(), "alice.test", browser=browser)
    url = hosted.login().auth_url(prompt="login")
    with pytest.raises(SignInError, match="Invalid identifier or password"):
        approve(url, "alice.test", browser=browser, password="")
    assert "code" in answer_in(approve(url, "alice.test", browser=browser))
