"""What came of a case, and which promises it has broken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from tests.soak.cases import Case, Plan
from tests.soak.chaos import Chaos
from tests.soak.ledger import Grant, Ledger
from tests.soak.seen import Loss, Seen
from tests.soak.workers import Halt, halted_at

INTERRUPTED = "refresh_interrupted"

# From the answer of the server to the end of the save, on a machine that is busy.
_SAVED_WITHIN_S = 5.0
_CRASH = "Exception in ASGI application"
# What the caches of a process hold once they are full.
_CACHES_MIB = 12.0
_AROUND_S = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The figures of one case.

    Attributes:
        case: its name.
        browsers: how many there were.
        logins: codes that were redeemed.
        requests: that browsers sent.
        refreshes: that the server answered, for tokens that no fault cut off.
        expiries: tokens that those were for.
        too_early: refreshes of access tokens that were still good.
        interrupted: refreshes that a fault cut off between the server's answer and the
            save; nobody can know what they have brought.
        lost_interrupted: sessions that ended for that, and said so.
        lost: all others that were gone although nobody had logged out, by reason.
        logouts: that were confirmed.
        came_back: sessions that were used after that.
        returned: browsers that came back after they had dropped the answer to a
            refresh, and were still logged in.
        left: sessions at the server that no browser has any more; a fault came between.
        unhappy: browsers that had no answer of their PDS at the end.
        crashes: exceptions that left the application.
        errors: what else browsers saw, by name.
        login_failures: logins that had to be begun again, by reason.
        faults: what was done to all of it.
        latency_ms: of the answered requests, by percentile.
        memory_mib: of the worker that was never killed: at the start, in the middle,
            at the end.
        cuts: how each refresh was cut off.
        puzzles: other refresh tokens that were sent twice, and what happened around.
    """

    case: str
    browsers: int
    logins: int
    requests: int
    refreshes: int
    expiries: int
    too_early: int
    interrupted: int
    lost_interrupted: int
    lost: dict[str, int]
    logouts: int
    came_back: int
    left: int
    returned: int
    unhappy: int
    crashes: int
    errors: dict[str, int]
    login_failures: dict[str, int]
    faults: dict[str, int]
    latency_ms: dict[str, float]
    memory_mib: tuple[float, float, float]
    cuts: list[str]
    puzzles: list[str]

    @property
    def per_expiry(self) -> float:
        """Refreshes per token that had ended."""
        return self.refreshes / self.expiries if self.expiries else 0.0

    def broken(self) -> list[str]:
        """Return the promises that were broken, in words."""
        return [*self._broken()]

    def _broken(self) -> Iterator[str]:
        if self.refreshes != self.expiries:
            yield f"{self.per_expiry:.4f} refreshes per expiry, not 1"
        if self.too_early:
            yield f"{self.too_early} refreshes of tokens that were still good"
        for reason, count in self.lost.items():
            yield f"{count} sessions lost without need ({reason})"
        if self.came_back:
            yield f"{self.came_back} sessions used after they had been logged out"
        if self.unhappy:
            yield f"{self.unhappy} browsers had no answer of their PDS at the end"
        if self.crashes:
            yield f"{self.crashes} exceptions left the application"
        _, middle, end = self.memory_mib
        if end > middle + _CACHES_MIB:
            yield f"a worker grew from {middle:.0f} to {end:.0f} MiB"


