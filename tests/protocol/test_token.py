from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atproto_oauth_asgi.exceptions import OAuthTokenError
from atproto_oauth_asgi.models import TokenResponse
from atproto_oauth_asgi.protocol.token import (
    build_code_form,
    build_refresh_form,
    build_revocation_form,
    parse_token_response,
    read_tokens_to_revoke,
)

ALICE = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"
MISSING = object()


def members(**changes: Any) -> dict[str, Any]:
    given_members = {
        "access_token": "access-1",
        "refresh_token": "refresh-1",
        "token_type": "DPoP",
        "sub": ALICE,
        "scope": "atproto repo:com.example.post",
        "expires_in": 3600,
        **changes,
    }
    return {k: v for k, v in given_members.items() if v is not MISSING}


def parse(status: int = 200, **changes: Any) -> TokenResponse:
    body = json.dumps(members(**changes)).encode()
    return parse_token_response(status, body)


@pytest.mark.covers("TOK-01")
def test_code_form_when_built_then_holds_code_verifier_and_redirect_uri() -> None:
    """The exchange names the redirect URI again, and proves who began."""
    built = build_code_form(code="c", redirect_uri="https://r", code_verifier="v")
    assert built == {
        "grant_type": "authorization_code",
        "code": "c",
        "redirect_uri": "https://r",
        "code_verifier": "v",
    }


def test_refresh_form_when_built_then_holds_the_token() -> None:
    """A refresh names no scope: what was granted stays."""
    assert build_refresh_form("r") == {
        "grant_type": "refresh_token",
        "refresh_token": "r",
    }


def test_revocation_form_when_built_then_holds_token_and_hint() -> None:
    """The hint says which kind of token it is."""
    built = build_revocation_form("t", hint="refresh_token")
    assert built == {"token": "t", "token_type_hint": "refresh_token"}


@pytest.mark.covers("TOK-02", "TOK-15")
def test_response_when_right_then_gives_the_tokens() -> None:
    """Each member comes out as it was given; tokens are opaque."""
    tokens = parse(id_token="eyJ.forged", extra={"a": [1]})
    assert (tokens.access_token, tokens.refresh_token) == ("access-1", "refresh-1")
    assert (tokens.sub, tokens.expires_in) == (ALICE, 3600)
    assert tokens.scope == "atproto repo:com.example.post"


@pytest.mark.covers("TOK-13", "LGN-19")
def test_response_when_id_token_names_another_then_sub_counts() -> None:
    """An id_token has no effect."""
    assert parse(id_token="eyJ.eyJzdWIiOiJib2IifQ.x").sub == ALICE


@pytest.mark.covers("TOK-02", "RFR-18")
@pytest.mark.parametrize("status", [201, 204, 302, 307, 400, 500])
def test_response_when_not_200_then_is_refused(status: int) -> None:
    """Success is 200; nothing is read out of another answer."""
    with pytest.raises(OAuthTokenError) as caught:
        parse(status)
    assert caught.value.error == f"http_{status}"


@pytest.mark.covers("TOK-02", "RFR-18")
@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, "invalid_grant"),
        (401, "invalid_grant"),
        (402, "http_402"),
        (403, "http_403"),
        (500, "http_500"),
    ],
)
def test_response_when_refused_then_only_400_and_401_speak_for_the_server(
    status: int, error: str
) -> None:
    """A proxy that is out of order must not end a session with its error page."""
    with pytest.raises(OAuthTokenError) as caught:
        parse_token_response(status, b'{"error": "invalid_grant"}')
    assert caught.value.error == error
    assert str(caught.value) == "the token endpoint refused (invalid_grant)"


@pytest.mark.covers("TOK-03", "LGN-16")
@pytest.mark.parametrize("kind", ["Bearer", "", None, MISSING, ["DPoP"], "dpop "])
def test_response_when_not_bound_to_our_key_then_is_refused(kind: Any) -> None:
    """A token that works without the key is never accepted."""
    with pytest.raises(OAuthTokenError):
        parse(token_type=kind)


