"""The reference network as pytest fixtures."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.reference_network.process import NetworkNotInstalledError, ReferenceNetwork


@pytest.fixture(scope="session")
def reference_network() -> Iterator[ReferenceNetwork]:
    """The official PDS and PLC directory, started once for the whole test run."""
    network = ReferenceNetwork()
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
    _reset(reference_network)
    yield reference_network
    _reset(reference_network)


def _reset(network: ReferenceNetwork) -> None:
    network.reset_token_lifetime()
    network.revoke()
    network.forget_consent()
