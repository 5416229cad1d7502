"""The reference network as pytest fixtures."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.reference_network.process import NetworkNotInstalledError, ReferenceNetwork


@pytest.fixture(scope="session")
def reference_network() -> Iterator[ReferenceNetwork]:
    """The official PDS and PLC directory, started once for the whole test run."""
    yield from _running(ReferenceNetwork())


@pytest.fixture(scope="session")
def reference_network_by_tls() -> Iterator[ReferenceNetwork]:
    """The same by https, under host names: https://pds.test."""
    yield from _running(ReferenceNetwork(tls=True))


@pytest.fixture(scope="session")
def reference_network_on_two_origins() -> Iterator[ReferenceNetwork]:
    """The same, with the authorization server at https://as.test."""
    yield from _running(ReferenceNetwork(tls=True, as_host="as.test"))


def _running(network: ReferenceNetwork) -> Iterator[ReferenceNetwork]:
    try:
        network.start()
    except NetworkNotInstalledError as error:
        pytest.skip(str(error))
    try:
        yield network
    finally:
        network.stop()


@pytest.fixture
def fresh_network(reference_network: ReferenceNetwork) -> Iterator[ReferenceNetwork]:
    """The same network, without what earlier tests or this one changed.

    Token lifetime, OAuth sessions and remembered consent are as after the start.
    Accounts and their records stay.
    """
    yield from _as_new(reference_network)


@pytest.fixture
def tls_network(
    reference_network_by_tls: ReferenceNetwork,
) -> Iterator[ReferenceNetwork]:
    """The network by https, as `fresh_network`."""
    yield from _as_new(reference_network_by_tls)


@pytest.fixture
def two_origins_network(
    reference_network_on_two_origins: ReferenceNetwork,
) -> Iterator[ReferenceNetwork]:
    """The network on two origins, as `fresh_network`."""
    yield from _as_new(reference_network_on_two_origins)


@pytest.fixture(params=["tls_network", "two_origins_network"])
def each_tls_network(request: pytest.FixtureRequest) -> ReferenceNetwork:
    """Both networks by https in turn."""
    network: ReferenceNetwork = request.getfixturevalue(request.param)
    return network


def _as_new(network: ReferenceNetwork) -> Iterator[ReferenceNetwork]:
    _reset(network)
    yield network
    _reset(network)


def _reset(network: ReferenceNetwork) -> None:
    network.reset_token_lifetime()
    network.revoke()
    network.forget_consent()
    network.forget_clients()
