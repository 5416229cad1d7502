"""A process of its own that uses a store: python -m tests.stores.sqlite_worker ..."""

from __future__ import annotations

import sys

import anyio
import anyio.to_thread

from atproto_oauth_asgi.stores.locks import unix_now
from atproto_oauth_asgi.stores.sqlite import SQLiteStore

FAR = 32_500_000_000.0
LEASE_S = 30.0


async def told() -> None:
    """Wait for a line of the parent."""
    await anyio.to_thread.run_sync(sys.stdin.readline)


def say(text: object) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def count(store: SQLiteStore, times: int) -> None:
    """Add one so often, each time on top of what was read."""
    for _ in range(times):
        made = None
        while made is None:
            record = await store.load("s", "n")
            value = b"%d" % (int(record.value if record else 0) + 1)
            seen = record.version if record else 0
            made = await store.save("s", "n", value, expires_at=FAR, if_version=seen)


async def count_locked(store: SQLiteStore, times: int) -> None:
    """Add one so often, each time inside the lock and without any condition."""
    for _ in range(times):
        async with store.lock("n", LEASE_S):
            record = await store.load("s", "n")
            value = b"%d" % (int(record.value if record else 0) + 1)
            await store.save("s", "n", value, expires_at=FAR)


async def take(store: SQLiteStore, times: int) -> None:
    """Say which of the records ``0``, ``1``, ... were had."""
    names = [str(number) for number in range(times)]
    say(" ".join([name for name in names if await store.take("s", name)]))


async def hold(store: SQLiteStore, lease_s: int) -> None:
    """Enter, say until when; when told, say how much is left, and leave."""
    async with store.lock("a", lease_s) as lease:
        say(unix_now() + lease.remaining_s())
        await told()
        say(lease.remaining_s())


async def save(store: SQLiteStore, size: int) -> None:
    """Save two records of the same value for ever; say each number that is saved."""
    number = 0
    while True:
        number += 1
        value = b"%d" % number * size
        await store.save("s", "one", value, expires_at=FAR)
        await store.save("s", "other", value, expires_at=FAR)
        say(number)


async def work(path: str, task: str, number: int) -> None:
    store = SQLiteStore(path, timeout_s=20)
    say("ready")
    await told()
    tasks = {
        "count": count,
        "count_locked": count_locked,
        "take": take,
        "hold": hold,
        "save": save,
    }
    await tasks[task](store, number)
    await store.aclose()


if __name__ == "__main__":
    _, PATH, TASK, NUMBER, BACKEND = sys.argv
    anyio.run(work, PATH, TASK, int(NUMBER), backend=BACKEND)
