"""RFC 9728 and RFC 8414: which authorization server, and what it can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

from atproto_oauth_asgi.exceptions import (
    Blocked,
    DiscoveryError,
    UnsupportedAuthServerError,
)
from atproto_oauth_asgi.models import AuthServerMetadata
from atproto_oauth_asgi.protocol.documents import (
    optional_string,
    optional_string_list,
    parse_json_object,
    string,
    string_list,
    true,
)
from atproto_oauth_asgi.protocol.urls import UrlPolicy, check_url, parse_origin

_HOST = "metadata of the account's host"
_SERVER = "metadata of the authorization server"

_MUST_HOLD = {
    "response_types_supported": ("code",),
    "grant_types_supported": ("authorization_code", "refresh_token"),
    "code_challenge_methods_supported": ("S256",),
    "token_endpoint_auth_methods_supported": ("none", "private_key_jwt"),
    "token_endpoint_auth_signing_alg_values_supported": ("ES256",),
    "scopes_supported": ("atproto",),
    "dpop_signing_alg_values_supported": ("ES256",),
}
_MUST_BE_TRUE = (
    "authorization_response_iss_parameter_supported",
    "require_pushed_authorization_requests",
    "client_id_metadata_document_supported",
)
# In the query of the endpoint these would be read together with ours.
_OUR_PARAMETERS = frozenset(
    {
        "client_id",
        "code_challenge",
        "code_challenge_method",
        "dpop_jkt",
        "login_hint",
        "nonce",
        "prompt",
        "redirect_uri",
        "request",
        "request_uri",
        "response_mode",
        "response_type",
        "scope",
        "state",
    }
)


def parse_protected_resource(body: bytes, pds_url: str, *, policy: UrlPolicy) -> str:
    """Return the issuer that a PDS names: a bare origin.

    Raises:
        DiscoveryError: it speaks for another host, or does not name exactly one
            usable authorization server.

    Spec: RFC 9728 sections 2 and 3.3; atproto OAuth, "Server Metadata".
    """
    members = parse_json_object(body, what=_HOST, error=DiscoveryError)
    if string(members, "resource", what=_HOST, error=DiscoveryError) != pds_url:
        raise DiscoveryError(f"{_HOST}: it speaks for another host")
    issuers = string_list(
        members, "authorization_servers", what=_HOST, error=DiscoveryError
    )
    if len(issuers) != 1:
        raise DiscoveryError(f"{_HOST}: it must name one authorization server")
    try:
        return parse_origin(issuers[0], policy, what="issuer")
    except Blocked as error:
        raise DiscoveryError(str(error)) from error


def parse_server_metadata(
    body: bytes,
    issuer: str,
    *,
    policy: UrlPolicy,
    allowed_endpoint_origins: Sequence[str] = (),
) -> AuthServerMetadata:
    """Return what an authorization server says of itself.

    Endpoints lie on the issuer's origin, or on one of ``allowed_endpoint_origins``.

    Raises:
        DiscoveryError: it is not the metadata of this issuer.
        UnsupportedAuthServerError: the server lacks what atproto asks for.

    Spec: RFC 8414 sections 2 and 3.3; atproto OAuth, "Authorization Servers".
    """
    members = parse_json_object(body, what=_SERVER, error=DiscoveryError)
    if string(members, "issuer", what=_SERVER, error=DiscoveryError) != issuer:
        raise DiscoveryError(f"{_SERVER}: it speaks for another issuer")
    _check_abilities(members)
    origins = (issuer, *allowed_endpoint_origins)
    return AuthServerMetadata(
        issuer=issuer,
        authorization_endpoint=_authorization_endpoint(members, origins, policy),
        token_endpoint=_endpoint(members, "token_endpoint", origins, policy=policy),
        pushed_authorization_request_endpoint=_endpoint(
            members, "pushed_authorization_request_endpoint", origins, policy=policy
        ),
        revocation_endpoint=_revocation_endpoint(members, origins, policy),
        protected_resources=_optional_list(members, "protected_resources"),
        prompt_values_supported=_optional_list(members, "prompt_values_supported")
        or (),
        **{name: _list(members, name) for name in _KEPT_LISTS},
    )


_KEPT_LISTS = (
    "scopes_supported",
    "token_endpoint_auth_methods_supported",
    "token_endpoint_auth_signing_alg_values_supported",
    "dpop_signing_alg_values_supported",
)


def check_protected_resource(metadata: AuthServerMetadata, pds_url: str) -> None:
    """Return nothing unless the server lists the hosts it serves, without this one.

    Raises:
        DiscoveryError: the host is not among those that the server lists.

    Spec: RFC 9728 section 4.
    """
    served = metadata.protected_resources
    if served is not None and pds_url not in served:
        raise DiscoveryError(f"{_SERVER}: it does not serve the account's host")


def _check_abilities(members: Mapping[str, Any]) -> None:
    for name, wanted in _MUST_HOLD.items():
        missing = set(wanted).difference(_list(members, name))
        if missing:
            lacking = ", ".join(sorted(missing))
            raise UnsupportedAuthServerError(f"{_SERVER}: {name} lacks {lacking}")
    for name in _MUST_BE_TRUE:
        true(members, name, what=_SERVER, error=UnsupportedAuthServerError)
    if "none" in _list(members, "token_endpoint_auth_signing_alg_values_supported"):
        raise UnsupportedAuthServerError(f"{_SERVER}: it takes unsigned assertions")
    if members.get("require_request_uri_registration", True) is not True:
        raise UnsupportedAuthServerError(
            f"{_SERVER}: require_request_uri_registration is not true"
        )


def _list(members: Mapping[str, Any], name: str) -> tuple[str, ...]:
    return string_list(members, name, what=_SERVER, error=UnsupportedAuthServerError)


def _optional_list(members: Mapping[str, Any], name: str) -> tuple[str, ...] | None:
    return optional_string_list(
        members, name, what=_SERVER, error=UnsupportedAuthServerError
    )


def _endpoint(
    members: Mapping[str, Any],
    name: str,
    origins: Sequence[str],
    *,
    policy: UrlPolicy,
) -> str:
    text = string(members, name, what=_SERVER, error=UnsupportedAuthServerError)
    try:
        url = check_url(text, policy, what=name)
    except Blocked as error:
        raise UnsupportedAuthServerError(str(error)) from error
    if url.origin not in origins:
        raise UnsupportedAuthServerError(f"{name}: not on the issuer's origin")
    return text


def _authorization_endpoint(
    members: Mapping[str, Any], origins: Sequence[str], policy: UrlPolicy
) -> str:
    text = _endpoint(members, "authorization_endpoint", origins, policy=policy)
    query = text.partition("?")[2]
    names = {name for name, _ in parse_qsl(query, keep_blank_values=True)}
    if names & _OUR_PARAMETERS:
        raise UnsupportedAuthServerError(
            "authorization_endpoint: its query holds parameters of the request"
        )
    return text


def _revocation_endpoint(
    members: Mapping[str, Any], origins: Sequence[str], policy: UrlPolicy
) -> str | None:
    name = "revocation_endpoint"
    text = optional_string(
        members, name, what=_SERVER, error=UnsupportedAuthServerError
    )
    if text is None:
        return None
    return _endpoint(members, name, origins, policy=policy)
