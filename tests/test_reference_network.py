"""The tests' own network and its drivers do what the other tests rely on."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey
from playwright.sync_api import Page

from tests.browser.fixtures import BrowserPage, Screenshots
from tests.browser.pds_pages import (
    PdsPageError,
    authorize,
    sign_in_and_authorize,
    sign_in_as,
)
from tests.browser.pds_pages import deny as deny_in_browser
from tests.reference_network.process import (
    NetworkNotInstalledError,
    NetworkStartError,
    ReferenceNetwork,
    check_node_modules,
    find_node,
)
from tests.reference_network.sign_in import SignInError, approve, deny

pytestmark = pytest.mark.network

ROOT = Path(__file__).parents[1]
REQUEST_URI_PREFIX = "urn:ietf:params:oauth:request_uri:req-"
SCOPE = "atproto transition:generic"
# Nobody listens there: the browser's request is seen, and fails.
REDIRECT_URI = "http://127.0.0.1:1/callback"
CLIENT_ID = "http://localhost?" + urlencode(
    {"redirect_uri": REDIRECT_URI, "scope": SCOPE}
)


class HandMadeLogin:
    """The messages of one login, written by hand."""

    def __init__(self, network: ReferenceNetwork, *, login_hint: str = "") -> None:
        self.issuer = network.issuer
        self.state = secrets.token_urlsafe(16)
        self.code_verifier = secrets.token_urlsafe(32)
        self.dpop_key = ECKey.generate_key("P-256")
        self.dpop_nonce = ""
        self.auth_url = self._push(login_hint)

    def _push(self, login_hint: str) -> str:
        digest = hashlib.sha256(self.code_verifier.encode()).digest()
        form = {
            "client_id": CLIENT_ID,
            "response_type": "code",
            "redirect_uri": REDIRECT_URI,
            "scope": SCOPE,
            "state": self.state,
            "code_challenge": base64.urlsafe_b64encode(digest).decode().rstrip("="),
            "code_challenge_method": "S256",
        }
        if login_hint:
            form["login_hint"] = login_hint
        request_uri = self.post("/oauth/par", form).json()["request_uri"]
        query = urlencode({"client_id": CLIENT_ID, "request_uri": request_uri})
        return f"{self.issuer}/oauth/authorize?{query}"

    def post(self, path: str, form: dict[str, str]) -> httpx.Response:
        """Send a form, a second time if the server wants another nonce."""
        response = self.post_once(path, form)
        if response.json().get("error") == "use_dpop_nonce":
            response = self.post_once(path, form)
        return response

    def post_once(self, path: str, form: dict[str, str]) -> httpx.Response:
        url = self.issuer + path
        claims: dict[str, object] = {
            "jti": secrets.token_urlsafe(16),
            "htm": "POST",
            "htu": url,
            "iat": int(datetime.now(UTC).timestamp()),
        }
        if self.dpop_nonce:
            claims["nonce"] = self.dpop_nonce
        header = {"typ": "dpop+jwt", "alg": "ES256"}
        header_jwk = self.dpop_key.as_dict(private=False)
        proof = jwt.encode({**header, "jwk": header_jwk}, claims, self.dpop_key)
        response = httpx.post(url, data=form, headers={"dpop": proof})
        self.dpop_nonce = response.headers["dpop-nonce"]
        return response

    def exchange(self, redirect_url: str) -> httpx.Response:
        form = {
            "client_id": CLIENT_ID,
            "grant_type": "authorization_code",
            "code": query_of(redirect_url)["code"],
            "redirect_uri": REDIRECT_URI,
            "code_verifier": self.code_verifier,
        }
        return self.post("/oauth/token", form)


def query_of(redirect_url: str) -> dict[str, str]:
    assert redirect_url.startswith(f"{REDIRECT_URI}?")
    return dict(parse_qsl(urlsplit(redirect_url).query))


def assert_approved(redirect_url: str, login: HandMadeLogin) -> None:
    query = query_of(redirect_url)
    assert query.keys() == {"code", "iss", "state"}
    assert (query["iss"], query["state"]) == (login.issuer, login.state)


def assert_denied(redirect_url: str, login: HandMadeLogin) -> None:
    query = query_of(redirect_url)
    assert query["error"] == "access_denied"
    assert "code" not in query
    assert (query["iss"], query["state"]) == (login.issuer, login.state)


@pytest.fixture
def installed() -> None:
    try:
        find_node()
        check_node_modules()
    except NetworkNotInstalledError as error:
        pytest.skip(str(error))


# --- The processes ---------------------------------------------------------------


def test_network_when_started_then_every_account_resolves(
    reference_network: ReferenceNetwork,
) -> None:
    """Handle, DID document and authorization server name each other."""
    network = reference_network
    for account in (network.accounts["alice.test"], network.accounts["bob.test"]):
        found = httpx.get(
            f"{network.pds_url}/xrpc/com.atproto.identity.resolveHandle",
            params={"handle": account.handle},
        ).json()
        assert found["did"] == account.did
        document = httpx.get(f"{network.plc_url}/{account.did}").json()
        assert document["id"] == account.did
        assert document["alsoKnownAs"] == [f"at://{account.handle}"]
        assert document["service"][0]["serviceEndpoint"] == network.pds_url
    resource = f"{network.pds_url}/.well-known/oauth-protected-resource"
    assert httpx.get(resource).json()["authorization_servers"] == [network.issuer]


def test_network_when_stopped_then_ends_cleanly_and_leaves_nothing(
    installed: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 0, no process, no temporary file."""
    with network_with_temporary_folder(tmp_path, monkeypatch) as network:
        pid = network.status()["pid"]
        assert len(list(tmp_path.iterdir())) == 1
        assert network.stop() == 0
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def network_with_temporary_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> ReferenceNetwork:
    tempfile.gettempdir()  # Python's own stays what it was
    monkeypatch.setenv("TMPDIR", str(folder))
    return ReferenceNetwork()


