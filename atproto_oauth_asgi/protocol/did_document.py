"""W3C DID documents, the part that atproto uses: the handle and the PDS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from atproto_oauth_asgi.exceptions import Blocked, DidNotResolved
from atproto_oauth_asgi.protocol.documents import (
    optional_string_list,
    parse_json_object,
    string,
)
from atproto_oauth_asgi.protocol.identifiers import Did, Handle, find_handle
from atproto_oauth_asgi.protocol.urls import UrlPolicy, parse_origin

_WHAT = "DID document"


@dataclass(frozen=True, slots=True, kw_only=True)
class DidDocument:
    """What the account says of itself.

    Attributes:
        did: whose document it is.
        claimed_handle: the handle it claims, in lower case, not verified.
        pds_url: origin of its PDS.
    """

    did: Did
    claimed_handle: Handle | None
    pds_url: str


def parse_did_document(body: bytes, did: Did, *, policy: UrlPolicy) -> DidDocument:
    """Return the handle and the PDS that a DID document names.

    Raises:
        DidNotResolved: it is not this DID's document, or names no usable PDS.

    Spec: atproto "DID", "Representation of Accounts".
    """
    members = parse_json_object(body, what=_WHAT, error=DidNotResolved)
    if string(members, "id", what=_WHAT, error=DidNotResolved) != did:
        raise DidNotResolved(f"{_WHAT}: it belongs to another account")
    return DidDocument(
        did=did,
        claimed_handle=_claimed_handle(members),
        pds_url=_pds_url(members, did, policy),
    )


def _claimed_handle(members: Mapping[str, Any]) -> Handle | None:
    """The first entry that is a handle by its syntax, whether it resolves or not."""
    names = optional_string_list(
        members, "alsoKnownAs", what=_WHAT, error=DidNotResolved
    )
    for name in names or ():
        scheme, separator, rest = name.partition("://")
        handle = find_handle(rest)
        if (scheme, separator) == ("at", "://") and handle is not None:
            return handle
    return None


def _pds_url(members: Mapping[str, Any], did: Did, policy: UrlPolicy) -> str:
    services = members.get("service", [])
    if not isinstance(services, list):
        raise DidNotResolved(f"{_WHAT}: service is not a list")
    for service in services:
        if not isinstance(service, dict):
            raise DidNotResolved(f"{_WHAT}: a service is not an object")
        if _is_pds(service, did):
            return _endpoint(service, policy)
    raise DidNotResolved(f"{_WHAT}: the account has no PDS")


def _is_pds(service: Mapping[str, Any], did: Did) -> bool:
    # The id may be relative. One that is relative to another DID is not this one.
    is_named = service.get("id") in ("#atproto_pds", f"{did}#atproto_pds")
    return is_named and service.get("type") == "AtprotoPersonalDataServer"


def _endpoint(service: Mapping[str, Any], policy: UrlPolicy) -> str:
    text = string(service, "serviceEndpoint", what=_WHAT, error=DidNotResolved)
    try:
        return parse_origin(text.removesuffix("/"), policy, what="address of the PDS")
    except Blocked as error:
        raise DidNotResolved(str(error)) from error
