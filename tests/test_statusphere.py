"""The statusphere example: a status goes from a button into a repository, and back."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect
from starlette.testclient import TestClient

from atproto_oauth_asgi.testing import AtprotoNetwork, behaviours, login_as
from tests.browser.axe import find_barriers
from tests.browser.fixtures import BrowserPage, Screenshots
from tests.browser.pds_pages import sign_in_and_authorize
from tests.reference_network.process import Account, ReferenceNetwork
from tests.serving import served_in_process

ORIGIN = "http://127.0.0.1:8000"
STATUS = "xyz.statusphere.status"
FORM = {"Origin": ORIGIN, "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate"}


@pytest.fixture
def app(
    atproto_network: AtprotoNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ModuleType]:
    """The application, freshly imported, in the in-process network."""
    monkeypatch.setenv("STATUSPHERE_DB", str(tmp_path / "index.sqlite3"))
    monkeypatch.setattr("atproto_oauth_asgi.Network", lambda: atproto_network.network)
    yield importlib.import_module("examples.statusphere.app")
    for name in [each for each in sys.modules if "statusphere" in each]:
        if name.startswith("examples."):
            del sys.modules[name]


def browser_at(app: ModuleType) -> TestClient:
    return TestClient(app.app, base_url=ORIGIN, follow_redirects=False)


def set_status(browser: TestClient, emoji: str, **headers: str) -> Any:
    return browser.post("/status", data={"status": emoji}, headers={**FORM, **headers})


def test_home_when_nobody_is_there_then_leads_to_the_login(app: ModuleType) -> None:
    """Anybody may look; setting a status needs a login."""
    answer = browser_at(app).get("/")
    assert answer.status_code == 200
    assert 'href="/oauth/login?return_to=%2F"' in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert set_status(browser_at(app), "🔥").status_code == 401


def test_status_when_set_then_in_the_repository_and_on_the_page(
    app: ModuleType, atproto_network: AtprotoNetwork
) -> None:
    """At once, for everybody, and as the current one for who has set it."""
    browser = browser_at(app)
    login_as(browser, "alice.test")
    assert 'aria-pressed="true"' not in browser.get("/").text
    answer = set_status(browser, "🔥")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    alice = atproto_network.accounts["alice.test"]
    [record] = atproto_network.list_records(alice.did, STATUS)
    assert record["value"]["status"] == "🔥"
    assert re.search('value="🔥"[^>]* aria-pressed="true"', browser.get("/").text)
    assert "@alice.test" in browser_at(app).get("/").text


def test_status_when_written_elsewhere_then_read_from_the_repository(
    app: ModuleType, atproto_network: AtprotoNetwork
) -> None:
    """What other applications have left there is shown if it is a status."""
    browser = browser_at(app)
    login_as(browser, "alice.test")
    set_status(browser, "🌱")
    app.index._path.unlink()
    assert "is growing" in browser.get("/").text
    assert "is growing" in browser_at(app).get("/").text


WRITTEN_AT = "2026-01-01T00:00:00Z"
GOOD = {"status": "🔥", "createdAt": WRITTEN_AT}
MALLORY = "did:plc:mallory"
OWN_URI = f"at://{MALLORY}/{STATUS}/1"
BAD_ITEMS: dict[str, Any] = {
    "no object": "x",
    "no value": {"uri": OWN_URI},
    "no uri": {"value": GOOD},
    "value is a list": {"uri": OWN_URI, "value": []},
    "value is empty": {"uri": OWN_URI, "value": {}},
    "other text": {"uri": OWN_URI, "value": {**GOOD, "status": "<b>"}},
    "status is a list": {"uri": OWN_URI, "value": {**GOOD, "status": ["🔥"]}},
    "no time": {"uri": OWN_URI, "value": {"status": "🔥"}},
    "time is a number": {"uri": OWN_URI, "value": {**GOOD, "createdAt": 1}},
    "before the year 1": {
        "uri": OWN_URI,
        "value": {**GOOD, "createdAt": "0001-01-01T00:00:00+14:00"},
    },
    "uri is a number": {"uri": 1, "value": GOOD},
    "uri of another collection": {"uri": f"at://{MALLORY}/x.y.z/1", "value": GOOD},
    "uri with half a character": {"uri": f"{OWN_URI}\ud800", "value": GOOD},
    "uri of somebody else": {"uri": f"at://did:plc:alice/{STATUS}/1", "value": GOOD},
}


@pytest.mark.parametrize("item", BAD_ITEMS.values(), ids=BAD_ITEMS)
def test_record_when_it_is_no_status_then_left_out(app: ModuleType, item: Any) -> None:
    """Anybody may write anything into their own repository, and run their own server."""
    records = sys.modules["examples.statusphere.records"]
    assert records._parse(item, MALLORY) is None
    assert records._parse({"uri": OWN_URI, "value": GOOD}, MALLORY) is not None


def test_record_when_a_server_lists_somebody_elses_then_theirs_stays(
    app: ModuleType, atproto_network: AtprotoNetwork
) -> None:
    """No server takes the place of another person's status in the index."""
    alice, bob = browser_at(app), browser_at(app)
    login_as(alice, "alice.test")
    set_status(alice, "🔥")
    alice.get("/")
    did = atproto_network.accounts["alice.test"].did
    [record] = atproto_network.list_records(did, STATUS)
    stolen = {**record, "value": {**GOOD, "status": "👎"}}
    login_as(bob, "bob.test")
    lists = behaviours.status(200, json.dumps({"records": [stolen]}))
    atproto_network.on("pds.test", "/xrpc/com.atproto.repo.listRecords", lists)
    shown = bob.get("/").text
    assert "is on fire" in shown
    assert "is not so well" not in shown


