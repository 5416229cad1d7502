"""Whole logins at an application behind the middleware, everything by https.

Browser, application, authorization server and PDS have host names of their own.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import httpx
import pytest

from atproto_oauth_asgi import ClientKey
from atproto_oauth_asgi.crypto.keys import generate_private_key
from tests.notes_app import COLLECTION
from tests.reference_network.hosting import PUBLIC_URL, hosted_app
from tests.reference_network.process import Account, ReferenceNetwork
from tests.reference_network.sign_in import Browser, approve, open_page

pytestmark = pytest.mark.network

OLD, NEW = generate_private_key(), generate_private_key()
KEYS = (ClientKey(OLD),)


class Person:
    """Somebody with one browser, at the application and at the server's pages."""

    def __init__(self, reference: ReferenceNetwork) -> None:
        self.http = reference.open_http(
            base_url=PUBLIC_URL,
            headers={"Origin": PUBLIC_URL, "Sec-Fetch-Site": "same-origin"},
        )
        self.browser = Browser(reference.open_http())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.browser.__exit__()
        self.http.close()

    def begin(self, identifier: str, **fields: str) -> str:
        """Send the login form; return where the browser is handed over to."""
        answer = self.http.post(
            "/oauth/login", data={"identifier": identifier, **fields}
        )
        assert answer.status_code == 200, answer.text
        return answer.headers["refresh"].partition("url=")[2]

    def log_in(self, account: Account, **how: Any) -> None:
        auth_url = self.begin(account.handle)
        back = approve(auth_url, account, browser=self.browser, **how)
        answer = self.http.get(back)
        assert answer.status_code == 303, answer.text

    def who(self) -> dict[str, Any]:
        """What the application knows."""
        known: dict[str, Any] = self.http.get("/").json()
        return known

    def post_note(self, text: str) -> httpx.Response:
        return self.http.post("/notes", params={"text": text})


@pytest.fixture
def alice(tls_network: ReferenceNetwork) -> Account:
    return tls_network.accounts["alice.test"]


@pytest.fixture
def person(tls_network: ReferenceNetwork) -> Iterator[Person]:
    with Person(tls_network) as person:
        yield person


@pytest.mark.covers("COOKIE-01", "META-12", "CAUTH-01")
def test_login_when_everything_is_by_https_then_lives_until_logout(
    each_tls_network: ReferenceNetwork,
) -> None:
    """Log in, write, log out, wherever the authorization server is."""
    reference = each_tls_network
    account = reference.accounts["alice.test"]
    with hosted_app(reference, client_keys=KEYS), Person(reference) as person:
        person.log_in(account)
        assert person.who()["did"] == account.did
        [cookie] = person.http.cookies.jar
        assert cookie.name.startswith("__Host-atproto-")
        assert cookie.secure
        note = person.post_note("by https")
        assert note.status_code == 200
        rkey = note.json()["uri"].rpartition("/")[2]
        assert reference.get_record(account.did, COLLECTION, rkey) is not None
        [row] = reference.sessions()
        assert row["clientAuthMethod"] == "private_key_jwt"
        assert person.http.post("/oauth/logout").status_code == 303
        assert person.who()["did"] is None
        assert reference.sessions() == []


@pytest.mark.covers("META-01", "META-02", "META-03", "META-15", "META-16", "META-21")
def test_documents_when_fetched_through_the_front_then_are_those_of_the_config(
    tls_network: ReferenceNetwork,
) -> None:
    """Strangers get metadata and public keys at the very URLs that they name."""
    keys = (ClientKey(OLD), ClientKey(NEW, "publish"))
    with (
        hosted_app(tls_network, client_keys=keys) as app,
        tls_network.open_http(headers={"Accept": "text/html"}) as stranger,
    ):
        answers = [
            stranger.get(app.config.client_id),
            stranger.get(app.config.client_metadata["jwks_uri"]),
        ]
    for answer in answers:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json"
        assert "set-cookie" not in answer.headers
    metadata, jwks = (answer.json() for answer in answers)
    assert metadata["client_id"] == str(answers[0].url)
    assert {each["kid"] for each in jwks["keys"]} == {each.kid for each in keys}
    for each in jwks["keys"]:
        assert each.keys() == {"kty", "crv", "x", "y", "kid", "alg", "use"}


