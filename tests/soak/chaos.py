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
from tests.soak.cases import Fault, Plan
from tests.soak.front import Front, Mood
from tests.soak.ledger import Grant
from tests.soak.workers import Workers

_MEASURE_EVERY_S = 2.0


@dataclass(slots=True)
class Chaos:
    """Does it all, by the schedule of the plan.

    Attributes:
        happened: what was done, and when, by the monotonic clock.
    """

    plan: Plan
    front: Front
    workers: Workers
    network: ReferenceNetwork
    service: Service | None
    happened: list[tuple[float, str]] = field(default_factory=list)
    _turn: int = 0

    async def run(self) -> None:
        """Go through the faults of the plan."""
        async with anyio.create_task_group() as tasks:
            for part, fault in self.plan.faults:
                tasks.start_soon(self._later, part, self._acts[fault])

    @property
    def _acts(self) -> dict[Fault, Callable[[], Awaitable[None]]]:
        return {
            "kill": self._kill,
            "kill at answer": self._kill_at_answer,
            "cut an answer": self._cut_an_answer,
            "freeze": self._freeze,
            "freeze at answer": self._freeze_at_answer,
            "restart the store": self._restart_service,
            "PDS fails": lambda: self._feel("500", 4.0),
            "PDS hangs": lambda: self._feel("hanging", 8.0),
            "rotate nonces": self._rotate_nonces,
        }

    @property
    def done(self) -> Counter[str]:
        """How often what was done."""
        return Counter(what.partition(":")[0] for _, what in self.happened)

    async def watch_memory(self) -> None:
        """Take down the memory of the first worker, until cancelled."""
        while True:
            self.workers.measure()
            await anyio.sleep(_MEASURE_EVERY_S)

    def _note(self, what: str) -> None:
        self.happened.append((time.monotonic(), what))

    async def _later(self, part: float, act: Callable[[], Awaitable[None]]) -> None:
        await anyio.sleep(part * self.plan.seconds)
        await act()

    async def _kill(self) -> None:
        """Kill any worker but the first, each in turn."""
        self._turn += 1
        others = self.workers.pids[1:]
        pid = others[self._turn % len(others)]
        if await to_thread.run_sync(self.workers.kill, pid):
            self._note(f"workers killed: {pid}")

    async def _kill_at_answer(self) -> None:
        """Kill the worker that the next new tokens are for, before they get there."""

        async def kill(grant: Grant) -> bool:
            self.front.on_grant = None
            if await to_thread.run_sync(self.workers.kill, grant.pid):
                self._note(f"workers killed while new tokens came: {grant.pid}")
                return False
            self.front.on_grant = kill
            return True

        self.front.on_grant = kill

    async def _cut_an_answer(self) -> None:
        """Lose the next new tokens on their way."""

        async def cut(grant: Grant) -> bool:
            self.front.on_grant = None
            self._note(f"token answers lost: {grant.pid}")
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
        self._note(f"{what}: {pid}")
        with anyio.CancelScope(shield=True):
            await anyio.sleep(self.plan.frozen_s)
            self.workers.thaw(halt)

    async def _feel(self, mood: Mood, seconds: float) -> None:
        self.front.feel(mood)
        self._note(f"times the PDS was {mood}")
        await anyio.sleep(min(seconds, self.plan.seconds / 12))
        self.front.feel("well")

    async def _rotate_nonces(self) -> None:
        await to_thread.run_sync(self.network.rotate_nonces)
        self._note("nonces rotated")

    async def _restart_service(self) -> None:
        if self.service is None:
            return
        begun_at = time.monotonic()
        await to_thread.run_sync(self.service.stop)
        await anyio.sleep(min(3.0, self.plan.seconds / 20))
        await to_thread.run_sync(self.service.start)
        self._note(f"stores restarted: down for {time.monotonic() - begun_at:.1f} s")
