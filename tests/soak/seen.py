"""What the browsers saw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Loss:
    """A session that was gone although nobody had logged out.

    Attributes:
        did: whose it was.
        reason: that was given.
    """

    did: str
    reason: str


@dataclass(slots=True)
class Seen:
    """The sums over all browsers of one case.

    Attributes:
        requests: answered or not.
        latencies_s: of those that were answered.
        errors: what went wrong, by its name; the session lived on.
        lost: sessions that were gone although nobody had logged out.
        logouts: that were confirmed.
        came_back: sessions that were used after that.
        dropped: browsers that came back after they had dropped the answer to a
            refresh, with how often their tokens were renewed in all that time.
        unhappy: browsers that had no answer of their PDS at the end.
        login_failures: logins that had to be begun again.
    """

    requests: int = 0
    latencies_s: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    lost: list[Loss] = field(default_factory=list)
    logouts: int = 0
    came_back: int = 0
    dropped: list[int] = field(default_factory=list)
    unhappy: int = 0
    login_failures: Counter[str] = field(default_factory=Counter)

    def percentile_ms(self, percent: float) -> float:
        """Return how long so many per cent of the answered requests took at most."""
        return percentile(self.latencies_s, percent) * 1000


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value that so many per cent do not exceed; 0 of nothing."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
