"""The fake network, started once for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.web.fake_network import FakeNetwork, running_fake_network


@pytest.fixture(scope="package")
def _fake_network() -> Iterator[FakeNetwork]:
    with running_fake_network() as fake:
        yield fake


@pytest.fixture
def fake(_fake_network: FakeNetwork) -> Iterator[FakeNetwork]:
    """A host that is everything, and does what the test wants."""
    _fake_network.reset()
    yield _fake_network
    _fake_network.go_on.set()
