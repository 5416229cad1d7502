"""The store in a file keeps the contract, and the file to itself."""

from __future__ import annotations

import asyncio  # noqa: TID251 - how applications on asyncio cancel
import gc
import itertools
import logging
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from typing_extensions import override

from atproto_oauth_asgi.exceptions import StoreError
from atproto_oauth_asgi.stores import RecordStore, sqlite_file
from atproto_oauth_asgi.stores.sqlite import SQLiteStore
from atproto_oauth_asgi.stores.sqlite_lock import SQLiteLock
from tests.stores.contract import (
    ManualClock,
    RecordStoreContract,
    RecordStoreModelContract,
    Stores,
)
from tests.stores.sqlite_worker import count

FAR = 32_500_000_000.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "records.sqlite"


class TestSQLiteStore(RecordStoreContract):
    """Two stores over one file, as two processes have them."""

    @override
    @pytest.fixture
    def stores(self, clock: ManualClock, tmp_path: Path) -> Stores:
        one, other = (
            SQLiteStore(tmp_path / "records", clock=clock, monotonic=clock)
            for _ in range(2)
        )
        return one, other


class TestSQLiteStoreModel(RecordStoreModelContract):
    """The same, against a model."""

    max_examples = 25

    @pytest.fixture(autouse=True)
    def paths(self, tmp_path: Path) -> None:
        self._paths = (tmp_path / str(number) for number in itertools.count())

    @override
    def make_store(self, clock: ManualClock) -> RecordStore:
        return SQLiteStore(next(self._paths), clock=clock, monotonic=clock)


@contextmanager
def raw(path: Path) -> Iterator[sqlite3.Connection]:
    """The file, opened by somebody else."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


@contextmanager
def locked(path: Path) -> Iterator[sqlite3.Connection]:
    """The file, while somebody else writes to it."""
    with raw(path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield connection


def rows_in(path: Path, table: str) -> int:
    with raw(path) as connection:
        found = connection.execute(f"SELECT count(*) FROM {table}")
        return int(found.fetchone()[0])


def remove(path: str | Path) -> None:
    Path(path).unlink()


def make_obstacle(path: Path) -> None:
    (path / "in the way").mkdir(parents=True)


def remove_obstacle(path: Path) -> None:
    (path / "in the way").rmdir()
    path.rmdir()


def files_beside(path: Path) -> list[Path]:
    return sorted(path.parent.iterdir())


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- The file ------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.covers("STORE-09")
async def test_file_when_made_then_nobody_else_may_read_it(path: Path) -> None:
    """Its mode is 0600 whatever the umask, and so is that of what lies beside it."""
    before = os.umask(0)
    try:
        store = SQLiteStore(path)
        await store.save("s", "k", b"v", expires_at=FAR)
    finally:
        os.umask(before)
    files = sorted(path.parent.iterdir())
    assert [each.name for each in files] == [
        "records.sqlite",
        "records.sqlite-shm",
        "records.sqlite-wal",
    ]
    assert {mode_of(each) for each in files} == {0o600}
    await store.aclose()
    assert [each.name for each in path.parent.iterdir()] == ["records.sqlite"]


def test_file_when_store_is_only_made_then_is_not_touched(path: Path) -> None:
    """Making a store costs nothing, and opens nothing before a fork."""
    store = SQLiteStore(str(path))
    assert store.path == path
    assert not path.exists()


def test_path_when_working_directory_changes_then_stays_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path is that of the moment when the store was made."""
    monkeypatch.chdir(tmp_path)
    store = SQLiteStore("records.sqlite")
    monkeypatch.chdir("/")
    assert store.path == tmp_path / "records.sqlite"


@pytest.mark.anyio
async def test_path_when_it_is_odd_then_is_but_a_path(tmp_path: Path) -> None:
    """Nothing in a name is an option of SQLite."""
    for name in (":memory:", "file:x?mode=memory", "a b%20?mode=ro#c", "\u00e9"):
        store = SQLiteStore(tmp_path / name)
        await store.save("s", "k", b"v", expires_at=FAR)
        await store.aclose()
        assert (tmp_path / name).stat().st_size > 0