@pytest.mark.parametrize("method", ["createRecord", "listRecords", "getRecord"])
@pytest.mark.parametrize("body", ["not JSON", "[]", "{}", '{"uri": 1, "value": 1}'])
def test_app_when_a_server_answers_nonsense_then_says_so(
    app: ModuleType, atproto_network: AtprotoNetwork, method: str, body: str
) -> None:
    """No page breaks, whatever somebody's own server says with a 200."""
    browser = browser_at(app)
    login_as(browser, "alice.test")
    path = f"/xrpc/com.atproto.repo.{method}"
    atproto_network.on("pds.test", path, behaviours.status(200, body))
    if method == "createRecord":
        answer = set_status(browser, "🔥")
        assert (answer.status_code, "did not take" in answer.text) == (502, True)
        return
    answer = browser.get("/")
    assert (answer.status_code, "does not answer" in answer.text) == (200, True)


def test_status_when_it_is_none_of_ours_then_400(app: ModuleType) -> None:
    """Nothing is written that the page did not offer."""
    browser = browser_at(app)
    login_as(browser, "alice.test")
    assert set_status(browser, "rude").status_code == 400


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "", "Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "", "Origin": ""},
    ],
)
def test_status_when_another_site_sends_it_then_403(
    app: ModuleType, atproto_network: AtprotoNetwork, headers: dict[str, str]
) -> None:
    """Nobody's status is set for them."""
    browser = browser_at(app)
    login_as(browser, "alice.test")
    assert set_status(browser, "🔥", **headers).status_code == 403
    alice = atproto_network.accounts["alice.test"]
    assert not atproto_network.list_records(alice.did, STATUS)