START_AND_WAIT = """
from tests.reference_network.process import ReferenceNetwork
network = ReferenceNetwork()
network.start()
print(network.pds_url, flush=True)
input()
"""


def test_network_when_its_parent_is_killed_then_ends_too(installed: None) -> None:
    """A test run that dies leaves no servers behind."""
    with subprocess.Popen(
        [sys.executable, "-c", START_AND_WAIT],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        pds_url = parent.stdout.readline().strip()
        health = f"{pds_url}/xrpc/_health"
        assert httpx.get(health).is_success
        parent.kill()
    assert stops_answering(health)


def stops_answering(url: str) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            httpx.get(url)
        except httpx.ConnectError:
            return True
        except httpx.TransportError:
            pass  # it is about to stop
        time.sleep(0.05)
    return False


def test_start_when_a_server_fails_then_error_tells_its_last_words(
    installed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why the servers did not come up stands in the error."""
    network = network_with_temporary_folder(Path("/nowhere"), monkeypatch)
    with pytest.raises(NetworkStartError, match=r"(?s)exit code 1.*ENOENT.*/nowhere"):
        network.start()


def test_start_when_packages_are_missing_then_error_names_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has not installed the network reads how to."""
    monkeypatch.setattr("tests.reference_network.process._HERE", tmp_path)
    with pytest.raises(NetworkNotInstalledError, match="make pds"):
        ReferenceNetwork().start()


# --- Sign-in by HTTP, and what the network lets tests do -----------------------------


def test_approve_when_account_signs_in_then_code_is_good_for_tokens(
    fresh_network: ReferenceNetwork,
) -> None:
    """A whole login without a browser ends in a session of that account."""
    alice = fresh_network.accounts["alice.test"]
    login = HandMadeLogin(fresh_network, login_hint="alice.test")
    redirect_url = approve(login.auth_url, alice)
    assert_approved(redirect_url, login)
    tokens = login.exchange(redirect_url).json()
    assert (tokens["sub"], set(tokens["scope"].split())) == (
        alice.did,
        set(SCOPE.split()),
    )
    (session,) = fresh_network.sessions(alice.did)
    assert (session["did"], session["clientId"]) == (alice.did, CLIENT_ID)


def test_approve_when_scope_is_given_then_grants_no_more(
    fresh_network: ReferenceNetwork,
) -> None:
    """A user may grant less than the application asks for."""
    login = HandMadeLogin(fresh_network)
    bob = fresh_network.accounts["bob.test"]
    redirect_url = approve(login.auth_url, bob, scope="atproto")
    assert login.exchange(redirect_url).json()["scope"] == "atproto"


def test_approve_when_other_account_was_hinted_then_code_is_for_who_signed_in(
    fresh_network: ReferenceNetwork,
) -> None:
    """The server leaves it to the client to compare accounts."""
    login = HandMadeLogin(fresh_network, login_hint="alice.test")
    bob = fresh_network.accounts["bob.test"]
    redirect_url = approve(login.auth_url, bob)
    assert login.exchange(redirect_url).json()["sub"] == bob.did


def test_approve_when_password_is_wrong_then_raises(
    fresh_network: ReferenceNetwork,
) -> None:
    """A refused sign-in is an error, never a redirect."""
    login = HandMadeLogin(fresh_network)
    bob = dataclasses.replace(fresh_network.accounts["bob.test"], password="wrong")
    with pytest.raises(SignInError, match="Invalid identifier or password"):
        approve(login.auth_url, bob)


def test_deny_when_request_is_unknown_then_raises_what_the_page_says(
    fresh_network: ReferenceNetwork,
) -> None:
    """The server's error page is told in its own words."""
    query = urlencode({"client_id": CLIENT_ID, "request_uri": REQUEST_URI_PREFIX + "x"})
    with pytest.raises(SignInError, match="request_uri"):
        deny(f"{fresh_network.issuer}/oauth/authorize?{query}")


def test_deny_when_called_then_redirects_with_access_denied(
    fresh_network: ReferenceNetwork,
) -> None:
    """The client hears that the user said no."""
    login = HandMadeLogin(fresh_network)
    assert_denied(deny(login.auth_url), login)
    assert fresh_network.sessions() == []


def test_token_lifetime_when_set_then_holds_until_reset(
    fresh_network: ReferenceNetwork,
) -> None:
    """Short-lived tokens need no waiting, and end with the test that wants them."""
    alice = fresh_network.accounts["alice.test"]

    def expires_in() -> int:
        login = HandMadeLogin(fresh_network)
        tokens = login.exchange(approve(login.auth_url, alice)).json()
        return int(tokens["expires_in"])

    fresh_network.set_token_lifetime(5_000)
    assert expires_in() in {4, 5}
    fresh_network.reset_token_lifetime()
    assert expires_in() in {3599, 3600}


def test_nonces_when_rotated_then_old_ones_are_refused(
    fresh_network: ReferenceNetwork,
) -> None:
    """After a rotation the server asks every client for its new nonce."""
    login = HandMadeLogin(fresh_network)
    form = {"client_id": CLIENT_ID, "token": "x"}
    assert login.post_once("/oauth/revoke", form).is_success
    fresh_network.rotate_nonces()
    refused = login.post_once("/oauth/revoke", form)
    assert refused.json()["error"] == "use_dpop_nonce"
    assert login.post_once("/oauth/revoke", form).is_success


def test_revoke_when_called_then_ends_sessions_of_that_account_only(
    fresh_network: ReferenceNetwork,
) -> None:
    """A server that forgets one user's sessions keeps those of the others."""
    alice, bob = (fresh_network.accounts[name] for name in ("alice.test", "bob.test"))
    for account in (alice, bob):
        login = HandMadeLogin(fresh_network)
        login.exchange(approve(login.auth_url, account))
    assert fresh_network.revoke(alice.did) == 1
    assert fresh_network.sessions(alice.did) == []
    assert len(fresh_network.sessions(bob.did)) == 1


def test_account_when_deactivated_then_can_no_longer_log_in(
    fresh_network: ReferenceNetwork,
) -> None:
    """An account of a test's own may be shut down; sessions outlive it."""
    carol = fresh_network.create_account("carol.test", "carol-pass")
    before, after = HandMadeLogin(fresh_network), HandMadeLogin(fresh_network)
    before.exchange(approve(before.auth_url, carol))
    fresh_network.deactivate(carol)
    assert len(fresh_network.sessions(carol.did)) == 1
    assert_denied(approve(after.auth_url, carol), after)


def test_records_when_written_then_are_read_back(
    fresh_network: ReferenceNetwork,
) -> None:
    """What an application wrote can be seen from outside, and what it did not."""
    dave = fresh_network.create_account("dave.test", "dave-pass")
    collection, text = "test.notes.note", "hello"
    xrpc = f"{fresh_network.pds_url}/xrpc"
    session = httpx.post(
        f"{xrpc}/com.atproto.server.createSession",
        json={"identifier": dave.handle, "password": dave.password},
    ).json()
    assert fresh_network.list_records(dave.did, collection) == []
    assert fresh_network.get_record(dave.did, collection, "one") is None
    httpx.post(
        f"{xrpc}/com.atproto.repo.createRecord",
        headers={"authorization": f"Bearer {session['accessJwt']}"},
        json={
            "repo": dave.did,
            "collection": collection,
            "rkey": "one",
            "record": {"text": text},
        },
    ).raise_for_status()
    record = fresh_network.get_record(dave.did, collection, "one")
    assert record is not None
    assert record["value"]["text"] == text
    assert fresh_network.list_records(dave.did, collection) == [record]


# --- Sign-in in a browser ------------------------------------------------------------


def redirect_after(page: Page, step: Callable[[Page], None]) -> str:
    """Do the step; return the URL by which the browser goes back to the client."""
    with page.expect_request(
        lambda request: request.url.startswith(REDIRECT_URI)
    ) as seen:
        step(page)
    return seen.value.url


@pytest.mark.browser
def test_browser_when_account_was_hinted_then_only_password_is_needed(
    fresh_network: ReferenceNetwork, browser_page: BrowserPage, screenshots: Screenshots
) -> None:
    """Password, consent, and back to the client with a good code."""
    alice, page = fresh_network.accounts["alice.test"], browser_page.page
    login = HandMadeLogin(fresh_network, login_hint=alice.handle)
    page.goto(login.auth_url)
    screenshots.take("password")
    sign_in_as(page, alice.handle, password=alice.password)
    screenshots.take("consent")
    redirect_url = redirect_after(page, authorize)
    assert_approved(redirect_url, login)
    assert login.exchange(redirect_url).json()["sub"] == alice.did


@pytest.mark.browser
def test_browser_when_nobody_was_hinted_then_signs_in_from_welcome(
    fresh_network: ReferenceNetwork, browser_page: BrowserPage, screenshots: Screenshots
) -> None:
    """A user who gave no handle chooses the account on the server's pages."""
    bob, page = fresh_network.accounts["bob.test"], browser_page.page
    login = HandMadeLogin(fresh_network)
    page.goto(login.auth_url)
    screenshots.take("welcome")
    redirect_url = redirect_after(page, lambda page: sign_in_and_authorize(page, bob))
    assert_approved(redirect_url, login)
    assert login.exchange(redirect_url).json()["sub"] == bob.did


@pytest.mark.browser
def test_browser_when_account_is_remembered_then_same_or_other_can_go_on(
    fresh_network: ReferenceNetwork, browser_page: BrowserPage, screenshots: Screenshots
) -> None:
    """Whoever signed in before is listed, and so is the way to somebody else."""
    alice, bob = (fresh_network.accounts[name] for name in ("alice.test", "bob.test"))
    page = browser_page.page
    page.goto(HandMadeLogin(fresh_network).auth_url)
    sign_in_as(page, alice.handle, password=alice.password, remember=True)
    for account, password in ((alice, "not needed"), (bob, bob.password)):
        login = HandMadeLogin(fresh_network)
        page.goto(login.auth_url)
        screenshots.take("accounts")
        sign_in_as(page, account.handle, password=password)
        screenshots.take("consent")
        redirect_url = redirect_after(page, authorize)
        assert login.exchange(redirect_url).json()["sub"] == account.did
    page.goto(HandMadeLogin(fresh_network, login_hint=alice.did).auth_url)
    sign_in_as(page, alice.handle, password="not needed")
    screenshots.take("consent-at-once")


@pytest.mark.browser
@pytest.mark.parametrize("login_hint", ["", "alice.test"])
def test_browser_when_user_denies_then_client_gets_access_denied(
    fresh_network: ReferenceNetwork, browser_page: BrowserPage, login_hint: str
) -> None:
    """A no on the first page is heard by the client."""
    login = HandMadeLogin(fresh_network, login_hint=login_hint)
    browser_page.page.goto(login.auth_url)
    redirect_url = redirect_after(browser_page.page, deny_in_browser)
    assert_denied(redirect_url, login)


@pytest.mark.browser
def test_browser_when_user_denies_after_sign_in_then_client_gets_access_denied(
    fresh_network: ReferenceNetwork, browser_page: BrowserPage
) -> None:
    """A no on the consent page is heard by the client."""
    alice, page = fresh_network.accounts["alice.test"], browser_page.page
    login = HandMadeLogin(fresh_network)
    page.goto(login.auth_url)
    sign_in_as(page, alice.handle, password=alice.password)
    assert_denied(redirect_after(page, deny_in_browser), login)


@pytest.mark.browser
@pytest.mark.parametrize(
    ("username", "message"),
    [
        ("alice.test", "Wrong identifier or password"),
        ("bob.test", "nobody but alice.test"),
    ],
)
def test_browser_when_page_refuses_then_driver_raises_what_it_says(
    fresh_network: ReferenceNetwork,
    browser_page: BrowserPage,
    username: str,
    message: str,
) -> None:
    """A sign-in that cannot work fails at once, and says why."""
    login = HandMadeLogin(fresh_network, login_hint="alice.test")
    browser_page.page.goto(login.auth_url)
    with pytest.raises(PdsPageError, match=message):
        sign_in_as(browser_page.page, username, password="wrong")


@pytest.mark.browser
def test_browser_page_when_page_goes_wrong_then_errors_are_told_by_origin(
    browser_page: BrowserPage,
) -> None:
    """Tests can tell the errors of our pages from those of others."""
    page = browser_page.page
    script = "<script>console.error('said'); throw new Error('thrown')</script>"
    page.route(
        "http://app.test/",
        lambda route: route.fulfill(body=script, content_type="text/html"),
    )
    page.goto("http://app.test/")
    page.wait_for_timeout(100)
    texts = [error.text for error in browser_page.errors_from("http://app.test")]
    assert texts[0] == "said"
    assert "thrown" in texts[1]
    assert browser_page.errors_from("http://app.test.example") == []
