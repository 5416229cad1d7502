"""The example of each framework, as a person uses it, against the official PDS."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.fixtures import BrowserPage
from tests.browser.pds_pages import sign_in_and_authorize
from tests.reference_network.process import ReferenceNetwork
from tests.serving import served_in_process

pytestmark = [pytest.mark.browser, pytest.mark.network]


def settings_of(network: ReferenceNetwork) -> dict[str, str]:
    return {
        "ATPROTO_PLC_URL": network.plc_url,
        "ATPROTO_HANDLE_RESOLVER_URL": network.pds_url,
    }


@pytest.mark.parametrize("framework", ["fastapi", "quart", "litestar", "django"])
def test_notes_example_when_used_in_a_browser_then_a_note_is_written_and_shown(
    framework: str, fresh_network: ReferenceNetwork, browser_page: BrowserPage
) -> None:
    """Log in, write a note, read it, log out: by links, fields and buttons alone."""
    page, alice = browser_page.page, fresh_network.accounts["alice.test"]
    app, settings = f"examples.{framework}_app:app", settings_of(fresh_network)
    with served_in_process(app, settings=settings) as origin:
        page.goto(origin)
        page.get_by_role("link", name="Log in").click()
        page.get_by_label("Your handle").fill(alice.handle)
        page.get_by_role("button", name="Continue").click()
        sign_in_and_authorize(page, alice)
        expect(page.get_by_text("You are alice.test")).to_be_visible()
        page.locator("input[name=text]").fill(f"from {framework}")
        page.get_by_role("button", name="Post").click()
        expect(page.get_by_role("listitem").first).to_have_text(f"from {framework}")
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_role("link", name="Log in")).to_be_visible()
        errors = browser_page.errors_from(origin)
    assert [each for each in errors if "favicon" not in each.source_url] == []


def test_starlette_example_when_used_in_a_browser_then_led_to_the_login_and_back(
    fresh_network: ReferenceNetwork, browser_page: BrowserPage
) -> None:
    """Its page sends strangers to log in by itself."""
    page, alice = browser_page.page, fresh_network.accounts["alice.test"]
    settings = settings_of(fresh_network)
    with served_in_process("examples.starlette_app:app", settings=settings) as origin:
        page.goto(origin)
        page.get_by_label("Your handle").fill(alice.handle)
        page.get_by_role("button", name="Continue").click()
        sign_in_and_authorize(page, alice)
        page.get_by_role("link", name="What does your PDS say?").click()
        expect(page.get_by_text("alice.test")).to_be_visible()
