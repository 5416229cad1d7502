"""A whole login over real TLS and the real guard, with an attack at any step of it.

The strict servers of ``atproto.py`` stand behind the sockets of ``servers.py``.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import anyio
import httpx
import pytest
import trustme
from anyio.abc import ByteStream

from atproto_oauth_asgi.client import OAuthClient
from atproto_oauth_asgi.models import OAuthSession
from atproto_oauth_asgi.network import identity
from atproto_oauth_asgi.network_options import Network
from atproto_oauth_asgi.stores.memory import MemorySessionStore, MemoryStateStore
from tests.network.atproto import (
    ALICE,
    CLIENT_ID,
    HANDLE,
    ISSUER,
    PAR,
    PDS,
    PLC,
    REDIRECT_URI,
    REVOKE,
    SCOPE,
    TOKEN,
    FakeAtproto,
    Seen,
    answer,
)
from tests.network.servers import Conversation, World, open_world

WEB_DID = "did:web:id.example.com"
WELL_KNOWN = "/.well-known/atproto-did"
GET_RECORD = "/xrpc/com.atproto.repo.getRecord"

HOPS = {
    "handle": (f"https://{HANDLE}", WELL_KNOWN),
    "did:web": ("https://id.example.com", "/.well-known/did.json"),
    "PLC": (PLC, f"/{ALICE}"),
    "PDS": (PDS, "/.well-known/oauth-protected-resource"),
    "metadata": (ISSUER, "/.well-known/oauth-authorization-server"),
    "PAR": (ISSUER, PAR),
    "token": (ISSUER, TOKEN),
    "revocation": (ISSUER, REVOKE),
    "data": (PDS, GET_RECORD),
}
"""Every step that asks another host: its origin and path."""

_LATE = ("token", "revocation", "data")


@cache
def authority() -> trustme.CA:
    """One certificate authority is enough for all tests."""
    return trustme.CA()


@cache
def server_tls(host: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority().issue_cert(host).configure_cert(context)
    return context


@cache
def client_tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority().configure_trust(context)
    return context


class Stage:
    """One client, the servers of one account, and what goes wrong at a step.

    Attributes:
        raw: by path, what a server says instead of its answer, byte by byte.
        records: what DNS knows of the handle.
        good: the addresses of all hosts while nobody attacks.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.servers = FakeAtproto()
        self.raw: dict[str, Conversation] = {}
        self.records: list[str] = []
        self.good: dict[str, list[str]] = {}
        self.servers.scripts |= {WELL_KNOWN: self._say_did, GET_RECORD: self._record}
        self.options: dict[str, Any] = {}

    async def open(self) -> None:
        for origin in {origin for origin, _ in HOPS.values()}:
            await self.serve(origin.removeprefix("https://"))
        self.good = dict(self.world.addresses)

    def restore(self) -> None:
        """Give every host its addresses back."""
        self.world.addresses.update(self.good)

    async def serve(self, host: str) -> None:
        async def converse(stream: ByteStream, head: bytes) -> None:
            await self._converse(host, stream, head)

        await self.world.serve(host, converse, tls=server_tls(host))

    def client(self, **options: Any) -> OAuthClient:
        network: Network = self.world.network(
            plc_url=PLC, ssl_context=client_tls(), **self.options
        )
        options.setdefault("state_store", MemoryStateStore(clock=self.servers.clock))
        return OAuthClient(
            CLIENT_ID,
            REDIRECT_URI,
            SCOPE,
            session_store=MemorySessionStore(),
            network=network,
            clock=self.servers.clock,
            **options,
        )

    def hop(self, name: str) -> tuple[str, str]:
        """Host and path of a step."""
        origin, path = HOPS[name]
        return origin.removeprefix("https://"), path

    async def walk_to(
        self, hop: str, client: OAuthClient
    ) -> Callable[[], Awaitable[object]]:
        """Do all that comes before a step; what is given back does the step."""
        identifier = WEB_DID if hop == "did:web" else HANDLE
        if hop == "did:web":
            self.servers.homes[WEB_DID] = PDS
        if hop not in _LATE:
            return lambda: client.start_authorization(identifier)
        callback = await self.approved(client)
        if hop == "token":
            return lambda: client.handle_callback(**callback)
        session = await client.handle_callback(**callback)
        if hop == "revocation":
            return lambda: client.revoke_session(session)
        return lambda: self.get_record(client, session)

    async def approved(
        self, client: OAuthClient, identifier: str = HANDLE
    ) -> dict[str, str]:
        auth_url, _ = await client.start_authorization(identifier)
        return self.servers.approve(auth_url)

    async def log_in(self, client: OAuthClient) -> OAuthSession:
        return await client.handle_callback(**await self.approved(client))

    async def get_record(
        self, client: OAuthClient, session: OAuthSession
    ) -> httpx.Response:
        async with client.pds_client(session) as pds:
            return await pds.query("com.atproto.repo.getRecord", {"repo": session.did})

    async def query_txt(
        self, name: str, *, servers: Sequence[str] | None, timeout_s: float
    ) -> list[str]:
        del name, servers, timeout_s
        return self.records

    async def _say_did(self, _: Seen) -> httpx.Response:
        return answer(200, ALICE.encode(), headers={"Content-Type": "text/plain"})

    async def _record(self, _: Seen) -> httpx.Response:
        return answer(200, {"value": {}})

    async def _converse(self, host: str, stream: ByteStream, head: bytes) -> None:
        request = await _read_request(host, stream, head)
        raw = self.raw.get(request.url.path)
        if raw is not None:
            await raw(stream, head)
            return
        response = await self.servers.handle_async_request(request)
        body = await response.aread()
        fields = [*response.headers.raw, (b"Connection", b"close")]
        fields.append((b"Content-Length", str(len(body)).encode()))
        lines = b"".join(b"%s: %s\r\n" % field for field in fields)
        line = f"HTTP/1.1 {response.status_code} X\r\n".encode()
        await stream.send(line + lines + b"\r\n" + body)


async def _read_request(host: str, stream: ByteStream, head: bytes) -> httpx.Request:
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    method, target, _ = first.split(" ")
    pairs = [line.partition(": ") for line in lines]
    headers = httpx.Headers([(name, value) for name, _, value in pairs])
    body = b""
    while len(body) < int(headers.get("content-length", "0")):
        body += await stream.receive()
    return httpx.Request(
        method, f"https://{host}{target}", headers=headers, content=body
    )


@asynccontextmanager
async def open_stage(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    """A stage on which all is well, until a test says otherwise."""
    async with open_world() as world:
        stage = Stage(world)
        monkeypatch.setattr(identity, "system_query_txt", stage.query_txt)
        await stage.open()
        yield stage


@asynccontextmanager
async def closing(client: OAuthClient) -> AsyncIterator[OAuthClient]:
    """The client, whose connections are closed afterwards."""
    try:
        yield client
    finally:
        with anyio.CancelScope(shield=True):
            await client.aclose()
