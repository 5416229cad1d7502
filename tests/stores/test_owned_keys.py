"""What people who look after a store can list: every record that has an owner."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest
from typing_extensions import override

from atproto_oauth_asgi.stores import (
    MemoryStore,
    PostgresStore,
    RecordStore,
    RedisStore,
    SQLiteStore,
)
from atproto_oauth_asgi.stores.base import ListsOwnedKeys
from atproto_oauth_asgi.stores.locks import unix_now
from atproto_oauth_asgi.testing.record_stores import ManualClock
from tests.services.servers import PostgresService, RedisService


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """The drivers work on asyncio only."""
    return "asyncio"


class Lists:
    """The promises, for each of our stores."""

    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock(float(round(unix_now())))

    @pytest.fixture
    async def store(self, clock: ManualClock, tmp_path: Path) -> RecordStore:
        raise NotImplementedError

    @pytest.mark.anyio
    async def test_owned_keys_when_listed_then_are_those_of_all_owners(
        self, store: RecordStore, clock: ManualClock
    ) -> None:
        """Every owner's, of this kind alone, as long as they live, odd names or not."""
        lister: ListsOwnedKeys = store  # type: ignore[assignment]
        assert list(await lister.owned_keys("session")) == []
        end = clock() + 1000
        for key, owner in (("a", "alice"), ("b", "bob"), ("\ud800\0*", "bob")):
            await store.save("session", key, b"v", expires_at=end, owner=owner)
        await store.save("session", "nobody's", b"v", expires_at=end)
        await store.save("other", "c", b"v", expires_at=end, owner="alice")
        await store.save("session", "past", b"v", expires_at=clock(), owner="alice")
        found = await lister.owned_keys("session")
        assert sorted(found) == ["a", "b", "\ud800\0*"]
        await store.delete("session", "a")
        assert len(await lister.owned_keys("session")) == 2
        clock.now = end
        assert list(await lister.owned_keys("session")) == []


class TestMemory(Lists):
    @override
    @pytest.fixture
    async def store(self, clock: ManualClock, tmp_path: Path) -> RecordStore:
        return MemoryStore(clock=clock)


class TestSQLite(Lists):
    @override
    @pytest.fixture
    async def store(self, clock: ManualClock, tmp_path: Path) -> RecordStore:
        return SQLiteStore(tmp_path / "records", clock=clock)


class TestRedis(Lists):
    @override
    @pytest.fixture
    async def store(
        self, clock: ManualClock, redis_service: RedisService
    ) -> RecordStore:
        # One that a careless pattern would take for others.
        prefix = f"{secrets.token_hex(4)}*[a-z]?\\:"
        others = RedisStore(redis_service.url, prefix=prefix.replace("*", "x"))
        await others.save(
            "session", "theirs", b"v", expires_at=clock() + 1000, owner="o"
        )
        return RedisStore(redis_service.url, prefix=prefix, clock=clock)

    @pytest.mark.anyio
    async def test_owned_keys_when_there_are_many_then_all_are_listed(
        self, store: RecordStore, clock: ManualClock
    ) -> None:
        """Redis gives them in parts; none of the parts is left out."""
        lister: ListsOwnedKeys = store  # type: ignore[assignment]
        keys = {f"{number:04}" for number in range(700)}
        end = clock() + 1000
        for key in keys:
            await store.save("session", key, b"v", expires_at=end, owner=key)
        assert set(await lister.owned_keys("session")) == keys


class TestPostgres(Lists):
    @override
    @pytest.fixture
    async def store(
        self, clock: ManualClock, postgres_service: PostgresService
    ) -> RecordStore:
        table = f"records_{secrets.token_hex(4)}"
        store = PostgresStore(postgres_service.url, table=table, clock=clock)
        await store.create_table()
        return store
