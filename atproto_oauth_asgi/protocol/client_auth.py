"""RFC 7523: how a confidential client proves that it is itself."""

from __future__ import annotations

from typing import Any

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

# The reference server has no tolerance ahead and takes assertions for 60 s.
_BACKDATED_S = 15
_LIFETIME_S = 60


def build_assertion_claims(
    *, client_id: str, issuer: str, now: float, jti: str
) -> dict[str, Any]:
    """Return the claims of one client assertion. Each attempt wants a new ``jti``.

    Spec: RFC 7523 section 3; the audience is the issuer, never an endpoint.
    """
    issued_at = int(now) - _BACKDATED_S
    return {
        "iss": client_id,
        "sub": client_id,
        "aud": issuer,
        "jti": jti,
        "iat": issued_at,
        "exp": issued_at + _LIFETIME_S,
    }


def build_client_auth_form(client_id: str, assertion: str | None) -> dict[str, str]:
    """Return the form fields that say who the client is."""
    if assertion is None:
        return {"client_id": client_id}
    return {
        "client_id": client_id,
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": assertion,
    }
