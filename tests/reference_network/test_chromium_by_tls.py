"""A whole login in Chromium, where every party has an https origin of its own."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from atproto_oauth_asgi import ClientKey
from atproto_oauth_asgi.crypto.keys import generate_private_key
from tests.browser.fixtures import BrowserPage, Screenshots
from tests.browser.pds_pages import sign_in_and_authorize
from tests.reference_network.hosting import PUBLIC_URL, hosted_app
from tests.reference_network.process import ReferenceNetwork

pytestmark = [pytest.mark.browser, pytest.mark.network]


@pytest.fixture
def chromium_arguments(
    two_origins_network: ReferenceNetwork,
) -> tuple[str, ...]:
    """The way to the network's names; their authority is nobody's but ours."""
    front = f"127.0.0.1:{two_origins_network.front_port}"
    return (f"--host-resolver-rules=MAP * {front}", "--ignore-certificate-errors")


@pytest.mark.covers("HTTP-05", "PAR-07", "COOKIE-01", "COOKIE-15")
def test_login_when_all_origins_differ_then_cookies_hold_until_logout(
    two_origins_network: ReferenceNetwork,
    browser_page: BrowserPage,
    screenshots: Screenshots,
) -> None:
    """From a page under a strict CSP to another site's pages and back, by https."""
    reference, page = two_origins_network, browser_page.page
    alice = reference.accounts["alice.test"]
    keys = [ClientKey(generate_private_key())]
    with hosted_app(reference, client_keys=keys):
        page.goto(f"{PUBLIC_URL}/strict")
        page.get_by_role("button", name="Enter").click()
        page.wait_for_url(f"{reference.issuer}/oauth/authorize?*")
        screenshots.take("sign-in")
        sign_in_and_authorize(page, alice)
        page.wait_for_url(f"{PUBLIC_URL}/")
        expect(page.get_by_text(alice.did)).to_be_visible()
        [cookie] = page.context.cookies(PUBLIC_URL)
        assert cookie["name"].startswith("__Host-atproto-")
        assert (cookie["secure"], cookie["httpOnly"]) == (True, True)
        assert (cookie["sameSite"], cookie["path"]) == ("Lax", "/")
        assert len(reference.sessions(alice.did)) == 1
        page.evaluate("fetch('/oauth/logout', {method: 'POST', redirect: 'manual'})")
        page.reload()
        expect(page.get_by_text(alice.did)).not_to_be_visible()
        assert page.context.cookies(PUBLIC_URL) == []
        assert reference.sessions(alice.did) == []
        ours = browser_page.errors_from(PUBLIC_URL)
        assert [each for each in ours if "favicon" not in each.source_url] == []
