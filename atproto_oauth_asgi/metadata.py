"""RFC 9728, RFC 8414: what servers say of themselves, through the guarded transport.

Logins do all of this by themselves; these are for people who want to look.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from anyio.from_thread import start_blocking_portal

from atproto_oauth_asgi.models import AuthServerMetadata
from atproto_oauth_asgi.network.discovery import Discovery
from atproto_oauth_asgi.network.fetch import Fetcher
from atproto_oauth_asgi.network.transport import GuardedTransport
from atproto_oauth_asgi.network_options import Network


async def fetch_authserver_metadata_async(
    url: str, *, network: Network | None = None
) -> AuthServerMetadata:
    """Return what an authorization server says of itself, checked.

    Args:
        url: its issuer URL, such as ``https://bsky.social``.
        network: how it is reached; the public network unless given.

    Raises:
        DiscoveryError: there is no metadata there, or it cannot be used.
        UnsupportedAuthServerError: the server lacks what atproto asks for.
        TransportError: it could not be asked.

    Spec: RFC 8414 section 3; atproto OAuth, "Authorization Servers".
    """
    async with _discovery(network) as discovery:
        return await discovery.server_metadata(url.removesuffix("/"))


async def discover_authserver_from_pds_async(
    url: str, *, network: Network | None = None
) -> str:
    """Return the issuer URL of the authorization server that a PDS names.

    Args:
        url: origin of the PDS.
        network: how it is reached; the public network unless given.

    Raises:
        DiscoveryError: it names none, or none that can be used.
        TransportError: it could not be asked.

    Spec: RFC 9728 section 3; atproto OAuth, "Protected Resource Metadata".
    """
    async with _discovery(network) as discovery:
        return await discovery.issuer_of(url.removesuffix("/"))


def fetch_authserver_metadata(
    url: str, *, network: Network | None = None
) -> AuthServerMetadata:
    """Do as ``fetch_authserver_metadata_async``, for code without an event loop."""
    with start_blocking_portal() as portal:
        return portal.call(
            partial(fetch_authserver_metadata_async, url, network=network)
        )


def discover_authserver_from_pds(url: str, *, network: Network | None = None) -> str:
    """Do as ``discover_authserver_from_pds_async``, without an event loop."""
    with start_blocking_portal() as portal:
        return portal.call(
            partial(discover_authserver_from_pds_async, url, network=network)
        )


@asynccontextmanager
async def _discovery(network: Network | None) -> AsyncIterator[Discovery]:
    network = network or Network()
    transport = GuardedTransport(network)
    try:
        clock = time.time  # noqa: TID251 - the signatures are fixed and have no clock
        yield Discovery(Fetcher(transport, network), network, clock=clock)
    finally:
        await transport.aclose()
