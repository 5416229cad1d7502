"""How our pages look, what they say, and what else the login page offers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from atproto_oauth_asgi.exceptions import ConfigurationError

Texts = Mapping[str, Mapping[str, str | Sequence[str]]]
"""Texts by page (``login_page``) or by code (``handle_not_found``), then by name."""

PageName = Literal[
    "login", "permission", "handover", "error", "logout", "logged_out", "wrong_host"
]

_HOST = r"(?:[a-z0-9-]+(?:\.[a-z0-9-]+)*|\[[0-9a-f:]+\])(?::[1-9][0-9]{0,4})?"
_SIGN_UP_HOST = re.compile(rf"(?:https?://)?{_HOST}")
_SUFFIX = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)*")
_ADDRESS = re.compile(rf"(?:https?://{_HOST})?/(?!/)[\x21-\x5b\x5d-\x7e]*")
_HERE = re.compile(r"/(?!/)[\x21-\x5b\x5d-\x7e]*")
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8})*")
_POLICY = re.compile(r"[\x20-\x7e]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What one of our pages tells: all that a template needs, and nothing secret.

    Attributes:
        name: which page it is.
        status_code: that the answer will have.
        language: of the texts, for ``lang``.
        client_name: the application's.
        words: the texts of the page by their names, whole sentences.
        values: what stands in fields and links, by name; see the documentation.
        fields: what the form passes on in hidden fields.
        code: of the problem that the page tells about, stable; None without one.
        causes: where several things may have happened, one sentence each.
    """

    name: PageName
    status_code: int = 200
    language: str = "en"
    client_name: str | None = None
    words: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    code: str | None = None
    causes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pages:
    """How our pages look, what they say, and what else the login page offers.

    Attributes:
        sign_up_host: the server where people without an account can make one, such
            as ``"bsky.social"``. None offers nothing.
        default_handle_suffix: ``"bsky.social"`` makes ``alice.bsky.social`` of
            ``alice``.
        suggestions_url: where handles are suggested from while somebody types: a path
            of the application, or an https URL. None: pages hold no script.
        login_url: a path of the application, whose page holds the login form; our
            login page sends people there.
        texts: replace ours, by page or code and by name.
        translations: texts by language, for browsers that prefer it.
        language: of the texts without a translation.
        style: CSS that comes after ours.
        render: gives the HTML of a page, or None for ours.
        content_security_policy: for what ``render`` gives, instead of one that allows
            styles, images and fonts of this site.

    Raises:
        ConfigurationError: with every problem that was found.
    """

    sign_up_host: str | None = None
    default_handle_suffix: str | None = None
    suggestions_url: str | None = None
    login_url: str | None = None
    texts: Texts = field(default_factory=dict)
    translations: Mapping[str, Texts] = field(default_factory=dict)
    language: str = "en"
    style: str = ""
    render: Callable[[Page], str | None] | None = None
    content_security_policy: str | None = None

    def __post_init__(self) -> None:
        problems = [*_find_problems(self), *_find_look_problems(self)]
        if problems:
            raise ConfigurationError(problems)

    @property
    def sign_up_origin(self) -> str | None:
        """The origin of ``sign_up_host``."""
        if self.sign_up_host is None or "://" in self.sign_up_host:
            return self.sign_up_host
        return f"https://{self.sign_up_host}"


def _find_problems(pages: Pages) -> Iterator[str]:
    if not _matches(_SIGN_UP_HOST, pages.sign_up_host):
        yield "pages.sign_up_host: a host such as bsky.social, or its origin"
    if not _matches(_SUFFIX, pages.default_handle_suffix):
        yield "pages.default_handle_suffix: such as bsky.social, without a dot before"
    if not _matches(_ADDRESS, pages.suggestions_url):
        yield "pages.suggestions_url: a path on this site, or a URL with a path"
    if not _matches(_HERE, pages.login_url):
        yield "pages.login_url: a path on this site"


def _find_look_problems(pages: Pages) -> Iterator[str]:
    for language in (pages.language, *pages.translations):
        if not _matches(_LANGUAGE, language):
            yield f"pages: {language!r} is not a language tag such as en or pt-BR"
    # What ends the style block would be markup.
    if "</" in pages.style or "<!" in pages.style:
        yield "pages.style: CSS, without </"
    render: object = pages.render
    if render is not None and not callable(render):
        yield "pages.render: a function that gives the HTML of a page"
    if not _matches(_POLICY, pages.content_security_policy):
        yield "pages.content_security_policy: one line of printable ASCII"
    elif pages.content_security_policy is not None and pages.render is None:
        yield "pages.content_security_policy: it is for what pages.render gives"


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return value is None or (
        isinstance(value, str) and pattern.fullmatch(value) is not None
    )