@pytest.mark.covers("CAUTH-06", "CAUTH-07", "META-17", "RFR-15")
def test_session_when_its_key_is_rotated_then_goes_on_until_it_is_retired(
    tls_network: ReferenceNetwork, alice: Account, person: Person
) -> None:
    """A restart with a new key loses nobody; one without the old key says why."""
    tls_network.set_token_lifetime(2000)
    with hosted_app(tls_network, client_keys=KEYS):
        person.log_in(alice)
    new_signs = (ClientKey(OLD, "publish"), ClientKey(NEW))
    with hosted_app(tls_network, client_keys=new_signs):
        time.sleep(2.1)
        assert person.post_note("with new tokens").status_code == 200
        time.sleep(2.1)
    tls_network.reset_token_lifetime()
    old_retired = (ClientKey(OLD, "retired"), ClientKey(NEW))
    with hosted_app(tls_network, client_keys=old_retired):
        known = person.who()
        assert (known["did"], known["reason"]) == (None, "key_retired")
        [left] = person.http.cookies.values()
        assert len(left) < 500
        person.log_in(alice)
        assert person.post_note("with the new key").status_code == 200


@pytest.mark.covers("TOK-10")
def test_consent_when_narrowed_then_logged_in_but_not_allowed(
    tls_network: ReferenceNetwork, alice: Account, person: Person
) -> None:
    """Who grants nothing but the login is logged in, and nothing is written."""
    with hosted_app(tls_network, client_keys=KEYS):
        person.log_in(alice, scope="atproto")
        assert person.who()["did"] == alice.did
        answer = person.post_note("not allowed")
        assert answer.status_code == 403
        assert answer.json()["error"] == "ScopeMissingError"


@pytest.mark.covers("CB-12")
def test_prompt_none_when_not_signed_in_there_then_offers_the_way_on(
    tls_network: ReferenceNetwork, alice: Account, person: Person
) -> None:
    """An application may ask whether a login needs a page, and it does."""
    with hosted_app(tls_network, client_keys=KEYS):
        back = open_page(
            person.begin(alice.handle, prompt="none"), browser=person.browser
        )
        assert back is not None
        answer = person.http.get(back)
        assert answer.status_code == 400
        assert "wants to see you first" in answer.text
        assert 'href="/oauth/login?' in answer.text
        assert person.who()["did"] is None


def test_prompt_none_when_remembered_and_approved_then_logged_in_at_once(
    tls_network: ReferenceNetwork, alice: Account, person: Person
) -> None:
    """Somebody who has logged out here is back without seeing a page."""
    with hosted_app(tls_network, client_keys=KEYS):
        person.log_in(alice, remember=True)
        person.http.post("/oauth/logout")
        assert person.who()["did"] is None
        back = open_page(
            person.begin(alice.handle, prompt="none"), browser=person.browser
        )
        assert back is not None
        assert person.http.get(back).status_code == 303
        assert person.who()["did"] == alice.did


@pytest.mark.covers("SESS-05")
def test_logout_when_on_two_devices_then_the_other_one_stays(
    tls_network: ReferenceNetwork, alice: Account, person: Person
) -> None:
    """Each browser has a session of its own at the server."""
    with (
        hosted_app(tls_network, client_keys=KEYS),
        Person(tls_network) as on_the_phone,
    ):
        person.log_in(alice)
        on_the_phone.log_in(alice)
        assert len(tls_network.sessions(alice.did)) == 2
        person.http.post("/oauth/logout")
        assert len(tls_network.sessions(alice.did)) == 1
        assert on_the_phone.post_note("still here").status_code == 200
        assert person.who()["did"] is None