def test_status_when_the_session_was_ended_then_to_the_login(
    app: ModuleType, atproto_network: AtprotoNetwork
) -> None:
    """The login page then says why."""
    browser = browser_at(app)
    login_as(browser, "alice.test")
    browser.get("/")
    atproto_network.revoke()
    answer = set_status(browser, "🔥")
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/oauth/login?return_to=%2F")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"displayName": "<Alice & Co>"}, "&lt;Alice &amp; Co&gt;"),
        ({"displayName": "Al\ud800ice"}, "Al?ice"),
        ({"displayName": 7}, "@alice.test"),
        ({}, "@alice.test"),
    ],
)
def test_home_when_there_is_a_profile_then_shows_its_name(
    app: ModuleType, atproto_network: AtprotoNetwork, value: Any, shown: str
) -> None:
    """As text, whatever somebody has written there."""
    browser = browser_at(app)
    login_as(browser, "alice.test")
    path = "/xrpc/com.atproto.repo.getRecord"
    body = json.dumps({"uri": "at://x", "value": value})
    atproto_network.on("pds.test", path, behaviours.status(200, body))
    assert f"<strong>{shown}</strong>" in browser.get("/").text


def test_home_when_the_server_is_away_then_says_so(
    app: ModuleType, atproto_network: AtprotoNetwork
) -> None:
    """The page is there all the same, with what the index knows."""
    browser = browser_at(app)
    login_as(browser, "alice.test")
    path = "/xrpc/com.atproto.repo.listRecords"
    atproto_network.on("pds.test", path, behaviours.status(500, "{}"))
    answer = browser.get("/")
    assert answer.status_code == 200
    assert "does not answer" in answer.text


@pytest.mark.browser
@pytest.mark.network
def test_statusphere_when_used_in_a_browser_then_the_official_pds_has_the_status(
    fresh_network: ReferenceNetwork,
    browser_page: BrowserPage,
    screenshots: Screenshots,
    tmp_path: Path,
) -> None:
    """Log in, choose, see it; in light and dark, wide and narrow; log out."""
    alice = fresh_network.accounts["alice.test"]
    settings = {
        "ATPROTO_PLC_URL": fresh_network.plc_url,
        "ATPROTO_HANDLE_RESOLVER_URL": fresh_network.pds_url,
        "STATUSPHERE_DB": str(tmp_path / "index.sqlite3"),
    }
    name_account(fresh_network, alice, "Alice of the Tests")
    page = browser_page.page
    with served_in_process("examples.statusphere.app:app", settings=settings) as origin:
        page.goto(origin)
        screenshots.take("nobody")
        page.get_by_role("link", name="Log in").click()
        page.get_by_label("Your handle").fill("alice.test")
        page.get_by_role("button", name="Continue", exact=True).click()
        sign_in_and_authorize(page, alice)
        for name in ("fine", "growing", "taking off"):
            page.get_by_role("button", name=name, exact=True).click()
            expect(chosen(page)).to_have_attribute("aria-label", name)
        expect(page.get_by_text("Hi, Alice of the Tests.")).to_be_visible()
        screenshots.take("home")
        assert not find_barriers(page)
        page.set_viewport_size({"width": 390, "height": 760})
        page.emulate_media(color_scheme="dark")
        screenshots.take("dark")
        assert not find_barriers(page)
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_role("link", name="Log in")).to_be_visible()
        assert not browser_page.errors_from(origin)
    records = fresh_network.list_records(alice.did, STATUS)
    assert [each["value"]["status"] for each in records] == ["🚀", "🌱", "👍"]


def name_account(network: ReferenceNetwork, account: Account, name: str) -> None:
    """Write a profile, as another application would."""
    record = {"$type": "app.bsky.actor.profile", "displayName": name}
    body = {"repo": account.did, "collection": record["$type"], "rkey": "self"}
    with httpx.Client(base_url=network.pds_url, trust_env=False) as http:
        credentials = {"identifier": account.handle, "password": account.password}
        path = "/xrpc/com.atproto.server.createSession"
        token = http.post(path, json=credentials).json()["accessJwt"]
        answer = http.post(
            "/xrpc/com.atproto.repo.putRecord",
            json={**body, "record": record},
            headers={"Authorization": f"Bearer {token}"},
        )
    assert answer.status_code == 200, answer.text


def chosen(page: Page) -> Any:
    return page.locator("button[aria-pressed=true]")
