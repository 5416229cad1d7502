"""What the soak calls a broken promise, and what it puts down to a fault."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.soak.cases import CASES, SHORT
from tests.soak.figures import Figures, cut_off, judge_losses
from tests.soak.ledger import Grant, Ledger
from tests.soak.race.contest import OURS, THEIRS, Outcome
from tests.soak.report import Report
from tests.soak.seen import Loss
from tests.soak.workers import Halt

_DID, _PID = "did:plc:alice", 17

GOOD = Figures(
    case=CASES[0].name,
    browsers=SHORT.browsers,
    logins=8,
    requests=100,
    refreshes=20,
    expiries=20,
    too_early=0,
    interrupted=1,
    lost_interrupted=1,
    lost={},
    logouts=2,
    came_back=0,
    left=0,
    returned=2,
    unhappy=0,
    crashes=0,
    errors={"PDS 500": 3},
    login_failures={},
    faults={"workers killed": 1},
    latency_ms={"p50": 1.0, "p90": 2.0, "p99": 3.0, "p100": 4.0},
    memory_mib=(60.0, 61.0, 61.0),
    cuts=[],
    puzzles=[],
)


def ledger_of(*asks: tuple[str, float, Any]) -> Ledger:
    """A ledger of refreshes: token, moment, answer (None refuses)."""
    ledger = Ledger()
    for token, at, said in asks:
        form = {"grant_type": "refresh_token", "refresh_token": token}
        answer = {"error": "invalid_grant"} if said is None else said
        ledger.note(
            urlencode(form).encode(),
            400 if said is None else 200,
            json.dumps(answer).encode(),
            pid=_PID,
            at=at,
            answered_at=at,
        )
    return ledger


def tokens(refresh_token: str) -> dict[str, object]:
    return {"refresh_token": refresh_token, "expires_in": 10, "sub": _DID}


def test_figures_when_all_is_well_then_no_promise_is_broken() -> None:
    """What faults explain is no broken promise."""
    assert GOOD.broken() == []
    assert Report([GOOD]).broken() == []


@pytest.mark.parametrize(
    "change",
    [
        {"refreshes": 21},
        {"too_early": 1},
        {"lost": {"expired": 1}},
        {"came_back": 1},
        {"unhappy": 1},
        {"crashes": 1},
        {"memory_mib": (60.0, 61.0, 90.0)},
    ],
    ids=str,
)
def test_figures_when_one_is_bad_then_the_report_fails(change: dict[str, Any]) -> None:
    """Each promise can be broken, and is told by the case's name."""
    (broken,) = Report([replace(GOOD, **change)]).broken()
    assert broken.startswith(f"{GOOD.case}: ")
    assert f"BROKEN: {broken}" in Report([replace(GOOD, **change)]).text()


def test_cut_when_the_worker_was_killed_then_the_repeated_token_is_put_down_to_it() -> (
    None
):
    """A token that comes twice after a kill is what a kill leaves behind."""
    ledger = ledger_of(("old", 5.0, tokens("new")), ("old", 40.0, None))
    assert cut_off(ledger, [Halt(_PID, "killed", 5.5)]) == {"old"}
    # Its request was on the way when it died.
    assert cut_off(ledger, [Halt(_PID, "killed", 4.5)]) == {"old"}
    assert cut_off(ledger, [Halt(_PID + 1, "killed", 5.5)]) == set()
    assert cut_off(ledger, [Halt(_PID, "killed", 20.0)]) == set()
    assert cut_off(ledger, []) == set()


def test_cut_when_nobody_asked_twice_then_a_kill_explains_nothing() -> None:
    """The new tokens were saved before: nothing was cut off."""
    ledger = ledger_of(("old", 5.0, tokens("new")))
    assert cut_off(ledger, [Halt(_PID, "killed", 5.5)]) == set()


def test_cut_when_the_worker_was_frozen_then_until_it_goes_on() -> None:
    """A worker that stands still has not saved what it was given meanwhile."""
    ledger = ledger_of(("old", 5.0, tokens("new")), ("old", 40.0, None))
    assert cut_off(ledger, [Halt(_PID, "frozen", 4.0, ended_at=44.0)]) == {"old"}
    assert cut_off(ledger, [Halt(_PID, "frozen", 1.0, ended_at=2.0)]) == set()


def test_losses_when_told_as_interrupted_then_each_needs_a_fault_of_its_own() -> None:
    """The reason alone excuses nothing, nor does a fault that hit somebody else."""
    loss, other = Loss(_DID, "refresh_interrupted"), Loss(_DID, "expired")
    cut = [Grant(5.0, _PID, _DID)]
    assert judge_losses([loss], cut) == (1, {})
    assert judge_losses([loss, loss], cut) == (1, {"refresh_interrupted": 1})
    assert judge_losses([loss], []) == (0, {"refresh_interrupted": 1})
    assert judge_losses([loss], [Grant(5.0, _PID, "did:plc:bob")])[0] == 0
    assert judge_losses([other], cut) == (0, {"expired": 1})


def test_ledger_when_a_good_token_is_renewed_then_it_was_too_early() -> None:
    """One that has lived most of its life is not."""
    late = ledger_of(("a", 0.0, tokens("b")), ("b", 9.5, tokens("c")))
    early = ledger_of(("a", 0.0, tokens("b")), ("b", 2.0, tokens("c")))
    assert (late.too_early, early.too_early) == (0, 1)


def test_race_when_our_client_loses_a_session_then_the_report_fails() -> None:
    """The other client has promised nothing."""
    lost = {"processes": 2, "sessions": 3, "refreshes": 5, "unanswered": 4, "lost": 1}
    (broken,) = Report(race=[Outcome(client=OURS, **lost)]).broken()
    assert "1 sessions lost, 1.67 refreshes per expiry" in broken
    assert Report(race=[Outcome(client=THEIRS, **lost)]).broken() == []
