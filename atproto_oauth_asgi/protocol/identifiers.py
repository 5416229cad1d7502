"""atproto handles, DIDs and hosts: what people type and what servers publish.

Spec: atproto "Handle", "DID".
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NewType

from atproto_oauth_asgi.exceptions import AmbiguousHandle, Blocked, InvalidIdentifier
from atproto_oauth_asgi.protocol.urls import (
    RESERVED_TLDS,
    UrlPolicy,
    find_host_problem,
    parse_origin,
)

Handle = NewType("Handle", str)
"""A handle in lower case, such as ``alice.example.com``."""

Did = NewType("Did", str)
"""A DID of a supported method: ``did:plc`` or ``did:web``."""
_LONGEST_NSID = 317
_NSID_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_NSID = re.compile(rf"(?![0-9])(?:{_NSID_LABEL}\.){{2,}}[a-zA-Z][a-zA-Z0-9]{{0,62}}")


@dataclass(frozen=True, slots=True, kw_only=True)
class HostUrl:
    """A server that somebody typed instead of an account; its origin."""

    origin: str


_MAX_INPUT_LENGTH = 4096
_MAX_DID_LENGTH = 2048
_MAX_HANDLE_LENGTH = 253
_MAX_PORT = 65535
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HANDLE = re.compile(rf"(?:{_LABEL}\.)+[A-Za-z](?:[A-Za-z0-9-]{{0,61}}[A-Za-z0-9])?")
_DID = re.compile(r"did:[a-z]+:[A-Za-z0-9._:%-]*[A-Za-z0-9._-]")
_DID_PLC = re.compile(r"did:plc:[a-z2-7]{24}")
_LOCALHOST = re.compile(r"localhost%3A([1-9][0-9]{0,4})")
_PROFILE = re.compile(
    r"(?:https?://)?[^\s/@?#]+/profile/([^\s/?#]+)(?:[/?#].*)?", re.IGNORECASE
)
_RECORD = re.compile(r"at://([^\s/?#]+)(?:[/?#].*)?", re.IGNORECASE)
_PASTED = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp"})


def normalize_identifier(text: str, *, policy: UrlPolicy) -> Handle | Did | HostUrl:
    """Return what somebody typed or pasted to log in with.

    Blanks and invisible characters around it are taken away, as are a leading ``@``
    or ``at://`` and the address of a profile page around a handle.

    Raises:
        InvalidIdentifier: it is neither a handle, nor a DID, nor a server.
    """
    if len(text) > _MAX_INPUT_LENGTH:
        message = "too long for a handle, a DID or a server"
        raise InvalidIdentifier(message)
    bare = strip_pasted(text)
    if bare.startswith("did:"):
        return parse_did(bare, policy=policy)
    if "/" in bare:
        return _parse_host(bare, policy)
    return parse_handle(bare, policy=policy)


def is_did(identifier: str) -> bool:
    """Return whether a parsed identifier is a DID; a handle has no colon."""
    return identifier.startswith("did:")


def parse_handle(text: str, *, policy: UrlPolicy) -> Handle:
    """Return the handle in lower case.

    Raises:
        InvalidIdentifier: it is not a handle, or one that can never be resolved.

    Spec: atproto "Handle", "Handle Identifier Syntax".
    """
    handle = find_handle(text)
    if handle is None:
        message = "not a handle such as alice.example.com"
        raise InvalidIdentifier(message)
    tld = handle.rpartition(".")[2]
    if tld in RESERVED_TLDS or (tld == "test" and not policy.test_names):
        message = f"handles cannot end in .{tld}"
        raise InvalidIdentifier(message)
    return handle


def find_handle(text: str) -> Handle | None:
    """Return the handle in lower case, or None if it is not one by its syntax."""
    if len(text) > _MAX_HANDLE_LENGTH or not _HANDLE.fullmatch(text):
        return None
    return Handle(text.lower())


def parse_did(text: str, *, policy: UrlPolicy | None = None) -> Did:
    """Return the DID.

    Without a policy only its syntax is looked at; with one, the host of a
    ``did:web`` must also be a host that may be asked.

    Raises:
        InvalidIdentifier: it is not a DID, or not of a supported method.

    Spec: atproto "DID", "AT Protocol DID Identifier Syntax".
    """
    if len(text) > _MAX_DID_LENGTH or not _DID.fullmatch(text):
        message = "not a DID such as did:plc:..."
        raise InvalidIdentifier(message)
    if text.startswith("did:plc:"):
        return _parse_plc(text)
    if text.startswith("did:web:"):
        return _parse_web(text, policy)
    message = "this DID method is not supported; did:plc and did:web are"
    raise InvalidIdentifier(message)


def did_web_origin(did: Did) -> str:
    """Return the origin that publishes the document of a ``did:web``.

    Spec: did:web, "Read (Resolve)"; atproto allows a host and nothing else.
    """
    host = did.removeprefix("did:web:")
    if local := _LOCALHOST.fullmatch(host):
        return f"http://localhost:{local[1]}"
    return f"https://{host}"


def parse_did_records(records: Iterable[str], *, policy: UrlPolicy) -> Did | None:
    """Return the DID in the TXT records of a handle, or None if there is none.

    What is not exactly ``did=`` and a DID is ignored.

    Raises:
        AmbiguousHandle: the records name several DIDs.

    Spec: atproto "Handle", "DNS TXT Method".
    """
    values = (
        record.removeprefix("did=") for record in records if record.startswith("did=")
    )
    dids = {did for value in values if (did := find_did(value, policy)) is not None}
    if len(dids) > 1:
        message = "the DNS records of this handle name several accounts"
        raise AmbiguousHandle(message)
    return dids.pop() if dids else None


def parse_well_known_did(body: bytes, *, policy: UrlPolicy) -> Did | None:
    """Return the DID that a handle's web server names, or None if it is not one.

    Spec: atproto "Handle", "HTTPS well-known Method".
    """
    text = body.strip().decode("ascii", errors="replace")
    return find_did(text, policy)


def find_did(text: str, policy: UrlPolicy | None = None) -> Did | None:
    """Return the DID, or None if it is not one; see ``parse_did``."""
    try:
        return parse_did(text, policy=policy)
    except InvalidIdentifier:
        return None


def _parse_plc(text: str) -> Did:
    if not _DID_PLC.fullmatch(text):
        message = "not a did:plc, which has 24 characters of a-z and 2-7"
        raise InvalidIdentifier(message)
    return Did(text)


def _parse_web(text: str, policy: UrlPolicy | None) -> Did:
    host = text.removeprefix("did:web:")
    if not _is_localhost(host) and (find_handle(host) is None or host != host.lower()):
        message = "not a did:web of a host name in lower case and nothing else"
        raise InvalidIdentifier(message)
    if policy is not None and not _may_be_asked(host, policy):
        message = "the host of this did:web is not one on the Internet"
        raise InvalidIdentifier(message)
    return Did(text)


def _is_localhost(host: str) -> bool:
    found = _LOCALHOST.fullmatch(host)
    return found is not None and int(found[1]) <= _MAX_PORT


def _may_be_asked(host: str, policy: UrlPolicy) -> bool:
    if _is_localhost(host):
        return "localhost" in policy.http_hosts
    return find_host_problem(host, policy) is None


def _parse_host(text: str, policy: UrlPolicy) -> HostUrl:
    try:
        origin = parse_origin(text.lower().removesuffix("/"), policy, what="server")
    except Blocked as error:
        raise InvalidIdentifier(str(error), meant="server") from error
    return HostUrl(origin=origin)


def strip_pasted(text: str) -> str:
    """Return a handle, DID or host without what copying brings along.

    That is blanks and invisible characters around it, ``@``, and the address of a
    profile page or a record, at any application.
    """
    bare = _strip_invisible(text[: _MAX_INPUT_LENGTH + 1])
    if page := _PROFILE.fullmatch(bare) or _RECORD.fullmatch(bare):
        bare = page[1]
    return _strip_invisible(bare.removeprefix("@"))


def _strip_invisible(text: str) -> str:
    """Strip what copying brings along: blanks, bidi marks, zero-width characters."""
    start, end = 0, len(text)
    while start < end and unicodedata.category(text[start]) in _PASTED:
        start += 1
    while start < end and unicodedata.category(text[end - 1]) in _PASTED:
        end -= 1
    return text[start:end]


def is_nsid(text: str) -> bool:
    """Return whether this names a record type or a method: ``com.example.post``.

    Spec: atproto "Namespaced Identifiers (NSIDs)", "NSID Syntax".
    """
    return len(text) <= _LONGEST_NSID and _NSID.fullmatch(text) is not None
