"""What every ``RecordStore`` promises, as tests for a store of one's own.

Subclass it in a test module, and say how two users of the store see it:

    class TestMyStore(RecordStoreContract):
        @pytest.fixture
        def stores(self, clock, tmp_path):
            path = tmp_path / "records"
            return MyStore(path, clock=clock), MyStore(path, clock=clock)

The tests are marked ``anyio``; pytest runs them with the plugin that anyio brings, on
the event loops of the fixture ``anyio_backend``. This module imports pytest.
"""

from __future__ import annotations

import anyio
import pytest

from atproto_oauth_asgi.stores.base import Record, RecordStore
from atproto_oauth_asgi.stores.locks import unix_now
from atproto_oauth_asgi.testing.store_locks import LockContract, ManualClock, expect

__all__ = ["ManualClock", "RecordStoreContract", "Stores"]

Stores = tuple[RecordStore, RecordStore]

_TIME_ROUNDING_S = 0.01

_ODD_TEXTS = (
    *("", " ", "*", "%", "_", "?", "a:b", "a/../b", "{a}b", "a\0b", "a\0", "\n", "A"),
    *("a", "'; DROP TABLE records; --", '"$(a)"', "e\u0301", "\u00e9", "\u00e9" * 500),
    "\ud800",
)


@pytest.mark.anyio
class RecordStoreContract(LockContract):
    """Every promise of ``RecordStore``; give it the fixture ``stores``.

    Two stores that see the same records, as two processes would; a store that lives in
    one process gives itself twice. They go by the fixture ``clock``. A store that goes
    by the clock of a server overrides ``pass_time``, and makes the times shorter.

    Attributes:
        soon_s: in so many seconds records of these tests expire.
        lease_s: so long leases of these tests are.
    """

    soon_s: float = 10.0

    @pytest.fixture
    def clock(self) -> ManualClock:
        """The clock of the stores: begins now, and stands still until it is told."""
        return ManualClock(float(round(unix_now())))

    @pytest.fixture
    def stores(self, clock: ManualClock) -> Stores:
        """Two stores with the same records."""
        raise NotImplementedError  # pragma: no cover - for those who forget theirs

    # --- load, save, delete ----------------------------------------------------------

    async def test_load_when_saved_then_gives_value_and_end(
        self, stores: Stores, clock: ManualClock
    ) -> None:
        """What one user of the store saves another one loads, byte for byte."""
        one, other = stores
        end = clock() + self.soon_s
        value = bytes(range(256))
        version = await one.save("session", "k", value, expires_at=end)
        record = _found(await other.load("session", "k"))
        expect(record.value == value, "the bytes come back")
        expect(record.version == version, "the version is the one that save returned")
        expect(abs(record.expires_at - end) < _TIME_ROUNDING_S, "the end comes back")

    async def test_load_when_nothing_was_saved_then_none(
        self, stores: Stores, clock: ManualClock
    ) -> None:
        """Kind and key both name a record; no other one is given back."""
        store = stores[0]
        await store.save("session", "k", b"v", expires_at=clock() + self.soon_s)
        for kind, key in (("session", "l"), ("l", "k"), ("sessionk", ""), ("k", "k")):
            expect(
                await store.load(kind, key) is None, f"{kind!r} {key!r} is no record"
            )
            expect(
                await store.take(kind, key) is None, f"{kind!r} {key!r} is no record"
            )
            await store.delete(kind, key)
        expect(await store.load("session", "k") is not None, "the record stays")

    async def test_save_when_value_is_long_or_empty_then_comes_back(
        self, stores: Stores, clock: ManualClock
    ) -> None:
        """A value has no form and no usual length."""
        for value in (b"", b"\0", b"\xff" * 300_000):
            await stores[0].save("s", "k", value, expires_at=clock() + self.soon_s)
            record = _found(await stores[1].load("s", "k"))
            expect(record.value == value, f"{len(value)} bytes come back")

    async def test_delete_when_done_then_record_is_gone(
        self, stores: Stores, clock: ManualClock
    ) -> None:
        """A deleted record is gone for everybody; deleting nothing is no error."""
        one, other = stores
        end = clock() + self.soon_s
        await one.save("session", "k", b"v", expires_at=end, owner="o")
        await one.save("pending", "k", b"w", expires_at=end, owner="o")
        await other.delete("session", "k")
        await other.delete("session", "k")
        expect(await one.load("session", "k") is None, "it is gone")
        expect(not await one.keys("session", "o"), "its owner has it no more")
        expect(await one.load("pending", "k") is not None, "other kinds stay")

    async def test_save_when_texts_are_odd_then_keeps_them_apart(
        self, stores: Stores, clock: ManualClock
    ) -> None:
        """No text is a pattern, a command, another one's prefix or too odd."""
        store = stores[0]
        end = clock() + self.soon_s
        for number, text in enumerate(_ODD_TEXTS):
            value = b"%d" % number
            await store.save("pending", text, value, expires_at=end, owner=text)
            await store.save(text, "k", value, expires_at=end)
        for number, text in enumerate(_ODD_TEXTS):
            value = b"%d" % number
            by_key = _found(await store.load("pending", text))
            expect(by_key.value == value, f"the key {text!r} is its own")
            by_kind = _found(await store.load(text, "k"))
            expect(by_kind.value == value, f"the kind {text!r} is its own")
            keys = list(await store.keys("pending", text))
            expect(keys == [text], f"the owner {text!r} is its own")
        for text in ("*", "%", "", "_"):
            await store.delete("pending", text)
        expect(await store.load("pending", "a:b") is not None, "the others stay")

    async def test_save_when_record_exists_then_replaces_all_of_it(
        self, stores: Stores, clock: ManualClock
    ) -> None:
        """Value, end and owner are those of the last save."""
        store = stores[0]
        now = clock()
        await store.save("s", "k", b"a", expires_at=now + self.soon_s, owner="o")
        await store.save("s", "k", b"b", expires_at=now + 9 * self.soon_s)
        expect(not await store.keys("s", "o"), "the former owner has it no more")
        await self.pass_time(clock, 2 * self.soon_s)
        record = _found(await store.load("s", "k"))
        expect(record.value == b"b", "the new value is there, until the new end")
        end = clock() + self.soon_s
        await store.save("s", "k", b"c", expires_at=end, owner="p")
        expect(list(await store.keys("s", "p")) == ["k"], "the new owner has it")

    # --- expiry ----------------------------------------------------------------------

    async def test_any_method_when_record_expired_then_there_is_none(
        self, stores: Stores, clock: ManualClock
    ) -> None:
        """A record ends at its end, whether or not anybody has swept."""
        store = stores[0]
        end = clock() + self.soon_s
        versions = {
            key: await store.save("s", key, b"v", expires_at=end, owner="o")
            for key in "abcde"
        }
        await self.pass_time(clock, 0.9 * self.soon_s)
        expect(await store.load("s", "a") is not None, "alive until its end")
        await self.pass_time(clock, 0.1 * self.soon_s)
        expect(await store.load("s", "a") is None, "at its end it is gone: load")
        expect(await store.take("s", "b") is None, "at its end it is gone: take")
        expect(not await store.keys("s", "o"), "at its end it is gone: keys")
        later = clock() + self.soon_s
        made = await store.save(
            "s", "d", b"w", expires_at=later, if_version=versions["d"]
        )
        expect(made is None, "its version fits no more")
        made = await store.save("s", "c", b"w", expires_at=later, if_version=0)
        expect(made not in {None, versions["c"]}, "there is none, so one may be made")

    async def test_save_when_the_end_is_past_then_leaves_no_record(
        self, stores: Stores, clock: ManualClock
    ) -> None:
        """A record that is over when it is saved replaces the one that was there."""
        store = stores[0]
        await store.save("s", "k", b"v", expires_at=clock() + self.soon_s, owner="o")
        made = await store.save("s", "k", b"w", expires_at=clock() - 1, owner="o")
        expect(made is not None, "it was saved")
        expect(await store.load("s", "k") is None, "and is over")
        expect(not await store.keys("s", "o"), "for its owner, too")

    # --- owners ----------------------------------------------------------------------

    async def test_keys_when_asked_then_lists_the_owners_only(
        self, stores: Stores, clock: ManualClock
    ) -> None:
        """An owner's records of one kind are found, no others."""
        one, other = stores
        end = clock() + self.soon_s
        for key in "abcd":
            await one.save("session", key, b"v", expires_at=end, owner="alice")
        await one.save("session", "e", b"v", expires_at=end, owner="eve")
        await one.save("session", "f", b"v", expires_at=end)
        await one.save("pending", "g", b"v", expires_at=end, owner="alice")
        await one.delete("session", "b")
        await one.take("session", "d")
        keys = sorted(await other.keys("session", "alice"))
        expect(keys == ["a", "c"], "those that are there, each once")
        expect(list(await other.keys("session", "eve")) == ["e"], "hers only")
        for nobody in ("", "ali", "alic%", "None"):
            expect(not await other.keys("session", nobody), f"{nobody!r} has none")

    # --- versions --------------------------------------------------------------------

    async def test_save_when_version_is_given_then_writes_only_over_it(
        self, stores: Stores, clock: ManualClock
    ) -> None:
        """Who has not seen the newest record does not overwrite it."""
        one, other = stores
        end = clock() + self.soon_s
        made = await one.save("s", "k", b"a", expires_at=end, if_version=7)
        expect(made is None, "where there is none, only 0 fits")
        expect(await one.load("s", "k") is None, "nothing was written")
        first = await one.save("s", "k", b"a", expires_at=end, if_version=0)
        expect(first is not None and first > 0, "a version is positive")
        made = await other.save("s", "k", b"b", expires_at=end, if_version=0)
        expect(made is None, "where there is one, 0 does not fit")
        second = await other.save("s", "k", b"c", expires_at=end, if_version=first)
        expect(second not in {None, first}, "a save gives a new version")
        made = await one.save(
            "s", "k", b"d", expires_at=end + 9, owner="o", if_version=first
        )
        expect(made is None, "an old version does not fit")
        record = _found(await one.load("s", "k"))
        expect((record.value, record.version) == (b"c", second), "nothing has changed")
        expect(abs(record.expires_at - end) < _TIME_ROUNDING_S, "nor the end")
        expect(not await one.keys("s", "o"), "nor the owner")

    async def test_save_when_record_was_made_anew_then_old_versions_stay_old(
        self, stores: Stores, clock: ManualClock
    ) -> None:
        """A version that was once given out never fits a later record."""
        one, other = stores
        end = clock() + self.soon_s
        seen = [await one.save("s", "k", b"a", expires_at=end)]
        await one.delete("s", "k")
        made = await one.save("s", "k", b"b", expires_at=end, if_version=seen[0])
        expect(made is None, "a deleted record has no version")
        seen.append(await other.save("s", "k", b"b", expires_at=end))
        await other.take("s", "k")
        seen.append(await one.save("s", "k", b"c", expires_at=end, if_version=0))
        await one.save("s", "k", b"d", expires_at=clock() - 1)
        seen.append(await other.save("s", "k", b"e", expires_at=end, if_version=0))
        seen.append(await other.save("s", "k", b"e", expires_at=end))
        expect(len({None, *seen}) == len(seen) + 1, "all versions differ")

    # --- one winner ------------------------------------------------------------------

    async def test_take_when_many_try_then_one_gets_it(
        self, stores: Stores, clock: ManualClock
    ) -> None:
        """A single-use record is used once, whoever comes when."""
        end = clock() + self.soon_s
        await stores[0].save("pending", "k", b"v", expires_at=end, owner="o")
        taken: list[Record] = []

        async def take(store: RecordStore) -> None:
            record = await store.take("pending", "k")
            if record is not None:
                taken.append(record)

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(take, stores[number % 2])
        expect([each.value for each in taken] == [b"v"], "one has it, with its value")
        expect(await stores[1].load("pending", "k") is None, "it is gone")
        expect(not await stores[1].keys("pending", "o"), "its owner has it no more")

    async def test_save_when_many_create_then_one_wins(
        self, stores: Stores, clock: ManualClock
    ) -> None:
        """Of several who saw that there is none, one makes it."""
        await self._compete(stores, seen=0, end=clock() + self.soon_s)

    async def test_save_when_many_replace_then_one_wins(
        self, stores: Stores, clock: ManualClock
    ) -> None:
        """Of several who saw the same record, one changes it."""
        end = clock() + self.soon_s
        seen = await stores[0].save("s", "k", b"first", expires_at=end)
        await self._compete(stores, seen=seen or -1, end=end)

    async def _compete(self, stores: Stores, *, seen: int, end: float) -> None:
        winners: list[bytes] = []

        async def save(number: int) -> None:
            store, value = stores[number % 2], b"%d" % number
            if await store.save("s", "k", value, expires_at=end, if_version=seen):
                winners.append(value)

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(save, number)
        record = _found(await stores[0].load("s", "k"))
        expect(winners == [record.value], "one has won, and its value is there")

    async def test_increments_when_many_repeat_them_then_none_is_lost(
        self, stores: Stores, clock: ManualClock
    ) -> None:
        """Reading, and writing over what was read, counts right among many."""
        end = clock() + self.soon_s

        async def increment(store: RecordStore) -> None:
            while True:
                record = await store.load("s", "n")
                value = b"%d" % (int(record.value if record else 0) + 1)
                seen = record.version if record else 0
                if await store.save("s", "n", value, expires_at=end, if_version=seen):
                    return

        async with anyio.create_task_group() as tasks:
            for number in range(10):
                tasks.start_soon(increment, stores[number % 2])
        record = _found(await stores[0].load("s", "n"))
        expect(record.value == b"10", "ten were counted")


def _found(record: Record | None) -> Record:
    """Return a record that has to be there."""
    if record is None:
        message = "there is no record"
        raise AssertionError(message)
    return record
