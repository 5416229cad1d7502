"""What is tried: where sessions and refreshes are kept, and how hard it gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Service = Literal["sqlite", "redis", "postgres", "memory"]
Fault = Literal[
    "kill",
    "kill at answer",
    "cut an answer",
    "freeze",
    "freeze at answer",
    "restart the store",
    "PDS fails",
    "PDS hangs",
    "rotate nonces",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One way to set up an application.

    Attributes:
        name: of the case, also on the command line.
        session: the option of the middleware.
        service: what the store of the application lies on; None gives it none, so
            that it takes the one of the host.
    """

    name: str
    session: Literal["cookie", "server"]
    service: Service | None

    @property
    def dead_after_s(self) -> float:
        """How long a copy of a cookie may live on after a log-out.

        In cookie mode every process asks the store every two seconds.
        """
        return 2.0 if self.session == "cookie" else 0.0


CASES = (
    Case(name="cookie-host", session="cookie", service=None),
    Case(name="cookie-redis", session="cookie", service="redis"),
    Case(name="server-sqlite", session="server", service="sqlite"),
    Case(name="server-redis", session="server", service="redis"),
    Case(name="server-postgres", session="server", service="postgres"),
)

CONTROL = Case(name="control", session="cookie", service="memory")
"""Every worker is alone. It has to break promises, or the soak would see nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much of it.

    Attributes:
        browsers: people, each with a session of their own.
        parallel: requests that a browser sends at once.
        think_s: between two times that it does so.
        seconds: that a case lasts, logins not counted.
        lifetime_s: of an access token.
        frozen_s: how long a worker is frozen; a lease lasts 30 s.
        away_s: how long a browser stays away that has dropped a response.
        droppers: browsers that do so.
        logouts: of a case, each while the tokens are due.
        workers: processes.
        racers: processes of each race of clients; of one it has to lose nothing.
        faults: what happens, and after which part of the seconds. The last part is
            quiet, so that everybody can be asked how they are.
    """

    browsers: int = 100
    parallel: int = 6
    think_s: float = 6.0
    seconds: float = 130.0
    lifetime_s: int = 15
    frozen_s: float = 36.0
    away_s: float = 120.0
    droppers: int = 8
    logouts: int = 12
    workers: int = 4
    racers: Sequence[int] = (1, 2, 4)
    faults: Sequence[tuple[float, Fault]] = (
        *((number * 0.1, "rotate nonces") for number in range(1, 9)),
        (0.08, "kill"),
        (0.12, "PDS fails"),
        (0.20, "kill at answer"),
        (0.25, "freeze"),
        (0.28, "restart the store"),
        (0.33, "kill"),
        (0.38, "kill at answer"),
        (0.42, "PDS hangs"),
        (0.50, "cut an answer"),
        (0.53, "freeze at answer"),
        (0.58, "restart the store"),
        (0.62, "kill"),
        (0.66, "kill at answer"),
        (0.70, "PDS fails"),
        (0.76, "cut an answer"),
        (0.80, "kill"),
    )


SHORT = Plan(
    browsers=8,
    think_s=0.7,
    seconds=30.0,
    lifetime_s=6,
    frozen_s=3.0,
    away_s=8.0,
    droppers=2,
    logouts=2,
    workers=2,
    racers=(2,),
    faults=(
        (0.05, "cut an answer"),
        (0.15, "kill"),
        (0.25, "rotate nonces"),
        (0.35, "freeze"),
        (0.55, "restart the store"),
        (0.65, "PDS fails"),
        (0.75, "PDS hangs"),
        (0.85, "kill"),
    ),
)
"""Shows that the soak itself works.

No worker is frozen past its lease, nor killed while new tokens come: whether those were
saved is known when a lease is over.
"""
