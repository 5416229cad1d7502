"""A whole login over real TLS and the real guard, with an attack at any step of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from atproto_oauth_asgi.client import OAuthClient
from atproto_oauth_asgi.models import OAuthSession
from atproto_oauth_asgi.stores.memory import MemorySessionStore, MemoryStateStore
from atproto_oauth_asgi.testing.internet import Internet
from tests.network.atproto import (
    ALICE,
    CLIENT_ID,
    HANDLE,
    ISSUER,
    METADATA,
    PAR,
    PDS,
    PLC,
    REDIRECT_URI,
    RESOURCE,
    REVOKE,
    SCOPE,
    TOKEN,
    Servers,
)

WEB_DID = "did:web:id.example.com"
WELL_KNOWN = "/.well-known/atproto-did"
GET_RECORD = "/xrpc/com.atproto.repo.getRecord"

HOPS = {
    "handle": (f"https://{HANDLE}", WELL_KNOWN),
    "did:web": ("https://id.example.com", "/.well-known/did.json"),
    "PLC": (PLC, f"/{ALICE}"),
    "PDS": (PDS, RESOURCE),
    "metadata": (ISSUER, METADATA),
    "PAR": (ISSUER, PAR),
    "token": (ISSUER, TOKEN),
    "revocation": (ISSUER, REVOKE),
    "data": (PDS, GET_RECORD),
}
"""Every step that asks another host: its origin and path."""

_LATE = ("token", "revocation", "data")
_HELLO = PlainTextResponse("hello")
_RECORD = {"collection": "com.example.post", "rkey": "self"}


class Stage:
    """One client, the servers of one account, and what goes wrong at a step.

    Attributes:
        servers: they hang up after each answer, so that each step asks for addresses.
        options: of the networks of clients made from now on.
        good: the addresses of all hosts while nobody attacks.
    """

    def __init__(self, servers: Servers) -> None:
        self.servers = servers
        self.options: dict[str, Any] = {}
        servers.create_account("id.example.com", WEB_DID)
        servers.net.records.put(ALICE, **_RECORD, value={})
        # Handles are looked up on the web, unless a test says what DNS knows.
        self.internet.texts.clear()
        for host, site in [*self.internet.sites.items()]:
            self.serve(host, _hanging_up(site))
        self.good = dict(self.internet.addresses)

    @property
    def internet(self) -> Internet:
        return self.servers.net.internet

    def restore(self) -> None:
        """Give every host its addresses back."""
        self.internet.addresses.update(self.good)

    def serve(self, host: str, site: ASGIApp = _HELLO) -> None:
        """Put a program behind a name, with https and an address of its own."""
        self.servers.net.add_host(host, site)

    def say_in_dns(self, *records: str) -> None:
        """Publish these TXT records for the handle."""
        self.internet.texts[f"_atproto.{HANDLE}"] = [*records]

    def client(self, **options: Any) -> OAuthClient:
        options.setdefault("state_store", MemoryStateStore(clock=self.servers.clock))
        return OAuthClient(
            CLIENT_ID,
            REDIRECT_URI,
            SCOPE,
            session_store=MemorySessionStore(),
            network=self.servers.network(**self.options),
            clock=self.servers.clock,
            **options,
        )

    def host(self, hop: str) -> str:
        """The host of a step."""
        return HOPS[hop][0].removeprefix("https://")

    def url(self, hop: str) -> str:
        """What a step asks for."""
        return "".join(HOPS[hop])

    async def walk_to(
        self, hop: str, client: OAuthClient
    ) -> Callable[[], Awaitable[object]]:
        """Do all that comes before a step; what is given back does the step."""
        if hop not in _LATE:
            identifier = WEB_DID if hop == "did:web" else HANDLE
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
            params = {"repo": ALICE, **_RECORD}
            return await pds.query("com.atproto.repo.getRecord", params)


def _hanging_up(site: ASGIApp) -> ASGIApp:
    async def program(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_last(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=[*message["headers"]])
                headers["Connection"] = "close"
                message = {**message, "headers": headers.raw}
            await send(message)

        await site(scope, receive, send_last)

    return program


@asynccontextmanager
async def closing(client: OAuthClient) -> AsyncIterator[OAuthClient]:
    """The client, whose connections are closed afterwards."""
    try:
        yield client
    finally:
        with anyio.CancelScope(shield=True):
            await client.aclose()
