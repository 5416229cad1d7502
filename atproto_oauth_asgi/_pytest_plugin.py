"""pytest fixtures, there as soon as the package is installed.

Every run of pytest imports this file, so it imports the network only for who uses it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from atproto_oauth_asgi.testing import AtprotoNetwork


@pytest.fixture(scope="session")
def atproto_network_servers() -> Iterator[AtprotoNetwork]:
    """The network, started once for the whole test run; not reset by itself."""
    from atproto_oauth_asgi.testing import AtprotoNetwork  # noqa: PLC0415 - see above

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
