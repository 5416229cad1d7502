"""What is tried: where sessions and refreshes are kept, and how hard it gets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Service = Literal["sqlite", "redis", "postgres"]


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


CASES = (
    Case(name="cookie", session="cookie", service=None),
    Case(name="cookie-redis", session="cookie", service="redis"),
    Case(name="server-sqlite", session="server", service="sqlite"),
    Case(name="server-redis", session="server", service="redis"),
    Case(name="server-postgres", session="server", service="postgres"),
)


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
    """

    browsers: int = 100
    parallel: int = 6
    think_s: float = 4.0
    seconds: float = 130.0
    lifetime_s: int = 15
    frozen_s: float = 36.0
    away_s: float = 120.0
    droppers: int = 8
    logouts: int = 12
    workers: int = 4


SHORT = Plan(
    browsers=8,
    think_s=0.7,
    seconds=20.0,
    lifetime_s=4,
    frozen_s=3.0,
    away_s=8.0,
    droppers=2,
    logouts=2,
)
"""Shows that the soak itself works; no worker is frozen past its lease."""
