"""Who somebody is: handle to DID to document, and back again.

Spec: atproto "Handle", "DID", and "OAuth", "Identity Authentication".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import anyio
import httpx

from atproto_oauth_asgi.exceptions import (
    AmbiguousHandle,
    DidNotResolved,
    HandleMismatch,
    HandleNotFound,
    InvalidIdentifier,
    OAuthError,
    TimedOut,
    TransportError,
    Unreachable,
)
from atproto_oauth_asgi.network.admission import (
    check_admitted,
    check_origin_admitted,
)
from atproto_oauth_asgi.network.beside import time_limit
from atproto_oauth_asgi.network.cache import SharedCache
from atproto_oauth_asgi.network.dns import query_txt as system_query_txt
from atproto_oauth_asgi.network.fetch import Fetcher, check_available
from atproto_oauth_asgi.network_options import Network
from atproto_oauth_asgi.protocol.did_document import DidDocument, parse_did_document
from atproto_oauth_asgi.protocol.documents import parse_json_object, string
from atproto_oauth_asgi.protocol.identifiers import (
    Did,
    Handle,
    did_web_origin,
    is_did,
    parse_did,
    parse_did_records,
    parse_handle,
    parse_well_known_did,
)
from atproto_oauth_asgi.protocol.urls import Url, check_url, parse_redirect

_CACHE_S = 300.0
_CACHE_ENTRIES = 2000
_DNS_S = 5.0
# How long a login that began with a DID waits to see whether the handle is true.
_HANDLE_CHECK_S = 3.0
# With `_atproto.` in front a longer one would not fit into a DNS name.
_LONGEST_HANDLE_IN_DNS = 244
_WELL_KNOWN_BYTES = 2048
_MAX_HOPS = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_OK, _MULTIPLE_CHOICES, _BAD_REQUEST, _NOT_FOUND = 200, 300, 400, 404
_DOCUMENT_TYPES = frozenset(
    {
        "application/json",
        "application/did+json",
        "application/did+ld+json",
        "application/ld+json",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """An account.

    Attributes:
        did: its DID.
        handle: its handle, verified in both directions, or None.
        pds_url: origin of its PDS.
    """

    did: Did
    handle: Handle | None
    pds_url: str


class QueryTxt(Protocol):
    """Asks for TXT records; see ``network.dns.query_txt``."""

    def __call__(
        self, name: str, *, servers: Sequence[str] | None, timeout_s: float
    ) -> Awaitable[list[str]]:
        """Return the records of a name; an empty list if there are none.

        Raises:
            TransportError: the question was not answered.
        """


@dataclass(frozen=True, slots=True)
class _Found:
    """What one way of asking brought: a DID, nothing, or an error."""

    did: Did | None = None
    error: OAuthError | None = None


class IdentityResolver:
    """Resolves handles and DIDs, with a cache of five minutes."""

    def __init__(
        self,
        fetcher: Fetcher,
        network: Network,
        *,
        clock: Callable[[], float],
        query_txt: QueryTxt | None = None,
    ) -> None:
        self._fetcher = fetcher
        self._network = network
        self._policy = network.url_policy
        self._query_txt = query_txt or system_query_txt
        self._dids: SharedCache[Did] = SharedCache(
            clock=clock, lifetime_s=_CACHE_S, max_entries=_CACHE_ENTRIES
        )
        self._documents: SharedCache[DidDocument] = SharedCache(
            clock=clock, lifetime_s=_CACHE_S, max_entries=_CACHE_ENTRIES
        )

    async def resolve(
        self, identifier: Handle | Did, *, fresh: bool = False
    ) -> Identity:
        """Return the account that a handle or a DID names.

        A handle must be claimed by its account. An account that is named by its DID
        may have a broken handle, which is left out then. ``fresh`` asks anew,
        whatever is remembered.

        Raises:
            InvalidIdentifier: it can never be resolved.
            HandleNotFound: nothing is published for the handle.
            AmbiguousHandle: the handle names several accounts.
            HandleMismatch: the account does not claim the handle.
            DidNotResolved: there is no document, or none with a usable PDS.
            TransportError: a host could not be asked.
        """
        if is_did(identifier):
            document = await self.document(Did(identifier), fresh=fresh)
            handle = await self._verified_handle(document, fresh=fresh)
        else:
            handle = parse_handle(identifier, policy=self._policy)
            did = await self._did_of(handle, fresh=fresh)
            document = await self.document(did, fresh=fresh)
            if document.claimed_handle != handle:
                message = "the account that this handle names does not claim it"
                raise HandleMismatch(message)
        return Identity(did=document.did, handle=handle, pds_url=document.pds_url)

    async def document(self, did: Did, *, fresh: bool = False) -> DidDocument:
        """Return what the account says of itself; its handle is not verified.

        Raises:
            InvalidIdentifier: it can never be resolved.
            DidNotResolved: there is no document, or none with a usable PDS.
            TransportError: the host could not be asked.

        Spec: atproto "DID", "Resolution".
        """
        known = parse_did(did, policy=self._policy)
        if known.startswith("did:web:"):
            check_origin_admitted(did_web_origin(known))
        return await self._documents.get(
            known, lambda: self._fetch_document(known), fresh=fresh
        )

    async def _verified_handle(
        self, document: DidDocument, *, fresh: bool
    ) -> Handle | None:
        if document.claimed_handle is None:
            return None
        with suppress(OAuthError), anyio.move_on_after(_HANDLE_CHECK_S):
            handle = parse_handle(document.claimed_handle, policy=self._policy)
            if await self._did_of(handle, fresh=fresh) == document.did:
                return handle
        return None

    async def _fetch_document(self, did: Did) -> DidDocument:
        if did.startswith("did:plc:"):
            url = f"{self._network.plc_url}/{did}"
        else:
            url = f"{did_web_origin(did)}/.well-known/did.json"
        body = await self._fetcher.fetch_document(
            url, what="DID document", error=DidNotResolved, media_types=_DOCUMENT_TYPES
        )
        return parse_did_document(body, did, policy=self._policy)

    async def _did_of(self, handle: Handle, *, fresh: bool) -> Did:
        check_admitted(handle)
        return await self._dids.get(
            handle, lambda: self._ask_for_did(handle), fresh=fresh
        )

    async def _ask_for_did(self, handle: Handle) -> Did:
        if self._network.handle_resolver_url is not None:
            return await self.did_by_service(handle, self._network.handle_resolver_url)
        by_dns, by_web = await self._ask_both(handle)
        if isinstance(by_dns.error, AmbiguousHandle):
            raise by_dns.error
        did = by_dns.did or by_web.did
        if did is not None:
            return did
        # "Not now" is another answer than "there is none", and nobody's mistake.
        if error := by_dns.error or by_web.error:
            raise error
        message = "no account is published for this handle"
        raise HandleNotFound(message)

    async def _ask_both(self, handle: Handle) -> tuple[_Found, _Found]:
        """Ask DNS and the web at once; where DNS knows, the web does not matter."""
        by_web = _Found()

        async def ask_web() -> None:
            nonlocal by_web
            by_web = await _outcome(self.did_by_web(handle))

        async with anyio.create_task_group() as group:
            group.start_soon(ask_web)
            by_dns = await _outcome(self.did_by_dns(handle))
            if by_dns.did is not None or isinstance(by_dns.error, AmbiguousHandle):
                group.cancel_scope.cancel()
        return by_dns, by_web

    async def did_by_dns(self, handle: Handle) -> Did | None:
        """Return the DID in the TXT records of a handle, or None if there is none.

        Raises:
            AmbiguousHandle: the records name several accounts.
            TransportError: the question was not answered.

        Spec: atproto "Handle", "DNS TXT Method".
        """
        if len(handle) > _LONGEST_HANDLE_IN_DNS:
            return None
        records = await self._query_txt(
            f"_atproto.{handle}",
            servers=self._network.dns_servers,
            timeout_s=min(_DNS_S, self._network.timeout_s),
        )
        return parse_did_records(records, policy=self._policy)

    async def did_by_web(self, handle: Handle) -> Did | None:
        """Return the DID that a handle's web server names, or None if it names none.

        Raises:
            TransportError: the server is out of order, or took too long.

        Spec: atproto "Handle", "HTTPS well-known Method".
        """
        what = "handle"
        try:
            # All hops together are one step, in the time of one.
            with time_limit(self._network.timeout_s, what=what):
                response = await self._fetch_well_known(handle, what=what)
        except TimedOut:
            raise
        except TransportError:
            # Most handles live in DNS alone, so no web server is no error; nor is
            # a private address, which must look the same as none.
            return None
        check_available(response, what=what)
        if not _OK <= response.status_code < _MULTIPLE_CHOICES:
            return None
        return parse_well_known_did(response.content, policy=self._policy)

    async def _fetch_well_known(self, handle: Handle, *, what: str) -> httpx.Response:
        """Follow redirects, each to a host that is checked like the first.

        Spec: atproto "Handle", "HTTPS well-known Method".
        """
        url = check_url(
            f"https://{handle}/.well-known/atproto-did", self._policy, what=what
        )
        response = await self._fetch_text(url, what=what)
        for _ in range(_MAX_HOPS):
            locations = response.headers.get_list("location")
            if response.status_code not in _REDIRECTS or len(locations) != 1:
                break
            url = parse_redirect(locations[0], url, self._policy, what=what)
            check_admitted(url.host)
            response = await self._fetch_text(url, what=what)
        return response

    async def _fetch_text(self, url: Url, *, what: str) -> httpx.Response:
        return await self._fetcher.fetch(
            "GET",
            str(url),
            what=what,
            headers={"Accept": "text/plain"},
            max_body_bytes=_WELL_KNOWN_BYTES,
        )

    async def did_by_service(self, handle: Handle, service: str) -> Did:
        """Return the DID that another resolver, at this origin, gives for a handle.

        Raises:
            HandleNotFound: it knows none.
            TransportError: it did not answer.
        """
        what = "handle"
        url = f"{service}/xrpc/com.atproto.identity.resolveHandle?handle={handle}"
        response = await self._fetcher.fetch("GET", url, what=what)
        if response.status_code in {_BAD_REQUEST, _NOT_FOUND}:
            message = "no account is published for this handle"
            raise HandleNotFound(message)
        if response.status_code != _OK:
            raise Unreachable(f"{what}: the resolver did not answer")
        members = parse_json_object(response.content, what=what, error=HandleNotFound)
        did = string(members, "did", what=what, error=HandleNotFound)
        try:
            return parse_did(did, policy=self._policy)
        except InvalidIdentifier as error:
            raise HandleNotFound(f"{what}: the resolver gave no DID") from error


async def _outcome(asking: Awaitable[Did | None]) -> _Found:
    try:
        return _Found(did=await asking)
    except OAuthError as error:
        return _Found(error=error)