@pytest.mark.covers("TOK-03")
def test_response_when_type_is_in_other_case_then_is_taken() -> None:
    """The case of the type does not matter."""
    assert parse(token_type="dPOP").access_token == "access-1"


@pytest.mark.parametrize("token", ["!", "~", "a", "x" * 32768])
def test_response_when_tokens_are_unusual_then_are_taken(token: str) -> None:
    """A token may be any visible ASCII, short or long."""
    tokens = parse(access_token=token, refresh_token=token)
    assert (tokens.access_token, tokens.refresh_token) == (token, token)


BAD_TOKENS = [
    "",
    None,
    ["x"],
    {"a": 1},
    7,
    True,
    "a b",
    "a\r\nX: y",
    "a\n",
    "a\x00",
    "é",
    "\ud800",
    "x" * 32769,
]


@pytest.mark.covers("TOK-04", "LGN-17")
@pytest.mark.parametrize("token", [*BAD_TOKENS, MISSING])
def test_response_when_access_token_is_no_token_then_is_refused(token: Any) -> None:
    """What could break a header, or is none, is refused."""
    with pytest.raises(OAuthTokenError):
        parse(access_token=token)


@pytest.mark.covers("TOK-12")
@pytest.mark.parametrize("token", [t for t in BAD_TOKENS if t is not None])
def test_response_when_refresh_token_is_no_token_then_is_refused(token: Any) -> None:
    """The same holds for the refresh token."""
    with pytest.raises(OAuthTokenError):
        parse(refresh_token=token)


@pytest.mark.covers("TOK-12", "REF-02", "RFR-11")
@pytest.mark.parametrize("token", [None, MISSING])
def test_response_when_refresh_token_is_absent_then_gives_none(token: Any) -> None:
    """A server need not give one."""
    assert parse(refresh_token=token).refresh_token is None


@pytest.mark.covers("TOK-05")
@pytest.mark.parametrize(
    "sub",
    [
        MISSING,
        None,
        "",
        "alice.example.com",
        "did:key:z6Mk",
        "did:plc:short",
        [ALICE],
        f"{ALICE}\n",
        f" {ALICE}",
    ],
)
def test_response_when_sub_is_no_account_then_is_refused(sub: Any) -> None:
    """Tokens without a valid DID belong to nobody."""
    with pytest.raises(OAuthTokenError):
        parse(sub=sub)


@pytest.mark.covers("TOK-09", "LGN-15")
@pytest.mark.parametrize(
    "scope",
    [
        MISSING,
        None,
        "",
        "atprotox",
        "transition:generic",
        "ATPROTO",
        ["atproto"],
        "atproto  x",
        " atproto",
        "atproto ",
        "atproto\tx",
        'atproto "x"',
        'atproto x"',
        "atproto \\x",
        "atproto é",
        "atproto ".ljust(65537, "x"),
    ],
)
def test_response_when_scope_lacks_atproto_then_is_refused(scope: Any) -> None:
    """The granted scope holds atproto as a whole word, in the proper form."""
    with pytest.raises(OAuthTokenError):
        parse(scope=scope)


@pytest.mark.covers("TOK-10")
def test_response_when_less_is_granted_then_gives_what_is_granted() -> None:
    """A smaller scope than asked for is an answer."""
    assert parse(scope="atproto").scope == "atproto"


@pytest.mark.parametrize(
    "scope",
    ["!#[]~A9 atproto", "atproto !#[]~A9 x", "atproto ".ljust(65536, "x")],
)
def test_response_when_scope_is_unusual_then_is_taken(scope: str) -> None:
    """The characters of a scope are those of RFC 6749; 64 KiB are allowed."""
    assert parse(scope=scope).scope == scope


