from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from atproto_oauth_asgi.exceptions import (
    Blocked,
    DiscoveryError,
    UnsupportedAuthServerError,
)
from atproto_oauth_asgi.metadata import (
    discover_authserver_from_pds,
    discover_authserver_from_pds_async,
    fetch_authserver_metadata,
    fetch_authserver_metadata_async,
)
from atproto_oauth_asgi.models import AuthServerMetadata
from atproto_oauth_asgi.network_options import Network
from atproto_oauth_asgi.testing import AtprotoNetwork, behaviours

_METADATA = "/.well-known/oauth-authorization-server"


@pytest.mark.anyio
@pytest.mark.covers("DISC-05")
@pytest.mark.parametrize("slash", ["", "/"])
async def test_metadata_when_fetched_then_is_checked_and_typed(
    atproto_network: AtprotoNetwork, slash: str
) -> None:
    """What the server says, as a value; a slash at the end is forgiven."""
    network = atproto_network.network
    url = f"{atproto_network.issuer}{slash}"
    metadata = await fetch_authserver_metadata_async(url, network=network)
    assert isinstance(metadata, AuthServerMetadata)
    assert metadata.issuer == atproto_network.issuer
    assert metadata.token_endpoint.startswith(f"{atproto_network.issuer}/")


@pytest.mark.anyio
@pytest.mark.covers("DISC-01")
async def test_issuer_when_pds_is_asked_then_is_its_issuer_url(
    atproto_network: AtprotoNetwork,
) -> None:
    """The one server that the PDS names."""
    found = await discover_authserver_from_pds_async(
        f"{atproto_network.pds_url}/", network=atproto_network.network
    )
    assert found == atproto_network.issuer


def test_metadata_when_there_is_no_loop_then_is_the_same(
    atproto_network: AtprotoNetwork,
) -> None:
    """The names without ``_async`` are for plain scripts."""
    network, issuer = atproto_network.network, atproto_network.issuer
    assert fetch_authserver_metadata(issuer, network=network).issuer == issuer
    pds_url = atproto_network.pds_url
    assert discover_authserver_from_pds(pds_url, network=network) == issuer


@pytest.mark.anyio
@pytest.mark.covers("NET-01")
@pytest.mark.parametrize(
    "fetch", [fetch_authserver_metadata_async, discover_authserver_from_pds_async]
)
@pytest.mark.parametrize(
    "url", ["http://bsky.social", "https://127.0.0.1", "https://10.0.0.1/x", "nonsense"]
)
async def test_metadata_when_url_leads_inside_then_is_refused(
    fetch: Callable[..., Awaitable[object]], url: str
) -> None:
    """The guard of the logins stands here, too."""
    with pytest.raises((Blocked, DiscoveryError)):
        await fetch(url, network=Network())


@pytest.mark.anyio
async def test_metadata_when_server_lacks_something_then_error_says_so(
    atproto_network: AtprotoNetwork,
) -> None:
    """An error of our tree, as in a login."""
    host = atproto_network.issuer.removeprefix("https://")
    document = {"issuer": atproto_network.issuer}
    atproto_network.on(host, _METADATA, behaviours.document(document))
    with pytest.raises((UnsupportedAuthServerError, DiscoveryError)):
        await fetch_authserver_metadata_async(
            atproto_network.issuer, network=atproto_network.network
        )
