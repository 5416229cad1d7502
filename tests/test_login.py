"""Whole logins against the official PDS, its consent driven over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Unpack
from urllib.parse import parse_qs, urlsplit

import anyio
import httpx
import pytest

from atproto_oauth_asgi import Network
from atproto_oauth_asgi.config import OAuthOptions
from tests.notes_app import COLLECTION, make_app
from tests.reference_network.process import Account, ReferenceNetwork
from tests.reference_network.sign_in import approve, deny

pytestmark = [pytest.mark.anyio, pytest.mark.network]

_ORIGIN = "http://127.0.0.1:8000"


@dataclass
class Clock:
    """A clock that a test can set."""

    ahead_s: float = 0.0

    def __call__(self) -> float:
        return datetime.now(UTC).timestamp() + self.ahead_s


@dataclass
class Visitor:
    """A browser with a cookie jar, at the application."""

    http: httpx.AsyncClient

    async def begin(self, identifier: str, **fields: str) -> httpx.Response:
        """Send the login form."""
        return await self.http.post(
            "/oauth/login", data={"identifier": identifier, **fields}
        )

    async def begin_and_leave(self, identifier: str, **fields: str) -> str:
        """Send the login form; return where the browser is handed over to."""
        response = await self.begin(identifier, **fields)
        assert response.status_code == 200, response.text
        return response.headers["refresh"].partition("url=")[2]

    async def log_in(self, account: Account, **fields: str) -> httpx.Response:
        """Log in and say yes; return the application's answer to the callback."""
        auth_url = await self.begin_and_leave(account.handle, **fields)
        back = await anyio.to_thread.run_sync(approve, auth_url, account)
        return await self.http.get(back)

    async def who(self) -> dict[str, Any]:
        """Return what the application knows."""
        answer: dict[str, Any] = (await self.http.get("/")).json()
        return answer

    async def post_note(self, text: str) -> httpx.Response:
        """Let the application write a record."""
        return await self.http.post("/notes", params={"text": text})


@asynccontextmanager
async def visiting(
    reference: ReferenceNetwork, **options: Unpack[OAuthOptions]
) -> AsyncIterator[Visitor]:
    """Return a browser that is open at a new application."""
    app = make_app(reference, **options)
    transport = httpx.ASGITransport(app)
    headers = {"Origin": _ORIGIN, "Sec-Fetch-Site": "same-origin"}
    async with httpx.AsyncClient(
        transport=transport, base_url=_ORIGIN, headers=headers
    ) as http:
        yield Visitor(http)
        # What the middleware opened belongs to this event loop.
        await app._site.client.aclose()


@pytest.fixture
def alice(fresh_network: ReferenceNetwork) -> Account:
    """The account that logs in."""
    return fresh_network.accounts["alice.test"]


@pytest.fixture
def bob(fresh_network: ReferenceNetwork) -> Account:
    """Another account on the same PDS."""
    return fresh_network.accounts["bob.test"]


@pytest.fixture
def short_tokens(fresh_network: ReferenceNetwork) -> Iterator[None]:
    """Access tokens that live for two seconds."""
    fresh_network.set_token_lifetime(2000)
    yield
    fresh_network.reset_token_lifetime()


@pytest.mark.covers("SESS-03", "CB-16", "LOGIN-05", "PAR-01", "TOK-01", "ID-22")
async def test_login_when_approved_then_the_person_is_known(
    fresh_network: ReferenceNetwork, alice: Account
) -> None:
    """After yes, the application knows DID and verified handle, and goes on."""
    async with visiting(fresh_network) as visitor:
        response = await visitor.log_in(alice, return_to="/?page=2")
        assert response.status_code == 303
        assert response.headers["location"] == "/?page=2"
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert await visitor.who() == {
            "did": alice.did,
            "handle": "alice.test",
            "reason": None,
        }


@pytest.mark.covers("RES-01", "DPOP-08", "DPOP-18")
async def test_client_when_logged_in_then_writes_as_that_person(
    fresh_network: ReferenceNetwork, alice: Account
) -> None:
    """A record that the application writes is in the person's repository."""
    async with visiting(fresh_network) as visitor:
        await visitor.log_in(alice)
        response = await visitor.post_note("first")
        assert response.status_code == 200
        rkey = response.json()["uri"].rpartition("/")[2]
    record = fresh_network.get_record(alice.did, COLLECTION, rkey)
    assert record is not None
    assert record["value"]["text"] == "first"


