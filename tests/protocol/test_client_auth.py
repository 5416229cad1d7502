from __future__ import annotations

import pytest

from atproto_oauth_asgi.protocol.client_auth import (
    ASSERTION_TYPE,
    build_assertion_claims,
    build_client_auth_form,
)


@pytest.mark.covers("CAUTH-02")
def test_claims_when_built_then_name_client_server_and_time() -> None:
    """The audience is the issuer, one string; 60 s, begun a little in the past."""
    claims = build_assertion_claims(
        client_id="https://c", issuer="https://as", now=1000.9, jti="j"
    )
    assert claims == {
        "iss": "https://c",
        "sub": "https://c",
        "aud": "https://as",
        "jti": "j",
        "iat": 985,
        "exp": 1045,
    }


@pytest.mark.covers("CAUTH-01", "CAUTH-09")
def test_form_when_confidential_then_holds_the_assertion() -> None:
    """The type is the URN of RFC 7523; there is no client_secret."""
    assert build_client_auth_form("https://c", "a.b.c") == {
        "client_id": "https://c",
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": "a.b.c",
    }
    urn = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    assert urn == ASSERTION_TYPE


def test_form_when_public_then_holds_the_client_id_alone() -> None:
    """A public client names itself and proves nothing."""
    assert build_client_auth_form("https://c", None) == {"client_id": "https://c"}
