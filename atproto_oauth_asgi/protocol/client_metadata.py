"""OAuth Client ID Metadata Document: what a client says of itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

_HTTPS_PORT = 443
_LOOPBACK_ADDRESSES = ("127.0.0.1", "::1")
_LOCAL_ENDINGS = frozenset({"", "example", "invalid", "local", "localhost", "test"})


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
    return "http://localhost?" + urlencode(parameters, quote_via=quote)


def find_client_id_problems(client_id: str) -> Iterator[str]:
    """Give the rules that the host of a web client's id breaks.

    Spec: atproto OAuth, "Clients"; the reference server takes no local names.
    """
    parts = urlsplit(client_id)
    if "@" in parts.netloc:
        yield "it has no user name"
    if ":" in parts.netloc:
        yield "a client id has no port (and no IP address)"
    if not _is_public_name(parts.hostname or ""):
        yield "it needs a host name, such as app.example.com"


def find_redirect_problems(redirect_uri: str, *, is_loopback: bool) -> Iterator[str]:
    """Give the rules that a redirect URI of a web or development client breaks.

    Spec: atproto OAuth, "Clients" and "Localhost Client Development"; RFC 8252 section
    7.3. The reference server takes no local names.
    """
    try:
        parts = urlsplit(redirect_uri)
        port = parts.port
    except ValueError:
        yield "it is a URL"
        return
    host = parts.hostname or ""
    if "@" in parts.netloc or "#" in redirect_uri or "*" in redirect_uri:
        yield "it has no user name, no fragment and no wildcard"
    if is_loopback:
        if parts.scheme != "http" or host not in _LOOPBACK_ADDRESSES:
            yield "in development it is http://127.0.0.1/... or http://[::1]/..."
        return
    if parts.scheme != "https" or port == _HTTPS_PORT:
        yield "it is https, and port 443 is not written"
    if not _is_public_name(host):
        yield "it needs a host name that the Internet knows"


def _is_public_name(host: str) -> bool:
    """Return whether a host is a name of the public Internet, by its form."""
    ending = host.rpartition(".")[2]
    return "." in host and not ending.isdigit() and ending not in _LOCAL_ENDINGS


def _authentication(jwks_uri: str | None) -> dict[str, str]:
    if jwks_uri is None:
        return {"token_endpoint_auth_method": "none"}
    return {
        "token_endpoint_auth_method": "private_key_jwt",
        "token_endpoint_auth_signing_alg": "ES256",
        "jwks_uri": jwks_uri,
    }
