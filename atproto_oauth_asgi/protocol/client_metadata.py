"""OAuth Client ID Metadata Document: what a client says of itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode


def build_client_metadata(
    *,
    client_id: str,
    redirect_uris: Sequence[str],
    scope: str,
    jwks_uri: str | None,
    extra: Mapping[str, str | None],
) -> dict[str, Any]:
    """Return the document of a hosted client; with ``jwks_uri`` a confidential one.

    Spec: atproto OAuth, "Client ID Metadata Document".
    """
    document = {
        "client_id": client_id,
        "application_type": "web",
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "redirect_uris": list(redirect_uris),
        "scope": scope,
        "dpop_bound_access_tokens": True,
        **_authentication(jwks_uri),
    }
    document.update({name: text for name, text in extra.items() if text is not None})
    return document


def build_loopback_metadata(
    *, client_id: str, redirect_uris: Sequence[str], scope: str
) -> dict[str, Any]:
    """Return what servers make of a loopback client id, for people to look at."""
    document = build_client_metadata(
        client_id=client_id,
        redirect_uris=redirect_uris,
        scope=scope,
        jwks_uri=None,
        extra={},
    )
    return {**document, "application_type": "native"}


def build_loopback_client_id(redirect_uris: Sequence[str], scope: str) -> str:
    """Return the client id of a development client.

    Spec: atproto OAuth, "Localhost Client Development".
    """
    parameters = [("redirect_uri", uri) for uri in redirect_uris] + [("scope", scope)]
    return "http://localhost?" + urlencode(parameters, quote_via=quote, safe="")


def _authentication(jwks_uri: str | None) -> dict[str, str]:
    if jwks_uri is None:
        return {"token_endpoint_auth_method": "none"}
    return {
        "token_endpoint_auth_method": "private_key_jwt",
        "token_endpoint_auth_signing_alg": "ES256",
        "jwks_uri": jwks_uri,
    }
