"""Stores on a server that is away, hangs, or comes back."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing

import anyio
import pytest

from atproto_oauth_asgi.exceptions import StoreError
from atproto_oauth_asgi.stores import RecordStore
from atproto_oauth_asgi.stores.postgres import PostgresStore
from atproto_oauth_asgi.stores.redis import RedisStore
from tests.services.process import Service
from tests.services.stores import make_tables, store_on

FOREVER = 32_500_000_000.0
# A hanging server is left after two seconds; the rest is for a busy machine.
SOON_S = 10.0
PATIENCE_S = 60.0

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """The drivers work on asyncio only."""
    return "asyncio"


@pytest.fixture(params=["own_redis", "own_postgres"])
def service(request: pytest.FixtureRequest) -> Service:
    """Both servers in turn."""
    running: Service = request.getfixturevalue(request.param)
    return running


@pytest.fixture
async def store(service: Service) -> AsyncIterator[RedisStore | PostgresStore]:
    async with aclosing(store_on(service.url, "t")) as store:
        await make_tables(store)
        yield store


async def save(store: RecordStore) -> object:
    return await store.save("s", "k", b"v", expires_at=FOREVER, owner="o")


async def enter(store: RecordStore) -> object:
    # What is asked of a hanging server may be done when it goes on: then this one ends.
    async with store.lock("a", 0.5):
        return None


CALLS: dict[str, Callable[[RecordStore], Awaitable[object]]] = {
    "load": lambda store: store.load("s", "k"),
    "save": save,
    "take": lambda store: store.take("s", "k"),
    "delete": lambda store: store.delete("s", "k"),
    "keys": lambda store: store.keys("s", "o"),
    "lock": enter,
}


async def refusals(store: RecordStore) -> dict[str, str]:
    """What each method says that raises ``StoreError``, all asked at once."""
    said: dict[str, str] = {}

    async def ask(name: str) -> None:
        try:
            await CALLS[name](store)
        except StoreError as error:
            said[name] = str(error)

    with anyio.fail_after(SOON_S):
        async with anyio.create_task_group() as tasks:
            for name in CALLS:
                tasks.start_soon(ask, name)
    return said


async def works_again(store: RecordStore) -> None:
    """Wait until the store answers; it has found the server by itself."""
    with anyio.fail_after(PATIENCE_S):
        while await refusals(store):  # noqa: ASYNC110 (nothing tells)
            await anyio.sleep(0.05)
    await save(store)
    assert await store.load("s", "k") is not None


@pytest.mark.covers("STORE-01")
async def test_store_when_the_server_is_away_then_says_so_and_comes_back(
    store: RedisStore | PostgresStore, service: Service
) -> None:
    """No method answers "none" because it could not look; a restart heals all."""
    await works_again(store)
    service.stop()
    for _ in range(2):
        said = await refusals(store)
        assert set(said) == set(CALLS)
    service.start()
    await works_again(store)


async def test_store_when_the_server_restarts_between_calls_then_nobody_notices(
    store: RedisStore | PostgresStore, service: Service
) -> None:
    """Connections that broke meanwhile are replaced before they are used."""
    await works_again(store)
    service.stop()
    service.start()
    # Starting blocks the event loop, which has to see that the connections ended.
    await anyio.sleep(0.05)
    assert await refusals(store) == {}


@pytest.mark.covers("STORE-01")
async def test_store_when_the_server_hangs_then_says_so_in_time(
    store: RedisStore | PostgresStore, service: Service
) -> None:
    """Nobody waits forever for a server that holds the line and is silent."""
    await works_again(store)
    started = anyio.current_time()
    with service.frozen():
        said = await refusals(store)
    assert set(said) == set(CALLS)
    assert anyio.current_time() - started > 1.5
    await works_again(store)


async def test_store_when_many_wait_for_a_server_that_hangs_then_connections_last(
    store: RedisStore | PostgresStore, service: Service
) -> None:
    """All are refused in time, and nothing is worn out by them."""
    await works_again(store)

    async def ask() -> None:
        with pytest.raises(StoreError):
            await store.load("s", "k")

    with service.frozen(), anyio.fail_after(SOON_S):
        async with anyio.create_task_group() as tasks:
            for _ in range(120):
                tasks.start_soon(ask)
    await works_again(store)


async def test_save_when_cancelled_then_is_made_wholly(
    store: RedisStore | PostgresStore,
) -> None:
    """Who is cancelled does not leave a server that nobody listens to."""
    with anyio.CancelScope() as scope:
        scope.cancel()
        made = await store.save("s", "k", b"v", expires_at=FOREVER)
        async with store.lock("a", 30.0):
            pytest.fail("the body of a cancelled task has begun")
    assert made is not None
    with anyio.fail_after(SOON_S):
        async with store.lock("a", 30.0):
            record = await store.load("s", "k")
    assert record is not None
    assert record.version == made


@pytest.mark.covers("STORE-11")
async def test_lock_when_it_cannot_be_given_back_then_what_was_done_stays_done(
    store: RedisStore | PostgresStore,
    service: Service,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The holder has done its work; the lock ends with its lease, and a line is logged."""
    caplog.set_level(logging.WARNING, "atproto_oauth_asgi")
    async with AsyncExitStack() as held:
        await held.enter_async_context(store.lock("a", 30.0))
        service.stop()
    lines = [each.getMessage() for each in caplog.records]
    assert [each for each in lines if each.startswith("lock not given back")]
