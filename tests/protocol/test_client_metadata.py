from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atproto_oauth_asgi.protocol.client_metadata import (
    build_client_metadata,
    build_loopback_client_id,
    build_loopback_metadata,
    find_client_id_problems,
)

CLIENT_ID = "https://app.example.com/oauth-client-metadata.json"


def document(jwks_uri: str | None = None, **extra: str | None) -> dict[str, Any]:
    return build_client_metadata(
        client_id=CLIENT_ID,
        redirect_uris=["https://app.example.com/oauth/callback"],
        scope="atproto repo:com.example.post",
        jwks_uri=jwks_uri,
        extra=extra,
    )


@pytest.mark.covers("META-06", "META-07", "META-08", "META-09", "META-11", "META-13")
def test_document_when_public_then_says_so() -> None:
    """The whole document of a public hosted client; `none` is written out."""
    assert document() == {
        "client_id": CLIENT_ID,
        "application_type": "web",
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "redirect_uris": ["https://app.example.com/oauth/callback"],
        "scope": "atproto repo:com.example.post",
        "dpop_bound_access_tokens": True,
        "token_endpoint_auth_method": "none",
    }


@pytest.mark.covers("META-12", "META-14")
def test_document_when_confidential_then_names_key_set_and_algorithm() -> None:
    """Method, algorithm and exactly one of jwks and jwks_uri are there."""
    built = document(jwks_uri="https://app.example.com/oauth/jwks.json")
    assert built["token_endpoint_auth_method"] == "private_key_jwt"
    assert built["token_endpoint_auth_signing_alg"] == "ES256"
    assert built["jwks_uri"] == "https://app.example.com/oauth/jwks.json"
    assert "jwks" not in built


@pytest.mark.covers("META-20")
def test_document_when_options_are_missing_then_holds_no_null() -> None:
    """What is not given is left out."""
    built = document(client_name="Notes", logo_uri=None)
    assert built["client_name"] == "Notes"
    assert "logo_uri" not in built
    assert None not in built.values()


@pytest.mark.covers("META-11")
def test_loopback_document_when_built_then_is_native_and_public() -> None:
    """A development client is never a web one and never confidential."""
    built = build_loopback_metadata(
        client_id="http://localhost", redirect_uris=["http://127.0.0.1/"], scope="a"
    )
    assert built["application_type"] == "native"
    assert (built["client_id"], built["scope"]) == ("http://localhost", "a")
    assert built["token_endpoint_auth_method"] == "none"


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("https://user@app.example.com/c.json", "user name"),
        ("https://app.example.com:8443/c.json", "no port"),
        ("https://[2001:db8::1]/c.json", "no port"),
        ("https://localhost/c.json", "host name"),
        ("https://app.local/c.json", "host name"),
        ("https://93.184.216.34/c.json", "host name"),
        ("https:///c.json", "host name"),
    ],
)
def test_client_id_when_its_host_is_of_no_use_then_the_rule_is_named(
    url: str, rule: str
) -> None:
    """No server could fetch it; an ordinary one breaks no rule."""
    assert any(rule in problem for problem in find_client_id_problems(url))
    assert list(find_client_id_problems(CLIENT_ID)) == []


@pytest.mark.covers("DEV-01")
@given(
    st.lists(st.text(min_size=1), min_size=1, max_size=3),
    st.text(st.characters(codec="ascii"), min_size=1),
)
def test_loopback_client_id_when_read_back_then_is_what_went_in(
    redirect_uris: list[str], scope: str
) -> None:
    """Whatever stands in scope or redirect URI survives, and adds no parameter."""
    redirect_uris = [uri.encode("utf-8", "replace").decode() for uri in redirect_uris]
    parts = urlsplit(build_loopback_client_id(redirect_uris, scope))
    assert (parts.scheme, parts.netloc, parts.path) == ("http", "localhost", "")
    assert parts.fragment == ""
    assert parse_qsl(parts.query, keep_blank_values=True) == [
        *(("redirect_uri", uri) for uri in redirect_uris),
        ("scope", scope),
    ]


@pytest.mark.covers("DEV-01")
def test_loopback_client_id_when_scope_has_marks_then_they_are_encoded() -> None:
    """`?`, `&`, `#` and `%` in a scope do not end it."""
    scope = "atproto rpc:com.example.get?aud=did:web:api.example.com%23x&a=b#c"
    client_id = build_loopback_client_id(["http://127.0.0.1/cb"], scope)
    query = dict(parse_qsl(client_id.partition("?")[2]))
    assert query == {"redirect_uri": "http://127.0.0.1/cb", "scope": scope}
    assert "+" not in client_id
