from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atproto_oauth_asgi.protocol.challenges import Challenge, parse_challenges


def parse(*values: str) -> list[tuple[str, dict[str, str]]]:
    return [(c.scheme, c.params) for c in parse_challenges(values)]


NONCE = [("dpop", {"error": "use_dpop_nonce"})]


@pytest.mark.covers("DPOP-13")
@pytest.mark.parametrize(
    "value",
    [
        'DPoP error="use_dpop_nonce"',
        'dpop ERROR="use_dpop_nonce"',
        "DPoP error=use_dpop_nonce",
        'DPoP error = "use_dpop_nonce"',
        '  DPoP   error\t=\t"use_dpop_nonce"  ',
        'DPoP error="use\\_dpop\\_nonce"',
        ',DPoP error="use_dpop_nonce",',
        'DPoP error="use_dpop_nonce", error="invalid_token"',
    ],
)
def test_challenge_when_written_differently_then_means_the_same(value: str) -> None:
    """Case, blanks, quotes and commas do not matter; the first of two counts."""
    assert parse(value) == NONCE


@pytest.mark.covers("DPOP-13")
def test_challenges_when_in_one_field_then_are_told_apart() -> None:
    """Each parameter belongs to the scheme before it."""
    value = 'Bearer realm="a, b", DPoP algs="ES256 ES384", error="use_dpop_nonce"'
    assert parse(value) == [
        ("bearer", {"realm": "a, b"}),
        ("dpop", {"algs": "ES256 ES384", "error": "use_dpop_nonce"}),
    ]


def test_challenges_when_in_several_fields_then_all_are_found() -> None:
    """A server may send one field for each."""
    found = parse("Basic realm=x", "Negotiate YWJj==", 'DPoP error="use_dpop_nonce"')
    assert found == [("basic", {"realm": "x"}), ("negotiate", {}), *NONCE]


@pytest.mark.parametrize(
    "value", ["Negotiate YWJj==, DPoP", "Negotiate, DPoP", "Negotiate abc , DPoP"]
)
def test_challenges_when_without_parameters_then_are_found(value: str) -> None:
    """A scheme may stand alone, or with one token."""
    assert parse(value) == [("negotiate", {}), ("dpop", {})]


def test_challenge_when_characters_are_unusual_then_is_read() -> None:
    """Names, values and tokens may hold what RFC 9110 allows in them."""
    word = "!#$%&'*+-.^_`|~0189abyz"
    assert parse(f'{word} {word}={word}, y=""') == [(word, {word: word, "y": ""})]
    assert parse("Negotiate 09azAZ-._~+/==") == [("negotiate", {})]


@pytest.mark.covers("DPOP-13", "DPO-06")
@pytest.mark.parametrize(
    "value",
    [
        'Bearer error_description="x, DPoP error=\\"use_dpop_nonce\\""',
        'Bearer x="DPoP error=use_dpop_nonce"',
    ],
)
def test_challenge_when_text_is_inside_another_then_is_no_challenge(value: str) -> None:
    """Words in a description are not a challenge."""
    assert [scheme for scheme, _ in parse(value)] == ["bearer"]


@pytest.mark.covers("DPO-06")
@pytest.mark.parametrize(
    "value",
    [
        'DPoP error="use_dpop_nonce',
        'DPoP error="use_dpop_nonce", x="',
        'DPoP error="use_dpop_nonce" = y',
        'DPoP error="use_dpop_nonce"; x=y',
        'DPoP error="use_dpop_nonce", é=1',
        "DPoP/x",
        "DPoP ==",
        'DPoP error="use_dpop_nonce", x="' + "y" * 9000 + '"',
    ],
)
def test_challenges_when_not_readable_to_the_end_then_are_none(value: str) -> None:
    """What is half understood is not acted on."""
    assert parse(value) == []


def test_challenges_when_one_field_is_broken_then_others_count() -> None:
    """Another field stands for itself."""
    assert parse('Basic realm="', 'DPoP error="use_dpop_nonce"') == NONCE


@pytest.mark.covers("DOS-11")
def test_challenge_when_longer_than_8192_then_is_cut_and_so_not_read() -> None:
    """A field has room for 8192 characters."""
    value = 'DPoP x="'.ljust(8191, "y")
    assert [scheme for scheme, _ in parse(f'{value}"')] == ["dpop"]
    assert parse(f'{value}y"') == []


@pytest.mark.parametrize("value", ["", "   ", ",,,", 'error="use_dpop_nonce"'])
def test_challenges_when_there_is_no_scheme_then_are_none(value: str) -> None:
    """A parameter without a scheme belongs to nothing."""
    assert parse(value) == []


@given(st.lists(st.text() | st.text('DPoP error="use_\\,= \t')))
def test_challenges_when_anything_then_never_fails(values: list[str]) -> None:
    """No header brings down the parser; schemes come in lower case."""
    for challenge in parse_challenges(values):
        assert isinstance(challenge, Challenge)
        assert challenge.scheme == challenge.scheme.lower()


@pytest.mark.covers("DOS-11", "DOS-A12")
@pytest.mark.parametrize("part", ["a", " ", "a ", "a=", ",", '"', "\\", "a=b ", '="'])
def test_challenges_when_long_then_are_read_quickly(part: str) -> None:
    """A megabyte of anything costs next to nothing."""
    value = "DPoP " + part * (1_000_000 // len(part))
    began_at = time.process_time()
    parse(value)
    assert time.process_time() - began_at < 1.0
