"""The official library and ours: what they agree on, and where they differ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atproto_oauth_asgi.scopes import IncludeScope, ScopesSet, expand_include
from atproto_oauth_asgi.scopes.scope import find_scope
from tests.reference_network.process import NetworkNotInstalledError
from tests.scopes.oracle import Oracle
from tests.scopes.strategies import (
    any_scopes,
    as_scope,
    atoms,
    entries,
    good_scopes,
    relaxed,
)

pytestmark = pytest.mark.network
# 3000 scopes, and 3000 questions.
asked_often = settings(relaxed, max_examples=100)

# Where the two differ, on purpose: text, our canonical spelling, theirs.
DIFFERENCES = {
    # Theirs reads a second question mark as if it were not there.
    "repo:com.example.post??action=create": (
        None,
        "repo:com.example.post?action=create",
    ),
    # The specification calls `action` of `account` one string, not a list.
    "account:email?action=read&action=manage": (
        None,
        "account:email?action=read&action=manage",
    ),
    # Media types are compared as they stand, also when they are printed.
    "blob:image/PNG": ("blob:image/PNG", "blob:image/png"),
    # A media type has the characters of RFC 6838, and no parameters.
    "blob:text/html;charset=utf-8": (None, "blob:text/html%3Bcharset%3Dutf-8"),
    "blob:i*/*": (None, "blob:i*/*"),
    "blob:image/%C3%A9": (None, "blob:image/%C3%A9"),
    "blob?accept=image/%zz": (None, "blob:image/%zz"),
    # Theirs names the parameter as if there were two values.
    "blob?accept=image/png&accept=image/png": (
        "blob:image/png",
        "blob?accept=image/png",
    ),
    # In a query a plus sign is a blank; theirs prints what it cannot read again.
    "blob?accept=image/png&accept=image/svg%2Bxml": (
        "blob?accept=image/png&accept=image/svg%2Bxml",
        "blob?accept=image/png&accept=image/svg+xml",
    ),
    # Theirs prints a percent sign as it is, which reads as another service.
    "rpc:*?aud=did:web:localhost%253A3000%23a": (
        "rpc:*?aud=did:web:localhost%253A3000%23a",
        "rpc:*?aud=did:web:localhost%3A3000%23a",
    ),
    # A did:web is a host name in lower case; localhost has a port.
    "rpc:*?aud=did:web:API.example.com%23a": (
        None,
        "rpc:*?aud=did:web:API.example.com%23a",
    ),
    "rpc:*?aud=did:web:localhost%23a": (None, "rpc:*?aud=did:web:localhost%23a"),
    # The escape of a tilde is not needed.
    "rpc:*?aud=did:web:a.example%23~": (
        "rpc:*?aud=did:web:a.example%23~",
        "rpc:*?aud=did:web:a.example%23%7E",
    ),
    # Scopes are printable ASCII.
    "blob:image/é": (None, "blob:image/%C3%A9"),
}


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    """The official library."""
    try:
        started = Oracle()
    except NetworkNotInstalledError as error:
        pytest.skip(str(error))
    with started:
        yield started


def is_known_to_differ(text: str) -> bool:
    """Whether it is one of the differences that the words of the tests can make."""
    has_plus = "svg" in unquote(text) and text.count("accept=") > 1
    return "??" in text or has_plus


def printed(text: str) -> str | None:
    scope = find_scope(text)
    return None if scope is None else str(scope)


@pytest.mark.covers("SCOPE-04", "SCOPE-05")
@asked_often
@given(texts=st.lists(any_scopes, min_size=30, max_size=30))
def test_scopes_when_parsed_and_printed_then_as_the_official_library_does(
    oracle: Oracle, texts: list[str]
) -> None:
    """Both take the same texts for scopes, and print them alike."""
    texts = [text for text in texts if not is_known_to_differ(text)]
    theirs = dict(zip(texts, oracle.print(texts), strict=True))
    assert {text: printed(text) for text in texts} == theirs


@pytest.mark.parametrize("text", DIFFERENCES)
def test_scopes_when_libraries_differ_then_as_is_written_down(
    oracle: Oracle, text: str
) -> None:
    """The list of differences is true, on both sides."""
    assert (printed(text), *oracle.print([text])) == DIFFERENCES[text]


@pytest.mark.covers("SCOPE-04", "SCOPE-05")
@asked_often
@given(
    granted=st.lists(any_scopes | good_scopes, max_size=6),
    asked=st.lists(atoms(), min_size=30, max_size=30),
)
def test_grant_when_checked_then_as_the_official_library_does(
    oracle: Oracle, granted: list[str], asked: list[tuple[str, dict[str, str]]]
) -> None:
    """Both allow the same, transitional scopes included, and ask for the same."""
    granted = [text for text in granted if not is_known_to_differ(text)]
    options = [(resource, _options(resource, given)) for resource, given in asked]
    ours = ScopesSet(granted)
    scopes = [as_scope(resource, given) for resource, given in asked]
    answers = [next(iter(ours.missing(scope)), None) for scope in scopes]
    assert answers == oracle.check(granted, options)
    assert [ours.allows(scope) for scope in scopes] == [not each for each in answers]


def _options(resource: str, given: dict[str, str]) -> dict[str, str]:
    """The same under the names that the official library uses."""
    return {"mime": given["accept"]} if resource == "blob" else given


@asked_often
@given(
    nsid=st.sampled_from(["com.example.authFull", "com.example.feed.authSome"]),
    aud=st.sampled_from([None, "did:web:api.example.com#service"]),
    permissions=st.lists(entries(), max_size=8),
)
def test_permission_set_when_expanded_then_as_the_official_library_does(
    oracle: Oracle, nsid: str, aud: str | None, permissions: list[dict[str, Any]]
) -> None:
    """Both find the same permissions in a set, and leave out the same."""
    scope = IncludeScope(nsid=nsid, aud=aud)
    main = {"type": "permission-set", "permissions": permissions}
    found = expand_include(scope, {"lexicon": 1, "id": nsid, "defs": {"main": main}})
    assert [str(each) for each in found] == oracle.expand(str(scope), permissions)
