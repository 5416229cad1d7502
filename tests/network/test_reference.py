"""The official PDS and PLC directory, asked through the real guard."""

from __future__ import annotations

import time

import pytest

from atproto_oauth_asgi.exceptions import Blocked, ConfigurationError, HandleNotFound
from atproto_oauth_asgi.network.discovery import Discovery
from atproto_oauth_asgi.network.identity import IdentityResolver
from atproto_oauth_asgi.network_options import Network
from atproto_oauth_asgi.protocol.identifiers import Did, Handle
from tests.network.servers import open_fetcher
from tests.reference_network.process import ReferenceNetwork

pytestmark = [pytest.mark.anyio, pytest.mark.network]


async def test_official_servers_when_asked_then_lead_from_account_to_server(
    reference_network: ReferenceNetwork,
) -> None:
    """What the official servers answer is what the parsers take."""
    pds_url = reference_network.pds_url
    alice = reference_network.accounts["alice.test"]
    network = Network.development(
        plc_url=reference_network.plc_url, handle_resolver_url=pds_url
    )
    async with open_fetcher(network) as fetcher:
        resolver = IdentityResolver(fetcher, network, clock=time.monotonic)
        discovery = Discovery(fetcher, network, clock=time.monotonic)
        for identifier in (Handle("alice.test"), Did(alice.did)):
            found = await resolver.resolve(identifier)
            assert found.did == alice.did
            assert (found.handle, found.pds_url) == ("alice.test", pds_url)
        issuer = await discovery.issuer_of(pds_url)
        metadata = await discovery.server_metadata(issuer, pds_url=pds_url)
        with pytest.raises(HandleNotFound):
            await resolver.resolve(Handle("nobody.test"))
    assert issuer == reference_network.issuer
    assert metadata.token_endpoint == f"{issuer}/oauth/token"


@pytest.mark.covers("NET-20")
async def test_official_servers_when_not_development_then_are_blocked(
    reference_network: ReferenceNetwork,
) -> None:
    """Without the switches nothing on this machine is reached."""
    with pytest.raises(ConfigurationError, match="plc_url"):
        Network(plc_url=reference_network.plc_url)
    async with open_fetcher(Network()) as fetcher:
        with pytest.raises(Blocked):
            await fetcher.fetch("GET", reference_network.pds_url, what="PDS")
