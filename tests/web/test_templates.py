"""Nothing that is put into a template can become markup or a dangerous link."""

from __future__ import annotations

import ast
import re
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import given

from atproto_oauth_asgi.web import templates
from atproto_oauth_asgi.web.templates import (
    check_url,
    fill,
    join,
    load_script,
    load_style,
)
from tests.web.reading import NASTY, Page, any_text

FILES = {
    file.name.removesuffix(".html"): file.read_text(encoding="utf-8")
    for file in resources.files(templates).iterdir()
    if file.name.endswith(".html")
}
PLACEHOLDER = re.compile(r"\$([a-z_]+)")
LINKING = {"href", "action", "formaction", "src"}

BAD_URLS = [
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "java\nscript:alert(1)",
    " javascript:alert(1)",
    "data:text/html,x",
    "vbscript:x",
    "ftp://host.example/",
    "//evil.test",
    "/\\evil.test",
    "\\\\evil.test",
    "/\t/evil.test",
    "https:evil.test",
    "https:///evil.test",
    "https://good.test@evil.test/",
    "https://[bad/",
    "https://a.test/\r\nSet-Cookie: a=b",
    "https://a.test/\x00",
    'https://a.test/"x',
    "relative",
    "?query",
    "",
]


def attribute_around(source: str, position: int) -> str | None:
    """The double-quoted attribute that holds a position; None means in text.

    Any other place is an error.
    """
    before = source[:position]
    if before.rfind("<") <= before.rfind(">"):
        return None
    tag = before[before.rfind("<") :]
    match = re.search(r'\s([a-z-]+)="[^"]*\Z', tag)
    assert match, f"a placeholder stands bare in {tag!r}"
    assert tag.count('"') % 2 == 1
    return match[1]


def test_templates_when_searched_then_placeholders_stand_where_escaping_works() -> None:
    """A placeholder is in text or in a quoted attribute, and links are checked."""
    seen = 0
    for source in FILES.values():
        for match in PLACEHOLDER.finditer(source):
            attribute = attribute_around(source, match.start())
            assert attribute != "style"
            assert not (attribute or "").startswith("on")
            if attribute in LINKING:
                assert match[1].endswith("_url")
            seen += 1
    assert seen > 20


def test_templates_when_searched_then_need_nothing_from_elsewhere() -> None:
    """No script, no external resource, no inline style, no second style block."""
    for source in FILES.values():
        elements = Page(source).elements
        assert {"link", "img", "iframe"}.isdisjoint(e.tag for e in elements)
        assert not any("src" in e.attributes for e in elements)
        assert not any("style" in e.attributes for e in elements)
    assert [name for name, source in FILES.items() if "<style" in source] == ["layout"]
    assert [name for name, source in FILES.items() if "<script" in source] == ["script"]
    assert not re.search(r"</|innerHTML|eval|import", load_script().text)
    assert not re.search(r"url\(|@import|</", load_style().text)


def test_html_when_searched_for_then_is_made_in_one_module_only() -> None:
    """Nobody but the template module can call a string markup."""
    web = Path(templates.__file__).parent.parent
    makers = {
        path.parent.name
        for path in web.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "Html"
    }
    assert makers == {"templates"}


@given(any_text())
@pytest.mark.covers("ERR-01")
def test_fill_when_given_any_text_then_it_stays_text(text: str) -> None:
    """Whatever the text is, it comes back as the same text and as no markup."""
    page = Page(fill("cause", text=text).text)
    assert page.shape() == [("li", ())]
    assert page.comments == 0
    assert len(page.text) == len(text) + 1
    kept = "".join(char for char in page.text if char != "\N{REPLACEMENT CHARACTER}")
    assert set(kept) <= set(text) | {"\n"}


@given(any_text())
@pytest.mark.covers("ERR-01")
def test_fill_when_given_any_text_then_it_stays_in_its_attribute(text: str) -> None:
    """No text ends the attribute that it stands in."""
    [field] = Page(fill("hidden", name="a", value=text).text).elements
    assert list(field.attributes) == ["type", "name", "value"]
    assert len(field.attributes["value"] or "") == len(text)


def test_fill_when_given_printable_text_then_keeps_every_character() -> None:
    """What a person typed in any script is shown as it was typed."""
    text = 'Zoë\'s "Gärtchen" 🌱 & <Söhne> 日本語 שלום'
    assert Page(fill("cause", text=text).text).text == f"{text}\n"


def test_fill_when_given_control_characters_then_replaces_each() -> None:
    """What cannot be seen, turns text round or cannot be sent is made visible."""
    page = Page(fill("cause", text="a\x00b\u202ec\ud800d\u2028").text)
    assert page.text == "a\ufffdb\ufffdc\ufffdd\ufffd\n"


def test_fill_when_given_markup_of_its_own_then_does_not_escape_twice() -> None:
    """Markup from templates can be put into templates, and only that."""
    items = join(fill("cause", text=text) for text in NASTY)
    page = Page(fill("causes", items=items).text)
    assert page.shape() == [("ul", ())] + [("li", ())] * len(NASTY)


@pytest.mark.parametrize("url", BAD_URLS)
@pytest.mark.covers("ERR-01")
def test_fill_when_given_a_url_that_is_none_then_refuses(url: str) -> None:
    """A link leads to a path or to http(s), never to a script or a look-alike."""
    with pytest.raises(ValueError, match=r"URL"):
        fill("button", retry_url=url, label="x")


@pytest.mark.parametrize(
    "url",
    ["/", "/login?identifier=a%40b&x='y'", "https://h.test", "http://127.0.0.1:80/a#b"],
)
def test_check_url_when_given_a_good_url_then_accepts_it(url: str) -> None:
    """Paths and http(s) URLs become links, unchanged."""
    check_url(url)
    [link] = Page(fill("button", retry_url=url, label="x").text).all("a")
    assert link["href"] == url


def test_fill_when_a_value_is_missing_then_raises() -> None:
    """No page goes out with a hole in it."""
    with pytest.raises(KeyError):
        fill("button", label="x")


def test_fill_when_called_again_then_reads_no_file_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A file that is replaced under a running process changes no page."""
    pages = [fill("cause", text="x")]
    monkeypatch.delattr(templates, "read_file")
    pages.append(fill("cause", text="x"))
    assert pages[0] == pages[1]


def luminance(colour: str) -> float:
    """Relative luminance of ``#rgb`` or ``#rrggbb`` (WCAG 2.2)."""
    digits = colour if len(colour) == 6 else "".join(2 * digit for digit in colour)
    channels = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    red, green, blue = (
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(first: str, second: str) -> float:
    bright, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_style_when_measured_then_has_enough_contrast(scheme: int) -> None:
    """Text has a contrast of 4.5, the edge of the field 3, in both schemes."""
    block = re.findall(r":root \{(.*?)\}", load_style().text, re.DOTALL)[scheme]
    colours = dict(re.findall(r"--([a-z-]+): #([0-9a-f]+);", block))
    pairs = {
        ("text", "card"): 4.5,
        ("soft", "card"): 4.5,
        ("accent", "card"): 4.5,
        ("accent-strong", "card"): 4.5,
        ("on-accent", "accent"): 4.5,
        ("on-accent", "accent-strong"): 4.5,
        ("alert", "alert-page"): 4.5,
        ("edge", "card"): 3.0,
    }
    for (front, back), least in pairs.items():
        assert contrast(colours[front], colours[back]) >= least, (front, back)
