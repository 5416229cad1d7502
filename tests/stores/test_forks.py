"""A forked child is held up by nobody who is not there."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from atproto_oauth_asgi.stores import MemoryStore, forks
from atproto_oauth_asgi.stores.locks import ProcessLocks

# Each says what to hold at the fork, and what a child does; it is ended if it hangs.
_IN_A_CHILD = """
import os, signal, sys, threading, anyio
from contextlib import ExitStack
from atproto_oauth_asgi.stores import MemoryStore, SQLiteStore
from atproto_oauth_asgi.stores.locks import ProcessLocks

FAR = 32_500_000_000.0

def fork_while(*guards):
    "Fork, while another thread is inside of these guards."
    ready, done = threading.Event(), threading.Event()
    def hold():
        with ExitStack() as held:
            for guard in guards:
                held.enter_context(guard)
            ready.set()
            done.wait()
    holder = threading.Thread(target=hold)
    holder.start()
    ready.wait()
    child = os.fork()
    if child:
        done.set()
        holder.join()
    else:
        signal.alarm(20)
    return child

def result_of(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

async def enter(locks):
    async with locks.lock("a", 600):
        return 0

"""

_HELD_LOCKS = """
locks = ProcessLocks()
store = MemoryStore()
files = SQLiteStore(sys.argv[1])

def enter_all():
    for each in (locks, store, files):
        anyio.run(enter, each)
    os._exit(7 if locks._leases == {} else 1)

async def main():
    async with locks.lock("a", 600), store.lock("a", 600), files._queue.lock("a", 600):
        child = fork_while()
        if child == 0:
            # The event loop of the parent is not for the child to use.
            threading.Thread(target=enter_all).start()
            signal.pause()
        assert result_of(child) == 7
        assert sorted(locks._leases) == ["a"]

anyio.run(main)
"""

_HELD_GUARDS = """
locks = ProcessLocks()
store = MemoryStore()
anyio.run(lambda: store.save("s", "old", b"v", expires_at=FAR))

async def use():
    await enter(locks)
    await enter(store)
    assert await store.load("s", "old") is not None
    await store.save("s", "new", b"v", expires_at=FAR)
    return 7

child = fork_while(locks._guard, store._locks._guard, store._rows.guard)
if child == 0:
    os._exit(anyio.run(use))
assert result_of(child) == 7
assert anyio.run(use) == 7
"""


def run(program: str, *arguments: str) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-W", "ignore::DeprecationWarning"),
            *("-c", _IN_A_CHILD + program, *arguments),
        ],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert (done.stderr, done.returncode) == ("", 0)


@pytest.mark.covers("STORE-11")
def test_locks_when_process_forks_while_they_are_held_then_child_has_none(
    tmp_path: object,
) -> None:
    """The holders are tasks of the parent: they hold there, and nowhere else."""
    run(_HELD_LOCKS, f"{tmp_path}/store.db")


@pytest.mark.covers("STORE-11")
def test_stores_when_another_thread_is_inside_at_the_fork_then_child_gets_on() -> None:
    """That thread is not in the child, and would never come out again."""
    run(_HELD_GUARDS)


def test_forks_when_locks_and_stores_are_gone_then_nothing_is_remembered() -> None:
    """A store that nobody uses any more is not kept alive for children."""
    gc.collect()
    before = len(forks._holders)
    kept = [ProcessLocks(), MemoryStore()]
    assert len(forks._holders) == before + 3
    kept.clear()
    gc.collect()
    assert len(forks._holders) == before