@pytest.mark.covers("TOK-11", "LGN-18")
@pytest.mark.parametrize(
    ("expires_in", "seconds"),
    [
        (3600, 3600),
        (1, 1),
        (59.9, 59),
        (400 * 24 * 3600, 34_560_000),
        (400 * 24 * 3600 + 1, None),
        (MISSING, None),
        (None, None),
        ("3600", None),
        (True, None),
        (0, None),
        (0.5, None),
        (-1, None),
        (1e300, None),
        (10**12, None),
        ([1], None),
    ],
)
def test_response_when_lifetime_is_odd_then_is_unknown(
    expires_in: Any, seconds: int | None
) -> None:
    """Only a sensible number of seconds is believed."""
    assert parse(expires_in=expires_in).expires_in == seconds


@pytest.mark.covers("TOK-11", "TOK-16", "DOS-A04")
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"<html>",
        b'{"expires_in": NaN}',
        b'{"expires_in": 1e999}',
        b'{"sub": "a", "sub": "b"}',
        b"[" * 100_000,
    ],
)
def test_response_when_body_is_no_answer_then_is_refused(body: bytes) -> None:
    """What is not one clear JSON object is refused."""
    with pytest.raises(OAuthTokenError) as caught:
        parse_token_response(200, body)
    assert caught.value.error == "malformed_response"


@pytest.mark.covers("TOK-16", "LOG-02")
def test_response_when_refused_then_keeps_the_error_and_no_secret() -> None:
    """The server's error is kept; its text is not in the message."""
    body = {"error": "invalid_grant", "error_description": "code c0de used"}
    with pytest.raises(OAuthTokenError) as caught:
        parse_token_response(400, json.dumps(body).encode())
    assert caught.value.error == "invalid_grant"
    assert caught.value.error_description == "code c0de used"
    assert "c0de" not in str(caught.value)


@given(st.integers(100, 599), st.binary(max_size=200))
def test_response_when_any_bytes_then_raises_our_error_only(
    status: int, body: bytes
) -> None:
    """No byte sequence brings down the parser."""
    with pytest.raises(OAuthTokenError):
        parse_token_response(status, body)
    assert read_tokens_to_revoke(body) == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(
    st.fixed_dictionaries(
        {}, optional={k: JSON | st.just(v) for k, v in members().items()}
    )
)
def test_response_when_any_members_then_gives_checked_tokens(
    odd: dict[str, Any],
) -> None:
    """Whatever comes out has passed every rule."""
    try:
        tokens = parse_token_response(200, json.dumps(odd).encode())
    except OAuthTokenError:
        return
    assert tokens.access_token.isprintable()
    assert tokens.access_token.isascii()
    assert " " not in tokens.access_token
    assert "atproto" in tokens.scope.split(" ")
    assert tokens.sub.startswith("did:")


@pytest.mark.covers("TOK-14")
def test_tokens_to_revoke_when_answer_is_unusable_then_are_found() -> None:
    """The refresh token comes first: revoking it ends the session."""
    body = json.dumps(members(token_type="Bearer", scope=None)).encode()
    assert read_tokens_to_revoke(body) == [
        ("refresh_token", "refresh-1"),
        ("access_token", "access-1"),
    ]


@pytest.mark.covers("TOK-04", "TOK-14")
def test_tokens_to_revoke_when_not_tokens_then_are_left_out() -> None:
    """Nothing that is not a token is sent anywhere."""
    body = json.dumps({"access_token": "a\r\nb", "refresh_token": ["x"]}).encode()
    assert read_tokens_to_revoke(body) == []


@pytest.mark.covers("TOK-14")
def test_tokens_to_revoke_when_spelt_unusually_then_are_found() -> None:
    """Blanks do not matter, and a token may hold any visible ASCII but quotes."""
    body = b'{"access_token":"!#[]~","refresh_token" :\n "r", "refresh_token": ""}'
    assert read_tokens_to_revoke(body) == [
        ("refresh_token", "r"),
        ("access_token", "!#[]~"),
    ]


@pytest.mark.covers("TOK-14", "DOS-A04")
def test_tokens_to_revoke_when_many_then_four_are_enough() -> None:
    """An answer cannot make us send a thousand requests."""
    body = b'{"access_token": "a", "refresh_token": "r"}' * 1000
    assert read_tokens_to_revoke(body) == [("refresh_token", "r")] * 4
