"""One of several processes that use a store at once.

`python -m tests.services.worker URL NAME TASK` says `ready`, waits for the record `go`,
does its task, and says what came of it.
"""

from __future__ import annotations

import sys
from contextlib import aclosing

import anyio

from atproto_oauth_asgi.stores import RecordStore
from tests.services.stores import store_on

ROUNDS = 25
LEASE_S = 30.0
FOREVER = 32_500_000_000.0


async def run(url: str, name: str, task: str) -> None:
    """Do one task."""
    async with aclosing(store_on(url, name)) as store:
        say("ready")
        while await store.load("s", "go") is None:  # noqa: ASYNC110 (nothing tells)
            await anyio.sleep(0.001)
        await TASKS[task](store)
        say("done")


def say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


async def read(store: RecordStore) -> tuple[int, int]:
    record = await store.load("s", "n")
    return (int(record.value), record.version) if record else (0, 0)


async def count(store: RecordStore) -> None:
    """Count up, each time over the value that was seen."""
    for _ in range(ROUNDS):
        made = None
        while made is None:
            number, seen = await read(store)
            value = b"%d" % (number + 1)
            made = await store.save(
                "s", "n", value, expires_at=FOREVER, if_version=seen
            )


async def count_locked(store: RecordStore) -> None:
    """Count up without looking, but one at a time."""
    for _ in range(ROUNDS):
        async with store.lock("n", LEASE_S):
            number, _seen = await read(store)
            await store.save("s", "n", b"%d" % (number + 1), expires_at=FOREVER)


async def take(store: RecordStore) -> None:
    """Take all there is, and say what was had."""
    for number in range(ROUNDS):
        if await store.take("pending", str(number)) is not None:
            say(str(number))


async def hold(store: RecordStore) -> None:
    """Hold a lock until the end of the process."""
    async with store.lock("n", 2.0):
        say("inside")
        await anyio.sleep_forever()


TASKS = {"count": count, "count_locked": count_locked, "take": take, "hold": hold}

if __name__ == "__main__":
    anyio.run(run, sys.argv[1], sys.argv[2], sys.argv[3])
