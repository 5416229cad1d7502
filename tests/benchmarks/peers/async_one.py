"""atproto-oauth: an asynchronous client. Run in its own environment."""

from __future__ import annotations

import functools
import sys
from importlib import import_module
from typing import Any

import httpx
from anyio.from_thread import start_blocking_portal
from cryptography.hazmat.primitives.asymmetric import ec

from tests.benchmarks.harness import Figure, Loop
from tests.benchmarks.peers import world
from tests.benchmarks.peers.measuring import (
    ACCESS_TOKEN,
    METHOD,
    PATH,
    URL,
    say,
    shown,
    waits,
)
from tests.benchmarks.signature import bare_signature

_KEY = ec.generate_private_key(ec.SECP256R1())


def main(echo: str) -> None:
    """Measure the peer."""
    peer: Any = import_module("atproto_oauth.client")
    security = import_module("atproto_oauth.security")
    prove = import_module("atproto_oauth.dpop").DPoPManager.create_proof
    make = security.get_hardened_async_client
    # The echo server is on this machine.
    peer.is_safe_url = lambda _: True
    peer.get_hardened_async_client = functools.partial(make, allow_localhost=True)
    client, session = _open_client(peer), _session(echo)
    url = echo + PATH
    with start_blocking_portal() as portal:
        plain, loop = httpx.AsyncClient(), Loop(portal)
        cases = [
            shown(
                "DPoP proof, key warm",
                bare_signature(_KEY),
                lambda: prove(METHOD, URL, _KEY, "n" * 43, ACCESS_TOKEN),
            ),
            shown(
                "requests per second, one at a time",
                ("httpx", lambda: plain.get(url)),
                lambda: client.make_authenticated_request(session, "GET", url),
                timer=loop.wall_time,
                is_rate=True,
            ),
            shown(
                "client of a request made",
                ("httpx.AsyncClient()", httpx.AsyncClient),
                make,
            ),
        ]
        say(cases, lambda: portal.call(_count_waits, peer))


def _open_client(peer: Any) -> Any:
    stores = import_module("atproto_oauth.stores")
    return peer.OAuthClient(
        world.CLIENT_ID,
        world.REDIRECT_URI,
        "atproto",
        stores.MemoryStateStore(),
        stores.MemorySessionStore(),
    )


def _session(echo: str) -> Any:
    return import_module("atproto_oauth.models").OAuthSession(
        did=world.DID,
        handle=world.HANDLE,
        pds_url=echo,
        authserver_iss=world.ISSUER,
        access_token=ACCESS_TOKEN,
        refresh_token="refresh",
        dpop_private_key=_KEY,
        dpop_authserver_nonce="",
        dpop_pds_nonce="n" * 43,
        scope="atproto",
        expires_at=None,
    )


async def _count_waits(peer: Any) -> list[Figure]:
    counted, client = world.install(), _open_client(peer)
    found = []
    for name in ("cold", "same person again"):
        _, state = await client.start_authorization(world.HANDLE)
        found.append(waits(f"{name}: start", counted.take()))
        await client.handle_callback("code", state, world.ISSUER)
        found.append(waits(f"{name}: callback", counted.take()))
    return found


if __name__ == "__main__":
    main(sys.argv[1])
