"""One client against itself: its processes meet ended tokens at the same moment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anyio import to_thread

from atproto_oauth_asgi.stores.locks import unix_now
from tests.reference_network.process import Account, find_node
from tests.reference_network.sign_in import approve
from tests.soak.case_run import Stage
from tests.soak.cases import Plan
from tests.soak.ledger import Ledger

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[2]
_SESSIONS = 15
_LIFETIME_S = 1
_HEAD_START_S = 0.5

OURS = "atproto-oauth-asgi"
THEIRS = "@atproto/oauth-client-node"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of the sessions.

    Attributes:
        client: whose.
        processes: that raced.
        sessions: that they shared.
        refreshes: that the server answered.
        unanswered: requests of the race that had no answer of the PDS.
        lost: sessions that were of no use afterwards.
    """

    client: str
    processes: int
    sessions: int
    refreshes: int
    unanswered: int
    lost: int

    @property
    def per_expiry(self) -> float:
        """Refreshes per token that had ended."""
        return self.refreshes / self.sessions

    def broken(self) -> list[str]:
        """Return the promises that were broken; only our client has given any."""
        if self.client != OURS or (not self.lost and self.refreshes == self.sessions):
            return []
        counts = (
            f"{self.lost} sessions lost, {self.per_expiry:.2f} refreshes per expiry"
        )
        return [f"race of {self.processes} processes: {counts}"]


def find_commands() -> tuple[dict[str, list[str]], str | None]:
    """Return how each client is started, and why one is missing if it is."""
    commands = {OURS: [sys.executable, "-m", "tests.soak.race.ours"]}
    if not (_HERE / "node_modules" / THEIRS / "package.json").is_file():
        return commands, f"skipped: {THEIRS} is not installed, `make soak` does that"
    commands[THEIRS] = [str(find_node()), str(_HERE / "theirs.mjs")]
    return commands, None


async def run_race(stage: Stage, plan: Plan) -> tuple[list[Outcome], str | None]:
    """Let each client race against itself, and tell what is missing."""
    commands, missing = find_commands()
    outcomes = [
        # In a thread: the front runs in this loop.
        await to_thread.run_sync(_race, client, command, stage, count)
        for client, command in commands.items()
        for count in plan.racers
    ]
    return outcomes, missing


def _race(client: str, command: list[str], stage: Stage, processes: int) -> Outcome:
    accounts = stage.accounts[:_SESSIONS]
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "ATPROTO_PLC_URL": stage.network.plc_url,
            "ATPROTO_HANDLE_RESOLVER_URL": stage.network.pds_url,
        }
        starter = _Starter(command, folder, settings)
        stage.network.set_token_lifetime(_LIFETIME_S * 1000)
        with starter.running("log-in") as program:
            dids = [_log_in(program, each) for each in accounts]
        stage.network.reset_token_lifetime()
        time.sleep(_LIFETIME_S)
        ledger = stage.front.ledger = Ledger()
        answered = sum(starter.work(dids, processes=processes))
        refreshes = sum(map(len, ledger.asked.values()))
        (alive,) = starter.work(dids, processes=1)
    return Outcome(
        client=client,
        processes=processes,
        sessions=len(dids),
        refreshes=refreshes,
        unanswered=processes * len(dids) - answered,
        lost=len(dids) - alive,
    )


class _Program:
    """A client in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def say(self, word: object) -> None:
        if self._process.stdin is not None:
            self._process.stdin.write(f"{json.dumps(word)}\n")
            self._process.stdin.flush()

    def hear(self) -> Any:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            message = f"the client ended: {self._process.args!r}"
            raise RuntimeError(message)
        return json.loads(line)

    def ask(self, word: object) -> Any:
        self.say(word)
        return self.hear()


@dataclass(frozen=True, slots=True)
class _Starter:
    command: Sequence[str]
    folder: str
    settings: Mapping[str, str]

    @contextmanager
    def running(self, task: str) -> Iterator[_Program]:
        with subprocess.Popen(
            [*self.command, task, self.folder],
            cwd=_ROOT,
            env={**os.environ, **self.settings},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            program = _Program(process)
            try:
                program.hear()
                yield program
            finally:
                process.kill()

    def work(self, dids: Sequence[str], *, processes: int) -> list[int]:
        """Return how many answers each process had."""
        with ExitStack() as running:
            programs = [
                running.enter_context(self.running("work")) for _ in range(processes)
            ]
            at = unix_now() + _HEAD_START_S
            for program in programs:
                program.say({"at": at, "dids": list(dids)})
            return [program.hear()["answered"] for program in programs]


def _log_in(program: _Program, account: Account) -> str:
    begun = program.ask({"identifier": account.handle})
    back = approve(begun["authUrl"], account)
    did: str = program.ask({"back": back})["did"]
    return did
