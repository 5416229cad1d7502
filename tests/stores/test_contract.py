"""The public tests of stores see what is wrong with a store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from inspect import signature
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from typing_extensions import override

from atproto_oauth_asgi.stores import Lease, MemoryStore, Record, RecordStore
from atproto_oauth_asgi.testing.record_stores import ManualClock, RecordStoreContract


async def passes(make_store: Callable[[ManualClock], RecordStore], name: str) -> bool:
    """Whether a store passes a test of the contract."""
    test = getattr(RecordStoreContract(), name)
    clock = ManualClock()
    store = make_store(clock)
    given = {"stores": (store, store), "clock": clock}
    try:
        with anyio.fail_after(1):
            await test(**{each: given[each] for each in signature(test).parameters})
    except (AssertionError, ExceptionGroup, RuntimeError, TimeoutError):
        return False
    return True


class BrokenStore(MemoryStore):
    """A store with its clock at hand, to be spoiled."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock=clock, monotonic=clock)
        self.clock = clock


class GivesExpired(BrokenStore):
    @override
    async def save(self, kind: str, key: str, value: bytes, **more: Any) -> int | None:
        more["expires_at"] = 32_500_000_000.0
        return await super().save(kind, key, value, **more)


class IgnoresVersion(BrokenStore):
    @override
    async def save(self, kind: str, key: str, value: bytes, **more: Any) -> int | None:
        if more.get("if_version"):
            more["if_version"] = None
        return await super().save(kind, key, value, **more)


class IgnoresZero(BrokenStore):
    @override
    async def save(self, kind: str, key: str, value: bytes, **more: Any) -> int | None:
        more["if_version"] = more.get("if_version") or None
        return await super().save(kind, key, value, **more)


class CountsFromOne(BrokenStore):
    """Begins anew with each record, as a column of the row would."""

    @override
    async def delete(self, kind: str, key: str) -> None:
        await super().delete(kind, key)
        self._last_version = 0


class TakesInTwoSteps(BrokenStore):
    @override
    async def take(self, kind: str, key: str) -> Record | None:
        record = await self.load(kind, key)
        await anyio.lowlevel.checkpoint()
        await self.delete(kind, key)
        return record


class ComparesInTwoSteps(BrokenStore):
    @override
    async def save(self, kind: str, key: str, value: bytes, **more: Any) -> int | None:
        condition = more.pop("if_version", None)
        found = await self.load(kind, key)
        await anyio.lowlevel.checkpoint()
        if condition not in {None, found.version if found else 0}:
            return None
        return await super().save(kind, key, value, **more)


class LosesRecords(BrokenStore):
    @override
    async def load(self, kind: str, key: str) -> Record | None:
        return None


class JoinsNames(BrokenStore):
    @override
    async def save(self, kind: str, key: str, value: bytes, **more: Any) -> int | None:
        return await super().save("", kind + key, value, **more)

    @override
    async def load(self, kind: str, key: str) -> Record | None:
        return await super().load("", kind + key)


class KeepsOwner(BrokenStore):
    @override
    async def save(self, kind: str, key: str, value: bytes, **more: Any) -> int | None:
        row = self._rows.get((kind, key))
        more["owner"] = more.get("owner") or (row.owner if row else None)
        return await super().save(kind, key, value, **more)


class ListsAllKinds(BrokenStore):
    @override
    async def keys(self, kind: str, owner: str) -> list[str]:
        return [key for (_, key), row in self._rows.items() if row.owner == owner]


class KeepsText(BrokenStore):
    @override
    async def save(self, kind: str, key: str, value: bytes, **more: Any) -> int | None:
        text = value.decode("utf-8", "replace").encode()
        return await super().save(kind, key, text, **more)


class ExcludesNobody(BrokenStore):
    @override
    @asynccontextmanager
    async def lock(self, key: str, lease_s: float) -> AsyncIterator[Lease]:
        yield Lease(lease_s, clock=self.clock, monotonic=self.clock)