def link(path: Path) -> None:
    path.with_name("target").touch(mode=0o600)
    path.symlink_to("target")


def dangling_link(path: Path) -> None:
    path.symlink_to("nowhere")


def directory(path: Path) -> None:
    path.mkdir()


def pipe(path: Path) -> None:
    os.mkfifo(path, 0o600)


def group_may_write(path: Path) -> None:
    path.touch()
    path.chmod(0o660)


def others_may_write(path: Path) -> None:
    path.touch()
    path.chmod(0o602)


def planted_log(path: Path) -> None:
    log = Path(f"{path}-wal")
    log.touch()
    log.chmod(0o666)


def planted_journal(path: Path) -> None:
    Path(f"{path}-journal").symlink_to("nowhere")


def planted_index(path: Path) -> None:
    Path(f"{path}-shm").symlink_to("nowhere")


def open_directory(path: Path) -> None:
    path.parent.chmod(0o1777)


def no_directory(path: Path) -> None:
    path.parent.rmdir()


@pytest.mark.anyio
@pytest.mark.covers("STORE-09")
@pytest.mark.parametrize(
    ("plant", "reason"),
    [
        (link, "is a link or no file"),
        (dangling_link, "is a link or no file"),
        (directory, "is a link or no file"),
        (pipe, "is a link or no file"),
        (group_may_write, "others may write"),
        (others_may_write, "others may write"),
        (planted_log, "others may write"),
        (planted_journal, "is a link or no file"),
        (planted_index, "is a link or no file"),
        (open_directory, "everybody may write to the directory"),
        (no_directory, "No such file or directory"),
    ],
)
async def test_file_when_others_may_tamper_with_it_then_is_refused(
    tmp_path: Path, plant: Callable[[Path], None], reason: str
) -> None:
    """No link is followed, and nothing is kept where others can change it."""
    path = tmp_path / "own" / "records.sqlite"
    path.parent.mkdir(mode=0o700)
    plant(path)
    store = SQLiteStore(path)
    with pytest.raises(StoreError, match=reason):
        await store.save("s", "k", b"v", expires_at=FAR)
    with pytest.raises(StoreError, match=reason):
        await store.load("s", "k")
    for name in ("target", "nowhere"):
        planted = path.with_name(name)
        assert not planted.exists() or planted.stat().st_size == 0


def other_program(path: Path) -> None:
    with raw(path) as connection:
        connection.execute("CREATE TABLE users (name)")


def newer_version(path: Path) -> None:
    anyio.run(SQLiteStore(path).load, "s", "k")
    with raw(path) as connection:
        connection.execute("PRAGMA user_version = 2")


def no_database(path: Path) -> None:
    path.write_bytes(b"secrets of another program\n" * 200)


def damaged(path: Path) -> None:
    async def fill() -> None:
        store = SQLiteStore(path)
        for key in "abcdefgh":
            await store.save("s", key, b"v" * 4000, expires_at=FAR)
        await store.aclose()

    anyio.run(fill)
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (other_program, "belongs to another program"),
        (newer_version, "was written by a newer version"),
        (no_database, "is not one of SQLite"),
        (damaged, "is damaged"),
    ],
)
def test_file_when_it_is_no_store_then_says_so_and_leaves_it(
    path: Path, write: Callable[[Path], None], reason: str
) -> None:
    """What cannot be read is never taken for an empty store, nor written over."""
    write(path)
    path.chmod(0o600)
    before = path.read_bytes()
    store = SQLiteStore(path)
    with pytest.raises(StoreError, match=reason) as caught:
        anyio.run(store.load, "s", "a")
    assert "secrets" not in str(caught.value)
    with pytest.raises(StoreError, match=reason):
        anyio.run(store.take, "s", "a")
    assert path.read_bytes() == before


