"""What a client may say of itself: its id, and its metadata document.

The rules are those of the official server. Spec: atproto OAuth, "Clients";
draft-ietf-oauth-client-id-metadata-document; RFC 7591 section 2; RFC 8252.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlsplit

from atproto_oauth_asgi.exceptions import ConfigurationError
from atproto_oauth_asgi.testing.refusals import Refusal

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1"})
_LOOPBACK_IDS = ("http://localhost", "http://localhost/")
_LOOPBACK_REDIRECTS = ("http://127.0.0.1/", "http://[::1]/")
_LOCAL = frozenset({"test", "local", "localhost", "invalid", "example"})
# Names that no client has, so the server does not ask them.
_FORBIDDEN = ("example.com", "example.org", "example.net", "googleusercontent.com")
_ADDRESS = re.compile(r"[0-9]+(\.[0-9]+){3}|.*:.*")
_ODD_PATH = re.compile(r"/\.{1,2}(/|$)|[^!-~]")
_PRIVATE_SCHEME = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+")
_METHODS = frozenset({"none", "private_key_jwt"})
_GRANTS = frozenset({"authorization_code", "refresh_token"})
_UNSUPPORTED = frozenset(
    {
        "authorization_encrypted_response_enc",
        "default_max_age",
        "id_token_signed_response_alg",
        "tls_client_certificate_bound_access_tokens",
        "userinfo_encrypted_response_alg",
        "userinfo_signed_response_alg",
    }
)


def read_loopback_id(client_id: str) -> tuple[tuple[str, ...], str]:
    """Return the redirect URIs and the scope of a loopback client id.

    Raises:
        Refusal: it is none.

    Spec: atproto OAuth, "Localhost Client Development".
    """
    base, _, query = client_id.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    names = [name for name, _ in pairs]
    is_known = set(names) <= {"scope", "redirect_uri"} and names.count("scope") <= 1
    if base not in _LOOPBACK_IDS or "#" in client_id or not is_known:
        raise _bad_id()
    uris = tuple(value for name, value in pairs if name == "redirect_uri")
    for uri in uris:
        if (url := _split(uri)).scheme != "http" or url.hostname not in LOOPBACK_HOSTS:
            raise _bad_id()
    scope = dict(pairs).get("scope", "atproto")
    if "atproto" not in scope.split(" "):
        raise bad_metadata("scope: atproto is missing")
    return uris or _LOOPBACK_REDIRECTS, scope


def check_client_id(client_id: str) -> None:
    """Check that an id is the https URL of a document, on a name that clients have.

    Raises:
        Refusal: it is not.
    """
    url = _split(client_id)
    host = url.hostname or ""
    is_plain = url.scheme == "https" and "@" not in url.netloc and "#" not in client_id
    has_path = len(url.path) > 1 and not url.path.endswith("/")
    is_canonical = not _ODD_PATH.search(url.path)
    if not (is_plain and has_path and is_canonical and _is_public_name(host)):
        raise _bad_id()
    if _is_local(host):
        message = "The client_id's TLD must not be a local hostname"
        raise Refusal("invalid_client_id", message)
    if any(host == name or host.endswith(f".{name}") for name in _FORBIDDEN):
        message = (
            f'Forbidden hostname "{host}": use another, such as app.notes.internal'
        )
        raise bad_metadata(message)


def check_client_host(host: str) -> None:
    """Check that a client can have an id at this host.

    Raises:
        ConfigurationError: no official server would take it.
    """
    try:
        check_client_id(f"https://{host}/client.json")
    except Refusal as refusal:
        problem = f"serve_client: no server takes a client at {host}: {refusal}"
        raise ConfigurationError([problem]) from refusal


def check_document(client_id: str, members: Any) -> None:
    """Check a metadata document.

    Raises:
        Refusal: an atproto server would not take it.
    """
    if not isinstance(members, dict):
        raise bad_metadata("the document is no JSON object")
    for problem, is_there in _problems(client_id, members):
        if is_there:
            raise bad_metadata(problem)
    for uri in members["redirect_uris"]:
        _check_redirect(uri, members, client_host=urlsplit(client_id).hostname or "")


def _problems(client_id: str, members: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    # The order matters: what comes later builds on what came before.
    uris, scope = members.get("redirect_uris"), members.get("scope")
    grants = members.get("grant_types", ["authorization_code"])
    yield "redirect_uris: at least one", not _is_texts(uris)
    yield "grant_types: a list", not _is_texts(grants)
    yield "Missing scope property", not isinstance(scope, str)
    scopes = str(scope).split(" ")
    yield 'Missing "atproto" scope', "atproto" not in scopes
    yield "Duplicate scope", len(set(scopes)) < len(scopes)
    yield "client_id does not match", members.get("client_id") != client_id
    yield "grant_types: one is not supported", not set(grants) <= _GRANTS
    yield "grant_types: one is there twice", len(set(grants)) < len(grants)
    yield "grant_types: no authorization_code", "authorization_code" not in grants
    types = members.get("response_types", ["code"])
    yield "response_types: no code", not _is_texts(types) or "code" not in types
    is_bound = members.get("dpop_bound_access_tokens") is True
    yield '"dpop_bound_access_tokens" must be true', not is_bound
    unsupported = sorted(_UNSUPPORTED & members.keys())
    yield f"not supported: {unsupported}", bool(unsupported)
    yield from _authentication_problems(members)
    yield from _address_problems(urlsplit(client_id), members)


def _authentication_problems(members: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    method = members.get("token_endpoint_auth_method", "client_secret_basic")
    algorithm = members.get("token_endpoint_auth_signing_alg")
    kind = members.get("application_type", "web")
    has_keys = "jwks" in members or "jwks_uri" in members
    yield "token_endpoint_auth_method is not supported", method not in _METHODS
    yield "application_type: web or native", kind not in {"web", "native"}
    yield "jwks_uri or jwks, not both", {"jwks", "jwks_uri"} <= members.keys()
    if method == "none":
        yield 'the method "none" has no signing_alg', algorithm is not None
        return
    yield "private_key_jwt needs jwks or jwks_uri", not has_keys
    is_empty = "jwks" in members and not usable_keys(members["jwks"])
    yield "private_key_jwt requires at least one key with a kid", is_empty
    yield "Missing token_endpoint_auth_signing_alg", not isinstance(algorithm, str)
    yield 'Native clients authenticate by "none"', kind == "native"


def _address_problems(
    client_id: SplitResult, members: Mapping[str, Any]
) -> Iterator[tuple[str, bool]]:
    for name in ("client_uri", "logo_uri", "tos_uri", "policy_uri", "jwks_uri"):
        url = _split(members[name]) if name in members else client_id
        is_public = url.scheme == "https" and _is_public_name(url.hostname or "")
        yield f"{name}: an https URL", not is_public
    if "client_uri" in members:
        home = _split(members["client_uri"])
        folder = home.path if home.path.endswith("/") else f"{home.path}/"
        is_local = _is_local(home.hostname or "")
        yield "client_uri hostname is invalid", is_local
        is_same = (home.scheme, home.netloc) == (client_id.scheme, client_id.netloc)
        yield "client_uri: the origin of the client_id", not is_same
        is_above = home.path == client_id.path or client_id.path.startswith(folder)
        yield "client_uri must be a parent URL of the client_id", not is_above


def _check_redirect(uri: str, members: Mapping[str, Any], *, client_host: str) -> None:
    """Spec: RFC 8252 sections 7 and 8; atproto OAuth, "Clients"."""
    url = _split(uri)
    host, is_native = url.hostname or "", members.get("application_type") == "native"
    is_loopback = url.scheme == "http" and host in LOOPBACK_HOSTS
    is_private = _PRIVATE_SCHEME.fullmatch(url.scheme) is not None
    if not is_loopback and not is_private:
        if url.scheme != "https" or not _is_public_name(host):
            raise bad_metadata("redirect_uris: https, loopback, or a private scheme")
        if _is_local(host):
            message = "the domain name must not be a local hostname"
            raise Refusal("invalid_redirect_uri", message)
    if "@" in url.netloc:
        raise Refusal("invalid_redirect_uri", "it must not contain credentials")
    if (is_loopback or is_private) and not is_native:
        raise Refusal("invalid_redirect_uri", "only allowed for native apps")
    if is_private and url.scheme != ".".join(reversed(client_host.split("."))):
        raise Refusal("invalid_redirect_uri", "the client's own name, in reverse")


def usable_keys(jwks: Any) -> tuple[Mapping[str, Any], ...]:
    """Return those keys of a set that count: with a name, and without a secret."""
    found = jwks.get("keys") if isinstance(jwks, dict) else None
    return tuple(
        key
        for key in (found if isinstance(found, list) else ())
        if isinstance(key, dict) and key.get("kid") and "d" not in key
    )


def bad_metadata(description: str) -> Refusal:
    """Return the refusal of a client's document."""
    return Refusal("invalid_client_metadata", description)


def _bad_id() -> Refusal:
    return bad_metadata("Invalid client ID")


def _is_texts(value: object) -> bool:
    if not isinstance(value, list) or not value:
        return False
    return all(isinstance(each, str) for each in value)


def _is_public_name(host: str) -> bool:
    return "." in host and not host.endswith(".local") and not _ADDRESS.fullmatch(host)


def _is_local(host: str) -> bool:
    return host.rpartition(".")[2] in _LOCAL


def _split(url: object) -> SplitResult:
    try:
        return urlsplit(url if isinstance(url, str) else "")
    except ValueError:
        return urlsplit("")
