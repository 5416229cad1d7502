from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atproto_oauth_asgi.exceptions import DiscoveryError, OAuthTokenError
from atproto_oauth_asgi.protocol.documents import (
    optional_string,
    optional_string_list,
    parse_json_object,
    string,
    string_list,
    true,
)

ABOUT: dict[str, Any] = {"what": "document", "error": DiscoveryError}


def parse(body: bytes) -> Any:
    return parse_json_object(body, what="document", error=DiscoveryError)


def test_parse_json_object_when_ordinary_then_returns_members() -> None:
    """An ordinary document comes through as it is."""
    members = {"a": [1, 2.5, -3e2, None, True, {"b": "é"}], "c": 2**63}
    assert parse(json.dumps(members).encode()) == members


def nested(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


def sized(size: int) -> bytes:
    return b"{}".ljust(size)


@pytest.mark.parametrize(
    "body", [nested(32), sized(256 * 1024), b'{"a":' + b"1" * 20 + b"}"]
)
def test_parse_json_object_when_just_small_enough_then_accepts(body: bytes) -> None:
    """32 levels, 256 KiB and 20 digits are allowed; no document needs more."""
    assert parse(body) == json.loads(body)


@pytest.mark.covers("DOS-05", "DOS-A04", "ID-27", "IDN-19")
@pytest.mark.parametrize(
    "body",
    [
        nested(33),
        sized(256 * 1024 + 1),
        b"",
        b"[]",
        b'"text"',
        b"null",
        b"{",
        b"{} {}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a":' + b"[" * 40 + b"]" * 40 + b"}",
        b'{"a":' + b"1" * 100_000 + b"}",
        b'{"a":' + b"1" * 21 + b"}",
        b'{"a":1e999}',
        b'{"a":-1e999}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"issuer":"a","issuer":"b"}',
        b'{"x":{"a":1,"a":1}}',
        b"\xef\xbb\xbf{}",
        '{"a":1}'.encode("utf-16"),
        b'{"a":"\xff"}',
        b'{"a":"\n"}',
        b"{'a':1}",
        b'{"a":"' + b"x" * 300_000 + b'"}',
    ],
)
def test_parse_json_object_when_ambiguous_or_costly_then_refuses(body: bytes) -> None:
    """What readers could understand differently, or what is a bomb, is refused."""
    with pytest.raises(DiscoveryError, match=r"^document: "):
        parse(body)


@given(st.binary() | st.text().map(str.encode))
def test_parse_json_object_when_given_anything_then_raises_only_ours(
    body: bytes,
) -> None:
    """Any bytes at all give members or the error that was asked for."""
    try:
        members = parse(body)
    except DiscoveryError:
        return
    assert isinstance(members, dict)


def test_parse_json_object_when_error_is_a_function_then_raises_what_it_makes() -> None:
    """Errors that need more than a message can be made by a function."""

    def unusable(message: str) -> OAuthTokenError:
        return OAuthTokenError(message, error="malformed_response")

    with pytest.raises(OAuthTokenError) as caught:
        parse_json_object(b"[]", what="answer", error=unusable)
    assert caught.value.error == "malformed_response"


@pytest.mark.covers("DISC-21")
@pytest.mark.parametrize("value", [1, True, None, [], ["a"], {}, "\ud800"])
def test_string_when_something_else_then_refuses(value: Any) -> None:
    """A string is a string that can be written back, not something like one."""
    for get in (string, optional_string):
        with pytest.raises(DiscoveryError, match=r"document: a "):
            get({"a": value}, "a", **ABOUT)


@pytest.mark.covers("DISC-21")
@pytest.mark.parametrize("value", ["atproto", 1, None, {}, ["a", 1], [None], [["a"]]])
def test_string_list_when_something_else_then_refuses(value: Any) -> None:
    """A string in place of a list would make ``in`` match parts of words."""
    for get in (string_list, optional_string_list):
        with pytest.raises(DiscoveryError, match=r"document: a "):
            get({"a": value}, "a", **ABOUT)


def test_members_when_missing_then_required_ones_are_refused() -> None:
    """Required members must be there, optional ones are None."""
    assert optional_string({}, "a", **ABOUT) is None
    assert optional_string_list({}, "a", **ABOUT) is None
    for get in (string, string_list, true):
        with pytest.raises(DiscoveryError):
            get({}, "a", **ABOUT)


def test_members_when_right_then_are_returned() -> None:
    """Members of the right type come back unchanged."""
    members = {"s": "x", "l": ["y", "z"], "t": True}
    assert string(members, "s", **ABOUT) == "x"
    assert optional_string(members, "s", **ABOUT) == "x"
    assert string_list(members, "l", **ABOUT) == ("y", "z")
    assert optional_string_list(members, "l", **ABOUT) == ("y", "z")
    true(members, "t", **ABOUT)


@pytest.mark.covers("DISC-11")
@pytest.mark.parametrize("value", [False, None, 1, "true", "True", [True]])
def test_true_when_not_json_true_then_refuses(value: Any) -> None:
    """Only ``true`` is true."""
    with pytest.raises(DiscoveryError):
        true({"a": value}, "a", **ABOUT)
