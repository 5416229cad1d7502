"""Attacks on a login in development: plain http relaxes none of the checks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from starlette.testclient import TestClient

from atproto_oauth_asgi import ATProtoOAuthMiddleware, MemoryStateStore, OAuthClient
from atproto_oauth_asgi.exceptions import (
    CallbackError,
    HandleMismatch,
    IssuerMismatch,
    OAuthError,
    OAuthStateError,
    SubjectMismatch,
    WrongBrowser,
)
from atproto_oauth_asgi.testing import AtprotoNetwork, approve, behaviours, deny
from tests.testing.test_login_as import ORIGIN, make_app

TOKEN, REVOKE = "/oauth/token", "/oauth/revoke"
PLC, HOST = "plc.test", "pds.test"
ELSEWHERE = "http://localhost:1"


@pytest.fixture(scope="module")
def servers() -> Iterator[AtprotoNetwork]:
    with AtprotoNetwork(localhost_port=0) as net:
        yield net


@pytest.fixture
def net(servers: AtprotoNetwork) -> AtprotoNetwork:
    """The development network: http, loopback addresses, any port."""
    servers.reset()
    assert servers.network.is_development
    assert servers.issuer.startswith("http://localhost:")
    return servers


@pytest.fixture
def app(net: AtprotoNetwork) -> ATProtoOAuthMiddleware:
    made = make_app(net)
    assert made.config.client_id.startswith("http://localhost?")
    return made


@dataclass
class Desk:
    """A browser of its own, at a development application."""

    http: TestClient

    def begin(self, handle: str = "alice.test") -> str:
        """Send the login form; return where the browser is handed over to."""
        answer = self.http.post("/oauth/login", json={"identifier": handle})
        auth_url: str = answer.json()["authorization_url"]
        return auth_url

    def who(self) -> str | None:
        did: str | None = self.http.get("/").json()["did"]
        return did

    def is_refused(self, back: str) -> bool:
        """Whether a callback is answered by an error, and nobody is logged in."""
        answer = self.http.get(back)
        return 400 <= answer.status_code < 500 and self.who() is None


@pytest.fixture
def desk(app: ATProtoOAuthMiddleware) -> Iterator[Desk]:
    with TestClient(app, base_url=ORIGIN, headers=SAME, follow_redirects=False) as http:
        yield Desk(http)


SAME = {"Origin": ORIGIN, "Sec-Fetch-Site": "same-origin"}


def changed(back: str, **changes: str | None) -> str:
    """The callback with other parameters; None leaves one out."""
    url = urlsplit(back)
    fields = {**dict(parse_qsl(url.query)), **changes}
    kept = {name: value for name, value in fields.items() if value is not None}
    return url._replace(query=urlencode(kept)).geturl()


def code_was_sent(net: AtprotoNetwork) -> bool:
    return any(each.path == TOKEN for each in net.traffic)


@pytest.mark.covers("DEV-06", "TOK-06")
def test_login_when_another_account_signs_in_then_refused_and_revoked(
    net: AtprotoNetwork, desk: Desk
) -> None:
    """Bob's yes to a login that was begun for Alice logs nobody in."""
    assert desk.is_refused(approve(desk.begin(), "bob.test"))
    assert net.sessions() == []
    assert [each.path for each in net.traffic].count(REVOKE) == 1


@pytest.mark.covers("DEV-06", "TOK-05", "TOK-06")
@pytest.mark.parametrize("sub", ["bob", "", " ", "alice.test", None, 1, "missing"])
def test_login_when_the_server_names_another_sub_then_refused(
    net: AtprotoNetwork, desk: Desk, sub: Any
) -> None:
    """Whatever it says instead of the DID that the login began with."""
    back = approve(desk.begin(), "alice.test")
    said = net.accounts["bob.test"].did if sub == "bob" else sub
    without = ("sub",) if sub == "missing" else ()
    lie = behaviours.altered({} if without else {"sub": said}, without=without)
    net.on(HOST, TOKEN, lie)
    answer = desk.http.get(back)
    assert answer.status_code in {400, 403, 502}
    assert desk.who() is None
    assert net.sessions() == []


@pytest.mark.covers("DEV-06", "CB-08")
@pytest.mark.parametrize(
    "iss", [None, "", ELSEWHERE, "{issuer}/", "{issuer}#", "https://pds.test"]
)
def test_callback_when_iss_is_not_the_issuer_then_refused_and_no_code_is_sent(
    net: AtprotoNetwork, desk: Desk, iss: str | None
) -> None:
    """Missing, another one, or the right one spelt otherwise (RFC 9207)."""
    back = approve(desk.begin(), "alice.test")
    wrong = iss and iss.format(issuer=net.issuer)
    assert desk.is_refused(changed(back, iss=wrong))
    assert not code_was_sent(net)


@pytest.mark.covers("DEV-06", "CB-04", "LGN-05")
@pytest.mark.parametrize("state", [None, "", "x" * 43, "other"])
def test_callback_when_state_is_not_this_logins_then_refused(
    net: AtprotoNetwork, app: ATProtoOAuthMiddleware, desk: Desk, state: str | None
) -> None:
    """Missing, made up, or that of a login in another browser."""
    back = approve(desk.begin(), "alice.test")
    if state == "other":
        with TestClient(app, base_url=ORIGIN, headers=SAME) as http:
            theirs = approve(Desk(http).begin("bob.test"), "bob.test")
        state = dict(parse_qsl(urlsplit(theirs).query))["state"]
    assert desk.is_refused(changed(back, state=state))
    assert not code_was_sent(net)


