"""Stores on a server, used by several processes at once."""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, aclosing, contextmanager
from pathlib import Path
from typing import IO

import anyio
import pytest

from atproto_oauth_asgi.stores.postgres import PostgresStore
from atproto_oauth_asgi.stores.redis import RedisStore
from tests.services.process import Service
from tests.services.stores import make_tables, store_on
from tests.services.worker import FOREVER, ROUNDS

ROOT = Path(__file__).parents[2]
PROCESSES = 4
PATIENCE_S = 60.0

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """The drivers work on asyncio only."""
    return "asyncio"


@pytest.fixture(params=["redis_service", "postgres_service"])
def service(request: pytest.FixtureRequest) -> Service:
    """Both servers in turn."""
    running: Service = request.getfixturevalue(request.param)
    return running


@pytest.fixture
def name() -> str:
    return f"t{secrets.token_hex(4)}"


@pytest.fixture
async def store(
    service: Service, name: str
) -> AsyncIterator[RedisStore | PostgresStore]:
    async with aclosing(store_on(service.url, name)) as store:
        await make_tables(store)
        yield store


@contextmanager
def worker(service: Service, name: str, task: str) -> Iterator[subprocess.Popen[str]]:
    """A process that is ready to do its task, and is gone afterwards."""
    command = [sys.executable, "-m", "tests.services.worker", service.url, name, task]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert next_word(process) == "ready"
            yield process
        finally:
            process.kill()


def next_word(process: subprocess.Popen[str]) -> str:
    said: IO[str] | None = process.stdout
    assert said is not None
    return said.readline().strip()


async def run_all(
    store: RedisStore | PostgresStore, service: Service, name: str, task: str
) -> list[list[str]]:
    """What each of several processes said that did the same task at once."""
    with ExitStack() as running:
        processes = [
            running.enter_context(worker(service, name, task)) for _ in range(PROCESSES)
        ]
        await store.save("s", "go", b"", expires_at=FOREVER)
        said = [process.communicate(timeout=PATIENCE_S)[0] for process in processes]
    words = [each.split() for each in said]
    assert [each[-1:] for each in words] == [["done"]] * PROCESSES
    return [each[:-1] for each in words]


@pytest.mark.covers("STORE-03")
@pytest.mark.parametrize("task", ["count", "count_locked"])
async def test_processes_when_they_count_together_then_none_is_lost(
    store: RedisStore | PostgresStore, service: Service, name: str, task: str
) -> None:
    """Neither the condition of a save nor a lock lets two processes write at once."""
    await run_all(store, service, name, task)
    record = await store.load("s", "n")
    assert record is not None
    assert int(record.value) == PROCESSES * ROUNDS


@pytest.mark.covers("STORE-03")
async def test_processes_when_they_take_the_same_then_each_record_is_had_once(
    store: RedisStore | PostgresStore, service: Service, name: str
) -> None:
    """A login is finished once, on whichever host."""
    for number in range(ROUNDS):
        await store.save("pending", str(number), b"v", expires_at=FOREVER)
    had = await run_all(store, service, name, "take")
    all_had = sorted(int(number) for each in had for number in each)
    assert all_had == list(range(ROUNDS))


@pytest.mark.covers("STORE-08", "STORE-11")
async def test_process_when_killed_while_it_holds_a_lock_then_others_get_on(
    store: RedisStore | PostgresStore, service: Service, name: str
) -> None:
    """A crash jams nobody for longer than the lease."""
    await store.save("s", "go", b"", expires_at=FOREVER)
    with worker(service, name, "hold") as holder:
        assert next_word(holder) == "inside"
        with anyio.move_on_after(0.1) as scope:
            async with store.lock("n", 30.0):
                pytest.fail("two are inside")
        assert scope.cancelled_caught
    assert holder.wait(PATIENCE_S) != 0
    async with AsyncExitStack() as held:
        with anyio.fail_after(PATIENCE_S):
            await held.enter_async_context(store.lock("n", 30.0))
