"""What goes wrong, and when."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import anyio
from anyio import to_thread

from tests.reference_network.process import ReferenceNetwork
from tests.services.process import Service
from tests.soak.cases import Plan
from tests.soak.front import Front, Mood
from tests.soak.ledger import Grant
from tests.soak.workers import Workers

_MEASURE_EVERY_S = 2.0
_ROTATIONS = 9
# The last part is quiet, so that everybody can be asked how they are.
_QUIET_FROM = 0.85


@dataclass(slots=True)
class Chaos:
    """Does it all, by a fixed schedule of parts of the case.

    Attributes:
        done: how often what was done.
    """

    plan: Plan
    front: Front
    workers: Workers
    network: ReferenceNetwork
    service: Service | None
    done: Counter[str] = field(default_factory=Counter)
    outages: list[tuple[float, float]] = field(default_factory=list)
    _turn: int = 0

    async def run(self) -> None:
        """Go through the schedule."""
        schedule: list[tuple[float, Callable[[], Awaitable[None]]]] = [
            (0.08, self._kill),
            (0.12, lambda: self._feel("500", 4.0)),
            (0.20, self._kill_at_answer),
            (0.25, self._freeze),
            (0.28, self._restart_service),
            (0.33, self._kill),
            (0.38, self._kill_at_answer),
            (0.42, lambda: self._feel("hanging", 8.0)),
            (0.50, self._cut_an_answer),
            (0.53, self._freeze_at_answer),
            (0.58, self._restart_service),
            (0.62, self._kill),
            (0.66, self._kill_at_answer),
            (0.70, lambda: self._feel("500", 4.0)),
            (0.76, self._cut_an_answer),
            (0.80, self._kill),
        ]
        schedule += [
            (_QUIET_FROM * n / _ROTATIONS, self._rotate_nonces)
            for n in range(1, _ROTATIONS)
        ]
        async with anyio.create_task_group() as tasks:
            for part, act in schedule:
                tasks.start_soon(self._later, part, act)

    async def watch_memory(self) -> None:
        """Take down the memory of the first worker, until cancelled."""
        while True:
            self.workers.measure()
            await anyio.sleep(_MEASURE_EVERY_S)

    async def _later(self, part: float, act: Callable[[], Awaitable[None]]) -> None:
        await anyio.sleep(part * self.plan.seconds)
        await act()

    async def _kill(self) -> None:
        """Kill any worker but the first, each in turn."""
        self._turn += 1
        others = self.workers.pids[1:]
        pid = others[self._turn % len(others)]
        if await to_thread.run_sync(self.workers.kill, pid):
            self.done["workers killed"] += 1

    async def _kill_at_answer(self) -> None:
        """Kill the worker that the next new tokens are for, before they get there."""

        async def kill(grant: Grant) -> bool:
            if await to_thread.run_sync(self.workers.kill, grant.pid):
                self.front.on_grant = None
                self.done["workers killed while new tokens came"] += 1
                return False
            return True

        self.front.on_grant = kill

    async def _cut_an_answer(self) -> None:
        """Lose the next new tokens on their way."""

        async def cut(grant: Grant) -> bool:
            self.front.on_grant = None
            self.done["token answers lost"] += 1
            return False

        self.front.on_grant = cut

    async def _freeze(self) -> None:
        """Freeze the first worker, whatever it is about."""
        await self._freeze_one(self.workers.pids[0], "workers frozen")

    async def _freeze_at_answer(self) -> None:
        """Freeze the worker that the next new tokens are for, before they get there."""
        frozen = anyio.Event()
        pids: list[int] = []

        async def freeze(grant: Grant) -> bool:
            if grant.pid not in self.workers.pids:
                return True
            self.front.on_grant = None
            pids.append(grant.pid)
            frozen.set()
            # Until it surely stands still.
            await anyio.sleep(0.05)
            return True

        self.front.on_grant = freeze
        with anyio.move_on_after(self.plan.seconds / 10):
            await frozen.wait()
            await self._freeze_one(pids[0], "workers frozen while new tokens came")

    async def _freeze_one(self, pid: int, what: str) -> None:
        halt = self.workers.freeze(pid)
        if halt is None:
            return
        self.done[what] += 1
        with anyio.CancelScope(shield=True):
            await anyio.sleep(self.plan.frozen_s)
            self.workers.thaw(halt)

    async def _feel(self, mood: Mood, seconds: float) -> None:
        self.front.feel(mood)
        self.done[f"times the PDS was {mood}"] += 1
        await anyio.sleep(min(seconds, self.plan.seconds / 12))
        self.front.feel("well")

    async def _rotate_nonces(self) -> None:
        await to_thread.run_sync(self.network.rotate_nonces)
        self.done["nonces rotated"] += 1

    async def _restart_service(self) -> None:
        if self.service is None:
            return
        begun_at = time.monotonic()
        await to_thread.run_sync(self.service.stop)
        await anyio.sleep(min(3.0, self.plan.seconds / 20))
        await to_thread.run_sync(self.service.start)
        self.outages.append((begun_at, time.monotonic()))
        self.done["stores restarted"] += 1
