"""The network for tests fits the clients that people test with."""

from typing import assert_type

import httpx
from starlette.testclient import TestClient

from atproto_oauth_asgi import Network
from atproto_oauth_asgi.testing import (
    Account,
    AtprotoNetwork,
    approve,
    behaviours,
    login_as,
)


def network(net: AtprotoNetwork, client: TestClient) -> None:
    assert_type(net.network, Network)
    assert_type(net.accounts["alice.test"], Account)
    assert_type(net.pds_url, str)
    assert_type(approve("https://pds.test/authorize", "alice.test"), str)
    net.on("pds.test", "/xrpc/*", behaviours.status(503))
    login_as(client, "alice.test")
    net.on("pds.test", "/xrpc/*", 503)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    login_as("alice.test")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]


async def over_httpx(client: httpx.AsyncClient) -> None:
    await login_as(client, "alice.test")
