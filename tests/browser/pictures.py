"""Takes the pictures of the documentation: `python -m tests.browser.pictures`.

A real login in headless Chromium: the FastAPI example, against the reference network.
Then our pages one by one, as people meet them. The pictures go to `docs/images/`, with two pixels for each of the page's, so that they
are sharp on every screen.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from tests.browser.gallery import app as gallery
from tests.browser.pds_pages import authorize, sign_in_as
from tests.reference_network.process import ReferenceNetwork
from tests.serving import served_in_process, served_in_thread

_FOLDER = Path(__file__).parents[2] / "docs" / "images"
_MARGIN = 24
_MAX_BYTES = 150_000
_NOTES = ("Water the plants", "Write the manual")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """A page of the gallery, and how it is looked at."""

    page: str
    width: int = 640
    is_dark: bool = False
    has_scripts: bool = True
    unfolded: bool = False


_LOOKS: Mapping[str, _Look] = {
    "login-dark": _Look(page="login", is_dark=True),
    "login-phone": _Look(page="login", width=360, unfolded=True),
    "login-no-javascript": _Look(page="login", has_scripts=False, unfolded=True),
    "login-error": _Look(page="unknown-handle"),
    "log-in-again": _Look(page="log-in-again"),
    "hand-over": _Look(page="hand-over"),
    "declined": _Look(page="declined"),
    "wrong-browser-phone": _Look(page="wrong-browser", width=360, is_dark=True),
    "logged-out": _Look(page="logged-out"),
}


def main() -> int:
    """Take all pictures; return the exit code."""
    _FOLDER.mkdir(exist_ok=True)
    with ReferenceNetwork() as network, _example(network) as origin, _chromium() as it:
        page = it.new_page(
            viewport={"width": 640, "height": 900},
            device_scale_factor=2,
            locale="en-US",
            color_scheme="light",
        )
        _walk_through(page, network=network, origin=origin)
        with served_in_thread(gallery) as shown:
            for name, look in _LOOKS.items():
                _take_page(it, f"{shown}/{look.page}", name=name, look=look)
    return 0


@contextmanager
def _example(network: ReferenceNetwork) -> Iterator[str]:
    settings = {
        "ATPROTO_PLC_URL": network.plc_url,
        "ATPROTO_HANDLE_RESOLVER_URL": network.pds_url,
    }
    with served_in_process("examples.fastapi_app:app", settings=settings) as origin:
        yield origin


@contextmanager
def _chromium() -> Iterator[Browser]:
    # Its sandbox refuses to run as root.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=arguments
        )
        yield browser
        browser.close()


def _walk_through(page: Page, *, network: ReferenceNetwork, origin: str) -> None:
    alice = network.accounts["alice.test"]
    page.goto(f"{origin}/oauth/login")
    page.get_by_label("Your handle").fill(alice.handle)
    _take(page, page.locator("main"), name="login")
    page.get_by_role("button", name="Continue").click()
    sign_in_as(page, alice.handle, password=alice.password)
    page.set_viewport_size({"width": 470, "height": 485})
    _take(page, page.locator("body"), name="consent")
    authorize(page)
    page.set_viewport_size({"width": 400, "height": 900})
    for note in _NOTES:
        expect(page.get_by_text("You are alice.test")).to_be_visible()
        page.locator('input[name="text"]').fill(note)
        page.get_by_role("button", name="Post").click()
        expect(page.get_by_text(note)).to_be_visible()
    _take(page, page.locator("body"), name="notes")


def _take_page(browser: Browser, url: str, *, name: str, look: _Look) -> None:
    context = browser.new_context(
        viewport={"width": look.width, "height": 900},
        device_scale_factor=2,
        locale="en-US",
        color_scheme="dark" if look.is_dark else "light",
        java_script_enabled=look.has_scripts,
    )
    page = context.new_page()
    page.goto(url)
    if look.unfolded:
        page.locator("summary").click()
    _take(page, page.locator("main"), name=name)
    context.close()


def _take(page: Page, part: Locator, *, name: str) -> None:
    """Write the picture of a part of the page, with a margin around it.

    Raises:
        ValueError: There is nothing to see, or the file is too large.
    """
    page.wait_for_load_state("networkidle")
    box = part.bounding_box()
    if box is None:
        raise ValueError(f"{name}: nothing to see")
    path = _FOLDER / f"{name}.png"
    page.screenshot(
        path=path,
        animations="disabled",
        caret="hide",
        clip={
            "x": max(0, box["x"] - _MARGIN),
            "y": max(0, box["y"] - _MARGIN),
            "width": box["width"] + 2 * _MARGIN,
            "height": box["height"] + 2 * _MARGIN,
        },
    )
    if path.stat().st_size > _MAX_BYTES:
        raise ValueError(f"{name}: more than {_MAX_BYTES} bytes")


if __name__ == "__main__":
    sys.exit(main())
