"""HTML that cannot be broken by what is put into it.

Templates are files of this folder with ``$name`` in them. ``fill`` is the only way
to get from a file to ``Html``, and it escapes every value that is not ``Html``
already; so there is no place where an escape could be forgotten. Placeholders stand
in text or in double-quoted attributes only (a test looks at every template).

Escaping does not make a link safe, so a value whose name ends in ``_url`` must also
be a plain path or an http(s) URL.

A file is read when it is first needed, and once.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from string import Template
from urllib.parse import urlsplit

# Control characters, what turns the direction of text round, and lone surrogates
# (which no UTF-8 answer can carry).
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
_NOT_IN_A_URL = re.compile(r"[\x00-\x20\x7f-\xa0\\<>\"\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Html:
    """Markup that may stand in a page as it is. Made in this module only."""

    text: str


def read_file(name: str) -> str:
    """Return the text of a file in this folder, with line feeds as line ends."""
    # It brings archives, for packages that are in one.
    from importlib import resources  # noqa: PLC0415 - many processes show no page

    return resources.files(__name__).joinpath(name).read_text(encoding="utf-8")


@cache
def load_style(addition: str = "") -> Html:
    """Return the one style block of every page, exactly as it is served.

    Args:
        addition: CSS of the application's, which comes after ours.
    """
    return Html(f"{read_file('style.css')}{addition}")


@cache
def load_script() -> Html:
    """Return the script that suggests handles, exactly as it is served."""
    return Html(read_file("suggest.js"))


@cache
def build_source(block: Html) -> str:
    """Return what allows a style or script block in a Content-Security-Policy."""
    digest = hashlib.sha256(block.text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def check_url(url: str) -> None:
    """Refuse what must not become a link.

    Raises:
        ValueError: neither an absolute path nor an http(s) URL with a host and
            without user information, or it holds a blank, control character,
            quote, angle bracket or backslash.
    """
    if _NOT_IN_A_URL.search(url):
        raise ValueError("the URL holds a character that no URL may hold")
    if url.startswith("/") and not url.startswith("//"):
        return
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("the URL is neither an absolute path nor http(s)")
    if "@" in parts.netloc:
        raise ValueError("the URL holds user information")


def _escape(name: str, value: str | Html) -> str:
    """Return a value as it may stand in text or in a double-quoted attribute."""
    if isinstance(value, Html):
        return value.text
    if name.endswith("_url"):
        check_url(value)
    # Replaced, never removed: the pieces on both sides must not join.
    return html.escape(_UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", value), quote=True)


@cache
def _load_template(name: str) -> Template:
    return Template(read_file(f"{name}.html"))


def fill(template: str, /, **values: str | Html) -> Html:
    """Return a template with every placeholder replaced by its escaped value.

    Args:
        template: the file's name without its ending.
        values: text, which is escaped, or ``Html`` that ``fill`` has made. Where
            the name ends in ``_url``, a value must pass ``check_url``.

    Raises:
        FileNotFoundError: there is no such template.
        KeyError: a placeholder has no value.
        ValueError: a URL is not one that may become a link.
    """
    escaped = {name: _escape(name, value) for name, value in values.items()}
    return Html(_load_template(template).substitute(escaped))


def join(parts: Iterable[Html] = ()) -> Html:
    """Return pieces of markup as one piece; nothing gives empty markup."""
    return Html("".join(part.text for part in parts))
