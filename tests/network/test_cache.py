from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import anyio.lowlevel
import pytest

from atproto_oauth_asgi.exceptions import (
    AuthorizationServerError,
    OAuthError,
    OAuthTokenError,
    Unreachable,
)
from atproto_oauth_asgi.network.cache import SharedCache, SingleFlight


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Source:
    """Gives a new number each time; can be made to wait or to fail."""

    def __init__(self) -> None:
        self.calls = 0
        self.gate = anyio.Event()
        self.gate.set()
        self.error: OAuthError | None = None

    async def __call__(self) -> int:
        self.calls += 1
        number = self.calls
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return number


def make_cache(clock: Clock, *, max_entries: int = 10) -> SharedCache[int]:
    return SharedCache(clock=clock, lifetime_s=60, max_entries=max_entries)


async def wait_until(holds: Callable[[], bool]) -> None:
    with anyio.fail_after(5):
        while not holds():  # noqa: ASYNC110 - for what has no event
            await anyio.sleep(0.001)


async def settle() -> None:
    for _ in range(5):
        await anyio.lowlevel.checkpoint()


@pytest.mark.anyio
@pytest.mark.covers("ID-34", "DISC-20")
async def test_cache_when_entry_is_young_then_is_used_until_it_is_old() -> None:
    """An entry counts for its lifetime, and not a second longer."""
    clock, source = Clock(), Source()
    cache = make_cache(clock)
    assert await cache.get("a", source) == 1
    clock.now += 59
    assert await cache.get("a", source) == 1
    clock.now += 1
    assert await cache.get("a", source) == 2


@pytest.mark.anyio
async def test_cache_when_clock_goes_back_then_asks_again() -> None:
    """An entry from the future is not kept for ever."""
    clock, source = Clock(), Source()
    cache = make_cache(clock)
    assert await cache.get("a", source) == 1
    clock.now -= 3600
    assert await cache.get("a", source) == 2
    assert await cache.get("a", source) == 2


@pytest.mark.anyio
@pytest.mark.covers("ID-34")
async def test_cache_when_fresh_is_asked_then_passes_and_renews_it() -> None:
    """A fresh question is really asked, and its answer kept."""
    source, cache = Source(), make_cache(Clock())
    assert await cache.get("a", source) == 1
    assert await cache.get("a", source, fresh=True) == 2
    assert await cache.get("a", source) == 2


@pytest.mark.anyio
async def test_cache_when_an_older_question_ends_last_then_the_newer_answer_stays() -> (
    None
):
    """A slow old answer does not push out a fresh one."""
    clock, slow, fast = Clock(), Source(), Source()
    cache = make_cache(clock)
    slow.gate = anyio.Event()
    fast.calls = 100
    async with anyio.create_task_group() as group:
        group.start_soon(cache.get, "a", slow)
        await wait_until(lambda: slow.calls == 1)
        clock.now += 1
        assert await cache.get("a", fast, fresh=True) == 101
        slow.gate.set()
    assert await cache.get("a", fast) == 101


@pytest.mark.anyio
@pytest.mark.covers("ID-35", "DISC-20")
async def test_cache_when_full_then_drops_what_was_used_least_recently() -> None:
    """Strangers' keys cannot fill the memory, nor change another key's value."""
    source, cache = Source(), make_cache(Clock(), max_entries=3)
    for key in ("a", "b", "c", "a", "d"):
        await cache.get(key, source)
    assert source.calls == 4
    assert await cache.get("a", source) == 1
    assert await cache.get("b", source) == 5
    for number in range(1000):
        await cache.get(str(number), source)
    assert len(cache._entries) == 3


@pytest.mark.anyio
@pytest.mark.covers("DISC-20")
async def test_cache_when_many_ask_at_once_then_one_fetches() -> None:
    """A hundred logins at once are one request."""
    source, cache = Source(), make_cache(Clock())
    source.gate = anyio.Event()
    found: list[int] = []

    async def ask() -> None:
        found.append(await cache.get("a", source))

    async with anyio.create_task_group() as group:
        for _ in range(100):
            group.start_soon(ask)
        await settle()
        source.gate.set()
    assert found == [1] * 100


@pytest.mark.anyio
async def test_cache_when_fetch_fails_then_all_are_told_and_nothing_is_kept() -> None:
    """Everyone who waits gets an error of their own; the next one asks again."""
    source, cache = Source(), make_cache(Clock())
    source.gate = anyio.Event()
    source.error = Unreachable("away")
    errors: list[OAuthError] = []

    async def ask() -> None:
        try:
            await cache.get("a", source)
        except Unreachable as error:
            error.app_state = "mine"
            errors.append(error)

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(ask)
        await settle()
        source.gate.set()
    assert source.calls == 1
    assert len({id(error) for error in errors}) == 5
    assert {str(error) for error in errors} == {"away"}
    source.error = None
    assert await cache.get("a", source) == 2


@pytest.mark.anyio
async def test_single_flight_when_error_has_members_then_copies_them() -> None:
    """A copy of an error is complete, but for what belongs to one login."""
    original = OAuthTokenError("no", error="invalid_grant", error_description="x")
    flights: SingleFlight[int] = SingleFlight()
    gate = anyio.Event()
    caught: list[AuthorizationServerError] = []

    async def fail() -> int:
        await gate.wait()
        original.app_state = "theirs"
        raise original

    async def ask() -> None:
        try:
            await flights.run("a", fail)
        except AuthorizationServerError as error:
            caught.append(error)

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        group.start_soon(ask)
        await settle()
        gate.set()
    (copied,) = (error for error in caught if error is not original)
    assert type(copied) is OAuthTokenError
    assert (copied.error, copied.error_description) == ("invalid_grant", "x")
    assert (str(copied), copied.app_state) == ("no", None)


@pytest.mark.anyio
async def test_cache_when_the_first_is_cancelled_then_another_takes_over() -> None:
    """Nobody loses an answer because somebody else left."""
    source, cache = Source(), make_cache(Clock())
    source.gate = anyio.Event()
    found: list[int] = []

    async def ask() -> None:
        found.append(await cache.get("a", source))

    first = anyio.CancelScope()

    async def ask_first() -> None:
        with first:
            await ask()

    async with anyio.create_task_group() as group:
        group.start_soon(ask_first)
        await wait_until(lambda: source.calls == 1)
        for _ in range(3):
            group.start_soon(ask)
        await settle()
        first.cancel()
        await wait_until(lambda: source.calls == 2)
        source.gate.set()
    assert found == [2] * 3


@pytest.mark.anyio
async def test_cache_when_a_waiter_is_cancelled_then_the_first_goes_on() -> None:
    """Leaving the queue does not disturb the one who fetches."""
    source, cache = Source(), make_cache(Clock())
    source.gate = anyio.Event()
    found: list[int] = []
    waiter = anyio.CancelScope()

    async def ask() -> None:
        found.append(await cache.get("a", source))

    async def ask_and_leave() -> None:
        with waiter:
            await ask()

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await wait_until(lambda: source.calls == 1)
        group.start_soon(ask_and_leave)
        await settle()
        waiter.cancel()
        await settle()
        source.gate.set()
    assert found == [1]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_cache_when_shared_by_event_loops_then_values_are_common(backend: str) -> None:
    """What one event loop has fetched, the next one knows."""
    cache = make_cache(Clock())

    async def ask(fetch: Callable[[], Awaitable[int]]) -> int:
        return await cache.get("a", fetch)

    async def one() -> int:
        return 1

    async def two() -> int:
        return 2

    assert anyio.run(ask, one, backend=backend) == 1
    assert anyio.run(ask, two, backend=backend) == 1
