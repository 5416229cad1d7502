"""``RedisStore`` on a real Redis keeps the contract, and its own promises."""

from __future__ import annotations

import math
import secrets
import subprocess
import sys
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

import anyio
import pytest
import redis
from anyio.abc import SocketStream
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import RedisError
from typing_extensions import override

from atproto_oauth_asgi.exceptions import ConfigurationError, StoreError
from atproto_oauth_asgi.stores import redis_server
from atproto_oauth_asgi.stores.base import Record
from atproto_oauth_asgi.stores.locks import unix_now
from atproto_oauth_asgi.stores.redis import RedisStore
from atproto_oauth_asgi.stores.remote import digest_of
from atproto_oauth_asgi.testing.record_stores import (
    ManualClock,
    RecordStoreContract,
    Stores,
)
from tests.services.servers import RedisClusterService, RedisService
from tests.stores.model import RecordStoreMachine


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """The driver works on asyncio only."""
    return "asyncio"


@pytest.fixture
def prefix() -> str:
    return f"{secrets.token_hex(4)}:"


@pytest.fixture
def server(redis_service: RedisService) -> Iterator[redis.Redis]:
    """A look at the server from outside."""
    with redis.Redis.from_url(redis_service.url) as client:
        yield client


@pytest.fixture
async def store(redis_service: RedisService, prefix: str) -> AsyncIterator[RedisStore]:
    async with aclosing(RedisStore(redis_service.url, prefix=prefix)) as store:
        yield store


@pytest.mark.covers("STORE-03", "STORE-04", "STORE-06", "STORE-08")
class TestRedisStore(RecordStoreContract):
    """Two stores with connections of their own, on one server."""

    @override
    @pytest.fixture
    async def stores(
        self, clock: ManualClock, redis_service: RedisService, prefix: str
    ) -> AsyncIterator[Stores]:
        one, other = (
            RedisStore(redis_service.url, prefix=prefix, clock=clock) for _ in range(2)
        )
        async with aclosing(one), aclosing(other):
            yield one, other

    @pytest.fixture(autouse=True)
    def outside(self, server: redis.Redis) -> None:
        self.server = server

    @override
    async def pass_time(self, clock: ManualClock, seconds: float) -> None:
        """Locks go by the clock of the server: there they become older."""
        clock.advance(seconds)
        for name in self.server.scan_iter("*lock:*"):
            rest_ms = self.server.pttl(name) - math.ceil(1000 * seconds)
            self.server.pexpire(name, max(0, rest_ms))


class TestRedisStoreModel:
    """The same, against a model."""

    def test_store_when_used_in_any_order_then_behaves_like_a_dictionary(
        self, redis_service: RedisService
    ) -> None:
        """No sequence of calls tells a store from a dictionary with times."""

        class Machine(RecordStoreMachine):
            @override
            def make_store(self, clock: ManualClock) -> RedisStore:
                prefix = f"{secrets.token_hex(4)}:"
                return RedisStore(redis_service.url, prefix=prefix, clock=clock)

        few = settings(max_examples=15, stateful_step_count=30)
        run_state_machine_as_test(Machine, settings=few)


# --- What lies on the server ---------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.covers("STORE-06")
async def test_save_when_done_then_the_server_forgets_by_itself(
    store: RedisStore, server: redis.Redis, prefix: str
) -> None:
    """Everything has an end on the server too, but for the counter of versions."""
    end = unix_now() + 600
    await store.save("s", "k", b"v", expires_at=end, owner="o")
    await store.save("s", "l", b"v", expires_at=end - 300, owner="o")
    async with store.lock("a", 30):
        rests = {
            name.decode().partition("}")[2].partition(":")[0]: server.ttl(name)
            for name in server.scan_iter(f"{prefix}*")
        }
    assert rests.pop("version") == -1
    assert rests.keys() == {"record", "owner", "lock"}
    assert 200 < rests["record"] <= 600
    assert 600 + 3500 < rests["owner"] <= 600 + 3601
    assert 0 < rests["lock"] <= 30


@pytest.mark.anyio
async def test_save_when_the_end_is_far_then_is_kept(store: RedisStore) -> None:
    """No time is too long for the server."""
    for end in (32_500_000_000.0, 1e18, math.inf):
        await store.save("s", "k", b"v", expires_at=end, owner="o")
        record = await store.load("s", "k")
        assert record is not None
        assert record.expires_at == end
        assert await store.keys("s", "o") == ["k"]


