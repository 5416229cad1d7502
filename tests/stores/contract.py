"""What every ``RecordStore`` promises, as tests.

A store's test module subclasses ``RecordStoreContract`` and gives it a ``stores``
fixture: two stores that see the same records, as two processes would (a store that
lives in one process gives itself twice), and a ``clock`` that both go by.
"""

from __future__ import annotations

from contextlib import AsyncExitStack

import anyio
import anyio.lowlevel
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atproto_oauth_asgi.stores import Lease, RecordStore

Stores = tuple[RecordStore, RecordStore]

LEASE_S = 30.0
SOON_S = 10.0
ODD_KEYS = ["", "*", "a:b", "a\0b", "%", "'; DROP TABLE records; --", "é" * 500, "\n"]


class ManualClock:
    """Unix seconds that pass when they are told to."""

    def __init__(self, now: float = 1_790_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.anyio
class RecordStoreContract:
    """Subclass it in a test module, and give it the two fixtures."""

    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest.fixture
    def stores(self, clock: ManualClock) -> Stores:
        raise NotImplementedError

    @pytest.fixture
    def store(self, stores: Stores) -> RecordStore:
        return stores[0]

    # --- load, save, delete ----------------------------------------------------

    async def test_load_when_saved_then_gives_value_and_end(
        self, stores: Stores, clock: ManualClock
    ) -> None:
        """What one user of the store saves another one loads, byte for byte."""
        one, other = stores
        expires_at = clock() + SOON_S
        value = bytes(range(256))
        version = await one.save("session", "k", value, expires_at=expires_at)
        record = await other.load("session", "k")
        assert record is not None
        assert (record.value, record.version) == (value, version)
        assert record.expires_at == pytest.approx(expires_at, abs=0.01)

    async def test_load_when_nothing_was_saved_then_none(
        self, store: RecordStore, clock: ManualClock
    ) -> None:
        """Kind and key both name a record; no other one is given back."""
        await store.save("session", "k", b"v", expires_at=clock() + SOON_S)
        assert await store.load("session", "other") is None
        assert await store.load("other", "k") is None
        assert await store.load("sessionk", "") is None
        assert await store.load("k", "session") is None

    async def test_delete_when_done_then_record_is_gone(
        self, stores: Stores, clock: ManualClock
    ) -> None:
        """A deleted record is gone for everybody; deleting nothing is no error."""
        one, other = stores
        await one.save("session", "k", b"v", expires_at=clock() + SOON_S)
        await one.save("pending", "k", b"w", expires_at=clock() + SOON_S)
        await other.delete("session", "k")
        await other.delete("session", "k")
        assert await one.load("session", "k") is None
        assert await one.load("pending", "k") is not None

    @pytest.mark.covers("STORE-04", "STORE-05")
    async def test_save_when_texts_are_odd_then_keeps_them_apart(
        self, store: RecordStore, clock: ManualClock
    ) -> None:
        """No key is a pattern, a command or another key's prefix."""
        for number, key in enumerate(ODD_KEYS):
            await store.save(
                "pending", key, b"%d" % number, expires_at=clock() + 9, owner=key
            )
        for number, key in enumerate(ODD_KEYS):
            record = await store.load("pending", key)
            assert record is not None
            assert record.value == b"%d" % number
            assert list(await store.keys("pending", key)) == [key]
        await store.delete("pending", "*")
        await store.delete("pending", "%")
        assert await store.load("pending", "a:b") is not None

    async def test_save_when_record_exists_then_replaces_all_of_it(
        self, store: RecordStore, clock: ManualClock
    ) -> None:
        """Value, end and owner are those of the last save."""
        await store.save("session", "k", b"a", expires_at=clock() + 9, owner="o")
        await store.save("session", "k", b"", expires_at=clock() + 99)
        clock.advance(50)
        record = await store.load("session", "k")
        assert record is not None
        assert record.value == b""
        assert not await store.keys("session", "o")

    @pytest.mark.covers("STORE-06")
    async def test_any_method_when_record_expired_then_there_is_none(
        self, store: RecordStore, clock: ManualClock
    ) -> None:
        """A record ends at its end, whether or not anybody has swept."""
        for key in "abcd":
            await store.save(
                "session", key, b"v", expires_at=clock() + SOON_S, owner="o"
            )
        clock.advance(SOON_S - 0.5)
        assert await store.load("session", "a") is not None
        clock.advance(0.5)
        assert await store.load("session", "a") is None
        assert await store.take("session", "b") is None
        assert not await store.keys("session", "o")
        later = clock() + SOON_S
        saved = [
            await store.save("session", "c", b"w", expires_at=later, if_version=0),
            await store.save("session", "c", b"w", expires_at=clock() - 1),
        ]
        assert None not in saved
        assert await store.load("session", "c") is None

    async def test_keys_when_asked_then_lists_the_owners_only(
        self, stores: Stores, clock: ManualClock
    ) -> None:
        """An owner's records of one kind are found, no others."""
        one, other = stores
        end = clock() + SOON_S
        for key in "abc":
            await one.save("session", key, b"v", expires_at=end, owner="alice")
        await one.save("session", "d", b"v", expires_at=end, owner="eve")
        await one.save("session", "e", b"v", expires_at=end)
        await one.save("pending", "f", b"v", expires_at=end, owner="alice")
        await one.delete("session", "b")
        assert sorted(await other.keys("session", "alice")) == ["a", "c"]
        assert list(await other.keys("session", "eve")) == ["d"]
        assert not await other.keys("session", "")
        assert not await other.keys("session", "ali")

    # --- versions --------------------------------------------------------------

    async def test_save_when_version_is_given_then_writes_only_over_it(
        self, stores: Stores, clock: ManualClock
    ) -> None:
        """Who has not seen the newest record does not overwrite it."""
        one, other = stores
        end = clock() + SOON_S
        assert await one.save("s", "k", b"a", expires_at=end, if_version=7) is None
        first = await one.save("s", "k", b"a", expires_at=end, if_version=0)
        assert first is not None
        assert first > 0
        assert await other.save("s", "k", b"b", expires_at=end, if_version=0) is None
        second = await other.save("s", "k", b"c", expires_at=end, if_version=first)
        assert second not in {None, first}
        assert await one.save("s", "k", b"d", expires_at=end, if_version=first) is None
        record = await one.load("s", "k")
        assert record is not None
        assert (record.value, record.version) == (b"c", second)

    async def test_save_when_record_was_made_anew_then_old_versions_stay_old(
        self, store: RecordStore, clock: ManualClock
    ) -> None:
        """A version that was once given out never fits a later record."""
        end = clock() + SOON_S
        first = await store.save("s", "k", b"a", expires_at=end)
        await store.delete("s", "k")
        assert (
            await store.save("s", "k", b"b", expires_at=end, if_version=first) is None
        )
        second = await store.save("s", "k", b"b", expires_at=end)
        await store.take("s", "k")
        third = await store.save("s", "k", b"c", expires_at=end, if_version=0)
        assert len({first, second, third, None}) == 4

    # --- one winner ------------------------------------------------------------

    @pytest.mark.covers("STORE-03")
    async def test_take_when_many_try_then_one_gets_it(
        self, stores: Stores, clock: ManualClock
    ) -> None:
        """A single-use record is used once, whoever comes when."""
        await stores[0].save("pending", "k", b"v", expires_at=clock() + SOON_S)
        taken: list[bytes] = []

        async def take(store: RecordStore) -> None:
            record = await store.take("pending", "k")
            if record is not None:
                taken.append(record.value)

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(take, stores[number % 2])
        assert taken == [b"v"]
        assert await stores[1].load("pending", "k") is None

    @pytest.mark.covers("STORE-03")
    @pytest.mark.parametrize("exists", [False, True])
    async def test_save_when_many_compete_then_one_wins(
        self, stores: Stores, clock: ManualClock, exists: bool
    ) -> None:
        """Of several who saw the same state, one may change it."""
        end = clock() + SOON_S
        seen = 0
        if exists:
            seen = await stores[0].save("s", "k", b"first", expires_at=end) or -1
        winners: list[int] = []

        async def save(number: int) -> None:
            store = stores[number % 2]
            value = b"%d" % number
            if await store.save("s", "k", value, expires_at=end, if_version=seen):
                winners.append(number)

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(save, number)
        assert len(winners) == 1
        record = await stores[0].load("s", "k")
        assert record is not None
        assert record.value == b"%d" % winners[0]

    # --- locks -----------------------------------------------------------------

    @pytest.mark.covers("STORE-08")
    async def test_lock_when_many_wait_then_one_is_inside_at_a_time(
        self, stores: Stores
    ) -> None:
        """All get in, one after the other; another name is another lock."""
        inside: list[int] = []
        order: list[int] = []

        async def enter(number: int) -> None:
            async with stores[number % 2].lock("a", LEASE_S):
                inside.append(number)
                assert len(inside) == 1
                await anyio.sleep(0.001)
                inside.remove(number)
                order.append(number)

        async with stores[0].lock("b", LEASE_S), anyio.create_task_group() as tasks:
            for number in range(8):
                tasks.start_soon(enter, number)
        assert sorted(order) == list(range(8))

    @pytest.mark.covers("STORE-08")
    async def test_lock_when_waiter_is_cancelled_then_others_get_on(
        self, stores: Stores
    ) -> None:
        """Waiting ends at a deadline, and leaves nothing locked."""
        one, other = stores
        async with one.lock("a", LEASE_S):
            with anyio.move_on_after(0.02) as scope:
                async with other.lock("a", LEASE_S):
                    pytest.fail("two are inside")
            assert scope.cancelled_caught
        with anyio.fail_after(5):
            async with other.lock("a", LEASE_S):
                pass

    async def test_lock_when_deadline_is_for_entering_then_body_outlives_it(
        self, store: RecordStore
    ) -> None:
        """A caller may limit the waiting alone: no scope of the store stays open."""
        async with AsyncExitStack() as stack:
            with anyio.fail_after(5) as scope:
                await stack.enter_async_context(store.lock("a", LEASE_S))
            scope.cancel()
            await anyio.lowlevel.checkpoint()

    async def test_lock_when_body_fails_then_is_free(self, store: RecordStore) -> None:
        """An error or a cancellation inside gives the lock back, and goes on."""
        with pytest.raises(KeyError):
            async with store.lock("a", LEASE_S):
                raise KeyError
        with anyio.CancelScope() as scope:
            async with store.lock("a", LEASE_S):
                scope.cancel()
                await anyio.sleep(1)
        with anyio.fail_after(5):
            async with store.lock("a", LEASE_S):
                pass

    @pytest.mark.covers("STORE-08", "STORE-11")
    async def test_lock_when_lease_ends_then_others_enter_and_stay(
        self, stores: Stores, clock: ManualClock
    ) -> None:
        """A holder that hangs jams nobody, and frees nothing when it leaves late."""
        one, other = stores
        late, current = one.lock("a", LEASE_S), other.lock("a", LEASE_S)
        old = await late.__aenter__()
        clock.advance(LEASE_S)
        assert old.remaining_s() <= 0
        with anyio.fail_after(5):
            new = await current.__aenter__()
        await late.__aexit__(None, None, None)
        assert new.remaining_s() > 0
        with anyio.move_on_after(0.02) as scope:
            async with one.lock("a", LEASE_S):
                pytest.fail("two are inside")
        assert scope.cancelled_caught
        await current.__aexit__(None, None, None)

    async def test_lock_when_held_then_lease_runs_down(
        self, store: RecordStore, clock: ManualClock
    ) -> None:
        """The holder can see how long it may rely on the lock."""
        async with store.lock("a", LEASE_S) as lease:
            assert isinstance(lease, Lease)
            assert LEASE_S - 5 < lease.remaining_s() <= LEASE_S
            clock.advance(20)
            assert lease.remaining_s() <= LEASE_S - 20
            clock.advance(20)
            assert lease.remaining_s() <= 0

    async def test_lock_when_held_then_records_are_untouched(
        self, store: RecordStore, clock: ManualClock
    ) -> None:
        """Locks have names of their own; the holder uses the store meanwhile."""
        async with store.lock("k", LEASE_S):
            assert await store.load("lock", "k") is None
            await store.save("session", "k", b"v", expires_at=clock() + SOON_S)
        assert await store.load("session", "k") is not None


operations = st.lists(
    st.tuples(
        st.sampled_from(["save", "create", "replace", "take", "delete", "wait"]),
        st.sampled_from("ab"),
        st.integers(0, 20),
    ),
    max_size=30,
)


class RecordStoreModelContract:
    """A store compared with the simplest thing that could be one."""

    @given(operations)
    @settings(
        suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
    )
    @pytest.mark.covers("STORE-03", "STORE-06")
    def test_store_when_used_in_any_order_then_behaves_like_a_dictionary(
        self, steps: list[tuple[str, str, int]]
    ) -> None:
        """No sequence of calls tells a store from a dictionary with times."""
        anyio.run(self._compare, steps)

    def make_store(self, clock: ManualClock) -> RecordStore:
        raise NotImplementedError

    async def _compare(self, steps: list[tuple[str, str, int]]) -> None:
        clock = ManualClock()
        store = self.make_store(clock)
        model: dict[str, tuple[bytes, float, int]] = {}
        for number, (step, key, seconds) in enumerate(steps):
            if step == "wait":
                clock.advance(seconds)
            model = {name: item for name, item in model.items() if item[1] > clock()}
            version = model[key][2] if key in model else 0
            if step in {"take", "delete"}:
                taken = await getattr(store, step)("s", key)
                if step == "take":
                    assert (taken and taken.value) == model.get(key, (None,))[0]
                model.pop(key, None)
            if step in {"save", "create", "replace"}:
                wanted = {"save": None, "create": 0, "replace": version or 99}[step]
                value, end = b"%d" % number, clock() + seconds
                made = await store.save(
                    "s", key, value, expires_at=end, owner="o", if_version=wanted
                )
                assert (made is not None) == (wanted in {None, version})
                if made is not None:
                    model[key] = (value, end, made)
            alive = {name for name, item in model.items() if item[1] > clock()}
            assert set(await store.keys("s", "o")) == alive
