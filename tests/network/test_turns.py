from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

import anyio
import pytest
from anyio.abc import ByteStream

from atproto_oauth_asgi.exceptions import TimedOut, Unreachable
from atproto_oauth_asgi.network.turns import Turns
from tests.network.servers import World, http, open_fetcher, saying

pytestmark = pytest.mark.anyio
HOST, OTHER = "slow.example.com", "quick.example.com"


class Crowd:
    """Tasks that take a turn and hold it until they are told."""

    def __init__(self, turns: Turns, tasks: anyio.abc.TaskGroup) -> None:
        self.turns = turns
        self.tasks = tasks
        self.speaking: list[str] = []
        self.refused = 0
        self.go_on = anyio.Event()

    async def _speak(self, host: str) -> None:
        try:
            async with self.turns.take(host):
                self.speaking.append(host)
                await self.go_on.wait()
                self.speaking.remove(host)
        except Unreachable:
            self.refused += 1

    async def come(self, host: str, *, many: int) -> None:
        for _ in range(many):
            self.tasks.start_soon(self._speak, host)
        await anyio.wait_all_tasks_blocked()


@pytest.fixture
async def crowd() -> AsyncIterator[Crowd]:
    async with anyio.create_task_group() as tasks:
        yield Crowd(Turns(per_host=2, in_all=5, waiting=10), tasks)
        tasks.cancel_scope.cancel()


@pytest.mark.covers("DOS-06", "DOS-A09")
async def test_turns_when_a_host_hangs_then_others_are_served(crowd: Crowd) -> None:
    """Who waits for one host takes nothing from those who want another."""
    await crowd.come(HOST, many=12)
    await crowd.come(OTHER, many=1)
    assert crowd.speaking == [HOST, HOST, OTHER]


@pytest.mark.covers("DOS-06")
async def test_turns_when_all_are_taken_then_the_next_host_waits(crowd: Crowd) -> None:
    """There is a bound for all hosts together."""
    for number in range(4):
        await crowd.come(f"{number}.example.com", many=2)
    assert len(crowd.speaking) == 5
    crowd.go_on.set()
    await anyio.wait_all_tasks_blocked()
    assert crowd.speaking == []


@pytest.mark.covers("DOS-06")
async def test_turns_when_the_line_is_long_then_nobody_else_may_wait(
    crowd: Crowd,
) -> None:
    """A line costs memory too; it has an end, and is gone when it is empty."""
    await crowd.come(HOST, many=15)
    assert (len(crowd.speaking), crowd.refused) == (2, 3)
    crowd.go_on.set()
    await anyio.wait_all_tasks_blocked()
    assert crowd.turns._lines_here().hosts == {}
    await crowd.come(HOST, many=1)
    assert crowd.refused == 3


async def test_turns_when_waiting_is_cancelled_then_its_place_is_free(
    crowd: Crowd,
) -> None:
    """Whoever gives up waiting does not keep others from it."""
    await crowd.come(HOST, many=2)
    for _ in range(30):
        with anyio.move_on_after(0):
            async with crowd.turns.take(HOST):
                pytest.fail("it was not free")
    await crowd.come(HOST, many=10)
    assert crowd.refused == 0


async def hang(stream: ByteStream, _: bytes) -> None:
    await stream.receive()


@pytest.mark.covers("DOS-06", "DOS-A09")
async def test_fetch_when_many_wait_for_a_host_then_another_is_fetched(
    world: World,
) -> None:
    """Requests to a host that hangs stand in line; one to another host does not."""
    is_full = anyio.Event()

    async def hang_and_count(stream: ByteStream, _: bytes) -> None:
        if len(world.heads) >= 50:
            is_full.set()
        await stream.receive()

    await world.serve(HOST, hang_and_count)
    await world.serve(OTHER, saying(http()))
    network = world.network(unsafe_http_hosts=(HOST, OTHER), timeout_s=60.0)
    async with open_fetcher(network) as fetcher, anyio.create_task_group() as tasks:

        async def ask_slow() -> None:
            await fetcher.fetch("GET", f"http://{HOST}/", what="page")
            pytest.fail("it does not answer")

        for _ in range(120):
            tasks.start_soon(ask_slow)
        with anyio.fail_after(30):
            await is_full.wait()
        response = await fetcher.fetch("GET", f"http://{OTHER}/", what="page")
        assert response.status_code == 200
        assert world.asked.count(HOST) == 50
        tasks.cancel_scope.cancel()


@pytest.mark.covers("DOS-06", "DOS-01")
async def test_fetch_when_its_turn_does_not_come_then_times_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waiting in line counts against the time of the step."""
    monkeypatch.setattr("atproto_oauth_asgi.network.fetch._TURNS_PER_HOST", 1)
    await world.serve(HOST, hang)
    network = world.network(unsafe_http_hosts=(HOST,))
    async with open_fetcher(network) as fetcher, anyio.create_task_group() as tasks:
        tasks.start_soon(partial(fetcher.fetch, "GET", f"http://{HOST}/", what="x"))
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(TimedOut):
            await fetcher.fetch("GET", f"http://{HOST}/", what="x", timeout_s=0.1)
        tasks.cancel_scope.cancel()
    assert len(world.asked) <= 1
