"""The servers of ``atproto.py`` without sockets, for what lies above the guard."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from typing_extensions import override

from atproto_oauth_asgi.client import OAuthClient
from atproto_oauth_asgi.client_keys import ClientKey
from atproto_oauth_asgi.exceptions import Unreachable
from atproto_oauth_asgi.network import services
from atproto_oauth_asgi.network.client_identity import ClientIdentity
from atproto_oauth_asgi.network.services import NetworkServices, build_services
from atproto_oauth_asgi.network_options import Network
from atproto_oauth_asgi.stores.memory import MemoryStateStore
from atproto_oauth_asgi.testing.wire import HangUp
from tests.network.atproto import (
    CLIENT_ID,
    PLC,
    REDIRECT_URI,
    RESOLVER,
    SCOPE,
    Servers,
)


class InMemory(httpx.AsyncBaseTransport):
    """Takes requests to the servers without a socket, in the test's own task.

    For tests of what lies above the guard: they may stop time, and be many.
    """

    def __init__(self, servers: Servers) -> None:
        self._inner = httpx.ASGITransport(servers.net.internet)

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        # As the guarded transport does, whatever the caller says.
        request.headers["Host"] = request.url.netloc.decode("ascii")
        try:
            return await self._inner.handle_async_request(request)
        except HangUp as error:
            message = "the host hung up"
            raise Unreachable(message) from error


def install(monkeypatch: pytest.MonkeyPatch) -> Servers:
    """Servers that new clients reach in the place of their guarded transport."""
    servers = Servers()
    monkeypatch.setattr(services, "GuardedTransport", lambda _: InMemory(servers))
    return servers


def network(**options: Any) -> Network:
    """The options that lead to the servers in memory."""
    return Network(plc_url=PLC, handle_resolver_url=RESOLVER, **options)


def open_services(
    servers: Servers, *keys: ClientKey, **options: Any
) -> NetworkServices:
    """The services of one client; the server knows its keys."""
    servers.know_keys(*keys)
    identity = ClientIdentity(CLIENT_ID, keys, clock=servers.clock)
    return build_services(network(**options), identity, clock=servers.clock)


def open_client(servers: Servers, *keys: ClientKey, **options: Any) -> OAuthClient:
    """A client with a state store in memory."""
    servers.know_keys(*keys)
    options.setdefault("state_store", MemoryStateStore(clock=servers.clock))
    options.setdefault("network", network())
    return OAuthClient(
        CLIENT_ID,
        REDIRECT_URI,
        SCOPE,
        client_keys=keys,
        clock=servers.clock,
        **options,
    )
