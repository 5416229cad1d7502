"""Headless Chromium as pytest fixtures.

Playwright's blocking API keeps an event loop running in the thread that uses it. So
tests with these fixtures are plain functions, not `anyio` ones; what they test runs
in another thread or process; and Chromium lives no longer than one test (it starts in
half a second), or the `anyio` tests that come after would find a loop already running.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    WebError,
    sync_playwright,
)

_SHOTS = Path(__file__).parent / "shots"
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_ARGUMENTS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PageError:
    """Something that a page wrote on the console as an error, or did not catch."""

    page_url: str
    source_url: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BrowserPage:
    """A page in a browser context of its own, and the errors seen in that context."""

    page: Page
    errors: list[PageError] = field(default_factory=list)

    def errors_from(self, origin: str) -> list[PageError]:
        """Return the errors of the pages and scripts of one origin."""
        start = f"{origin.rstrip('/')}/"
        return [
            error
            for error in self.errors
            if error.page_url.startswith(start) or error.source_url.startswith(start)
        ]


class Screenshots:
    """Writes numbered pictures of a page into one folder."""

    def __init__(self, page: Page, folder: Path) -> None:
        """Take pictures of `page` into `folder`, which is emptied first."""
        shutil.rmtree(folder, ignore_errors=True)
        self.folder = folder
        self._page = page
        self._taken = 0

    def take(self, name: str) -> Path:
        """Write `NN-name.png` once the page is at rest; return where it is."""
        self._page.wait_for_load_state("networkidle")
        self._taken += 1
        path = self.folder / f"{self._taken:02}-{name}.png"
        self._page.screenshot(path=path, animations="disabled")
        return path


@pytest.fixture
def chromium_arguments() -> tuple[str, ...]:
    """Further arguments for Chromium; a module may give others."""
    return ()


@pytest.fixture
def chromium(chromium_arguments: tuple[str, ...]) -> Iterator[Browser]:
    """A headless Chromium of the system's."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=_find_chromium(), args=[*_arguments(), *chromium_arguments]
        )
        yield browser
        browser.close()


@pytest.fixture
def page_without_cookies(tmp_path: Path) -> Iterator[Page]:
    """A page in a Chromium whose user has blocked all cookies in its settings."""
    settings = {"profile": {"default_content_setting_values": {"cookies": 2}}}
    (tmp_path / "Default").mkdir()
    (tmp_path / "Default" / "Preferences").write_text(json.dumps(settings))
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path, executable_path=_find_chromium(), args=_arguments()
        )
        yield context.new_page()
        context.close()


@pytest.fixture
def browser_page(chromium: Browser) -> Iterator[BrowserPage]:
    """A new page with no cookies, 1100 by 800, English; it collects errors."""
    context = chromium.new_context(
        viewport={"width": 1100, "height": 800}, locale="en-US"
    )
    browser_page = BrowserPage(page=context.new_page())
    _collect_errors(context, browser_page.errors)
    yield browser_page
    context.close()


@pytest.fixture
def screenshots(
    request: pytest.FixtureRequest, browser_page: BrowserPage
) -> Screenshots:
    """A camera for `browser_page`; pictures go to `tests/browser/shots/TEST/`."""
    name = re.sub(r"[^\w.-]+", "-", request.node.name)
    return Screenshots(browser_page.page, _SHOTS / name)


def _find_chromium() -> str:
    executable = next(filter(None, map(shutil.which, _NAMES)), None)
    if executable is None:
        pytest.skip(f"no browser found: install one of {', '.join(_NAMES)}")
    return executable


def _arguments() -> list[str]:
    # Its sandbox refuses to run as root.
    return [*_ARGUMENTS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]


def _collect_errors(context: BrowserContext, errors: list[PageError]) -> None:
    """Add what goes wrong in any page of the context to the list."""

    def on_console(message: ConsoleMessage) -> None:
        if message.type == "error":
            page_url = message.page.url if message.page else ""
            source_url = message.location["url"]
            add(page_url, source_url, message.text)

    def on_uncaught(error: WebError) -> None:
        page_url = error.page.url if error.page else ""
        add(page_url, page_url, str(error.error))

    def add(page_url: str, source_url: str, text: str) -> None:
        errors.append(PageError(page_url=page_url, source_url=source_url, text=text))

    context.on("console", on_console)
    context.on("weberror", on_uncaught)
