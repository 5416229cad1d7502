"""The ways people really go: back and forth, twice at once, with cookies blocked."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, Route, expect

from atproto_oauth_asgi import Pages
from tests.browser.desk_app import make_desk, other_site
from tests.browser.fixtures import BrowserPage
from tests.browser.pds_pages import authorize, sign_in_and_authorize, sign_in_as
from tests.reference_network.process import Account, ReferenceNetwork
from tests.reference_network.sign_in import approve
from tests.serving import served_in_thread

pytestmark = [pytest.mark.browser, pytest.mark.network]


@pytest.fixture
def alice(fresh_network: ReferenceNetwork) -> Account:
    return fresh_network.accounts["alice.test"]


@pytest.fixture
def desk(fresh_network: ReferenceNetwork) -> Iterator[str]:
    """The origin of an application that people log in to."""
    pages = Pages(sign_up_host=fresh_network.pds_url, default_handle_suffix="test")
    with served_in_thread(make_desk(fresh_network, pages=pages)) as origin:
        yield origin


def begin(page: Page, origin: str, handle: str = "alice.test") -> None:
    """Go as far as the authorization server."""
    page.goto(f"{origin}/oauth/login")
    page.get_by_label("Your handle").fill(handle)
    page.get_by_role("button", name="Continue", exact=True).click()
    page.wait_for_url(re.compile("/oauth/authorize"))


def log_in(page: Page, origin: str, account: Account) -> None:
    begin(page, origin)
    sign_in_and_authorize(page, account)
    expect_somebody(page, "alice.test")


def expect_somebody(page: Page, name: str) -> None:
    expect(page.get_by_role("heading", level=1)).to_have_text(name)


def hold_callback(page: Page, origin: str, account: Account) -> str:
    """Begin a login, say yes to it elsewhere; return the way back, not gone yet."""
    page.goto(f"{origin}/oauth/login")
    page.get_by_label("Your handle").fill(account.handle)
    page.route("**/oauth/authorize?**", lambda route: route.fulfill(status=204))
    with page.expect_request("**/oauth/authorize?**") as handed_over:
        page.get_by_role("button", name="Continue", exact=True).click()
    return approve(handed_over.value.url, account)


@pytest.mark.covers("LOGIN-03")
def test_login_when_begun_on_a_page_then_it_ends_there(
    desk: str, alice: Account, browser_page: BrowserPage
) -> None:
    """With its query, and typed as a bare name."""
    page = browser_page.page
    page.goto(f"{desk}/shelf/3?sort=title&page=2")
    page.get_by_role("link", name="Log in").click()
    page.get_by_label("Your handle").fill("@Alice")
    page.get_by_role("button", name="Continue", exact=True).click()
    sign_in_and_authorize(page, alice)
    expect_somebody(page, "alice.test")
    expect(page).to_have_url(f"{desk}/shelf/3?sort=title&page=2")


def test_login_when_a_host_is_named_then_it_asks_who_somebody_is(
    fresh_network: ReferenceNetwork,
    desk: str,
    alice: Account,
    browser_page: BrowserPage,
) -> None:
    """Who does not know their handle gets in by their host."""
    page = browser_page.page
    page.goto(f"{desk}/oauth/login")
    page.get_by_text("Use a host instead").click()
    page.get_by_label("Your account's host").fill(fresh_network.pds_url)
    page.get_by_role("button", name="Continue to the host").click()
    page.wait_for_url(re.compile("/oauth/authorize"))
    sign_in_as(page, alice.handle, password=alice.password)
    authorize(page)
    expect_somebody(page, "alice.test")


def test_login_page_when_somebody_has_no_account_then_the_host_offers_one(
    desk: str, browser_page: BrowserPage
) -> None:
    """The sign-up form of the host that the application named comes up."""
    page = browser_page.page
    page.goto(f"{desk}/oauth/login")
    page.get_by_role("button", name="Create one on localhost").click()
    page.wait_for_url(re.compile("/oauth/authorize"))
    expect(page.get_by_role("heading", name="Choose a username")).to_be_visible()


@pytest.mark.covers("LGN-01", "OUT-01", "LOGIN-01", "LOGOUT-01")
@pytest.mark.parametrize("path", ["/oauth/login", "/oauth/logout"])
def test_form_when_another_site_sends_it_then_refused_and_nothing_changes(
    desk: str, alice: Account, browser_page: BrowserPage, path: str
) -> None:
    """The person sees what happened, and is who they were."""
    page = browser_page.page
    log_in(page, desk, alice)
    form = f"""<form method="post" action="{desk}{path}"><input name="identifier"
        value="bob.test"></form><script>document.forms[0].submit()</script>"""
    with served_in_thread(other_site(form)) as elsewhere:
        page.goto(elsewhere)
        page.wait_for_url(f"{desk}{path}")
        heading = page.get_by_role("heading", name="We did not accept that request")
        expect(heading).to_be_visible()
    page.goto(f"{desk}/")
    expect_somebody(page, "alice.test")


@pytest.mark.covers("LOGIN-12", "LGN-11")
def test_login_page_when_it_is_prefetched_then_nothing_begins(
    fresh_network: ReferenceNetwork, desk: str, browser_page: BrowserPage
) -> None:
    """Browsers load links ahead; that starts and ends no login."""
    page = browser_page.page
    page.goto(f"{desk}/")
    with page.expect_response("**/oauth/login?x") as ahead:
        page.evaluate(
            """() => { const link = document.createElement("link");
            link.rel = "prefetch"; link.href = "/oauth/login?x";
            document.head.append(link); }"""
        )
    assert ahead.value.status == 200
    assert ahead.value.request.headers.get("sec-purpose") == "prefetch"
    assert page.context.cookies(desk) == []
    assert fresh_network.sessions() == []


@pytest.mark.covers("LGN-04", "CB-20")
def test_callback_when_it_is_delivered_twice_at_once_then_both_are_logged_in(
    fresh_network: ReferenceNetwork,
    desk: str,
    alice: Account,
    browser_page: BrowserPage,
) -> None:
    """Two tabs open the same address in the same moment: one session, no error."""
    page = browser_page.page
    url = hold_callback(page, desk, alice)
    page.goto(f"{desk}/")
    held: list[Route] = []

    def let_go_together(route: Route) -> None:
        held.append(route)
        if len(held) == 2:
            for each in held:
                each.continue_()

    page.context.route("**/oauth/callback?**", let_go_together)
    with page.context.expect_page(lambda _: len(page.context.pages) == 3):
        page.evaluate("url => { window.open(url); window.open(url); }", url)
    for tab in page.context.pages[1:]:
        tab.wait_for_url(f"{desk}/")
        expect_somebody(tab, "alice.test")
    assert len(fresh_network.sessions(alice.did)) == 1


@pytest.mark.covers("LGN-04", "CB-20")
def test_callback_when_it_is_delivered_again_then_it_leads_on_as_the_first_time(
    fresh_network: ReferenceNetwork,
    desk: str,
    alice: Account,
    browser_page: BrowserPage,
) -> None:
    """A browser that tries again when the first answer has come ends where it should."""
    page = browser_page.page
    url = hold_callback(page, desk, alice)
    for _ in range(2):
        page.goto(url)
        page.wait_for_url(f"{desk}/")
        expect_somebody(page, "alice.test")
    assert len(fresh_network.sessions(alice.did)) == 1


def test_callback_when_it_comes_after_another_then_the_person_hears_that_all_is_well(
    desk: str, alice: Account, browser_page: BrowserPage
) -> None:
    """A copy of an address from before is no reason to log in again."""
    page = browser_page.page
    url = hold_callback(page, desk, alice)
    page.goto(url)
    page.goto(hold_callback(page, desk, alice))
    expect_somebody(page, "alice.test")
    page.goto(url)
    expect(page.get_by_text("You are logged in as @alice.test.")).to_be_visible()
    page.get_by_role("link", name="Go on to Desk").click()
    expect_somebody(page, "alice.test")


def test_back_button_when_logged_in_then_the_login_page_says_so(
    desk: str, alice: Account, browser_page: BrowserPage
) -> None:
    """Nobody who goes back has to log in again, or to send a form again."""
    page = browser_page.page
    page.goto(f"{desk}/shelf")
    log_in(page, desk, alice)
    for _ in range(8):
        page.go_back()
        if page.url.startswith(f"{desk}/oauth/login"):
            break
    expect(page.get_by_text("You are logged in as @alice.test.")).to_be_visible()
    page.get_by_role("link", name="Go on to Desk").click()
    expect_somebody(page, "alice.test")


def test_back_button_when_pressed_before_saying_yes_then_a_new_login_works(
    desk: str, alice: Account, browser_page: BrowserPage
) -> None:
    """The form is there again, not the page between, and the first login is no harm."""
    page = browser_page.page
    begin(page, desk, "bob.test")
    page.go_back()
    expect(page).to_have_url(f"{desk}/oauth/login")
    page.get_by_label("Your handle").fill("alice.test")
    page.get_by_role("button", name="Continue", exact=True).click()
    sign_in_and_authorize(page, alice)
    expect_somebody(page, "alice.test")


@pytest.mark.covers("LOGIN-14", "LGN-13")
def test_tabs_when_both_log_in_then_both_end_well_in_any_order(
    fresh_network: ReferenceNetwork,
    desk: str,
    alice: Account,
    browser_page: BrowserPage,
) -> None:
    """Each login is its own; the one that ends last is the one that stays."""
    first, second = browser_page.page, browser_page.page.context.new_page()
    begin(first, desk)
    begin(second, desk)
    sign_in_and_authorize(second, alice)
    expect_somebody(second, "alice.test")
    sign_in_and_authorize(first, alice)
    expect_somebody(first, "alice.test")
    second.reload()
    expect_somebody(second, "alice.test")
    assert len(fresh_network.sessions(alice.did)) == 1


@pytest.mark.covers("CB-07")
def test_login_when_cookies_are_blocked_then_a_page_names_that_as_a_cause(
    fresh_network: ReferenceNetwork,
    desk: str,
    alice: Account,
    page_without_cookies: Page,
) -> None:
    """The person learns what to change; no token is asked for."""
    page = page_without_cookies
    url = hold_callback(page, desk, alice)
    assert page.context.cookies(desk) == []
    page.goto(url)
    expect(
        page.get_by_text("Your browser blocks cookies for this site")
    ).to_be_visible()
    expect(page.get_by_role("link", name="Log in again")).to_be_visible()
    assert fresh_network.sessions() == []


def test_session_when_the_server_has_ended_it_then_one_click_begins_the_next_login(
    fresh_network: ReferenceNetwork,
    desk: str,
    alice: Account,
    browser_page: BrowserPage,
) -> None:
    """The page says what happened, knows who it was, and leads back."""
    page = browser_page.page
    fresh_network.set_token_lifetime(3000)
    log_in(page, desk, alice)
    fresh_network.revoke()
    page.wait_for_timeout(3100)
    page.goto(f"{desk}/shelf")
    expect_somebody(page, "nobody")
    page.get_by_role("link", name="Log in").click()
    expect(page.get_by_role("heading", name="Log in again")).to_be_visible()
    expect(page.get_by_text("You were logged out.")).to_be_visible()
    page.get_by_role("button", name="Continue as @alice.test").click()
    sign_in_and_authorize(page, alice)
    expect_somebody(page, "alice.test")
    expect(page).to_have_url(f"{desk}/shelf")


@pytest.mark.covers("HTTP-08")
def test_script_when_it_logs_in_and_out_then_without_any_page_of_ours(
    fresh_network: ReferenceNetwork,
    desk: str,
    alice: Account,
    browser_page: BrowserPage,
) -> None:
    """A single-page application: fetch, go there, come back, fetch."""
    page = browser_page.page
    page.goto(f"{desk}/spa")
    expect(page.locator("#who")).to_have_text("nobody")
    page.get_by_role("button", name="In").click()
    sign_in_and_authorize(page, alice)
    expect(page).to_have_url(f"{desk}/spa")
    expect(page.locator("#who")).to_have_text("alice.test")
    page.get_by_role("button", name="Out").click()
    expect(page.locator("#who")).to_have_text("nobody")
    assert fresh_network.sessions(alice.did) == []


@pytest.mark.covers("WEB-03")
@pytest.mark.parametrize("is_trusted", [True, False])
def test_session_when_a_page_of_another_origin_reads_it_then_only_if_it_is_trusted(
    fresh_network: ReferenceNetwork,
    alice: Account,
    browser_page: BrowserPage,
    is_trusted: bool,
) -> None:
    """The browser itself decides, by our headers."""
    page = browser_page.page
    with served_in_thread(other_site("<h1>Other</h1>")) as elsewhere:
        app = make_desk(fresh_network, trusted_origins=[elsewhere] * is_trusted)
        with served_in_thread(app) as origin:
            log_in(page, origin, alice)
            page.goto(elsewhere)
            found = page.evaluate(
                """url => fetch(url, {credentials: "include",
                headers: {"Content-Type": "application/json"}})
                .then(answer => answer.json()).then(each => each.handle)
                .catch(error => error.name)""",
                f"{origin}/oauth/session",
            )
    assert found == ("alice.test" if is_trusted else "TypeError")
