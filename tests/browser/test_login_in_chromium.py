"""Whole logins in a real browser, through our pages and the PDS's own."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.fixtures import BrowserPage, PageError, Screenshots
from tests.browser.pds_pages import deny, sign_in_and_authorize
from tests.notes_app import COLLECTION, make_app
from tests.reference_network.process import Account, ReferenceNetwork
from tests.reference_network.sign_in import approve
from tests.serving import served_in_process, served_in_thread

pytestmark = [pytest.mark.browser, pytest.mark.network]


@pytest.fixture
def alice(fresh_network: ReferenceNetwork) -> Account:
    """The account that logs in."""
    return fresh_network.accounts["alice.test"]


@pytest.fixture
def example(fresh_network: ReferenceNetwork) -> Iterator[str]:
    """The origin of the FastAPI example."""
    settings = {
        "ATPROTO_PLC_URL": fresh_network.plc_url,
        "ATPROTO_HANDLE_RESOLVER_URL": fresh_network.pds_url,
    }
    with served_in_process("examples.fastapi_app:app", settings=settings) as origin:
        yield origin


@pytest.fixture
def notes(fresh_network: ReferenceNetwork) -> Iterator[str]:
    """The origin of the application of the end-to-end tests."""
    with served_in_thread(make_app(fresh_network)) as origin:
        yield origin


def _errors(browser_page: BrowserPage, origin: str) -> list[PageError]:
    """Return what went wrong, but for the icon that browsers ask for."""
    errors = browser_page.errors_from(origin)
    return [error for error in errors if not error.source_url.endswith("/favicon.ico")]


def _type_handle(page: Page, handle: str) -> None:
    page.get_by_label("Your handle").fill(handle)
    page.get_by_role("button", name="Continue").click()


def _post(page: Page, text: str) -> None:
    page.locator('input[name="text"]').fill(text)
    page.get_by_role("button", name="Post").click()
    page.wait_for_load_state("networkidle")
    expect(page.get_by_text("You are alice.test")).to_be_visible()


@pytest.mark.covers("DEV-04", "COOKIE-15")
def test_login_when_walked_through_then_lives_until_logout(
    fresh_network: ReferenceNetwork,
    alice: Account,
    example: str,
    browser_page: BrowserPage,
    screenshots: Screenshots,
) -> None:
    """Log in, post, outlive a token and the nonces, log out: as a person does it."""
    page = browser_page.page
    # Opened by name, the way people do; the login needs the address.
    page.goto(example.replace("127.0.0.1", "localhost"))
    expect(page).to_have_url(f"{example}/")
    fresh_network.set_token_lifetime(3000)
    page.get_by_role("link", name="Log in").click()
    screenshots.take("login-page")
    _type_handle(page, "@Alice.test ")
    sign_in_and_authorize(page, alice)
    expect(page.get_by_text("You are alice.test")).to_be_visible()
    screenshots.take("logged-in")
    _post(page, "first")
    time.sleep(3.1)
    _post(page, "after the token has ended")
    fresh_network.rotate_nonces()
    _post(page, "after the nonces have changed")
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("link", name="Log in")).to_be_visible()
    screenshots.take("logged-out")
    assert page.context.cookies(example) == []
    assert fresh_network.sessions(alice.did) == []
    texts = {
        record["value"]["text"]
        for record in fresh_network.list_records(alice.did, COLLECTION)
    }
    assert texts >= {
        "first",
        "after the token has ended",
        "after the nonces have changed",
    }
    assert _errors(browser_page, example) == []


@pytest.mark.covers("CB-12")
def test_login_when_denied_then_a_page_tells_and_leads_on(
    example: str, browser_page: BrowserPage, screenshots: Screenshots
) -> None:
    """Saying no ends on a page that says so, with a way to try again."""
    page = browser_page.page
    page.goto(f"{example}/oauth/login")
    _type_handle(page, "alice.test")
    page.wait_for_url(re.compile("/oauth/authorize"))
    deny(page)
    page.wait_for_url(re.compile(f"{example}/oauth/callback"))
    screenshots.take("declined")
    expect(page.get_by_text("You declined")).to_be_visible()
    page.get_by_role("link", name="Log in again").click()
    expect(page.get_by_label("Your handle")).to_be_visible()


@pytest.mark.covers("TOK-06", "MIX-08")
def test_login_when_another_account_signs_in_then_refused(
    fresh_network: ReferenceNetwork,
    example: str,
    browser_page: BrowserPage,
    screenshots: Screenshots,
) -> None:
    """Alice typed, Bob signed in: nobody is logged in, and no session is left."""
    page = browser_page.page
    # The PDS's pages let nobody but Alice sign in here; its server does.
    page.route(f"{fresh_network.issuer}/**", lambda route: route.abort())
    page.goto(f"{example}/oauth/login")
    with page.expect_request(re.compile("/oauth/authorize")) as handed_over:
        _type_handle(page, "alice.test")
    bob = fresh_network.accounts["bob.test"]
    page.goto(approve(handed_over.value.url, bob))
    screenshots.take("another-account")
    expect(page.get_by_role("heading", level=1)).to_contain_text("another account")
    assert fresh_network.sessions() == []


@pytest.mark.covers("HTTP-05", "PAR-07")
def test_login_when_begun_on_a_page_with_a_strict_csp_then_works(
    alice: Account, notes: str, browser_page: BrowserPage
) -> None:
    """A form on the application's own page, under ``form-action 'self'``, works."""
    page = browser_page.page
    page.goto(f"{notes}/strict")
    page.get_by_role("button", name="Enter").click()
    sign_in_and_authorize(page, alice)
    page.wait_for_url(f"{notes}/")
    assert alice.did in page.content()
    assert _errors(browser_page, notes) == []


def test_login_when_handle_is_unknown_then_the_form_keeps_it(
    example: str, browser_page: BrowserPage, screenshots: Screenshots
) -> None:
    """A handle that nobody has is told beside the field."""
    page = browser_page.page
    page.goto(f"{example}/oauth/login")
    _type_handle(page, "nobody.test")
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.get_by_label("Your handle")).to_have_value("nobody.test")
    screenshots.take("unknown-handle")


@pytest.mark.covers("CB-07")
def test_callback_when_cookies_are_gone_then_a_page_names_the_causes(
    fresh_network: ReferenceNetwork,
    alice: Account,
    example: str,
    browser_page: BrowserPage,
    screenshots: Screenshots,
) -> None:
    """A login that comes back without its cookie says what may have happened."""
    page = browser_page.page
    page.goto(f"{example}/oauth/login")
    _type_handle(page, "alice.test")
    page.wait_for_url(re.compile("/oauth/authorize"))
    page.context.clear_cookies(domain="127.0.0.1")
    sign_in_and_authorize(page, alice)
    page.wait_for_url(re.compile(f"{example}/oauth/callback"))
    screenshots.take("wrong-browser")
    expect(page.get_by_role("heading", level=1)).to_contain_text("somewhere else")
    assert fresh_network.sessions() == []
