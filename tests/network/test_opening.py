"""How the guarded transport opens: late, beside the event loop, once."""

from __future__ import annotations

import importlib.metadata
import threading
from collections.abc import Iterator

import anyio
import anyio.to_thread
import pytest

from atproto_oauth_asgi.network import transport as transporting
from atproto_oauth_asgi.network.fetch import Fetcher
from atproto_oauth_asgi.network.transport import GuardedTransport
from atproto_oauth_asgi.network_options import Network
from tests.network.servers import World, http, saying

pytestmark = pytest.mark.anyio
HOST = "pds.example.com"
URL = f"http://{HOST}/"


def network_of(world: World) -> Network:
    return world.network(unsafe_http_hosts=(HOST,))


async def fetch(network: Network) -> None:
    transport = GuardedTransport(network)
    try:
        await Fetcher(transport, network).fetch("GET", URL, what="host")
    finally:
        await transport.aclose()


@pytest.fixture
def no_known_version() -> Iterator[None]:
    """The version is looked up anew, in the test and after it."""
    transporting._user_agent.cache_clear()
    yield
    transporting._user_agent.cache_clear()


@pytest.mark.usefixtures("no_known_version")
async def test_transport_when_it_opens_then_the_event_loop_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first request has all that is slow loaded in a thread, once."""
    threads: list[int] = []

    def watch(home: object, name: str) -> None:
        load = getattr(home, name)

        def watched(argument: object) -> object:
            threads.append(threading.get_ident())
            return load(argument)

        monkeypatch.setattr(home, name, watched)

    watch(transporting, "_build_pool")
    watch(importlib.metadata, "version")
    await world.serve(HOST, saying(http()))
    transport, network = GuardedTransport(network_of(world)), network_of(world)
    assert threads == []
    for _ in range(2):
        await Fetcher(transport, network).fetch("GET", URL, what="host")
    await transport.aclose()
    assert len(threads) == 2
    assert threading.get_ident() not in threads


async def test_transport_when_all_threads_are_taken_then_opens_nevertheless(
    world: World,
) -> None:
    """An application's threads may wait for this very request: no deadlock."""
    await world.serve(HOST, saying(http()))
    limiter = anyio.to_thread.current_default_thread_limiter()
    owners = [object() for _ in range(int(limiter.available_tokens))]
    for owner in owners:
        limiter.acquire_on_behalf_of_nowait(owner)
    try:
        with anyio.fail_after(20):
            await fetch(network_of(world))
    finally:
        for owner in owners:
            limiter.release_on_behalf_of(owner)


async def test_transport_when_many_requests_open_it_then_one_does_it_for_all(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crowd at the start takes one thread, and no connection is lost."""
    transport = GuardedTransport(network_of(world))
    built: list[object] = []
    pools: list[object] = []
    build = transporting._build_pool

    def watched(network: Network) -> object:
        built.append(build(network))
        return built[-1]

    async def open_pool() -> None:
        pools.append(await transport._pool())

    monkeypatch.setattr(transporting, "_build_pool", watched)
    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(open_pool)
    await transport.aclose()
    assert len(built) == 1
    assert pools == built * 50


@pytest.mark.usefixtures("no_known_version")
async def test_transport_when_metadata_is_not_installed_then_names_the_library(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Applications that are packed into one file can log people in, too."""

    def version(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    await world.serve(HOST, saying(http()))
    await fetch(network_of(world))
    assert b"\r\nUser-Agent: atproto-oauth-asgi\r\n" in world.heads[0]


async def test_transport_when_a_user_agent_cannot_be_sent_then_is_not_made() -> None:
    """A mistake in an option is told at the start, not by the first login."""
    with pytest.raises(UnicodeEncodeError):
        GuardedTransport(Network(user_agent="日本"))
