"""Checks over the client metadata document.

Spec: atproto OAuth, "Client ID Metadata Document" and "Clients".
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import SplitResult, urlsplit

from atproto_oauth_asgi.cli.doctor.finding import (
    Check,
    Finding,
    bad,
    good,
    hint,
    over_document,
)
from atproto_oauth_asgi.cli.doctor.seen import Document
from atproto_oauth_asgi.protocol.client_metadata import (
    find_client_id_problems,
    find_redirect_problems,
)
from atproto_oauth_asgi.scopes import find_scope_warnings

_PUBLIC_URL = "set public_url to the address that browsers show"
_REPAIR = "serve the document as the middleware makes it"
_METHODS = ("none", "private_key_jwt")
_GRANTS = {"authorization_code", "refresh_token"}
_ADDRESSES = ("client_uri", "logo_uri", "tos_uri", "policy_uri", "jwks_uri")
# Members of OpenID Connect and of mutual TLS; the reference server refuses them.
_REFUSED = (
    "authorization_encrypted_response_enc",
    "default_max_age",
    "id_token_signed_response_alg",
    "tls_client_certificate_bound_access_tokens",
    "userinfo_encrypted_response_alg",
    "userinfo_signed_response_alg",
)


def _client_id(document: Document) -> Finding:
    found = document.text("client_id")
    if found == document.url:
        return good(found)
    return bad(f"it says {found!r}, and was found at {document.url}", _PUBLIC_URL)


def _client_id_form(document: Document) -> Finding:
    parts = _split(document.url)
    problems = list(find_client_id_problems(document.url))
    if parts.path in {"", "/"} or parts.path.endswith("/"):
        problems.append("it needs a path that does not end in /")
    if problems:
        return bad("; ".join(problems), "serve the application at a name, on port 443")
    return good("https, a public name, a path")


def _application_type(document: Document) -> Finding:
    found = document.members.get("application_type", "web")
    if found == "web":
        return good("web")
    return bad(f"it is {found!r}; only 'web' may return to an https URL", _REPAIR)


def _grant_types(document: Document) -> Finding:
    found = document.texts("grant_types")
    if set(found) == _GRANTS and len(found) == len(_GRANTS):
        return good("authorization_code, refresh_token")
    remedy = "name authorization_code and refresh_token, each once"
    return bad(f"it is {found}", remedy)


def _response_types(document: Document) -> Finding:
    found = document.texts("response_types")
    return good("code") if found == ["code"] else bad(f"it is {found}", 'give ["code"]')


def _redirect_uris(document: Document) -> Finding:
    found = document.texts("redirect_uris")
    problems = [
        f"{uri}: {problem}"
        for uri in found
        for problem in find_redirect_problems(uri, is_loopback=False)
    ]
    if not found:
        return bad("there are none", _REPAIR)
    if problems:
        return bad("; ".join(problems), _PUBLIC_URL)
    return good(", ".join(found))


def _redirect_origin(document: Document) -> Finding:
    wanted = _origin(document.url)
    others = [uri for uri in document.texts("redirect_uris") if _origin(uri) != wanted]
    if others:
        remedy = f"{_PUBLIC_URL}; extra_redirect_uris are yours to answer for"
        return hint(f"elsewhere than the application: {', '.join(others)}", remedy)
    return good(wanted)


def _scope(document: Document) -> Finding:
    found = document.text("scope").split(" ")
    if "atproto" not in found:
        return bad("it does not hold 'atproto'", "put 'atproto' into scope")
    if len(set(found)) != len(found):
        return bad("a value is there twice", "name each value once")
    return good(" ".join(found))


def _scope_values(document: Document) -> Finding:
    warnings = find_scope_warnings(document.text("scope"))
    if warnings:
        return hint("; ".join(warnings), "look the value up in the scope reference")
    return good("servers know every value")


def _dpop(document: Document) -> Finding:
    if document.members.get("dpop_bound_access_tokens") is True:
        return good("tokens are bound to keys")
    return bad("dpop_bound_access_tokens is not true", _REPAIR)


def _auth_method(document: Document) -> Finding:
    found = document.members.get("token_endpoint_auth_method", "client_secret_basic")
    if found in _METHODS:
        return good(str(found))
    return bad(f"it is {found!r}", f"it is one of {', '.join(_METHODS)}")


def _auth_parts(document: Document) -> Finding:
    problems = list(_find_auth_problems(document))
    if problems:
        return bad("; ".join(problems), _REPAIR)
    return good("what belongs to the method is there, and nothing else")


def _find_auth_problems(document: Document) -> Iterator[str]:
    members = document.members
    algorithm = members.get("token_endpoint_auth_signing_alg")
    count = sum(name in members for name in ("jwks", "jwks_uri"))
    if members.get("token_endpoint_auth_method") == "private_key_jwt":
        if algorithm != "ES256":
            yield "token_endpoint_auth_signing_alg must be ES256"
        if count != 1:
            yield "one of jwks and jwks_uri must be there"
        return
    if algorithm is not None:
        yield "a public client has no token_endpoint_auth_signing_alg"
    if count:
        yield "a public client has no keys"


def _addresses(document: Document) -> Finding:
    wrong = [
        name
        for name in _ADDRESSES
        if name in document.members and not _is_https(document.text(name))
    ]
    if wrong:
        return bad(f"no https URL: {', '.join(wrong)}", "give https URLs")
    home = document.text("client_uri")
    if home and not f"{document.url}/".startswith(f"{home.removesuffix('/')}/"):
        remedy = "client_uri is public_url, or a parent of it on the same host"
        return bad(f"client_uri is {home}, which is elsewhere", remedy)
    return good("those that are there are https")


def _members(document: Document) -> Finding:
    empty = [name for name, value in document.members.items() if value is None]
    refused = [name for name in _REFUSED if name in document.members]
    if empty or refused:
        return bad(f"not allowed: {', '.join(empty + refused)}", "leave them out")
    return good("nothing that a server refuses")


def _is_https(url: str) -> bool:
    parts = _split(url)
    return parts.scheme == "https" and bool(parts.hostname)


def _origin(url: str) -> str:
    parts = _split(url)
    return f"{parts.scheme}://{parts.netloc}"


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


CHECKS: tuple[Check, ...] = (
    over_document("client-id", _client_id),
    over_document("client-id-form", _client_id_form),
    over_document("application-type", _application_type),
    over_document("grant-types", _grant_types),
    over_document("response-types", _response_types),
    over_document("redirect-uris", _redirect_uris),
    over_document("redirect-origin", _redirect_origin),
    over_document("scope", _scope),
    over_document("scope-values", _scope_values),
    over_document("dpop", _dpop),
    over_document("auth-method", _auth_method),
    over_document("auth-parts", _auth_parts),
    over_document("addresses", _addresses),
    over_document("members", _members),
)
"""In the order in which they are shown."""