@pytest.mark.anyio
@pytest.mark.covers("STORE-04")
async def test_store_when_used_then_its_keys_are_its_own_and_in_one_slot(
    store: RedisStore, server: redis.Redis, prefix: str, redis_service: RedisService
) -> None:
    """Another prefix is another store; what a user chose is in no key."""
    await store.save("s", "evil*", b"v", expires_at=unix_now() + 600, owner="evil?")
    async with store.lock("evil[", 30):
        names = list(server.scan_iter(f"{prefix}*"))
    assert len(names) == 4
    assert not [name for name in names if b"evil" in name]
    assert len({key_slot(name) for name in names}) == 1
    async with aclosing(RedisStore(redis_service.url, prefix=f"{prefix}2")) as other:
        assert await other.load("s", "evil*") is None
        assert not await other.keys("s", "evil?")


@pytest.mark.anyio
@pytest.mark.covers("STORE-12")
async def test_store_when_the_server_was_flushed_then_records_are_gone_and_no_more(
    own_redis: RedisService,
) -> None:
    """Nobody is logged in, nothing fails, and no old version fits a new record."""
    end = unix_now() + 600
    async with aclosing(RedisStore(own_redis.url)) as store:
        first = await store.save("s", "k", b"v", expires_at=end, owner="o")
        with redis.Redis.from_url(own_redis.url) as server:
            server.flushall()
            server.script_flush()
        assert await store.load("s", "k") is None
        assert await store.take("s", "k") is None
        assert await store.keys("s", "o") == []
        assert (
            await store.save("s", "k", b"v", expires_at=end, if_version=first) is None
        )
        second = await store.save("s", "k", b"w", expires_at=end, if_version=0)
        assert second is not None
        assert first is not None
        assert second > first


@pytest.mark.anyio
async def test_save_when_the_server_is_full_then_store_error_and_nothing_is_lost(
    own_redis: RedisService,
) -> None:
    """What could not be written leaves what was there."""
    end = unix_now() + 600
    async with aclosing(RedisStore(own_redis.url)) as store:
        await store.save("s", "k", b"v", expires_at=end, owner="o")
        with redis.Redis.from_url(own_redis.url) as server:
            server.config_set("maxmemory", 1)
        with pytest.raises(StoreError, match="OutOfMemoryError"):
            await store.save("s", "k", b"w", expires_at=end)
        record = await store.load("s", "k")
        assert record is not None
        assert record.value == b"v"
        assert await store.keys("s", "o") == ["k"]
        assert await store.take("s", "k") == record


@pytest.mark.anyio
async def test_save_when_the_clock_of_the_server_was_set_back_then_versions_go_on(
    store: RedisStore, server: redis.Redis, prefix: str
) -> None:
    """A version is never given out twice."""
    end = unix_now() + 600
    made = await store.save("s", "k", b"v", expires_at=end)
    assert made is not None
    server.set(f"{prefix}{{{prefix}}}version", made + 10**9)
    after = [await store.save("s", "k", b"v", expires_at=end) for _ in range(2)]
    assert after == [made + 10**9 + 1, made + 10**9 + 2]


@pytest.mark.anyio
@pytest.mark.covers("STORE-07")
async def test_load_when_the_record_is_junk_then_store_error(
    store: RedisStore, server: redis.Redis, prefix: str
) -> None:
    """What others have written there is not taken for a record."""
    await store.save("s", "k", b"v", expires_at=unix_now() + 600)
    [name] = server.scan_iter(f"{prefix}*record:*")
    server.hset(name, "version", b"\x80\x04K\x01.")
    with pytest.raises(StoreError, match="no record"):
        await store.load("s", "k")
    server.hdel(name, "version")
    assert await store.load("s", "k") is None
    server.set(name, b"junk")
    with pytest.raises(StoreError, match="ResponseError"):
        await store.take("s", "k")