@pytest.mark.covers("DEV-06", "LGN-04")
def test_callback_when_replayed_after_a_logout_then_refused(
    net: AtprotoNetwork, desk: Desk
) -> None:
    """A state is good for one login: its code is sent once."""
    back = approve(desk.begin(), "alice.test")
    cookies = dict(desk.http.cookies)
    assert desk.http.get(back).status_code == 303
    assert desk.who() == net.accounts["alice.test"].did
    assert desk.http.post("/oauth/logout", json={}).status_code == 200
    desk.http.cookies.update(cookies)
    assert desk.is_refused(back)
    sent = [each.path for each in net.traffic]
    assert sent.count(TOKEN) == 1


@pytest.mark.covers("DEV-06", "CB-06", "LGN-02")
def test_callback_when_in_another_browser_then_refused(
    net: AtprotoNetwork, app: ATProtoOAuthMiddleware, desk: Desk
) -> None:
    """A link with somebody's code makes nobody that person; they still get in."""
    back = approve(desk.begin(), "alice.test")
    with TestClient(app, base_url=ORIGIN, headers=SAME) as http:
        victim = Desk(http)
        victim.begin("bob.test")
        assert victim.is_refused(back)
    assert not code_was_sent(net)
    assert desk.http.get(back).status_code == 303


@pytest.mark.covers("DEV-06", "LGN-03")
def test_callback_when_the_code_is_of_another_login_then_refused(
    net: AtprotoNetwork, app: ATProtoOAuthMiddleware, desk: Desk
) -> None:
    """A stolen code is worth nothing in a login of one's own."""
    with TestClient(app, base_url=ORIGIN, headers=SAME) as http:
        stolen = approve(Desk(http).begin(), "alice.test")
    mine = approve(desk.begin(), "alice.test")
    code = dict(parse_qsl(urlsplit(stolen).query))["code"]
    answer = desk.http.get(changed(mine, code=code))
    assert answer.status_code in {400, 403, 502}
    assert desk.who() is None


@pytest.mark.covers("DEV-06", "LGN-08")
def test_callback_when_an_error_comes_from_elsewhere_then_refused(
    desk: Desk,
) -> None:
    """An error's issuer and state are looked at as well."""
    back = deny(desk.begin())
    for wrong in (changed(back, iss=ELSEWHERE), changed(back, state="x" * 43)):
        assert desk.is_refused(wrong)


@pytest.mark.covers("DEV-06", "TOK-07", "IDN-17")
def test_login_when_the_account_moves_meanwhile_then_refused_and_revoked(
    net: AtprotoNetwork, desk: Desk
) -> None:
    """The DID is looked up anew, past every cache."""
    back = approve(desk.begin(), "alice.test")
    net.move(net.accounts["alice.test"].did, ELSEWHERE)
    answer = desk.http.get(back)
    assert answer.status_code in {400, 403, 502}
    assert desk.who() is None
    assert net.sessions() == []


@pytest.mark.covers("DEV-06", "ID-22", "IDN-01")
def test_login_when_the_document_names_another_handle_then_none_begins(
    net: AtprotoNetwork, desk: Desk
) -> None:
    """A ``.test`` name, too, counts in both directions only."""
    document = net.directory.documents[net.accounts["alice.test"].did]
    document["alsoKnownAs"] = ["at://bob.test"]
    answer = desk.http.post("/oauth/login", json={"identifier": "alice.test"})
    assert answer.status_code in {400, 404, 422}
    assert answer.json()["code"] == HandleMismatch.code
    assert not any(each.path == "/oauth/par" for each in net.traffic)


# --- the client, without the middleware ----------------------------------------------


async def attack(
    net: AtprotoNetwork, error: type[OAuthError], **changes: str | None
) -> None:
    """A login with a bare loopback client id fails, after the callback was changed."""
    client = OAuthClient(
        "http://localhost",
        "http://127.0.0.1:5000/callback",
        "atproto",
        MemoryStateStore(),
        network=net.network,
    )
    try:
        begun = await client.start_authorization("alice.test")
        signs_in = changes.pop("signs_in", None) or "alice.test"
        fields: dict[str, Any] = dict(
            parse_qsl(urlsplit(approve(begun[0], signs_in)).query)
        )
        binding = {"browser_binding": changes.pop("binding", begun.browser_binding)}
        with pytest.raises(error):
            await client.handle_callback(**{**fields, **changes}, **binding)
    finally:
        await client.aclose()


@pytest.mark.anyio
@pytest.mark.covers("DEV-06")
@pytest.mark.parametrize(
    ("error", "changes"),
    [
        (SubjectMismatch, {"signs_in": "bob.test"}),
        (IssuerMismatch, {"iss": ELSEWHERE}),
        (IssuerMismatch, {"iss": None}),
        (OAuthStateError, {"state": "x" * 43}),
        (CallbackError, {"state": None}),
        (WrongBrowser, {"binding": "somebody-elses"}),
        (WrongBrowser, {"binding": "\u00fcmlaut"}),
    ],
    ids=["sub", "iss", "no-iss", "state", "no-state", "binding", "odd-binding"],
)
async def test_client_when_the_callback_is_wrong_then_refused(
    net: AtprotoNetwork, error: type[OAuthError], changes: dict[str, Any]
) -> None:
    """The bare development client checks ``sub``, ``iss``, ``state`` and binding."""
    await attack(net, error, **changes)
    assert net.sessions() == []
