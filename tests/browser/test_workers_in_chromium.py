"""A person's day with two workers, in a real browser: tokens end between the clicks."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.fixtures import BrowserPage
from tests.browser.pds_pages import sign_in_and_authorize
from tests.reference_network.process import Account, ReferenceNetwork
from tests.serving import served_in_process

pytestmark = [pytest.mark.browser, pytest.mark.network]

# One more than the shortest that the reference server counts well.
_LIFETIME_S = 3.0
_FETCHES = 6


@pytest.fixture
def alice(fresh_network: ReferenceNetwork) -> Account:
    """The account that logs in."""
    return fresh_network.accounts["alice.test"]


@pytest.fixture
def origin(fresh_network: ReferenceNetwork, tmp_path: Path) -> Iterator[str]:
    """Where the two workers are."""
    fresh_network.set_token_lifetime(int(_LIFETIME_S * 1000))
    settings = {
        "ATPROTO_PLC_URL": fresh_network.plc_url,
        "ATPROTO_HANDLE_RESOLVER_URL": fresh_network.pds_url,
        "STORE": str(tmp_path / "store.sqlite"),
    }
    app, options = "tests.stored_app:app", ["--workers", "2"]
    with served_in_process(app, settings=settings, options=options) as served:
        yield served


class Watched:
    """Looks at pages, and remembers which workers have made them."""

    def __init__(self, account: Account) -> None:
        self.pids: set[int] = set()
        self._account = account

    def check(self, page: Page) -> None:
        """Check that the page and all that it asked for know the person."""
        expect(page.locator("#told li")).to_have_count(_FETCHES)
        texts = page.locator("#who, #told li").all_inner_texts()
        for told in map(json.loads, texts):
            self.pids.add(told["pid"])
            self._check_one(told)

    def _check_one(self, told: dict[str, Any]) -> None:
        expected = {"did": self._account.did, "reason": None, "status": 200}
        assert {name: told.get(name) for name in expected} == expected, told


def _wait_for_expiry() -> None:
    time.sleep(_LIFETIME_S)


def _log_in(page: Page, origin: str, account: Account) -> None:
    page.goto(f"{origin}/page/1")
    page.get_by_role("link", name="Log in").click()
    page.get_by_label("Your handle").fill(account.handle)
    page.get_by_role("button", name="Continue").click()
    sign_in_and_authorize(page, account)
    page.wait_for_url(f"{origin}/page/1")


def _go_on(page: Page, *, to: int) -> None:
    page.get_by_role("link", name="On").click()
    expect(page.get_by_role("heading", name=f"Page {to}")).to_be_visible()


@pytest.mark.covers("REF-04", "REF-22", "RFR-02", "RFR-17", "COOKIE-16")
def test_browser_when_tokens_end_between_clicks_then_stays_logged_in(
    fresh_network: ReferenceNetwork,
    alice: Account,
    origin: str,
    browser_page: BrowserPage,
) -> None:
    """Clicks, scripts, pictures, two tabs at once and the way back, at two workers."""
    page, watched = browser_page.page, Watched(alice)
    _log_in(page, origin, alice)
    watched.check(page)
    for number in (2, 3, 4):
        _wait_for_expiry()
        _go_on(page, to=number)
        watched.check(page)
    tab = page.context.new_page()
    tab.goto(f"{origin}/page/10")
    watched.check(tab)
    for _ in range(2):
        _wait_for_expiry()
        for each in (page, tab):
            each.evaluate("setTimeout(() => location.assign('/page/20'), 100)")
        for each in (page, tab):
            each.wait_for_url(f"{origin}/page/20")
            watched.check(each)
            each.go_back()
            watched.check(each)
    _wait_for_expiry()
    page.go_back()
    watched.check(page)
    assert len(watched.pids) == 2
    assert len(fresh_network.sessions(alice.did)) == 1
    errors = browser_page.errors_from(origin)
    assert [each for each in errors if "favicon" not in each.source_url] == []