@pytest.mark.anyio
async def test_keys_when_records_are_gone_then_the_list_becomes_shorter(
    store: RedisStore, server: redis.Redis, prefix: str
) -> None:
    """What was deleted, moved to another owner, or has expired is not kept for long."""
    now = unix_now()
    for key in ("kept", "deleted", "moved"):
        await store.save("s", key, b"v", expires_at=now + 600, owner="o")
    await store.save("s", "moved", b"v", expires_at=now + 600, owner="p")
    await store.delete("s", "deleted")
    owned = f"{prefix}{{{prefix}}}owner:{digest_of('s', 'o').hex()}"
    assert server.zcard(owned) == 3
    assert await store.keys("s", "o") == ["kept"]
    assert server.zcard(owned) == 1
    server.zadd(owned, {"old": now - 3700, "just over": now - 100})
    await store.save("s", "new", b"v", expires_at=now + 600, owner="o")
    assert server.zrange(owned, 0, -1) == [b"just over", b"kept", b"new"]


@pytest.mark.anyio
async def test_keys_when_there_are_very_many_then_gives_all(store: RedisStore) -> None:
    """An owner may have more records than one script looks at."""
    end = unix_now() + 600
    names = [f"{number:04}" for number in range(1001)]
    for name in names:
        await store.save("s", name, b"v", expires_at=end, owner="o")
    assert sorted(await store.keys("s", "o")) == names


@pytest.mark.anyio
@pytest.mark.covers("STORE-03")
async def test_store_when_on_a_cluster_then_each_method_is_one_step(
    redis_cluster: RedisClusterService,
) -> None:
    """A node of a cluster refuses a script whose keys lie in different slots."""
    client = RedisCluster.from_url(
        redis_cluster.cluster_url, retry=Retry(NoBackoff(), 0)
    )
    end = unix_now() + 600
    async with client:
        store = RedisStore(client)
        made = await store.save("s", "k", b"\xff", expires_at=end, owner="o")
        await store.save("s", "l", b"v", expires_at=end, owner="o")
        assert await store.save("s", "k", b"w", expires_at=end, if_version=0) is None
        assert sorted(await store.keys("s", "o")) == ["k", "l"]
        record = await store.take("s", "k")
        assert record == Record(value=b"\xff", version=made or 0, expires_at=end)
        await store.delete("s", "l")
        assert await store.keys("s", "o") == []
        async with store.lock("a", 30.0):
            with anyio.move_on_after(0.05) as scope:
                async with store.lock("a", 30.0):
                    pytest.fail("two are inside")
            assert scope.cancelled_caught
        async with store.lock("a", 30.0):
            pass


# --- Connections ---------------------------------------------------------------------


@pytest.mark.anyio
async def test_store_when_a_client_is_given_then_uses_it_and_leaves_it_open(
    redis_service: RedisService, prefix: str
) -> None:
    """The client may have been made for other uses, which decode what they get."""
    client = Redis.from_url(
        redis_service.url, decode_responses=True, retry=Retry(NoBackoff(), 0)
    )
    async with client:
        store = RedisStore(client, prefix=prefix)
        value = bytes(range(256))
        await store.save("s", "k", value, expires_at=unix_now() + 600, owner="o")
        await store.aclose()
        record = await store.load("s", "k")
        assert record is not None
        assert record.value == value
        assert await store.keys("s", "o") == ["k"]
        taken = await store.take("s", "k")
        assert taken == record
        async with store.lock("a", 30.0):
            assert await client.ping()


@pytest.mark.anyio
async def test_store_when_the_client_repeats_commands_then_is_refused(
    redis_service: RedisService, redis_cluster: RedisClusterService
) -> None:
    """A repeated take would give nobody the login that the first one took."""
    for client in (
        Redis(unix_socket_path=redis_service.url.removeprefix("unix://")),
        Redis.from_url(redis_service.url, retry_on_error=[RedisError]),
        RedisCluster.from_url(redis_cluster.cluster_url),
    ):
        with pytest.raises(ConfigurationError, match="NoBackoff"):
            RedisStore(client)


@pytest.mark.anyio
async def test_take_when_the_answer_is_lost_then_store_error_and_nothing_is_repeated(
    tmp_path: Path,
) -> None:
    """A second try would find nothing, and call the login taken by somebody else."""
    asked = 0

    async def lose_answer(stream: SocketStream) -> None:
        nonlocal asked
        async with stream:
            async for data in stream:
                if b"EVALSHA" in data:
                    asked += 1
                    return
                await stream.send(b"+OK\r\n" * data.count(b"\r\n$6\r\nCLIENT"))

    listener = await anyio.create_unix_listener(tmp_path / "s")
    store = RedisStore(f"unix://{tmp_path}/s")
    async with listener, aclosing(store), anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, lose_answer)
        with pytest.raises(StoreError):
            await store.take("s", "k")
        tasks.cancel_scope.cancel()
    assert asked == 1