@pytest.mark.usefixtures("short_tokens")
@pytest.mark.covers("REF-01", "REF-08", "REF-12")
async def test_client_when_access_token_ends_then_session_goes_on(
    fresh_network: ReferenceNetwork, alice: Account
) -> None:
    """An access token that ends is renewed, again and again, unnoticed."""
    async with visiting(fresh_network) as visitor:
        await visitor.log_in(alice)
        cookies = {str(visitor.http.cookies)}
        for text in ("one", "two"):
            await anyio.sleep(2.1)
            assert (await visitor.post_note(text)).status_code == 200
            cookies.add(str(visitor.http.cookies))
        assert len(cookies) == 3
        assert len(fresh_network.sessions(alice.did)) == 1


@pytest.mark.usefixtures("short_tokens")
@pytest.mark.covers("REF-03", "REF-05", "REF-22", "RFR-01", "RFR-17")
async def test_refresh_when_many_requests_meet_the_end_then_one_is_sent(
    fresh_network: ReferenceNetwork, alice: Account
) -> None:
    """Twenty requests with one old cookie leave the session alive at the PDS."""
    async with visiting(fresh_network) as visitor:
        await visitor.log_in(alice)
        await anyio.sleep(2.1)
        fresh_network.set_token_lifetime(6000)  # so that none ends among the twenty
        statuses: list[int] = []

        async def post() -> None:
            statuses.append((await visitor.post_note("many")).status_code)

        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(post)
        assert statuses == [200] * 20
        await anyio.sleep(6.1)
        assert (await visitor.post_note("after")).status_code == 200


@pytest.mark.covers("RES-09")
async def test_client_when_access_token_is_refused_then_it_is_renewed_once(
    fresh_network: ReferenceNetwork, alice: Account
) -> None:
    """A token that the PDS refuses before its time is renewed within the request."""
    clock = Clock()
    fresh_network.set_token_lifetime(2000)
    async with visiting(fresh_network, clock=clock) as visitor:
        await visitor.log_in(alice)
        await anyio.sleep(2.1)
        # By this clock the token has just been issued.
        clock.ahead_s = -2.1
        assert (await visitor.post_note("late")).status_code == 200


@pytest.mark.covers("DPOP-11", "DPOP-13", "DPOP-14")
async def test_client_when_nonces_rotate_then_goes_on(
    fresh_network: ReferenceNetwork, alice: Account
) -> None:
    """Nonces that become invalid are replaced without anybody noticing."""
    async with visiting(fresh_network) as visitor:
        await visitor.log_in(alice)
        assert (await visitor.post_note("before")).status_code == 200
        fresh_network.rotate_nonces()
        assert (await visitor.post_note("after")).status_code == 200


@pytest.mark.covers("LOGOUT-02", "LOGOUT-03", "COOKIE-15", "CKE-09", "SESS-14")
async def test_logout_when_logged_in_then_ends_here_and_at_the_server(
    fresh_network: ReferenceNetwork, alice: Account
) -> None:
    """After a logout the cookie is gone, the PDS has no session, a copy is dead."""
    async with visiting(fresh_network) as visitor:
        await visitor.log_in(alice)
        assert len(fresh_network.sessions(alice.did)) == 1
        copy = dict(visitor.http.cookies)
        response = await visitor.http.post("/oauth/logout")
        assert response.status_code == 303
        assert dict(visitor.http.cookies) == {}
        assert fresh_network.sessions(alice.did) == []
        visitor.http.cookies.update(copy)
        assert (await visitor.who())["did"] is None


@pytest.mark.covers("REF-14", "RFR-14")
async def test_session_when_revoked_at_the_server_then_ends_with_its_reason(
    fresh_network: ReferenceNetwork, alice: Account
) -> None:
    """A session that its server ended is gone at the next use, once, with a reason."""
    async with visiting(fresh_network) as visitor:
        await visitor.log_in(alice)
        fresh_network.revoke(alice.did)
        response = await visitor.post_note("nobody")
        assert response.status_code == 401
        assert response.json() == {"code": "session_revoked"}
        [left] = visitor.http.cookies.values()
        assert len(left) < 500
        assert (await visitor.who())["did"] is None


@pytest.mark.covers("CB-08", "CB-10", "CB-12")
async def test_login_when_denied_then_says_so_and_offers_the_way_on(
    fresh_network: ReferenceNetwork, alice: Account
) -> None:
    """A person who says no is told that they did, and can try again."""
    async with visiting(fresh_network) as visitor:
        auth_url = await visitor.begin_and_leave(alice.handle)
        back = await anyio.to_thread.run_sync(deny, auth_url)
        response = await visitor.http.get(back)
        assert response.status_code == 400
        assert "You declined" in response.text
        assert 'href="/oauth/login?return_to=%2F"' in response.text
        assert (await visitor.who())["did"] is None


