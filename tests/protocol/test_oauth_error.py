from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atproto_oauth_asgi.protocol.oauth_error import ServerRefusal, parse_refusal


def parse(members: Any, status: int = 400) -> ServerRefusal:
    return parse_refusal(status, json.dumps(members).encode())


def test_refusal_when_well_formed_then_gives_error_and_text() -> None:
    """Both members come out."""
    refusal = parse({"error": "invalid_grant", "error_description": "used"})
    assert refusal == ServerRefusal("invalid_grant", "used")
    for error in ("!#[]~A9", "x" * 64):
        assert parse({"error": error}) == ServerRefusal(error, None)


@pytest.mark.covers("TOK-16", "PAR-13")
@pytest.mark.parametrize(
    "members",
    [
        [],
        None,
        "x",
        {},
        {"error": {}},
        {"error": ""},
        {"error": 'a"b'},
        {"error": "a b"},
        {"error": "a\r\nb"},
        {"error": "é"},
        {"error": "x" * 65},
        {"error": ["invalid_grant"]},
    ],
)
def test_refusal_when_malformed_then_is_named_by_its_status(members: Any) -> None:
    """What is not an error code is not passed on."""
    assert parse(members, 502) == ServerRefusal("http_502", None)


@pytest.mark.covers("TOK-16", "DOS-A04")
@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff", b"[" * 100_000, b"1" * 9999])
def test_refusal_when_not_json_then_is_named_by_its_status(body: bytes) -> None:
    """An error page is no error message."""
    assert parse_refusal(500, body) == ServerRefusal("http_500", None)


@pytest.mark.covers("CB-13", "ERR-02")
@pytest.mark.parametrize("text", [7, ["x"], {}, None])
def test_refusal_when_text_is_none_then_error_stays(text: Any) -> None:
    """A description of the wrong type is left out."""
    assert parse({"error": "e", "error_description": text}) == ServerRefusal("e", None)


@pytest.mark.covers("ERR-02")
def test_refusal_when_text_is_long_then_is_cut() -> None:
    """Foreign text is kept short."""
    refusal = parse({"error": "e", "error_description": "x" * 100_000})
    assert refusal.error_description == "x" * 500


@given(st.integers(100, 599), st.binary(max_size=300))
def test_refusal_when_any_bytes_then_never_fails(status: int, body: bytes) -> None:
    """The error is always short visible ASCII."""
    error = parse_refusal(status, body).error
    assert error.isascii()
    assert error.isprintable()
    assert 0 < len(error) <= 64
