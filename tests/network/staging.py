"""The servers of ``atproto.py`` and the stage of ``stage.py`` as pytest fixtures."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from atproto_oauth_asgi.client import OAuthClient
from tests.network.atproto import (
    Servers,
)
from tests.network.in_memory import (
    install,
)
from tests.network.stage import (
    Stage,
    closing,
)


@pytest.fixture
def internet(monkeypatch: pytest.MonkeyPatch) -> Servers:
    """Servers that clients reach without a socket."""
    return install(monkeypatch)


@pytest.fixture(scope="session")
def _running_servers() -> Iterator[Servers]:
    servers = Servers()
    with servers.net:
        yield servers


@pytest.fixture
def servers(_running_servers: Servers) -> Servers:
    """Servers that clients reach over real TLS."""
    _running_servers.reset()
    return _running_servers


@pytest.fixture
def stage(servers: Servers) -> Stage:
    """The hosts of a whole login, each of which can be told to misbehave."""
    return Stage(servers)


@pytest.fixture
async def client(stage: Stage) -> AsyncIterator[OAuthClient]:
    """A client that logs in on the stage."""
    async with closing(stage.client()) as opened:
        yield opened
