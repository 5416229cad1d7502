"""A login in Chromium through each proxy, which it speaks to by itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.fixtures import BrowserPage
from tests.browser.pds_pages import sign_in_and_authorize
from tests.proxies.hosting import AT_THE_ROOT, ORIGIN, WAYS, make_app, proxied
from tests.proxies.servers import Proxy
from tests.reference_network.process import ReferenceNetwork
from tests.reference_network.tls import APP_HOST

pytestmark = [pytest.mark.browser, pytest.mark.network]


@pytest.fixture(params=AT_THE_ROOT)
def proxy(
    request: pytest.FixtureRequest, tls_network: ReferenceNetwork
) -> Iterator[Proxy]:
    make, path = WAYS[request.param]
    with proxied(tls_network, make, make_app(tls_network, path)) as proxy:
        yield proxy


@pytest.fixture
def chromium_arguments(proxy: Proxy, tls_network: ReferenceNetwork) -> tuple[str, ...]:
    """The application's name leads to the proxy, all others to the network's front."""
    ours = f"MAP {APP_HOST} 127.0.0.1:{proxy.port}"
    others = f"MAP * 127.0.0.1:{tls_network.front_port}"
    return (f"--host-resolver-rules={ours}, {others}", "--ignore-certificate-errors")


def test_login_when_a_browser_goes_through_a_proxy_then_lives_until_logout(
    tls_network: ReferenceNetwork, browser_page: BrowserPage
) -> None:
    """What browsers send of themselves comes through: the form, the way back, logout."""
    page = browser_page.page
    alice = tls_network.accounts["alice.test"]
    page.goto(f"{ORIGIN}/oauth/login")
    page.get_by_label("Your handle").fill("alice.test")
    page.get_by_role("button", name="Continue").click()
    page.wait_for_url(f"{tls_network.issuer}/oauth/authorize?*")
    sign_in_and_authorize(page, alice)
    page.wait_for_url(f"{ORIGIN}/")
    expect(page.get_by_text(alice.did)).to_be_visible()
    [cookie] = page.context.cookies(ORIGIN)
    assert cookie["name"].startswith("__Host-atproto-")
    page.goto(f"{ORIGIN}/oauth/logout")
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url(f"{ORIGIN}/")
    expect(page.get_by_text(alice.did)).not_to_be_visible()
    assert page.context.cookies(ORIGIN) == []
    assert tls_network.sessions(alice.did) == []
