"""Several processes over one file: nothing is lost, nothing is had twice."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import cycle
from pathlib import Path

import anyio
import pytest

from atproto_oauth_asgi.stores.locks import unix_now
from atproto_oauth_asgi.stores.sqlite import SQLiteStore
from tests.stores.sqlite_worker import FAR

PATIENCE_S = 60
LONG_S = 600.0

Worker = subprocess.Popen[str]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "records.sqlite"


def start(path: Path, task: str, number: int, *, backend: str = "asyncio") -> Worker:
    program = [sys.executable, "-m", "tests.stores.sqlite_worker"]
    return subprocess.Popen(
        [*program, str(path), task, str(number), backend],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def hear(worker: Worker) -> str:
    assert worker.stdout is not None
    return worker.stdout.readline().strip()


def tell(worker: Worker) -> None:
    assert worker.stdin is not None
    worker.stdin.write("\n")
    worker.stdin.flush()


@contextmanager
def workers(
    path: Path, task: str, number: int, *, many: int = 4
) -> Iterator[list[Worker]]:
    """Processes that have all begun before any of them does its task."""
    backends = cycle(["asyncio", "trio"])
    started = [start(path, task, number, backend=next(backends)) for _ in range(many)]
    try:
        for each in started:
            assert hear(each) == "ready"
        for each in started:
            tell(each)
        yield started
    finally:
        for each in started:
            each.kill()
            each.communicate()


def ended_well(started: list[Worker]) -> list[str]:
    """What each has said in the end."""
    said = [each.communicate(timeout=PATIENCE_S)[0].strip() for each in started]
    assert [each.returncode for each in started] == [0] * len(started)
    return said


@pytest.mark.covers("STORE-03")
@pytest.mark.parametrize("task", ["count", "count_locked"])
def test_count_when_four_processes_do_it_then_none_is_lost(
    path: Path, task: str
) -> None:
    """By version or under the lock, also where the file is still to be made."""
    with workers(path, task, 40) as started:
        ended_well(started)
    record = anyio.run(SQLiteStore(path).load, "s", "n")
    assert record is not None
    assert record.value == b"160"


@pytest.mark.covers("STORE-03")
def test_take_when_four_processes_try_then_each_record_is_had_once(path: Path) -> None:
    """A login is finished by one process."""
    names = [str(number) for number in range(100)]

    async def prepare() -> None:
        store = SQLiteStore(path)
        for name in names:
            await store.save("s", name, b"v", expires_at=FAR)
        await store.aclose()

    anyio.run(prepare)
    with workers(path, "take", len(names)) as started:
        had = " ".join(ended_well(started)).split()
    assert sorted(had) == sorted(names)


@pytest.mark.covers("DOS-A13", "STORE-08", "STORE-11")
def test_lock_when_its_holder_is_killed_then_others_enter_after_the_lease(
    path: Path,
) -> None:
    """A process that is gone jams nobody, and nobody enters before its time is over."""

    async def enter_next() -> float:
        with anyio.fail_after(PATIENCE_S):
            async with SQLiteStore(path).lock("a", LONG_S):
                return unix_now()

    with workers(path, "hold", 2, many=1) as (holder,):
        ends_at = float(hear(holder))
        holder.kill()
        assert anyio.run(enter_next) >= ends_at


@pytest.mark.covers("STORE-08")
def test_lock_when_its_holder_is_frozen_then_it_sees_so_and_frees_nothing(
    path: Path,
) -> None:
    """A process that thaws knows that its time is over; leaving frees no other's."""

    async def enter_meanwhile(holder: Worker) -> tuple[float, bool]:
        with anyio.fail_after(PATIENCE_S):
            async with SQLiteStore(path).lock("a", LONG_S):
                holder.send_signal(signal.SIGCONT)
                tell(holder)
                said = ended_well([holder])
                return float(said[0]), await is_held(path)

    with workers(path, "hold", 2, many=1) as (holder,):
        hear(holder)
        holder.send_signal(signal.SIGSTOP)
        left_s, held = anyio.run(enter_meanwhile, holder)
    assert left_s <= 0
    assert held


async def is_held(path: Path) -> bool:
    with anyio.move_on_after(0.2):
        async with SQLiteStore(path).lock("a", LONG_S):
            return False
    return True


@pytest.mark.parametrize("size", [1, 50_000])
def test_save_when_process_is_killed_then_file_is_whole(path: Path, size: int) -> None:
    """What was saved is there, what was not is not, and nothing is half."""
    for _ in range(3):
        with workers(path, "save", size, many=1) as (saver,):
            said = [int(hear(saver)) for _ in range(20)]
            saver.kill()
            rest, _ = saver.communicate()
        # The very last line may have been cut off.
        said += [int(line) for line in rest.split("\n")[:-1]]
        store = SQLiteStore(path)
        one = anyio.run(store.load, "s", "one")
        other = anyio.run(store.load, "s", "other")
        assert one is not None
        assert other is not None
        numbers = [int(each.value[: len(each.value) // size]) for each in (one, other)]
        assert numbers[0] - numbers[1] in {0, 1}
        assert numbers[1] >= said[-1]
        assert one.value == b"%d" % numbers[0] * size
        with closing(sqlite3.connect(path)) as connection:
            found = connection.execute("PRAGMA integrity_check").fetchall()
        assert found == [("ok",)]


def test_file_when_another_process_has_begun_anew_then_its_files_are_taken(
    path: Path,
) -> None:
    """Who comes late to a file that was replaced joins the others, and moves nothing."""
    store = SQLiteStore(path)

    async def prepare() -> None:
        await store.save("s", "k", b"v", expires_at=FAR)
        await store.load("s", "k")

    anyio.run(prepare)
    for each in path.parent.iterdir():
        each.unlink()
    with workers(path, "count", 1, many=1) as started:
        ended_well(started)
    record = anyio.run(store.load, "s", "n")
    assert record is not None
    assert record.value == b"1"
    assert anyio.run(store.load, "s", "k") is None
    anyio.run(store.aclose)
