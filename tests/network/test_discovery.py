from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream

from atproto_oauth_asgi.exceptions import (
    Blocked,
    DiscoveryError,
    TransportError,
    Unreachable,
    UnsupportedAuthServerError,
)
from atproto_oauth_asgi.network.discovery import Discovery
from tests.network.servers import World, http, open_fetcher
from tests.protocol.test_server_metadata import ISSUER, PDS, resource, server

pytestmark = pytest.mark.anyio

RESOURCE = "/.well-known/oauth-protected-resource"
SERVER = "/.well-known/oauth-authorization-server"


class Hosts:
    """A PDS and its authorization server, with answers by path."""

    def __init__(self, world: World, client_tls: ssl.SSLContext) -> None:
        self.world = world
        self.client_tls = client_tls
        self.answers = {RESOURCE: http(200, resource()), SERVER: http(200, server())}
        self.paths: list[str] = []
        self.delay_s = 0.0
        self.now = 1_000_000.0

    async def converse(self, stream: ByteStream, head: bytes) -> None:
        path = head.split(b" ")[1].decode()
        self.paths.append(path)
        await anyio.sleep(self.delay_s)
        await stream.send(self.answers.get(path, http(404, {})))

    @asynccontextmanager
    async def discovery(self, **options: Any) -> AsyncIterator[Discovery]:
        network = self.world.network(ssl_context=self.client_tls, **options)
        async with open_fetcher(network) as fetcher:
            yield Discovery(fetcher, network, clock=lambda: self.now)


@pytest.fixture
async def hosts(
    world: World,
    client_tls: ssl.SSLContext,
    server_tls: Callable[[str], ssl.SSLContext],
) -> Hosts:
    made = Hosts(world, client_tls)
    for host in ("pds.example.com", "as.example.com"):
        await world.serve(host, made.converse, tls=server_tls(host))
    return made


async def test_discovery_when_all_is_right_then_leads_to_the_server(
    hosts: Hosts,
) -> None:
    """The PDS names the issuer, the issuer names its endpoints."""
    async with hosts.discovery() as discovery:
        issuer = await discovery.issuer_of(PDS)
        found = await discovery.server_metadata(issuer, pds_url=PDS)
    assert issuer == ISSUER
    assert found.token_endpoint == f"{ISSUER}/oauth/token"
    assert hosts.paths == [RESOURCE, SERVER]


NOT_THE_DOCUMENT = [
    http(201, resource()),
    http(204),
    http(302, resource(), headers=[("Location", "/copy")]),
    http(404, {}),
    http(200, b"<html>", media_type="text/html"),
    http(200, b"[]", media_type="application/json"),
    http(200, b'{"resource":1,"resource":2}', media_type="application/json"),
]


@pytest.mark.covers("DISC-01", "DISC-05", "DISC-17", "NET-11")
@pytest.mark.parametrize("answer", NOT_THE_DOCUMENT)
async def test_discovery_when_there_is_no_document_then_refuses(
    hosts: Hosts, answer: bytes
) -> None:
    """Only status 200 with JSON is the document; there is no fallback."""
    hosts.answers |= {RESOURCE: answer, SERVER: answer}
    async with hosts.discovery() as discovery:
        with pytest.raises(DiscoveryError):
            await discovery.issuer_of(PDS)
        assert hosts.paths == [RESOURCE]
        with pytest.raises(DiscoveryError):
            await discovery.server_metadata(ISSUER)
    assert hosts.paths == [RESOURCE, SERVER]


async def test_discovery_when_server_lacks_something_then_says_so(hosts: Hosts) -> None:
    """A server of another kind is told apart from none."""
    hosts.answers[SERVER] = http(200, server(scopes_supported=["openid"]))
    async with hosts.discovery() as discovery:
        with pytest.raises(UnsupportedAuthServerError):
            await discovery.server_metadata(ISSUER)


@pytest.mark.covers("DISC-15")
async def test_discovery_when_operator_allows_an_origin_then_endpoints_may_be_there(
    hosts: Hosts,
) -> None:
    """``allowed_endpoint_origins`` reaches the check."""
    other = "https://other.example.com"
    hosts.answers[SERVER] = http(200, server(token_endpoint=f"{other}/t"))
    async with hosts.discovery(allowed_endpoint_origins=(other,)) as discovery:
        assert (await discovery.server_metadata(ISSUER)).token_endpoint == f"{other}/t"


@pytest.mark.covers("DISC-16")
async def test_discovery_when_server_does_not_list_the_pds_then_refuses(
    hosts: Hosts,
) -> None:
    """Known metadata is held against every PDS that names the server."""
    async with hosts.discovery() as discovery:
        await discovery.server_metadata(ISSUER, pds_url=PDS)
        with pytest.raises(DiscoveryError):
            await discovery.server_metadata(ISSUER, pds_url="https://b.example.com")


@pytest.mark.covers("ERR-06")
async def test_discovery_when_host_is_away_then_says_not_now(hosts: Hosts) -> None:
    """A host in trouble has not refused, and is asked again at once."""
    hosts.answers[RESOURCE] = http(503, {})
    async with hosts.discovery() as discovery:
        with pytest.raises(Unreachable):
            await discovery.issuer_of(PDS)
        hosts.answers[RESOURCE] = http(200, resource())
        assert await discovery.issuer_of(PDS) == ISSUER


@pytest.mark.covers("NET-01", "SRF-01", "SRF-14")
async def test_discovery_when_host_is_private_then_is_blocked(hosts: Hosts) -> None:
    """Neither the PDS nor the server can lie inside."""
    for host in ("pds.example.com", "as.example.com"):
        hosts.world.addresses[host] = ["10.0.0.1"]
    async with hosts.discovery() as discovery:
        with pytest.raises(Blocked):
            await discovery.issuer_of(PDS)
        with pytest.raises(Blocked):
            await discovery.server_metadata(ISSUER)
    assert hosts.paths == []


@pytest.mark.covers("DOS-02")
async def test_discovery_when_document_is_huge_then_is_not_read(hosts: Hosts) -> None:
    """Metadata has a size limit."""
    hosts.answers[SERVER] = http(200, server(padding="x" * 300_000))
    async with hosts.discovery() as discovery:
        with pytest.raises(TransportError):
            await discovery.server_metadata(ISSUER)


@pytest.mark.covers("DISC-20")
async def test_discovery_when_many_ask_at_once_then_fetches_once(hosts: Hosts) -> None:
    """A hundred logins at once are one request to each host."""
    hosts.delay_s = 0.02
    async with hosts.discovery() as discovery, anyio.create_task_group() as group:
        for _ in range(100):
            group.start_soon(discovery.issuer_of, PDS)
            group.start_soon(discovery.server_metadata, ISSUER)
    assert sorted(hosts.paths) == [SERVER, RESOURCE]


@pytest.mark.covers("DISC-20")
async def test_discovery_when_asked_again_then_remembers_for_some_minutes(
    hosts: Hosts,
) -> None:
    """Within five minutes nothing is fetched twice, unless it must be fresh."""
    async with hosts.discovery() as discovery:
        for _ in range(2):
            await discovery.issuer_of(PDS)
            await discovery.server_metadata(ISSUER)
        assert len(hosts.paths) == 2
        await discovery.issuer_of(PDS, fresh=True)
        await discovery.server_metadata(ISSUER, fresh=True)
        assert len(hosts.paths) == 4
        hosts.now += 300
        await discovery.issuer_of(PDS)
        await discovery.server_metadata(ISSUER)
        assert len(hosts.paths) == 6