@pytest.mark.covers("TOK-06", "TOK-14", "MIX-08")
async def test_login_when_another_account_signs_in_then_refused_and_revoked(
    fresh_network: ReferenceNetwork, alice: Account, bob: Account
) -> None:
    """Alice's login that Bob approves is nobody's, and leaves no tokens behind."""
    async with visiting(fresh_network) as visitor:
        auth_url = await visitor.begin_and_leave(alice.handle)
        back = await anyio.to_thread.run_sync(approve, auth_url, bob)
        response = await visitor.http.get(back)
        assert response.status_code == 400
        assert (await visitor.who())["did"] is None
    assert fresh_network.sessions() == []


@pytest.mark.covers("CB-19", "LGN-20")
async def test_login_when_it_fails_then_the_session_before_lives_on(
    fresh_network: ReferenceNetwork, alice: Account
) -> None:
    """Somebody who is logged in and declines another login stays logged in."""
    async with visiting(fresh_network) as visitor:
        await visitor.log_in(alice)
        auth_url = await visitor.begin_and_leave(alice.handle)
        await visitor.http.get(await anyio.to_thread.run_sync(deny, auth_url))
        assert (await visitor.who())["did"] == alice.did
        assert (await visitor.post_note("still here")).status_code == 200


@pytest.mark.covers("SESS-03", "LOGOUT-10", "SES-01")
async def test_login_when_logged_in_before_then_the_old_session_is_ended(
    fresh_network: ReferenceNetwork, alice: Account, bob: Account
) -> None:
    """A new login replaces the session of this browser, at the server too."""
    async with visiting(fresh_network) as visitor:
        await visitor.log_in(alice)
        await visitor.log_in(bob)
        assert (await visitor.who())["did"] == bob.did
    assert fresh_network.sessions(alice.did) == []
    assert len(fresh_network.sessions(bob.did)) == 1


@pytest.mark.covers("SESS-05")
async def test_login_when_two_browsers_then_sessions_are_independent(
    fresh_network: ReferenceNetwork, alice: Account
) -> None:
    """One account in two browsers: logging out of one leaves the other."""
    async with visiting(fresh_network) as one, visiting(fresh_network) as two:
        await one.log_in(alice)
        await two.log_in(alice)
        await one.http.post("/oauth/logout")
        assert (await two.post_note("still here")).status_code == 200


@pytest.mark.covers("CB-06", "CB-07", "LGN-02")
async def test_callback_when_in_another_browser_then_refused(
    fresh_network: ReferenceNetwork, alice: Account
) -> None:
    """A callback URL that somebody else was sent is nobody's login there."""
    async with visiting(fresh_network) as eve, visiting(fresh_network) as victim:
        auth_url = await eve.begin_and_leave(alice.handle)
        back = await anyio.to_thread.run_sync(approve, auth_url, alice)
        response = await victim.http.get(back)
        assert response.status_code == 400
        assert (await victim.who())["did"] is None
        assert fresh_network.sessions() == []
        # The browser that began it can still finish.
        assert (await eve.http.get(back)).status_code == 303


@pytest.mark.covers("CB-04", "CB-05", "LGN-04")
async def test_callback_when_delivered_twice_then_both_get_the_same_session(
    fresh_network: ReferenceNetwork, alice: Account
) -> None:
    """Ten deliveries at once make one token request and one session."""
    async with visiting(fresh_network) as visitor:
        auth_url = await visitor.begin_and_leave(alice.handle)
        back = await anyio.to_thread.run_sync(approve, auth_url, alice)
        cookie = "; ".join(f"{k}={v}" for k, v in visitor.http.cookies.items())
        answers: list[httpx.Response] = []

        async def deliver() -> None:
            answers.append(await visitor.http.get(back, headers={"Cookie": cookie}))

        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(deliver)
        assert [answer.status_code for answer in answers] == [303] * 10
        # Their lives may differ by a second, their values not.
        cookies = {
            line.partition(";")[0]
            for answer in answers
            for line in answer.headers.get_list("set-cookie")
        }
        assert len(cookies) == 2  # the session, and the login that is gone
        assert (await visitor.post_note("alive")).status_code == 200
    assert len(fresh_network.sessions(alice.did)) == 1


