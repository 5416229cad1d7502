"""One case from its start to its figures."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio import to_thread
from typing_extensions import override

from atproto_oauth_asgi import PostgresStore
from tests.reference_network.process import Account, ReferenceNetwork
from tests.services.process import Service
from tests.services.servers import PostgresService, RedisService
from tests.soak import people
from tests.soak.browsers import Browser, open_browsers
from tests.soak.cases import Case, Plan
from tests.soak.chaos import Chaos
from tests.soak.figures import Figures, figures_of
from tests.soak.front import Front, open_front
from tests.soak.ledger import Ledger
from tests.soak.seen import Seen
from tests.soak.workers import running_workers

_PASSWORD = "a password of the soak"


class LastingRedis(RedisService):
    """A Redis that forgets nothing over a restart, as the documentation wants it."""

    @override
    def command(self) -> list[str]:
        return [*super().command(), "--appendonly", "yes", "--appendfsync", "always"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What all cases have in common.

    Attributes:
        network: the official PDS; its origin is the front's.
        front: what stands before it.
        accounts: one for each browser.
        folder: where the workers' logs go.
    """

    network: ReferenceNetwork
    front: Front
    accounts: Sequence[Account]
    folder: Path


@asynccontextmanager
async def open_stage(people_count: int, *, folder: Path) -> AsyncIterator[Stage]:
    """Give a network with so many people."""
    async with open_front() as front:
        network = ReferenceNetwork(public_port=front.port)
        front.pds_port = lambda: network.pds_port
        try:
            # In a thread: it asks its PDS through the front, which runs in this loop.
            await to_thread.run_sync(network.start)
            names = [f"person-{number}.test" for number in range(people_count)]
            accounts = [
                await to_thread.run_sync(network.create_account, name, _PASSWORD)
                for name in names
            ]
            yield Stage(network=network, front=front, accounts=accounts, folder=folder)
        finally:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(network.stop)


async def run_case(case: Case, plan: Plan, stage: Stage) -> Figures:
    """Run one case; return what came of it."""
    stage.network.revoke()
    stage.network.set_token_lifetime(plan.lifetime_s * 1000)
    ledger = stage.front.ledger = Ledger()
    seen, log = Seen(), stage.folder / f"{case.name}.log"
    log.unlink(missing_ok=True)
    with _service_of(case) as service, tempfile.TemporaryDirectory() as folder:
        settings = await _settings(case, stage, service, folder=folder)
        with running_workers(plan.workers, settings=settings, log=log) as workers:
            chaos = Chaos(plan, stage.front, workers, stage.network, service)
            async with open_browsers(
                case, plan, stage.accounts, origin=workers.origin, seen=seen
            ) as browsers:
                await _play(browsers, plan, chaos)
        return figures_of(
            case,
            plan,
            seen=seen,
            ledger=ledger,
            chaos=chaos,
            said=workers.said(),
            left=len(stage.network.sessions()) - plan.browsers,
        )


async def _play(browsers: Sequence[Browser], plan: Plan, chaos: Chaos) -> None:
    await people.log_in(browsers)
    async with anyio.create_task_group() as watching:
        watching.start_soon(chaos.watch_memory)
        async with anyio.create_task_group() as acting:
            acting.start_soon(chaos.run)
            await people.live(browsers, plan)
        await people.ask_all(browsers)
        watching.cancel_scope.cancel()


@contextmanager
def _service_of(case: Case) -> Iterator[Service | None]:
    kinds: dict[str | None, type[Service]] = {
        "redis": LastingRedis,
        "postgres": PostgresService,
    }
    if (kind := kinds.get(case.service)) is None:
        yield None
        return
    service = kind()
    try:
        service.start()
        yield service
    finally:
        service.remove()


async def _settings(
    case: Case, stage: Stage, service: Service | None, *, folder: str
) -> dict[str, str]:
    settings = {
        "ATPROTO_PLC_URL": stage.network.plc_url,
        "ATPROTO_HANDLE_RESOLVER_URL": stage.network.pds_url,
        "SESSION": case.session,
        # Where the store of the host lies, if nothing is configured.
        "TMPDIR": folder,
    }
    if case.service == "sqlite":
        settings["STORE"] = str(Path(folder, "store.sqlite"))
    if case.service == "memory":
        settings["STORE"] = "memory:"
    if service is not None:
        settings["STORE"] = service.url
    if case.service == "postgres":
        async with aclosing(PostgresStore(settings["STORE"])) as store:
            await store.create_table()
    return settings
