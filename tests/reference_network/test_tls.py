"""The reference network by https: what other tests rely on."""

from __future__ import annotations

import httpx
import pytest

from atproto_oauth_asgi.exceptions import Unreachable
from tests.network.servers import open_fetcher
from tests.reference_network.hosting import PUBLIC_URL, hosted_app
from tests.reference_network.process import ReferenceNetwork

pytestmark = pytest.mark.network

_RESOURCE = "/.well-known/oauth-protected-resource"
_SERVER = "/.well-known/oauth-authorization-server"


def test_network_when_by_tls_then_names_lead_to_its_servers(
    tls_network: ReferenceNetwork,
) -> None:
    """Handle, DID document, resource and issuer name each other, all by https."""
    alice = tls_network.accounts["alice.test"]
    with tls_network.open_http() as http:
        said = http.get("https://alice.test/.well-known/atproto-did").text
        document = http.get(f"https://plc.test/{alice.did}").json()
        resource = http.get(f"https://pds.test{_RESOURCE}").json()
        server = http.get(f"https://pds.test{_SERVER}").json()
    assert said == alice.did
    assert document["service"][0]["serviceEndpoint"] == "https://pds.test"
    assert resource["authorization_servers"] == ["https://pds.test"]
    assert server["issuer"] == tls_network.issuer == "https://pds.test"


def test_network_when_on_two_origins_then_each_has_its_half(
    two_origins_network: ReferenceNetwork,
) -> None:
    """The PDS names another origin, and what belongs there is nowhere else."""
    with two_origins_network.open_http() as http:
        resource = http.get(f"https://pds.test{_RESOURCE}").json()
        server = http.get(f"https://as.test{_SERVER}").json()
        absent = [
            http.get(url).status_code
            for url in (
                f"https://pds.test{_SERVER}",
                "https://pds.test/oauth/jwks",
                f"https://as.test{_RESOURCE}",
                "https://as.test/xrpc/_health",
            )
        ]
    assert resource["authorization_servers"] == ["https://as.test"]
    assert server["issuer"] == "https://as.test"
    assert server["token_endpoint"] == "https://as.test/oauth/token"
    assert absent == [404] * 4


def test_front_when_asked_for_an_unknown_host_then_serves_nothing(
    tls_network: ReferenceNetwork,
) -> None:
    """An application is there while it is hosted, and not before or after."""
    with tls_network.open_http() as http:
        url = f"{PUBLIC_URL}/oauth-client-metadata.json"
        assert http.get(url).status_code == 421
        with hosted_app(tls_network):
            assert http.get(url).json()["client_id"] == url
        assert http.get(url).status_code == 421


def test_front_when_the_authority_is_not_trusted_then_no_connection(
    tls_network: ReferenceNetwork,
) -> None:
    """The certificate is checked, for the name that was asked for."""
    front = f"https://127.0.0.1:{tls_network.front_port}/"
    with (
        httpx.Client(trust_env=False) as stranger,
        pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        stranger.get(front)
    with (
        tls_network.open_http() as http,
        pytest.raises(httpx.ConnectError, match=r"not valid for 'eve\.test'"),
    ):
        http.get("https://eve.test/")


@pytest.mark.anyio
async def test_network_options_when_used_then_only_its_own_names_are_reached(
    tls_network: ReferenceNetwork,
) -> None:
    """They lead to its hosts, on port 443, and nowhere else."""
    with hosted_app(tls_network):
        async with open_fetcher(tls_network.network) as fetcher:
            for url in (
                f"https://pds.test{_RESOURCE}",
                "https://alice.test/.well-known/atproto-did",
            ):
                assert (await fetcher.fetch("GET", url, what="page")).is_success
            with pytest.raises(Unreachable):
                await fetcher.fetch("GET", "https://atproto.com/", what="page")
