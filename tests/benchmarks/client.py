"""Requests to a PDS beside those of a plain ``httpx`` client that is shared."""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import httpx
import pytest
from typing_extensions import override

from atproto_oauth_asgi.client import OAuthClient
from atproto_oauth_asgi.crypto.encoding import b64url
from atproto_oauth_asgi.crypto.keys import generate_private_key
from atproto_oauth_asgi.dpop import NonceCache
from atproto_oauth_asgi.models import OAuthSession
from atproto_oauth_asgi.network.pds import PDSClient, SessionTransport
from atproto_oauth_asgi.network_options import Network
from tests.benchmarks.echo import BODY, HEADERS
from tests.benchmarks.harness import Case, Figure, Loop

PATH = "/xrpc/com.atproto.repo.getRecord"
_QUERY = "?repo=did:plc:x&collection=com.example.post&rkey=3k"
_PDS = "https://pds.example.com"
_CLIENTS = 1000


def cases(loop: Loop, echo: str) -> Iterator[Case]:
    """Give what is measured in time; ``echo`` is the origin of a local server."""
    yield _in_memory(loop)
    yield _over_http(loop, echo)
    client, session = _open_client(echo), _session(echo)
    yield Case(
        name="client of a session made",
        base_name="httpx.AsyncClient()",
        base=httpx.AsyncClient,
        work=lambda: client.pds_client(session),
        target=0.001,
    )


def counts(loop: Loop, echo: str) -> Iterator[Figure]:
    """Give what is counted, not measured."""
    client, session = _open_client(echo), _session(echo)
    made: list[object] = []

    async def request() -> None:
        await client.pds_client(session).get(PATH)

    async def many() -> None:
        for _ in range(_CLIENTS):
            await request()

    loop.portal.call(request)
    with pytest.MonkeyPatch.context() as patch:
        make = ssl.SSLContext.__new__

        def count(cls: type[ssl.SSLContext], *args: Any) -> ssl.SSLContext:
            made.append(cls)
            return make(cls, *args)

        patch.setattr(ssl.SSLContext, "__new__", count)
        loop.portal.call(many)
    yield Figure(
        name="TLS contexts made",
        ratio=len(made),
        target=0,
        detail=f"{_CLIENTS} clients with a request each",
        sense="=",
    )


class _Answers(httpx.AsyncBaseTransport):
    """What the echo server says, without a socket."""

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers=HEADERS, content=BODY)


class _Tokens:
    """A session that never has to be renewed."""

    def __init__(self, session: OAuthSession) -> None:
        self._session = session

    async def current(self) -> OAuthSession:
        return self._session

    async def renew(self, stale: OAuthSession) -> OAuthSession:
        return stale


def _in_memory(loop: Loop) -> Case:
    transport = SessionTransport(
        _Tokens(_session(_PDS)),
        pds_url=_PDS,
        inner=_Answers(),
        nonces=NonceCache(),
        clock=time.monotonic,
    )
    plain = httpx.AsyncClient(transport=_Answers(), trust_env=False)
    return Case(
        name="request, no network: CPU",
        base_name="httpx",
        base=_get(plain, _PDS),
        work=_get(PDSClient(transport), _PDS),
        target=1.60,
        timer=loop.cpu_time,
    )


def _over_http(loop: Loop, echo: str) -> Case:
    client = _open_client(echo).pds_client(_session(echo))
    return Case(
        name="requests per second, one at a time",
        base_name="httpx",
        base=_get(httpx.AsyncClient(), echo),
        work=_get(client, echo),
        target=0.83,
        timer=loop.wall_time,
        is_rate=True,
    )


def _get(client: httpx.AsyncClient, origin: str) -> Callable[[], Awaitable[object]]:
    url = origin + PATH + _QUERY
    return lambda: client.get(url)


def _open_client(echo: str) -> OAuthClient:
    return OAuthClient(
        "http://localhost",
        "http://127.0.0.1/callback",
        "atproto",
        network=Network.development(plc_url=echo),
    )


def _session(pds_url: str) -> OAuthSession:
    return OAuthSession(
        did="did:plc:ewvi7nxzyoun6zhxrhs64oiz",
        pds_url=pds_url,
        authserver_iss="https://auth.example.com",
        access_token=b64url(os.urandom(525)),
        dpop_private_key=generate_private_key(),
        scope="atproto",
    )