class NeverLetsGo(BrokenStore):
    """A cancelled or failing holder keeps the lock until its lease ends."""

    @override
    @asynccontextmanager
    async def lock(self, key: str, lease_s: float) -> AsyncIterator[Lease]:
        lease = await self._locks._acquire(key, lease_s)
        yield lease
        self._locks._release(key, lease)


class FreesOthers(BrokenStore):
    """Leaving deletes the lock, whoever has it by now."""

    @override
    @asynccontextmanager
    async def lock(self, key: str, lease_s: float) -> AsyncIterator[Lease]:
        async with self._locks.lock(key, lease_s) as lease:
            yield lease
            self._locks._leases.pop(key, None)


class NeverEnds(BrokenStore):
    """A lock without a lease: who hangs, jams everybody."""

    @override
    @asynccontextmanager
    async def lock(self, key: str, lease_s: float) -> AsyncIterator[Lease]:
        async with self._locks.lock(key, 10**9):
            yield Lease(lease_s, clock=self.clock, monotonic=self.clock)


class LeasesForEver(BrokenStore):
    @override
    @asynccontextmanager
    async def lock(self, key: str, lease_s: float) -> AsyncIterator[Lease]:
        async with self._locks.lock(key, lease_s):
            yield Lease(10**9, clock=self.clock, monotonic=self.clock)


class LocksAreRecords(BrokenStore):
    @override
    @asynccontextmanager
    async def lock(self, key: str, lease_s: float) -> AsyncIterator[Lease]:
        end = self.clock() + lease_s
        async with self._locks.lock(key, lease_s) as lease:
            await self.save("lock", key, b"", expires_at=end)
            yield lease


class HoldsScopeOpen(BrokenStore):
    """A task group stays open while the body runs."""

    @override
    @asynccontextmanager
    async def lock(self, key: str, lease_s: float) -> AsyncIterator[Lease]:
        async with self._locks.lock(key, lease_s) as lease, anyio.create_task_group():
            yield lease


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("broken", "seen_by"),
    [
        (LosesRecords, "test_load_when_saved_then_gives_value_and_end"),
        (GivesExpired, "test_any_method_when_record_expired_then_there_is_none"),
        (IgnoresVersion, "test_save_when_version_is_given_then_writes_only_over_it"),
        (IgnoresZero, "test_save_when_many_create_then_one_wins"),
        (
            CountsFromOne,
            "test_save_when_record_was_made_anew_then_old_versions_stay_old",
        ),
        (TakesInTwoSteps, "test_take_when_many_try_then_one_gets_it"),
        (ComparesInTwoSteps, "test_save_when_many_replace_then_one_wins"),
        (
            ComparesInTwoSteps,
            "test_increments_when_many_repeat_them_then_none_is_lost",
        ),
        (JoinsNames, "test_load_when_nothing_was_saved_then_none"),
        (JoinsNames, "test_save_when_texts_are_odd_then_keeps_them_apart"),
        (KeepsOwner, "test_save_when_record_exists_then_replaces_all_of_it"),
        (ListsAllKinds, "test_keys_when_asked_then_lists_the_owners_only"),
        (KeepsText, "test_load_when_saved_then_gives_value_and_end"),
        (KeepsText, "test_save_when_value_is_long_or_empty_then_comes_back"),
        (ExcludesNobody, "test_lock_when_many_wait_then_one_is_inside_at_a_time"),
        (NeverLetsGo, "test_lock_when_body_fails_then_is_free"),
        (FreesOthers, "test_lock_when_lease_ends_then_others_enter_and_stay"),
        (NeverEnds, "test_lock_when_lease_ends_then_others_enter_and_stay"),
        (LeasesForEver, "test_lock_when_held_then_lease_runs_down"),
        (LocksAreRecords, "test_lock_when_held_then_records_are_untouched"),
        (
            HoldsScopeOpen,
            "test_lock_when_deadline_is_for_entering_then_body_outlives_it",
        ),
    ],
)
async def test_contract_when_store_is_broken_then_the_test_of_it_fails(
    broken: Callable[[ManualClock], BrokenStore], seen_by: str
) -> None:
    """Each promise that a store breaks fails the test that is named after it."""
    assert await passes(BrokenStore, seen_by)
    assert not await passes(broken, seen_by)
