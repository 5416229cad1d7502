"""The built documentation: strict, offline, complete, and every link leads somewhere."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import Page
from typing_extensions import override

from tests import reference_page
from tests.documentation import DOCS, ROOT

# What a browser loads by itself, by tag and attribute.
_FETCHED = {"img": "src", "link": "href", "script": "src", "source": "src"}
_PHONE, _DESKTOP = (390, 844), (1280, 900)


class Html(HTMLParser):
    """What of a page leads elsewhere, and what can be led to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.feed(text)

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.ids |= {found[name] for name in ("id", "name") if name in found}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if (name := _FETCHED.get(tag)) and name in found:
            self.fetched.append(found[name])


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it, in a folder of its own.

    The builder empties `.cache/` where it works, which holds what `make conformance` reads.
    """
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(DOCS, folder / "docs")
    shutil.copytree(ROOT / "atproto_oauth_asgi", folder / "atproto_oauth_asgi")
    for name in ("zensical.toml", *(path.name for path in ROOT.glob("*.md"))):
        shutil.copy(ROOT / name, folder)
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    done = subprocess.run(
        command, cwd=folder, check=False, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


@pytest.fixture(scope="session")
def pages(site: Path) -> dict[Path, Html]:
    return {path: Html(path.read_text("utf-8")) for path in site.rglob("*.html")}


def target_of(page: Path, link: str, site: Path) -> tuple[Path, str]:
    """The file and the anchor that a link of ours leads to."""
    url = urlsplit(link)
    start = site if url.path.startswith("/") else page.parent
    path = (start / unquote(url.path).lstrip("/")).resolve() if url.path else page
    return (path / "index.html" if path.is_dir() else path), unquote(url.fragment)


def test_links_when_the_site_is_built_then_lead_somewhere(
    site: Path, pages: dict[Path, Html]
) -> None:
    """Every link within the site leads to a page that is there, and to its heading."""
    assert sum(len(content.links) for content in pages.values()) > 1000
    problems = []
    for page, content in pages.items():
        if page.name == "404.html":
            continue  # served at any address
        for link in content.links:
            if urlsplit(link).scheme or link in {"#", "#__top"}:
                continue
            target, anchor = target_of(page, link, site)
            known = pages[target].ids if target in pages else None
            if known is None and not target.is_file():
                problems.append(f"{page.relative_to(site)}: {link}: no such page")
            elif anchor and known is not None and anchor not in known:
                problems.append(f"{page.relative_to(site)}: {link}: no such heading")
    assert problems == []


def test_files_when_the_site_is_built_then_come_from_itself(
    site: Path, pages: dict[Path, Html]
) -> None:
    """No font, script, style or picture of another host."""
    for page, content in pages.items():
        foreign = [url for url in content.fetched if urlsplit(url).netloc]
        assert foreign == [], page
    assert not any("fonts.g" in path.read_text("utf-8") for path in site.rglob("*.css"))


def test_docstrings_page_when_compared_then_holds_every_public_name() -> None:
    """A new name is missing until `python -m tests.reference_page` is run."""
    written = reference_page.PAGE.read_text(encoding="utf-8")
    assert written == reference_page.text(), "run: python -m tests.reference_page"


def test_docstrings_when_the_site_is_built_then_each_public_name_is_described(
    site: Path, pages: dict[Path, Html]
) -> None:
    """Name, signature and docstring of each are on the page, with an anchor."""
    ids = pages[site / "reference/docstrings/index.html"].ids
    names = reference_page.public_names()
    assert len(names) > 90
    assert [name for name in names if name not in ids] == []


# --- In a browser --------------------------------------------------------------------


@contextmanager
def served(folder: Path) -> Iterator[str]:
    handler = partial(QuietHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves a folder and says nothing."""

    @override
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.mark.browser
@pytest.mark.parametrize("size", [_DESKTOP, _PHONE], ids=["desktop", "phone"])
def test_pages_when_seen_in_chromium_then_fit_and_ask_nobody_else(
    size: tuple[int, int], site: Path, pages: dict[Path, Html], chromium: Chromium
) -> None:
    """No page is wider than the screen, has an error, or loads from elsewhere."""
    with served(site) as origin, seeing(chromium, size) as (page, asked, errors):
        for path in pages:
            address = f"{origin}/{path.relative_to(site)}".removesuffix("index.html")
            page.goto(address, wait_until="load")
            widths = "[document.documentElement.scrollWidth, innerWidth]"
            wanted, there = page.evaluate(widths)
            assert wanted <= there, address
            assert page.locator("h1").count() == 1, address
    assert errors == []
    assert {url for url in asked if not url.startswith(f"{origin}/")} == set()


@contextmanager
def seeing(
    chromium: Chromium, size: tuple[int, int]
) -> Iterator[tuple[Page, list[str], list[str]]]:
    """A page of that size; what it asks for, and what its console complains of."""
    width, height = size
    page = chromium.new_page(viewport={"width": width, "height": height})
    asked: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    try:
        yield page, asked, errors
    finally:
        page.close()