@pytest.mark.parametrize("round_", range(5))
def test_file_when_many_make_it_at_once_then_it_is_made_once(
    tmp_path: Path, round_: int
) -> None:
    """Workers that start together do not get into each other's way."""
    path = tmp_path / str(round_)
    start = threading.Barrier(8)
    made: list[int | None] = []

    async def make() -> None:
        store = SQLiteStore(path, timeout_s=30)
        start.wait()
        made.append(await store.save("s", "k", b"v", expires_at=FAR, if_version=0))
        await store.aclose()

    threads = [threading.Thread(target=anyio.run, args=(make,)) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(made) == 8
    assert len([each for each in made if each]) == 1


@pytest.mark.anyio
async def test_file_when_somebody_makes_it_meanwhile_then_it_is_not_made_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who saw an empty file looks again once nobody else can write."""
    first, late = SQLiteStore(path), SQLiteStore(path)
    await first.save("s", "k", b"v", expires_at=FAR)
    looks = iter([True])
    real = sqlite_file._is_empty

    def is_empty(connection: sqlite3.Connection) -> bool:
        return next(looks, False) or real(connection)

    monkeypatch.setattr(sqlite_file, "_is_empty", is_empty)
    assert await late.load("s", "k") is not None
    assert next(looks, None) is None
    await first.aclose()
    await late.aclose()


@pytest.mark.anyio
async def test_file_when_it_is_busy_while_opened_then_is_tried_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite sometimes gives up at once where several change a file to use a log."""
    busy = sqlite3.OperationalError("database is locked")
    busy.sqlite_errorcode = sqlite3.SQLITE_BUSY
    errors = iter([busy, busy])
    real = sqlite_file._set_up

    def set_up(connection: sqlite3.Connection) -> None:
        for error in errors:
            raise error
        real(connection)

    monkeypatch.setattr(sqlite_file, "_set_up", set_up)
    store = SQLiteStore(path, timeout_s=30)
    assert await store.save("s", "k", b"v", expires_at=FAR)
    await store.aclose()


@pytest.mark.anyio
@pytest.mark.parametrize("gone", ["", "-wal", "-shm"])
async def test_file_when_part_of_it_is_removed_then_all_meet_in_a_new_one(
    path: Path, gone: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody goes on with a file that others do not see any more."""
    one, other = SQLiteStore(path), SQLiteStore(path)
    seen = await one.save("s", "k", b"old", expires_at=FAR)
    await other.load("s", "k")
    remove(f"{path}{gone}")
    version = await one.save("s", "k", b"new", expires_at=FAR)
    record = await other.load("s", "k")
    assert record is not None
    assert (record.value, record.version) == (b"new", version)
    assert version != seen
    assert await other.take("s", "k") is not None
    assert await one.load("s", "k") is None
    late = SQLiteStore(path)
    assert await late.save("s", "k", b"x", expires_at=FAR, if_version=0)
    assert await one.load("s", "k") is not None
    assert caplog.messages == ["store begins anew: its files were removed or replaced"]
    names = [each.name for each in files_beside(path)]
    assert ("records.sqlite.damaged" in names) == (gone != "")
    for each in (one, other, late):
        await each.aclose()


@pytest.mark.anyio
async def test_file_when_what_is_left_cannot_be_moved_then_calls_fail_and_recover(
    path: Path,
) -> None:
    """Nobody is kept waiting for what went wrong, and no other error is raised."""
    store = SQLiteStore(path)
    await store.save("s", "k", b"v", expires_at=FAR)
    await store.load("s", "k")
    obstacle = Path(f"{path}.damaged")
    make_obstacle(obstacle)
    remove(f"{path}-shm")
    with anyio.fail_after(20):
        with pytest.raises(StoreError):
            await store.save("s", "k", b"v", expires_at=FAR)
        remove_obstacle(obstacle)
        await succeed(partial(store.save, "s", "k", b"v", expires_at=FAR))
    await store.aclose()


@pytest.mark.anyio
async def test_versions_when_file_was_lost_then_are_not_given_again(path: Path) -> None:
    """Who remembers a version of the lost file overwrites nothing of the new one."""
    store = SQLiteStore(path)
    seen = [await store.save("s", "k", b"v", expires_at=FAR) for _ in range(5)]
    remove(path)
    seen += [await store.save("s", "k", b"v", expires_at=FAR) for _ in range(5)]
    assert len(set(seen)) == 10
    await store.aclose()


# --- Failures ------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.covers("STORE-01")
async def test_file_when_somebody_keeps_it_to_themselves_then_opening_fails_in_time(
    path: Path,
) -> None:
    """A program that looks after the file holds up nobody for longer than was said."""
    store = SQLiteStore(path, timeout_s=0.2)
    await store.load("s", "k")
    await store.aclose()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = DELETE")
        other.execute("BEGIN EXCLUSIVE")
        with anyio.fail_after(10), pytest.raises(StoreError, match="locked"):
            await store.load("s", "k")
        other.execute("ROLLBACK")
    assert await store.save("s", "k", b"v", expires_at=FAR)
    await store.aclose()


@pytest.mark.anyio
async def test_file_when_the_disk_is_another_machines_then_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without memory that processes share, two of them would damage the file."""
    real = sqlite3.connect

    def connect(address: str, **options: Any) -> Any:
        # The part of SQLite that is made for disks of a network has no such memory.
        return real(f"{address}&vfs=unix-dotfile", **options)

    monkeypatch.setattr(sqlite3, "connect", connect)
    store = SQLiteStore(path)
    with pytest.raises(StoreError, match="a disk of this machine"):
        await store.save("s", "k", b"v", expires_at=FAR)
    await store.aclose()


@pytest.mark.anyio
@pytest.mark.covers("STORE-01")
async def test_calls_when_somebody_writes_for_too_long_then_fail_in_time(
    path: Path,
) -> None:
    """Of many who wait each gives up in time; readers do not wait at all."""
    store = SQLiteStore(path, timeout_s=0.3)
    await store.save("s", "k", b"v", expires_at=FAR)
    failed: list[str] = []

    async def save() -> None:
        with pytest.raises(StoreError) as caught:
            await store.save("s", "k", b"w", expires_at=FAR)
        failed.append(str(caught.value))

    with locked(path), anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(save)
            record = await store.load("s", "k")
            assert failed == []
        for call in (store.take("s", "k"), store.delete("s", "k")):
            with pytest.raises(StoreError):
                await call
        with pytest.raises(StoreError):
            async with store.lock("a", 30):
                pytest.fail("inside without a lock")
    assert len(failed) == 100
    assert record is not None
    assert record.value == b"v"
    assert await store.save("s", "k", b"w", expires_at=FAR)
    await store.aclose()


@pytest.mark.anyio
@pytest.mark.covers("STORE-09")
async def test_save_when_it_has_to_wait_then_the_event_loop_goes_on(path: Path) -> None:
    """What another process holds up holds up nobody but the caller."""
    store = SQLiteStore(path, timeout_s=30)
    await store.load("s", "k")
    saved: list[object] = []

    async def save() -> None:
        saved.append(await store.save("s", "k", b"v", expires_at=FAR))

    async with anyio.create_task_group() as tasks:
        with locked(path) as somebody:
            tasks.start_soon(save)
            for _ in range(10):
                await anyio.sleep(0.01)
            assert saved == []
            somebody.execute("ROLLBACK")
    assert saved != [None]
    await store.aclose()


@pytest.mark.anyio
async def test_saves_when_they_have_to_wait_then_the_applications_threads_are_free(
    path: Path,
) -> None:
    """However many wait for the file, they take no thread from anybody."""
    store = SQLiteStore(path, timeout_s=30)
    await store.load("s", "k")

    async def save(number: int) -> None:
        await store.save("s", str(number), b"v", expires_at=FAR, owner="o")

    async with anyio.create_task_group() as tasks:
        with locked(path) as somebody:
            for number in range(100):
                tasks.start_soon(save, number)
            await anyio.sleep(0.05)
            with anyio.fail_after(5):
                await anyio.to_thread.run_sync(int)
            somebody.execute("ROLLBACK")
    assert len(await store.keys("s", "o")) == 100
    await store.aclose()


@pytest.mark.anyio
@pytest.mark.covers("STORE-01")
@pytest.mark.parametrize(
    ("setting", "reason"),
    [("max_page_count = 1", "no room"), ("query_only = 1", "cannot be written")],
)
async def test_save_when_disk_is_full_or_read_only_then_nothing_has_changed(
    path: Path, setting: str, reason: str
) -> None:
    """The error says what is wrong; what was there stays, and all goes on after it."""
    store = SQLiteStore(path)
    await store.save("s", "k", b"v", expires_at=FAR)
    (opened,) = store._writing._opened
    opened.connection.execute(f"PRAGMA {setting}")
    with pytest.raises(StoreError, match=reason):
        await store.save("s", "k", b"w" * 10**6, expires_at=FAR)
    record = await store.load("s", "k")
    assert record is not None
    assert record.value == b"v"
    assert await store.save("s", "k", b"w" * 10**6, expires_at=FAR)
    await store.aclose()


@pytest.mark.anyio
@pytest.mark.covers("STORE-01")
async def test_calls_when_the_disk_hangs_then_fail_in_time(path: Path) -> None:
    """Nobody waits for ever; when the disk answers again all goes on."""
    store = SQLiteStore(path, timeout_s=0.1)
    await store.save("s", "k", b"v", expires_at=FAR)
    begun, disk = threading.Event(), threading.Event()
    failed: list[str] = []

    def hang(_: sqlite3.Connection) -> None:
        begun.set()
        disk.wait()

    async def fail(call: Callable[[], Awaitable[object]]) -> None:
        with pytest.raises(StoreError) as caught:
            await call()
        failed.append(str(caught.value))

    with ExitStack() as at_last, anyio.fail_after(20):
        at_last.callback(disk.set)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fail, partial(store._reading.run, hang))
            await anyio.to_thread.run_sync(begun.wait)
            for _ in range(5):
                tasks.start_soon(fail, partial(store.load, "s", "k"))
        disk.set()
        await succeed(partial(store.load, "s", "k"))
    assert len(failed) == 6
    await store.aclose()


async def succeed(call: Callable[[], Awaitable[object]]) -> None:
    """Call until it works."""
    while True:
        with suppress(StoreError):
            await call()
            return
        await anyio.sleep(0.01)


@pytest.mark.anyio
@pytest.mark.covers("STORE-01")
async def test_calls_when_a_fork_takes_long_then_fail_in_time(path: Path) -> None:
    """Nobody may use the file while a process forks; nobody waits for that too long."""
    store = SQLiteStore(path, timeout_s=0.2)
    store._writing.park()
    with anyio.fail_after(10), pytest.raises(StoreError, match="in use for too long"):
        await store.save("s", "k", b"v", expires_at=FAR)
    store._writing.resume()
    assert await store.save("s", "k", b"v", expires_at=FAR)
    await store.aclose()


@pytest.mark.anyio
async def test_save_when_it_is_called_wrongly_then_later_calls_work(path: Path) -> None:
    """A mistake of the caller leaves nothing half done, and nothing locked."""
    store = SQLiteStore(path)
    with pytest.raises(AttributeError):
        await store.save("s", None, b"v", expires_at=FAR)  # type: ignore[arg-type]
    assert await store.save("s", "k", b"v", expires_at=FAR)
    assert await SQLiteStore(path, timeout_s=0.2).save("s", "l", b"v", expires_at=FAR)
    await store.aclose()


@pytest.mark.anyio
async def test_save_when_the_end_is_no_number_then_nothing_is_kept(path: Path) -> None:
    """No record without an end, and no error of another library."""
    store = SQLiteStore(path)
    with pytest.raises(StoreError):
        await store.save("s", "k", b"v", expires_at=float("nan"))
    assert await store.save("s", "k", b"v", expires_at=FAR, if_version=2**70) is None
    assert await store.load("s", "k") is None
    await store.aclose()


@pytest.mark.anyio
async def test_lock_when_it_cannot_be_given_back_then_the_body_has_not_failed(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What was done inside was done; the lease ends the lock, and the log tells."""
    clock = ManualClock()
    store = SQLiteStore(path, timeout_s=0.05, clock=clock, monotonic=clock)
    with caplog.at_level(logging.WARNING), ExitStack() as jam:
        async with store.lock("a", 30):
            jam.enter_context(locked(path))
        assert "it ends with its lease" in caplog.text
    with anyio.move_on_after(0.05):
        async with store.lock("a", 30):
            pytest.fail("two are inside")
    clock.advance(30)
    with anyio.fail_after(10):
        async with store.lock("a", 30):
            pass
    await store.aclose()


# --- Sweeping ------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.covers("STORE-06")
async def test_rows_when_expired_then_go_while_others_are_saved(path: Path) -> None:
    """The file does not grow with what is over; nothing alive is swept."""
    clock = ManualClock()
    store = SQLiteStore(path, clock=clock, monotonic=clock)
    await store.save("s", "kept", b"v", expires_at=clock() + 10**6)
    for number in range(100):
        await store.save("s", str(number), b"v", expires_at=clock() + 10)
    clock.advance(10)
    assert rows_in(path, "records") == 101
    for saves in range(1, 8):
        await store.save("s", "other", b"v", expires_at=clock() + 10**6)
        assert rows_in(path, "records") == max(2, 102 - 16 * saves)
    assert await store.load("s", "kept") is not None
    await store.aclose()


@pytest.mark.anyio
@pytest.mark.covers("STORE-11")
async def test_locks_when_given_back_or_over_then_leave_no_rows(path: Path) -> None:
    """Names that nobody uses any more take no room, even if their holders died."""
    clock = ManualClock()
    store = SQLiteStore(path, clock=clock, monotonic=clock)
    stuck = [store.lock(str(number), 30.0) for number in range(5)]
    for each in stuck:
        await each.__aenter__()
    async with store.lock("a", 30.0):
        assert rows_in(path, "locks") == 6
    assert rows_in(path, "locks") == 5
    clock.advance(30)
    async with store.lock("a", 30.0):
        assert rows_in(path, "locks") == 1
    assert rows_in(path, "locks") == 0
    await store.aclose()


@pytest.mark.anyio
@pytest.mark.covers("STORE-11")
async def test_lock_when_its_lease_is_over_among_many_then_is_free_at_once(
    path: Path,
) -> None:
    """Nobody waits until all that is over has been swept."""
    clock = ManualClock()
    store = SQLiteStore(path, clock=clock, monotonic=clock)
    stuck = [store.lock(str(number), 30.0) for number in range(40)]
    for each in stuck:
        await each.__aenter__()
    clock.advance(30)
    lock = SQLiteLock(
        key="39", lease_s=30, lane=store._writing, queue=store._queue, clock=clock
    )
    assert await store._writing.run(lock._ask)
    await store.aclose()


# --- Loops, threads, forks -----------------------------------------------------------


def test_store_when_threads_have_loops_of_their_own_then_serves_all(path: Path) -> None:
    """One store, six event loops at a time, and nothing is lost."""
    store = SQLiteStore(path, timeout_s=30)
    backends = ["asyncio", "trio"] * 3
    threads = [
        threading.Thread(
            target=anyio.run, args=(count, store, 20), kwargs={"backend": backend}
        )
        for backend in backends
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    record = anyio.run(store.load, "s", "n")
    assert record is not None
    assert record.value == b"120"
    anyio.run(store.aclose)


def test_store_when_loops_follow_each_other_then_serves_all(path: Path) -> None:
    """A store outlives event loops, even one that ended while it held a lock."""
    clock = ManualClock()
    store = SQLiteStore(path, clock=clock, monotonic=clock)
    stuck = store.lock("a", 30.0)

    async def hold() -> None:
        await store.save("s", "k", b"v", expires_at=clock() + 100)
        await stuck.__aenter__()

    async def follow() -> bool:
        clock.advance(31)
        with anyio.fail_after(10):
            async with store.lock("a", 30.0):
                return await store.load("s", "k") is not None

    anyio.run(hold, backend="asyncio")
    assert anyio.run(follow, backend="trio")
    assert anyio.run(follow, backend="asyncio")
    anyio.run(store.aclose)


FORKING = """
import os, sys, threading, anyio
from atproto_oauth_asgi.stores.sqlite import SQLiteStore
from atproto_oauth_asgi.stores.sqlite_lock import SQLiteLock
from tests.stores.sqlite_worker import count, FAR

store = SQLiteStore(sys.argv[1], timeout_s=30)

async def prepare():
    await store.save("s", "other", b"v", expires_at=FAR)
    await store.load("s", "other")

async def follow():
    async with store.lock("held", 30):
        return len(store._reading._opened) + len(store._writing._opened)

stuck = store.lock("busy", 600)
async def hold():
    await stuck.__aenter__()
    await prepare()

anyio.run(prepare)
busy = threading.Thread(target=anyio.run, args=(count, store, 60))
busy.start()
children = []
for number in range(3):
    child = os.fork()
    if child == 0:
        opened = len(store._reading._opened) + len(store._writing._opened)
        anyio.run(count, store, 20)
        anyio.run(follow)
        os._exit(opened)
    children.append(child)
    anyio.run(prepare)
anyio.run(count, store, 20)
busy.join()
print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
print(anyio.run(store.load, "s", "n").value.decode())
"""


def test_store_when_process_forks_then_all_go_on_with_the_same_file(path: Path) -> None:
    """Nothing is open at a fork, not even while another thread is at work."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKING, str(path)],
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
    )
    assert (done.stderr, done.returncode) == ("", 0)
    assert done.stdout.split("\n")[:2] == ["[0, 0, 0]", "140"]
    with raw(path) as connection:
        found = connection.execute("PRAGMA integrity_check").fetchall()
    assert found == [("ok",)]


@pytest.mark.parametrize("delay_s", [0.0, 0.001, 0.05])
def test_lock_when_asyncio_cancels_the_entering_then_is_not_held(
    path: Path, delay_s: float
) -> None:
    """The thread that still asks for the lock finds that nobody wants it any more."""

    async def enter(store: SQLiteStore) -> None:
        async with store.lock("a", 600):
            await asyncio.sleep(10)

    async def cancel_it() -> None:
        store = SQLiteStore(path, timeout_s=30)
        await store.load("s", "k")
        with locked(path) as somebody:
            entering = asyncio.create_task(enter(store))
            await asyncio.sleep(delay_s)
            entering.cancel()
            await asyncio.sleep(delay_s)
            somebody.execute("ROLLBACK")
            with pytest.raises(asyncio.CancelledError):
                await entering
        async with asyncio.timeout(20):
            async with SQLiteStore(path).lock("a", 600):
                pass
        await store.aclose()

    asyncio.run(cancel_it())


@pytest.mark.anyio
async def test_lock_when_asked_for_after_it_was_left_then_is_not_taken(
    path: Path,
) -> None:
    """A thread that comes late to ask, for one who was cancelled, takes nothing."""
    store = SQLiteStore(path)
    lock = SQLiteLock(
        key="a", lease_s=600, lane=store._writing, queue=store._queue, _may_hold=True
    )
    await lock._leave()
    assert await store._writing.run(lock._ask) is False
    with anyio.fail_after(10):
        async with store.lock("a", 600):
            pass
    await store.aclose()


@pytest.mark.anyio
async def test_store_when_closed_then_a_later_call_opens_it_again(path: Path) -> None:
    """Closing twice is no error, and an application may start anew."""
    store = SQLiteStore(path)
    await store.aclose()
    await store.save("s", "k", b"v", expires_at=FAR)
    await store.aclose()
    await store.aclose()
    assert store._writing._opened == []
    assert await store.load("s", "k") is not None
    await store.aclose()


@pytest.mark.anyio
async def test_store_when_forgotten_then_its_files_are_closed(path: Path) -> None:
    """A store that nobody closes holds no file open when it is gone."""
    store = SQLiteStore(path)
    await store.save("s", "k", b"v", expires_at=FAR)
    (opened,) = store._writing._opened
    connection = opened.connection
    del store, opened
    with anyio.fail_after(10):
        while is_open(connection):
            # A worker thread remembers what it did last until it is given more.
            await anyio.to_thread.run_sync(gc.collect)


def is_open(connection: sqlite3.Connection) -> bool:
    try:
        connection.execute("SELECT 1")
    except sqlite3.ProgrammingError:
        return False
    return True
