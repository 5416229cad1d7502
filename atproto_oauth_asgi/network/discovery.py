"""RFC 9728, RFC 8414: from a PDS to its authorization server, fetched and kept."""

from __future__ import annotations

from collections.abc import Callable

from atproto_oauth_asgi.exceptions import DiscoveryError
from atproto_oauth_asgi.models import AuthServerMetadata
from atproto_oauth_asgi.network.admission import check_origin_admitted
from atproto_oauth_asgi.network.beside import run_with_guess
from atproto_oauth_asgi.network.cache import SharedCache
from atproto_oauth_asgi.network.fetch import Fetcher
from atproto_oauth_asgi.network_options import Network
from atproto_oauth_asgi.protocol.server_metadata import (
    check_protected_resource,
    parse_protected_resource,
    parse_server_metadata,
)
from atproto_oauth_asgi.protocol.urls import parse_origin

# What the reference server says of its own documents.
_CACHE_S = 300.0
_CACHE_ENTRIES = 1000


class Discovery:
    """Finds authorization servers, with a cache of five minutes."""

    def __init__(
        self, fetcher: Fetcher, network: Network, *, clock: Callable[[], float]
    ) -> None:
        self._fetcher = fetcher
        self._policy = network.url_policy
        self._endpoint_origins = network.allowed_endpoint_origins
        self._issuers: SharedCache[str] = SharedCache(
            clock=clock, lifetime_s=_CACHE_S, max_entries=_CACHE_ENTRIES
        )
        self._servers: SharedCache[AuthServerMetadata] = SharedCache(
            clock=clock, lifetime_s=_CACHE_S, max_entries=_CACHE_ENTRIES
        )

    async def issuer_of(self, pds_url: str, *, fresh: bool = False) -> str:
        """Return the issuer that a PDS names.

        Raises:
            DiscoveryError: it names none, or none that can be used.
            TransportError: it could not be asked.
            TooManyLogins: no login may lead there now.

        Spec: RFC 9728 section 3; atproto OAuth, "Server Metadata".
        """

        async def fetch() -> str:
            origin = parse_origin(pds_url, self._policy, what="PDS")
            body = await self._fetcher.fetch_document(
                f"{origin}/.well-known/oauth-protected-resource",
                what="metadata of the account's host",
                error=DiscoveryError,
            )
            return parse_protected_resource(body, origin, policy=self._policy)

        check_origin_admitted(pds_url)
        return await self._issuers.get(pds_url, fetch, fresh=fresh)

    async def server_of(self, pds_url: str) -> AuthServerMetadata:
        """Return the authorization server of a PDS.

        A PDS that somebody runs for themselves is its own server as a rule. That is
        guessed of an unknown one, and its two documents are asked for at once.

        Raises:
            DiscoveryError, UnsupportedAuthServerError, TransportError, TooManyLogins:
                as ``issuer_of`` and ``server_metadata``.
        """
        issuer = await run_with_guess(
            lambda: self.issuer_of(pds_url),
            lambda: self.server_metadata(pds_url),
            is_right=lambda found: found == pds_url,
        )
        # What was guessed well is in the cache now. Only what is asked here may fail.
        return await self.server_metadata(issuer, pds_url=pds_url)

    async def server_metadata(
        self, issuer: str, *, pds_url: str | None = None, fresh: bool = False
    ) -> AuthServerMetadata:
        """Return what an authorization server says of itself.

        With ``pds_url`` it must also serve that PDS, if it lists whom it serves.

        Raises:
            DiscoveryError: there is no metadata, or it cannot be used.
            UnsupportedAuthServerError: the server lacks what atproto asks for.
            TransportError: it could not be asked.
            TooManyLogins: no login may lead there now.

        Spec: RFC 8414 section 3; RFC 9728 section 4.
        """

        async def fetch() -> AuthServerMetadata:
            origin = parse_origin(issuer, self._policy, what="issuer")
            body = await self._fetcher.fetch_document(
                f"{origin}/.well-known/oauth-authorization-server",
                what="metadata of the authorization server",
                error=DiscoveryError,
            )
            return parse_server_metadata(
                body,
                origin,
                policy=self._policy,
                allowed_endpoint_origins=self._endpoint_origins,
            )

        check_origin_admitted(issuer)
        metadata = await self._servers.get(issuer, fetch, fresh=fresh)
        if pds_url is not None:
            check_protected_resource(metadata, pds_url)
        return metadata
