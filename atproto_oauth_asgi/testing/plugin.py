"""pytest fixtures, there as soon as the package is installed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from atproto_oauth_asgi.testing.network import AtprotoNetwork


@pytest.fixture(scope="session")
def atproto_network_servers() -> Iterator[AtprotoNetwork]:
    """The network, started once for the whole test run; not reset by itself."""
    with AtprotoNetwork() as network:
        yield network


@pytest.fixture
def atproto_network(
    atproto_network_servers: AtprotoNetwork,
) -> Iterator[AtprotoNetwork]:
    """The in-process atproto network, as new for every test."""
    atproto_network_servers.reset()
    yield atproto_network_servers
    atproto_network_servers.reset()