@pytest.mark.covers("CB-18", "LGN-12", "PAR-12")
async def test_callback_when_too_late_then_says_so(
    fresh_network: ReferenceNetwork, alice: Account
) -> None:
    """A login that took more than ten minutes is told as expired, and begun anew."""
    clock = Clock()
    async with visiting(fresh_network, clock=clock) as visitor:
        auth_url = await visitor.begin_and_leave(alice.handle)
        back = await anyio.to_thread.run_sync(approve, auth_url, alice)
        clock.ahead_s = 11 * 60
        response = await visitor.http.get(back)
        assert response.status_code == 400
        assert "took too long" in response.text
    assert fresh_network.sessions() == []


@pytest.mark.covers("PAR-02", "PAR-04", "PAR-10", "DEV-01")
async def test_login_when_begun_then_the_browser_url_holds_nothing_but_two_names(
    fresh_network: ReferenceNetwork, alice: Account
) -> None:
    """Everything of the request went by PAR; the URL names client and request."""
    async with visiting(fresh_network) as visitor:
        auth_url = await visitor.begin_and_leave(alice.handle)
    query = parse_qs(urlsplit(auth_url).query)
    assert set(query) == {"client_id", "request_uri"}
    assert query["client_id"][0].startswith("http://localhost?redirect_uri=")


async def test_login_when_a_did_is_typed_then_works(
    fresh_network: ReferenceNetwork, alice: Account
) -> None:
    """A DID is as good as a handle; its handle is verified all the same."""
    async with visiting(fresh_network) as visitor:
        auth_url = await visitor.begin_and_leave(alice.did)
        back = await anyio.to_thread.run_sync(approve, auth_url, alice)
        await visitor.http.get(back)
        assert (await visitor.who())["handle"] == "alice.test"


@pytest.mark.covers("ERR-04", "LOGIN-08")
async def test_login_when_handle_is_unknown_then_the_form_says_so(
    fresh_network: ReferenceNetwork,
) -> None:
    """A handle that nobody has is told beside the field, which keeps it."""
    async with visiting(fresh_network) as visitor:
        response = await visitor.begin("nobody.test")
        assert response.status_code == 400
        assert 'value="nobody.test"' in response.text
        assert 'role="alert"' in response.text


@pytest.mark.covers("ERR-04")
async def test_login_when_the_host_is_away_then_says_whose_fault_it_is(
    fresh_network: ReferenceNetwork,
) -> None:
    """A host that does not answer is told as that, with nothing lost."""
    away = Network.development(
        plc_url=fresh_network.plc_url, handle_resolver_url="http://127.0.0.1:9"
    )
    async with visiting(fresh_network, network=away) as visitor:
        response = await visitor.begin("alice.test")
        assert response.status_code == 502
        assert 'value="alice.test"' in response.text


@pytest.mark.covers("SESS-06", "SES-05")
async def test_session_when_older_than_its_age_then_anonymous(
    fresh_network: ReferenceNetwork, alice: Account
) -> None:
    """However often it is renewed, a session ends when its age says so."""
    clock = Clock()
    async with visiting(fresh_network, clock=clock, max_age_s=3600) as visitor:
        await visitor.log_in(alice)
        clock.ahead_s = 3601
        jar = dict(visitor.http.cookies)
        cookie = "; ".join(f"{name}={value}" for name, value in jar.items())
        response = await visitor.http.get("/", headers={"Cookie": cookie})
        assert response.json()["did"] is None


@pytest.mark.covers("LOG-03", "WEB-15")
async def test_log_when_at_debug_then_holds_no_secret(
    fresh_network: ReferenceNetwork,
    alice: Account,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A whole login at DEBUG writes no code, state, token, cookie or key."""
    caplog.set_level("DEBUG")
    async with visiting(fresh_network) as visitor:
        auth_url = await visitor.begin_and_leave(alice.handle)
        back = await anyio.to_thread.run_sync(approve, auth_url, alice)
        secrets = [
            parse_qs(urlsplit(back).query)[name][0] for name in ("code", "state")
        ]
        secrets += list(visitor.http.cookies.values())
        caplog.clear()
        app_only = visitor.http
        await app_only.get(back)
        secrets += list(visitor.http.cookies.values())
        await visitor.post_note("hush")
        await visitor.http.post("/oauth/logout")
    ours = [
        record.getMessage()
        for record in caplog.records
        # The test's own browser is an httpx client too, and logs its URLs.
        if not record.name.startswith("httpx")
    ]
    assert any("logged in" in line for line in ours)
    assert not [line for line in ours for secret in secrets if secret in line]
