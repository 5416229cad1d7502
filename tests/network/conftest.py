from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable

import pytest
import trustme

from tests.network.servers import World, open_world


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """A certificate authority that the tests trust."""
    return trustme.CA()


@pytest.fixture(scope="session")
def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture(scope="session")
def server_tls(authority: trustme.CA) -> Callable[[str], ssl.SSLContext]:
    """Gives the TLS of a server whose certificate is for a name."""
    made: dict[str, ssl.SSLContext] = {}

    def make(name: str) -> ssl.SSLContext:
        if name not in made:
            made[name] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert(name).configure_cert(made[name])
        return made[name]

    return make


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with open_world() as opened:
        yield opened
