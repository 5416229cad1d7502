"""What a store does in a second, beside bare calls of its driver. Not judged.

A bare call keeps no version and no owner, has no expiry, and blocks the event loop in
the case of SQLite.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    ExitStack,
    aclosing,
    asynccontextmanager,
    closing,
)
from pathlib import Path

import psycopg
import redis.asyncio

from atproto_oauth_asgi import PostgresStore, RedisStore, SQLiteStore
from atproto_oauth_asgi.stores import RecordStore
from tests.benchmarks.harness import Case, Figure, Loop, measure
from tests.services.process import ServiceNotInstalledError
from tests.services.servers import PostgresService, RedisService

_KIND, _KEY = "session", "4f" * 32
_VALUE = os.urandom(1800)
_FOREVER = 32_500_000_000.0

Call = Callable[[], Awaitable[object]]
Calls = tuple[Call, Call]
"""One that reads the record, one that writes it."""


def figures(loop: Loop) -> Iterator[Figure]:
    """Give the rates of each store whose server is installed."""
    for name, opened in (
        ("SQLiteStore", _sqlite),
        ("RedisStore", _redis),
        ("PostgresStore", _postgres),
    ):
        try:
            yield from _compare(loop, name, opened())
        except ServiceNotInstalledError as error:
            print(f"{name} is not measured: {error}")


def _compare(
    loop: Loop, name: str, opened: AbstractAsyncContextManager[tuple[Calls, Calls]]
) -> Iterator[Figure]:
    with loop.portal.wrap_async_context_manager(opened) as (bare, ours):
        for which, base, work in zip(("reads", "writes"), bare, ours, strict=True):
            yield measure(
                Case(
                    name=f"{name}: {which} per second",
                    base_name="bare driver",
                    base=base,
                    work=work,
                    target=None,
                    timer=loop.wall_time,
                    is_rate=True,
                )
            )


def _calls(store: RecordStore) -> Calls:
    async def load() -> None:
        await store.load(_KIND, _KEY)

    async def save() -> None:
        await store.save(_KIND, _KEY, _VALUE, expires_at=_FOREVER, owner=_KEY)

    return load, save


@asynccontextmanager
async def _sqlite() -> AsyncIterator[tuple[Calls, Calls]]:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        bare = stack.enter_context(
            closing(sqlite3.connect(Path(folder, "bare"), isolation_level=None))
        )
        bare.execute("PRAGMA journal_mode = WAL")
        bare.execute("PRAGMA synchronous = NORMAL")
        bare.execute("CREATE TABLE records (key PRIMARY KEY, value) WITHOUT ROWID")

        async def write() -> None:
            bare.execute("INSERT OR REPLACE INTO records VALUES (?, ?)", (_KEY, _VALUE))

        async def read() -> None:
            bare.execute("SELECT value FROM records WHERE key = ?", (_KEY,)).fetchone()

        async with aclosing(SQLiteStore(Path(folder, "ours"))) as store:
            await write()
            ours = _calls(store)
            await ours[1]()
            yield (read, write), ours


@asynccontextmanager
async def _redis() -> AsyncIterator[tuple[Calls, Calls]]:
    service = RedisService()
    try:
        service.start()
        bare = redis.asyncio.Redis.from_url(service.url)
        async with aclosing(bare), aclosing(RedisStore(service.url)) as store:

            async def read() -> None:
                await bare.get(_KEY)

            async def write() -> None:
                await bare.set(_KEY, _VALUE)

            await write()
            ours = _calls(store)
            await ours[1]()
            yield (read, write), ours
    finally:
        service.remove()


@asynccontextmanager
async def _postgres() -> AsyncIterator[tuple[Calls, Calls]]:
    service = PostgresService()
    try:
        service.start()
        bare = await psycopg.AsyncConnection.connect(service.url, autocommit=True)
        async with bare, aclosing(PostgresStore(service.url)) as store:
            await bare.execute("CREATE TABLE bare (key text PRIMARY KEY, value bytea)")
            await store.create_table()

            async def read() -> None:
                rows = await bare.execute(
                    "SELECT value FROM bare WHERE key = %s", (_KEY,)
                )
                await rows.fetchone()

            async def write() -> None:
                await bare.execute(
                    "INSERT INTO bare VALUES (%s, %s)"
                    " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                    (_KEY, _VALUE),
                )

            await write()
            ours = _calls(store)
            await ours[1]()
            yield (read, write), ours
    finally:
        service.remove()