def figures_of(
    case: Case,
    plan: Plan,
    *,
    seen: Seen,
    ledger: Ledger,
    chaos: Chaos,
    said: str,
    left: int,
) -> Figures:
    """Return the figures of a case.

    Args:
        case: what was tried.
        plan: how hard.
        seen: by the browsers.
        ledger: of the authorization server.
        chaos: what was done.
        said: by the workers, in their log.
        left: sessions at the server beyond one a browser.
    """
    cut = cut_off(ledger, chaos.workers.halts)
    excused, lost = judge_losses(seen.lost, [ledger.granted[token] for token in cut])
    asked = {token: asks for token, asks in ledger.asked.items() if token not in cut}
    return Figures(
        case=case.name,
        browsers=plan.browsers,
        logins=ledger.logins,
        requests=seen.requests,
        refreshes=sum(map(len, asked.values())),
        expiries=len(asked),
        too_early=ledger.too_early,
        interrupted=len(cut),
        lost_interrupted=excused,
        lost=dict(lost),
        logouts=seen.logouts,
        came_back=seen.came_back,
        left=left,
        returned=len(seen.dropped),
        unhappy=seen.unhappy,
        crashes=said.count(_CRASH),
        errors=dict(seen.errors.most_common()),
        login_failures=dict(seen.login_failures.most_common()),
        faults=dict(sorted(chaos.done.items())),
        latency_ms={
            f"p{percent:g}": round(seen.percentile_ms(percent), 1)
            for percent in (50, 90, 99, 100)
        },
        memory_mib=_memory(chaos.workers.memory),
        cuts=[*_tell_cuts(ledger, chaos.workers.halts, cut)],
        puzzles=[*_puzzles(ledger, chaos, but=cut)],
    )


def cut_off(ledger: Ledger, halts: Sequence[Halt]) -> set[str]:
    """Return the refresh tokens whose successors were saved nowhere, by a fault.

    That is where the answer was lost on its way, and where the worker that it was for
    was killed or frozen right then, so that the token was sent once more.
    """
    return {
        token
        for token, grant in ledger.granted.items()
        if not grant.arrived
        or (
            len(ledger.asked[token]) > 1
            and halted_at(halts, grant.pid, grant.at, within_s=_SAVED_WITHIN_S)
        )
    }


def judge_losses(
    losses: Sequence[Loss], cut: Sequence[Grant]
) -> tuple[int, Counter[str]]:
    """Return how many losses a fault explains, and the others by reason.

    A loss is explained if it was told as what it is, and a fault hit a refresh of the
    very person; each such refresh explains one.
    """
    open_cuts = Counter(grant.did for grant in cut)
    excused, others = 0, Counter[str]()
    for loss in losses:
        if loss.reason == INTERRUPTED and open_cuts[loss.did]:
            open_cuts[loss.did] -= 1
            excused += 1
        else:
            others[loss.reason] += 1
    return excused, others


def _tell_cuts(
    ledger: Ledger, halts: Sequence[Halt], cut: Iterable[str]
) -> Iterator[str]:
    """Tell, for each token, what came between the answer and the save."""
    for token in cut:
        grant = ledger.granted[token]
        if not grant.arrived:
            yield f"{token[:12]}: the answer was lost"
            continue
        for halt in halts:
            if halt.pid == grant.pid and halted_at(
                [halt], grant.pid, grant.at, within_s=_SAVED_WITHIN_S
            ):
                after_s = halt.begun_at - grant.at
                yield f"{token[:12]}: {halt.kind} {after_s:+.2f} s after the answer"


def _puzzles(ledger: Ledger, chaos: Chaos, *, but: Container[str]) -> Iterator[str]:
    """Tell, for each token that was sent twice, what happened around."""
    for token, asks in ledger.asked.items():
        if len(asks) == 1 or token in but:
            continue
        events = [(ask.at, f"{ask.pid} asks: {ask.answer}") for ask in asks]
        events += [
            (at, what)
            for at, what in chaos.happened
            if asks[0].at - _AROUND_S < at < asks[-1].at + _AROUND_S
        ]
        told = (f"{at - asks[0].at:+.2f} s {what}" for at, what in sorted(events))
        yield f"{token[:12]}: {'; '.join(told)}"


def _memory(samples: Sequence[float]) -> tuple[float, float, float]:
    """Return what it was in the first, the second and the last quarter of the time."""
    if not samples:
        return (0.0, 0.0, 0.0)
    quarter = max(1, len(samples) // 4)
    parts = (
        samples[:quarter],
        samples[quarter:][:quarter] or samples,
        samples[-quarter:],
    )
    first, second, last = (round(median(part), 1) for part in parts)
    return first, second, last
