"""The texts of the pages, ours and those of the application, language by language."""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from types import MappingProxyType

from atproto_oauth_asgi.exceptions import ConfigurationError
from atproto_oauth_asgi.pages import Pages, Texts
from atproto_oauth_asgi.web.templates import read_file
from atproto_oauth_asgi.web.texts import Text, load_borrowers, load_texts

_MAX_NAME_CHARS = 255
_UNNAMED_APP = "this app"

Words = Mapping[str, Mapping[str, str]]
"""What the pages say, by page and name."""


@cache
def load_words() -> Words:
    """Return what our pages say."""
    import tomllib  # noqa: PLC0415 - many processes never show a page

    entries = tomllib.loads(read_file("words.toml"))
    return MappingProxyType(
        {page: MappingProxyType(words) for page, words in entries.items()}
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How pages look and what they say, in one language.

    Attributes:
        client_name: the application's.
        pages: the options.
        language: of the texts.
        words: see ``Words``.
        texts: what is told of errors, by code.
    """

    client_name: str | None = None
    pages: Pages = field(default_factory=Pages)
    language: str = "en"
    words: Words = field(default_factory=load_words)
    texts: Mapping[str, Text] = field(default_factory=load_texts)

    def say(self, page: str, **names: str) -> dict[str, str]:
        """Return all texts of a page, with the names in place."""
        given = {"app": self.client_name or _UNNAMED_APP, **names}
        given = {name: value[:_MAX_NAME_CHARS] for name, value in given.items()}
        # What a name holds is not looked through for placeholders again.
        return {
            name: text.format_map(_Names(given))
            for name, text in self.words[page].items()
        }


class _Names(dict[str, str]):
    """A name that is not known here: its sentence is not shown either."""

    def __missing__(self, key: str) -> str:
        return ""


class Looks:
    """The look for each language, made when it is first asked for.

    Raises:
        ConfigurationError: the application's texts name something that is not there.
    """

    def __init__(self, pages: Pages, *, client_name: str | None) -> None:
        self._pages = pages
        self._client_name = client_name
        self._made: dict[str, Look] = {}
        self._languages = {tag.lower(): tag for tag in pages.translations}
        given = [("texts", pages.texts)]
        given += [(f"translations[{k!r}]", v) for k, v in pages.translations.items()]
        # Ours are read when they are needed, which is not at the start.
        given = [(name, texts) for name, texts in given if texts]
        problems = [p for name, texts in given for p in _find_problems(name, texts)]
        if problems:
            raise ConfigurationError(problems)

    def choose(self, accept_language: str | None) -> Look:
        """Return the look in the language that a browser prefers.

        Spec: RFC 9110 section 12.5.4, RFC 4647 section 3.4.
        """
        tag = self._pages.language
        if self._languages:
            tag = self._find(accept_language or "") or tag
        if tag not in self._made:
            self._made[tag] = self._make(tag)
        return self._made[tag]

    def _find(self, accept_language: str) -> str | None:
        own = self._pages.language.lower()
        for wanted in _by_preference(accept_language):
            for shorter in _shorter_and_shorter(wanted):
                if shorter in self._languages:
                    return self._languages[shorter]
                if shorter == own:
                    return None
        return None

    def _make(self, tag: str) -> Look:
        words, texts = dict(load_words()), dict(load_texts())
        for layer in (self._pages.texts, self._pages.translations.get(tag, {})):
            for key, entry in layer.items():
                if key in words:
                    words[key] = {**words[key], **_strings(entry)}
                else:
                    texts[key] = _merged(texts.get(key) or texts[_code(key)], entry)
            for key, lender in load_borrowers().items():
                if lender in layer and key not in layer:
                    texts[key] = texts[lender]
        return Look(
            client_name=self._client_name,
            pages=self._pages,
            language=tag,
            words=words,
            texts=texts,
        )


def _by_preference(accept_language: str) -> list[str]:
    """Return the language tags of the header, the most liked first."""
    weighted = []
    for item in accept_language[:1000].lower().split(","):
        tag, _, weight = item.partition(";")
        try:
            quality = float(weight.strip().removeprefix("q=") or 1)
        except ValueError:
            quality = 0.0
        if quality > 0:
            weighted.append((quality, tag.strip()))
    return [tag for _, tag in sorted(weighted, key=lambda pair: -pair[0])]


def _shorter_and_shorter(tag: str) -> Iterator[str]:
    while tag:
        yield tag
        tag = tag.rpartition("-")[0]


def _code(key: str) -> str:
    return key.partition(":")[0]


def _strings(entry: Mapping[str, str | Sequence[str]]) -> dict[str, str]:
    return {name: str(value) for name, value in entry.items()}


def _merged(text: Text, entry: Mapping[str, str | Sequence[str]]) -> Text:
    members = {item.name: getattr(text, item.name) for item in fields(Text)}
    return Text(
        **{**members, **entry, "causes": tuple(entry.get("causes", text.causes))}
    )


def _find_problems(option: str, texts: Texts) -> Iterator[str]:
    """Give what the application's texts name that does not exist."""
    words, codes = load_words(), {_code(key) for key in load_texts()}
    text_names = {item.name for item in fields(Text)}
    for key, entry in texts.items():
        known = set(words[key]) if key in words else text_names
        if key not in words and _code(key) not in codes:
            yield f"pages.{option}: {key!r} is neither a page nor a code"
            continue
        for name, value in entry.items():
            if name not in known:
                yield f"pages.{option}: {key!r} has no text {name!r}"
            elif isinstance(value, str) == (name == "causes"):
                yield f"pages.{option}: {key}.{name}: causes are a list, others are text"
            elif problem := _find_text_problem(value, is_error=key not in words):
                yield f"pages.{option}: {key}.{name}: {problem}"


def _find_text_problem(value: object, *, is_error: bool) -> str | None:
    sentences = [value] if isinstance(value, str) else value
    if not isinstance(sentences, Sequence):
        return "it is text"
    names = {"app", "host"} if is_error else {"app", "host", "account"}
    try:
        parts = [p for each in sentences for p in string.Formatter().parse(each)]
    except (TypeError, ValueError):
        return "text, in which braces stand around names only"
    if {name for _, name, _, _ in parts} - {None, *names}:
        return f"the only names in it are {', '.join(sorted(names))}"
    return None
