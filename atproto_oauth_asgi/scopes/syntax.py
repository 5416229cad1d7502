"""The text of one scope: a resource, a positional value, named parameters.

Spec: atproto "Permissions", "Scope String Syntax"; RFC 6749 section 3.3.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from urllib.parse import quote, unquote

from atproto_oauth_asgi.exceptions import ConfigurationError

Parameters = Mapping[str, tuple[str, ...]]
"""Values by parameter; one that is repeated has several."""

_SCOPE_VALUE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_IN_POSITIONAL = ":/,@*+!"
# Readers take a plus sign in a query for a blank.
_IN_QUERY = ":/,@*"


def refuse(what: str, rule: str) -> ConfigurationError:
    """Return the error that says which part of a scope breaks which rule."""
    return ConfigurationError(f"{what}: {rule}")


def resource_of(text: str) -> str:
    """Return what stands before the first colon or question mark."""
    return text.partition("?")[0].partition(":")[0]


def parse_parameters(text: str, *, positional: str) -> Parameters:
    """Return the parameters of a scope; ``positional`` names its positional one.

    Raises:
        ConfigurationError: the text is not a scope, or gives a parameter both ways.
    """
    if not _SCOPE_VALUE.fullmatch(text):
        raise refuse("scope", "printable ASCII without blanks, quotes and backslashes")
    head, _, query = text.partition("?")
    _, colon, value = head.partition(":")
    lists = defaultdict[str, list[str]](list)
    for name, each in _split_query(query):
        lists[name].append(each)
    if colon and positional in lists:
        raise refuse(positional, "positional or named, not both")
    if colon:
        lists[positional].append(_decode(value))
    return {name: tuple(values) for name, values in lists.items()}


def check_names(parameters: Parameters, *, known: Collection[str]) -> None:
    """Check that there is no parameter with a meaning that is not known.

    Raises:
        ConfigurationError: there is one.
    """
    if not parameters.keys() <= set(known):
        raise refuse("scope", f"its parameters are {', '.join(known)}, and no others")


def single(parameters: Parameters, name: str) -> str:
    """Return the one value of a parameter.

    Raises:
        ConfigurationError: it is missing, or there are several.
    """
    values = parameters.get(name, ())
    if len(values) != 1:
        raise refuse(name, "exactly one is needed")
    return values[0]


def build_scope(
    resource: str, positional: tuple[str, Sequence[str]], **named: Sequence[str]
) -> str:
    """Return a scope as text. The positional parameter is named if it is repeated."""
    name, values = positional
    query = [*named.items()]
    if len(values) == 1:
        resource += f":{quote(values[0], safe=_IN_POSITIONAL)}"
    else:
        query.insert(0, (name, values))
    pairs = [
        f"{name}={quote(value, safe=_IN_QUERY)}"
        for name, values in query
        for value in values
    ]
    return f"{resource}?{'&'.join(pairs)}" if pairs else resource


def _split_query(query: str) -> Iterator[tuple[str, str]]:
    for pair in query.split("&"):
        if pair:
            name, _, value = pair.replace("+", " ").partition("=")
            yield _decode(name), _decode(value)


def _decode(text: str) -> str:
    if _BROKEN_ESCAPE.search(text):
        raise refuse("scope", "a percent sign is followed by two hexadecimal digits")
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError as error:
        raise refuse("scope", "what is percent-encoded is UTF-8") from error
