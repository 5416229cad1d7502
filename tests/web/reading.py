"""Reads a page the way a browser does, as far as these tests need it."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import NamedTuple

from hypothesis import strategies as st
from starlette.responses import Response
from typing_extensions import override

NASTY = (
    '"><svg onload=alert(1)>',
    "'><script>alert(1)</script>",
    "</title></style><img src=x onerror=alert(1)>",
    "<!-- --><a href=javascript:alert(1)>x</a>",
    "&lt;b&gt; &amp; &#34;",
    "$action_url ${title} {host} %s",
    "+ADw-script+AD4-",
    "\x00\x1b[31m\r\n\u202egnp.exe\ud800",
)


def any_text() -> st.SearchStrategy[str]:
    """Text of all kinds, with what HTML and the templates give a meaning to."""
    markup = st.sampled_from([*NASTY, *"\"'<>&$={}/`;", "</style>", "-->", "]]>"])
    return st.lists(markup | st.text(st.characters(), max_size=8)).map("".join)


class Element(NamedTuple):
    tag: str
    attributes: dict[str, str | None]


class Page(HTMLParser):
    """One page: its elements in order, and all of its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self.text = ""
        self.comments = 0
        self.feed(html)
        self.close()

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, dict(attrs)))

    @override
    def handle_data(self, data: str) -> None:
        self.text += data

    @override
    def handle_comment(self, data: str) -> None:
        self.comments += 1

    def shape(self) -> list[tuple[str, tuple[str, ...]]]:
        """What markup there is, whatever it holds."""
        return [(tag, tuple(attributes)) for tag, attributes in self.elements]

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [found.attributes for found in self.elements if found.tag == tag]

    def forms(self) -> list[dict[str | None, str | None]]:
        """What each form on the page would send untouched."""
        found: list[dict[str | None, str | None]] = []
        for element in self.elements:
            if element.tag == "form":
                found.append({})
            elif element.tag == "input":
                found[-1][element.attributes["name"]] = element.attributes["value"]
        return found

    def fields(self) -> dict[str | None, str | None]:
        """What the first form on the page would send untouched."""
        return self.forms()[0]


def html_of(response: Response) -> str:
    return bytes(response.body).decode("utf-8")


def read(response: Response) -> Page:
    return Page(html_of(response))
