from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atproto_oauth_asgi.exceptions import AuthorizationServerError
from atproto_oauth_asgi.protocol.par import (
    AuthorizationParameters,
    build_authorization_url,
    build_par_form,
    parse_par_response,
)

CLIENT_ID = "https://app.example.com/oauth-client-metadata.json"
ENDPOINT = "https://as.example.com/oauth/authorize"


def form(**extra: str) -> dict[str, str]:
    parameters = AuthorizationParameters(
        client_id=CLIENT_ID,
        redirect_uri="https://app.example.com/oauth/callback",
        scope="atproto",
        state="s" * 43,
        code_challenge="c" * 43,
        extra=extra,
    )
    return build_par_form(parameters)


def parse(members: Any, status: int = 201) -> str:
    return parse_par_response(status, json.dumps(members).encode())


def query_of(url: str) -> list[tuple[str, str]]:
    return parse_qsl(urlsplit(url).query, keep_blank_values=True)


@pytest.mark.covers("PAR-02", "PAR-09", "META-07")
def test_form_when_built_then_holds_the_whole_request() -> None:
    """Everything the server must know is pushed; the challenge is S256."""
    assert form(login_hint="alice.example.com") == {
        "client_id": CLIENT_ID,
        "response_type": "code",
        "redirect_uri": "https://app.example.com/oauth/callback",
        "scope": "atproto",
        "state": "s" * 43,
        "code_challenge": "c" * 43,
        "code_challenge_method": "S256",
        "login_hint": "alice.example.com",
    }


@pytest.mark.covers("PAR-15", "LGN-21")
@pytest.mark.parametrize(
    "name", ["state", "redirect_uri", "code_challenge", "code_challenge_method"]
)
def test_form_when_extra_names_our_parameter_then_ours_stays(name: str) -> None:
    """What an application adds cannot replace what protects the login."""
    assert form(**{name: "evil"})[name] != "evil"


@pytest.mark.covers("PAR-05")
@pytest.mark.parametrize("status", [200, 201])
def test_response_when_right_then_gives_the_request_uri(status: int) -> None:
    """201 is the rule and 200 is tolerated; the life time may be missing."""
    assert parse({"request_uri": "urn:x", "expires_in": 60}, status) == "urn:x"
    assert parse({"request_uri": "urn:x"}, status) == "urn:x"
    for request_uri in ("!", "~", "u" * 2048):
        assert parse({"request_uri": request_uri, "expires_in": 1}) == request_uri


@pytest.mark.covers("PAR-05", "MIX-13", "TOK-16")
@pytest.mark.parametrize(
    "members",
    [
        {},
        [],
        "urn:x",
        {"request_uri": ""},
        {"request_uri": ["urn:x"]},
        {"request_uri": "u" * 2049},
        {"request_uri": "urn:x\r\nSet-Cookie: a=b"},
        {"request_uri": "urn: x"},
        {"request_uri": "urn:\ud800"},
        {"request_uri": "urn:x", "expires_in": "60"},
        {"request_uri": "urn:x", "expires_in": True},
        {"request_uri": "urn:x", "expires_in": 0},
        {"request_uri": "urn:x", "expires_in": 1.5},
        {"request_uri": "urn:x", "expires_in": None},
    ],
)
def test_response_when_malformed_then_is_refused(members: Any) -> None:
    """An answer that is not exactly what it should be starts no login."""
    with pytest.raises(AuthorizationServerError) as caught:
        parse(members)
    assert caught.value.error == "malformed_response"


@pytest.mark.covers("PAR-05", "PAR-13", "PAR-16")
@pytest.mark.parametrize("status", [202, 204, 302, 307, 400, 429, 500])
def test_response_when_no_success_then_is_refused(status: int) -> None:
    """A redirect is no success; the server's error is kept, its words apart."""
    body = {
        "error": "invalid_scope",
        "error_description": "<script>",
        "request_uri": "urn:x",
    }
    with pytest.raises(AuthorizationServerError) as caught:
        parse(body, status)
    assert caught.value.error == "invalid_scope"
    assert caught.value.error_description == "<script>"
    assert "<" not in str(caught.value)


def test_response_when_refusal_is_no_json_then_names_the_status() -> None:
    """What a proxy answers in the server's place is told by its number."""
    with pytest.raises(AuthorizationServerError, match="http_503") as caught:
        parse_par_response(503, b"<html>")
    assert caught.value.error == "http_503"


@given(st.integers(100, 599), st.binary(max_size=200))
def test_response_when_anything_then_raises_our_error_only(
    status: int, body: bytes
) -> None:
    """No byte sequence brings down the parser."""
    with pytest.raises(AuthorizationServerError):
        parse_par_response(status, body)


@pytest.mark.covers("PAR-06", "MIX-13")
@pytest.mark.parametrize(
    "request_uri",
    [
        "urn:ietf:params:oauth:request_uri:req-1",
        "https://169.254.169.254/",
        "x&redirect_uri=https://evil.example",
        "a&client_id=x#frag",
        "100%25",
    ],
)
def test_url_when_built_then_holds_two_parameters(request_uri: str) -> None:
    """The browser carries the client id and the opaque name, nothing else."""
    url = build_authorization_url(
        ENDPOINT, client_id=CLIENT_ID, request_uri=request_uri
    )
    assert url.startswith(f"{ENDPOINT}?")
    assert query_of(url) == [("client_id", CLIENT_ID), ("request_uri", request_uri)]


@pytest.mark.covers("MIX-12", "DISC-14")
def test_url_when_endpoint_has_a_query_then_it_is_kept() -> None:
    """The endpoint's own parameters stay; ones that are ours do not come twice."""
    url = build_authorization_url(
        f"{ENDPOINT}?tenant=7&empty=&client_id=evil", client_id="c", request_uri="r"
    )
    assert query_of(url) == [
        ("tenant", "7"),
        ("empty", ""),
        ("client_id", "c"),
        ("request_uri", "r"),
    ]


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1))
def test_url_when_request_uri_is_anything_then_it_comes_back(request_uri: str) -> None:
    """It is encoded exactly once."""
    url = build_authorization_url(ENDPOINT, client_id="c", request_uri=request_uri)
    assert dict(query_of(url))["request_uri"] == request_uri
    assert urlsplit(url).fragment == ""