@pytest.mark.anyio
async def test_store_when_calls_are_cancelled_at_any_time_then_connections_last(
    redis_service: RedisService, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled calls neither use up the connections nor mix up the answers."""
    monkeypatch.setattr(redis_server, "_MAX_CONNECTIONS", 2)
    end = unix_now() + 600
    async with aclosing(RedisStore(redis_service.url, prefix=prefix)) as store:
        for key in "abcdef":
            await store.save("s", key, key.encode(), expires_at=end)

        async def load(key: str) -> None:
            record = await store.load("s", key)
            assert record is not None
            assert record.value == key.encode()

        for step in range(100):
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:
                    for key in "abcdef":
                        tasks.start_soon(load, key)
                    await anyio.sleep(step / 20_000)
                    scope.cancel()
        async with anyio.create_task_group() as tasks:
            for key in "abcdef" * 20:
                tasks.start_soon(load, key)


def test_store_when_event_loops_follow_each_other_then_serves_all(
    redis_service: RedisService, prefix: str
) -> None:
    """Each loop gets connections of its own."""
    store = RedisStore(redis_service.url, prefix=prefix)

    async def count() -> int:
        record = await store.load("s", "k")
        number = int(record.value) + 1 if record else 1
        await store.save("s", "k", b"%d" % number, expires_at=unix_now() + 600)
        await store.aclose()
        return number

    assert [anyio.run(count) for _ in range(3)] == [1, 2, 3]


# --- Set-up --------------------------------------------------------------------------


def test_store_when_on_trio_then_says_so(redis_service: RedisService) -> None:
    """The driver would fail in ways that nobody understands."""
    store = RedisStore(redis_service.url)
    with pytest.raises(ConfigurationError, match="asyncio only, not on trio"):
        anyio.run(store.load, "s", "k", backend="trio")


SECRET = "hunter2"
BAD_URLS = [
    f"http://:{SECRET}@localhost",
    f"redis://:{SECRET}/{SECRET}@localhost",
    f"redis://localhost:{SECRET}",
    f"unix://{SECRET}?db={SECRET}",
    SECRET,
    "",
]


@pytest.mark.parametrize("url", BAD_URLS)
def test_store_when_the_url_is_wrong_then_is_refused_without_its_secrets(
    url: str,
) -> None:
    """A slip in a URL does not write the password into a log."""
    with pytest.raises(ConfigurationError, match="RedisStore: not a") as caught:
        RedisStore(url)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("prefix", ["", "a{b", "a}b", "{}"])
def test_store_when_the_prefix_is_wrong_then_is_refused(prefix: str) -> None:
    """A brace would decide which node of a cluster has which key."""
    with pytest.raises(ConfigurationError, match="prefix"):
        RedisStore("redis://localhost", prefix=prefix)


@pytest.mark.anyio
async def test_store_when_the_server_refuses_then_shows_no_password(
    own_redis: RedisService,
) -> None:
    """Neither the error nor the store itself shows what the URL holds."""
    url = own_redis.url.replace("unix://", f"unix://someone:{SECRET}@")
    async with aclosing(RedisStore(url)) as store:
        with pytest.raises(StoreError, match="ConnectionError") as caught:
            await store.load("s", "k")
        assert SECRET not in "".join(traceback.format_exception(caught.value))
        assert SECRET not in repr(store)


@pytest.mark.covers("SUP-05", "ASG-17")
def test_store_when_the_package_is_missing_then_says_how_to_get_it() -> None:
    """Without the extra there is a clear error, and no weaker store instead."""
    program = (
        "import sys\n"
        "import atproto_oauth_asgi, atproto_oauth_asgi.stores as stores\n"
        "names = [getattr(atproto_oauth_asgi, n) for n in atproto_oauth_asgi.__all__]\n"
        "assert 'redis' not in sys.modules and 'psycopg' not in sys.modules\n"
        "sys.modules['redis'] = None\n"
        "try:\n    stores.RedisStore('redis://localhost')\n"
        "except atproto_oauth_asgi.ConfigurationError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.stderr, done.returncode) == ("", 0)
    assert "pip install 'atproto-oauth-asgi[redis]'" in done.stdout
