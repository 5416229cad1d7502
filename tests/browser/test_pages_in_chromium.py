"""Every page as people meet it: small, dark, by keyboard, by ear, without a script."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.axe import find_barriers
from tests.browser.fixtures import BrowserPage
from tests.browser.gallery import PAGES, app
from tests.serving import served_in_thread

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def gallery() -> Iterator[str]:
    """The origin of all pages."""
    with served_in_thread(app) as origin:
        yield origin


def unfold(page: Page) -> None:
    """Open all that is folded."""
    while page.locator("details:not([open]) > summary:visible").count():
        page.locator("details:not([open]) > summary:visible").first.click()


def complaints(browser_page: BrowserPage) -> list[str]:
    """What the browser says on the console, but for the statuses of the pages."""
    texts = [error.text for error in browser_page.errors]
    return [text for text in texts if "responded with a status" not in text]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1100])
def test_pages_when_axe_looks_at_them_then_finds_nothing(
    gallery: str, chromium: Browser, scheme: str, width: int
) -> None:
    """Contrast, names, roles, order, language: nothing keeps anybody out."""
    context = chromium.new_context(
        viewport={"width": width, "height": 800},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    page = context.new_page()
    for name in PAGES:
        page.goto(f"{gallery}/{name}")
        unfold(page)
        assert find_barriers(page) == [], name
    context.close()


def test_axe_when_a_page_is_bad_then_finds_it(browser_page: BrowserPage) -> None:
    """The tool itself sees something."""
    browser_page.page.set_content('<input><img src="x"><p style="color:#eee">pale')
    found = {line.partition(":")[0] for line in find_barriers(browser_page.page)}
    assert {"label", "image-alt", "html-has-lang", "color-contrast"} <= found


@pytest.mark.parametrize("width", [320, 390])
def test_pages_when_the_screen_is_small_then_nothing_runs_out_of_it(
    gallery: str, chromium: Browser, width: int
) -> None:
    """A phone scrolls down, not sideways; and what is tapped is large enough."""
    context = chromium.new_context(viewport={"width": width, "height": 640})
    page = context.new_page()
    for name in PAGES:
        page.goto(f"{gallery}/{name}")
        unfold(page)
        assert page.evaluate("document.documentElement.scrollWidth") == width, name
        for button in page.locator("button:visible, .button:visible").all():
            box = button.bounding_box()
            assert box is not None
            is_in_a_line = "link" in (button.get_attribute("class") or "")
            assert box["height"] >= (24 if is_in_a_line else 44), name
    context.close()


def test_login_page_when_used_by_keyboard_then_all_of_it_is_in_reach(
    gallery: str, browser_page: BrowserPage
) -> None:
    """From the field through every way in, in the order of the page; Enter sends."""
    page = browser_page.page
    page.goto(f"{gallery}/login")
    expect(page.get_by_label("Your handle")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Continue", exact=True)).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("summary")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_label("Your account's host")).to_be_focused()
    page.keyboard.type("pds.example.com")
    with page.expect_request("**/oauth/login") as sent:
        page.keyboard.press("Enter")
    assert sent.value.post_data == "host=pds.example.com&return_to=%2F"


@pytest.mark.parametrize(
    ("name", "focused", "described"),
    [
        ("unknown-handle", "Your handle", "We could not find that handle."),
        ("host-away", "Your account's host", "That does not look like a server."),
    ],
)
def test_login_page_when_something_was_wrong_then_the_field_says_so_to_the_ear(
    gallery: str, browser_page: BrowserPage, name: str, focused: str, described: str
) -> None:
    """Who hears the page is in the field, and hears that it is wrong, and why."""
    page = browser_page.page
    page.goto(f"{gallery}/{name}")
    field = page.get_by_label(focused)
    expect(field).to_be_focused()
    expect(field).to_have_attribute("aria-invalid", "true")
    ids = (field.get_attribute("aria-describedby") or "").split()
    told = " ".join(page.locator(f"#{each}").inner_text() for each in ids)
    assert described in told


def test_pages_when_scripts_are_off_then_the_same(
    gallery: str, chromium: Browser
) -> None:
    """No page needs a script, not even to unfold what is folded."""
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    for name in PAGES:
        page.goto(f"{gallery}/{name}")
        expect(page.get_by_role("heading", level=1)).to_be_visible()
    page.goto(f"{gallery}/login")
    page.get_by_text("Use a host instead").click()
    expect(page.get_by_label("Your account's host")).to_be_visible()
    context.close()


@pytest.mark.covers("HTTP-05", "WEB-06")
def test_pages_when_opened_then_ask_nobody_and_break_no_policy(
    gallery: str, browser_page: BrowserPage
) -> None:
    """One request each, and nothing on the console; also where a script is."""
    page, asked = browser_page.page, []
    page.on("request", lambda request: asked.append(request.url))
    for name in PAGES:
        page.goto(f"{gallery}/{name}")
        page.wait_for_load_state("networkidle")
    wanted = [f"{gallery}/{name}" for name in PAGES]
    assert [url for url in asked if not url.endswith("favicon.ico")] == wanted
    assert complaints(browser_page) == []


def test_suggestions_when_somebody_types_then_handles_are_offered(
    gallery: str, browser_page: BrowserPage
) -> None:
    """From the path that the application named, as text; nothing before two letters."""
    page = browser_page.page
    page.goto(f"{gallery}/login-with-suggestions")
    field = page.get_by_label("Your handle")
    with page.expect_request("**/suggestions?**") as asked:
        field.press_sequentially("@al", delay=10)
    assert asked.value.url == f"{gallery}/suggestions?q=al&limit=6"
    options = page.locator("#handles option")
    expect(options).to_have_count(2)
    assert options.first.get_attribute("value") == "alice.example.com"
    assert options.first.get_attribute("label") == "Alice <3 (alice.example.com)"
    assert find_barriers(page) == []
    assert complaints(browser_page) == []
