"""The stores in memory keep the contract, and stay small."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable

import anyio
import anyio.lowlevel
import pytest
from typing_extensions import override

from atproto_oauth_asgi.crypto.keys import generate_private_key
from atproto_oauth_asgi.models import OAuthSession, OAuthState
from atproto_oauth_asgi.stores import (
    MemorySessionStore,
    MemoryStateStore,
    MemoryStore,
    RecordStore,
)
from tests.stores.contract import (
    ManualClock,
    RecordStoreContract,
    RecordStoreModelContract,
    Stores,
)

KEY = generate_private_key()


def make_state(name: str) -> OAuthState:
    return OAuthState(
        state=name,
        pkce_verifier="v",
        redirect_uri="https://app.example/oauth/callback",
        scope="atproto",
        authserver_iss="https://auth.example",
        dpop_private_key=KEY,
        extra='{"kid":"1"}',
    )


def make_session(did: str, *, access_token: str = "at") -> OAuthSession:
    return OAuthSession(
        did=did,
        pds_url="https://pds.example",
        authserver_iss="https://auth.example",
        access_token=access_token,
        dpop_private_key=KEY,
        scope="atproto",
    )


class TestMemoryStore(RecordStoreContract):
    """One store, used twice: nobody else sees it."""

    @override
    @pytest.fixture
    def stores(self, clock: ManualClock) -> Stores:
        store = MemoryStore(clock=clock, monotonic=clock)
        return store, store


class TestMemoryStoreModel(RecordStoreModelContract):
    """The same, against a model."""

    @override
    def make_store(self, clock: ManualClock) -> RecordStore:
        return MemoryStore(clock=clock, monotonic=clock)


@pytest.mark.anyio
async def test_memory_store_when_made_without_clock_then_goes_by_unix_time() -> None:
    """Without arguments a store is ready to use."""
    store = MemoryStore()
    await store.save("s", "past", b"v", expires_at=1_700_000_000.0)
    await store.save("s", "future", b"v", expires_at=32_500_000_000.0)
    assert await store.load("s", "past") is None
    assert await store.load("s", "future") is not None


@pytest.mark.anyio
async def test_memory_store_when_records_expire_then_memory_is_given_back() -> None:
    """What has expired goes while others are saved; nobody has to ask for it."""
    clock = ManualClock()
    store = MemoryStore(clock=clock)
    await store.save("s", "kept", b"v", expires_at=clock() + 10**6)
    for number in range(5000):
        await store.save("s", str(number), b"v", expires_at=clock() + 10)
        clock.advance(1)
        assert len(store._rows) <= 64
    assert await store.load("s", "kept") is not None


@pytest.mark.anyio
async def test_memory_store_when_records_live_then_none_is_dropped() -> None:
    """Sweeping removes nothing that is alive, however much there is."""
    clock = ManualClock()
    store = MemoryStore(clock=clock)
    for number in range(1000):
        await store.save("s", str(number), b"v", expires_at=clock() + 10, owner="o")
    assert len(await store.keys("s", "o")) == 1000


@pytest.mark.anyio
@pytest.mark.covers("DOS-10")
async def test_memory_store_when_there_is_a_quota_then_the_oldest_make_room() -> None:
    """There are never more; a record that is saved again is the newest."""
    clock = ManualClock()
    store = MemoryStore(max_records=100, clock=clock)
    for number in range(100):
        await store.save("s", str(number), b"v", expires_at=clock() + 10)
    await store.save("s", "0", b"w", expires_at=clock() + 10)
    assert len(store._rows) == 100
    await store.save("s", "100", b"v", expires_at=clock() + 10)
    assert len(store._rows) == 100
    assert await store.load("s", "1") is None
    for key in ("0", "2", "100"):
        assert await store.load("s", key) is not None


def test_memory_store_when_loops_follow_each_other_then_serves_all() -> None:
    """A store outlives event loops, even one that ended while it held a lock."""
    clock = ManualClock()
    store = MemoryStore(clock=clock, monotonic=clock)
    stuck = store.lock("a", 30.0)

    async def hold() -> None:
        await store.save("s", "k", b"v", expires_at=clock() + 100)
        await stuck.__aenter__()

    async def follow() -> bool:
        clock.advance(31)
        with anyio.fail_after(5):
            async with store.lock("a", 30.0):
                return await store.load("s", "k") is not None

    anyio.run(hold, backend="asyncio")
    assert anyio.run(follow, backend="trio")
    assert anyio.run(follow, backend="asyncio")


@pytest.mark.covers("STORE-08")
def test_memory_store_when_threads_share_it_then_one_is_inside_at_a_time() -> None:
    """Event loops in several threads exclude each other too."""
    store = MemoryStore()
    counted = 0

    async def count_up() -> None:
        nonlocal counted
        for _ in range(20):
            async with store.lock("a", 30.0):
                seen = counted
                await anyio.lowlevel.checkpoint()
                counted = seen + 1

    def run() -> None:
        anyio.run(count_up)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counted == 80


@pytest.mark.anyio
async def test_state_store_when_saved_then_gives_the_state_until_it_is_deleted() -> (
    None
):
    """A login in progress is there until it is deleted."""
    store = MemoryStateStore(state_ttl_seconds=600)
    state = make_state("a")
    await store.save_state(state)
    assert await store.get_state("a") is state
    assert await store.get_state("b") is None
    await store.delete_state("a")
    await store.delete_state("a")
    assert await store.get_state("a") is None


@pytest.mark.anyio
async def test_state_store_when_time_is_up_then_has_nothing() -> None:
    """A login that takes too long is forgotten, and gives its memory back."""
    clock = ManualClock()
    store = MemoryStateStore(600, clock=clock)
    await store.save_state(make_state("a"))
    clock.advance(599)
    assert await store.get_state("a") is not None
    clock.advance(1)
    assert await store.get_state("a") is None
    assert await store.take_state("a") is None
    for number in range(1000):
        await store.save_state(make_state(str(number)))
        clock.advance(60)
        assert len(store._states) <= 64


@pytest.mark.anyio
@pytest.mark.covers("DOS-10", "DOS-A10")
async def test_state_store_when_logins_are_begun_and_left_then_stays_small() -> None:
    """A flood of logins pushes out its own beginning, and takes no more memory."""
    store = MemoryStateStore()
    for number in range(10_001):
        await store.save_state(make_state(str(number)))
    assert len(store._states) == 10_000
    assert await store.get_state("0") is None
    assert await store.get_state("1") is not None
    few = MemoryStateStore(max_states=2)
    for name in "abc":
        await few.save_state(make_state(name))
    assert [await few.get_state(name) is None for name in "abc"] == [True, False, False]


@pytest.mark.anyio
@pytest.mark.covers("STORE-03")
async def test_take_state_when_two_try_at_once_then_one_gets_it() -> None:
    """A login is finished once."""
    store = MemoryStateStore()
    await store.save_state(make_state("a"))
    taken = await take_by_many(store.take_state)
    assert len(taken) == 1
    assert await store.get_state("a") is None


async def take_by_many(
    take: Callable[[str], Awaitable[OAuthState | None]],
) -> list[OAuthState]:
    """The states that twenty tasks got for the same key."""
    taken: list[OAuthState] = []

    async def try_it() -> None:
        state = await take("a")
        if state is not None:
            taken.append(state)

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(try_it)
    return taken


@pytest.mark.anyio
async def test_session_store_when_saved_then_gives_the_newest_per_account() -> None:
    """There is one session per account, the last that was saved."""
    store = MemorySessionStore()
    await store.save_session(make_session("did:plc:a"))
    await store.save_session(make_session("did:plc:b"))
    await store.save_session(make_session("did:plc:a", access_token="newer"))
    found = await store.get_session("did:plc:a")
    assert found is not None
    assert found.access_token == "newer"
    await store.delete_session("did:plc:a")
    await store.delete_session("did:plc:a")
    assert await store.get_session("did:plc:a") is None
    assert await store.get_session("did:plc:b") is not None
