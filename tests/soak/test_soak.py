"""The soak in small: it runs, its faults happen, and nobody is logged out by a race."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import anyio
import pytest

from tests.reference_network.process import NetworkNotInstalledError
from tests.services.process import ServiceNotInstalledError
from tests.soak.case_run import open_stage, run_case
from tests.soak.cases import CASES, SHORT
from tests.soak.race.contest import OURS, run_race
from tests.soak.report import Report

pytestmark = pytest.mark.network

_CASE = "cookie-redis"


async def _run(folder: Path) -> Report:
    (case,) = [case for case in CASES if case.name == _CASE]
    async with open_stage(SHORT.browsers, folder=folder) as stage:
        figures = await run_case(case, SHORT, stage)
        race, _ = await run_race(stage, SHORT)
        return Report([figures], race)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    folder = tmp_path_factory.mktemp("soak")
    try:
        return anyio.run(partial(_run, folder))
    except (NetworkNotInstalledError, ServiceNotInstalledError) as error:
        pytest.skip(str(error))


@pytest.mark.covers("REF-04", "REF-16", "REF-22", "RFR-02", "RFR-13", "RFR-17")
def test_sessions_when_everything_fails_then_none_is_lost(report: Report) -> None:
    """Workers die and freeze, Redis and the PDS fail: every promise is kept."""
    (figures,) = report.cases
    assert report.broken() == [], report.text()
    assert figures.per_expiry == 1.0
    assert figures.expiries > figures.browsers
    assert figures.logouts >= 1


def test_faults_when_the_case_has_ended_then_all_of_them_were_there(
    report: Report,
) -> None:
    """A soak in which nothing happens shows nothing."""
    (figures,) = report.cases
    assert {
        "nonces rotated",
        "stores restarted",
        "times the PDS was 500",
        "times the PDS was hanging",
        "token answers lost",
        "workers frozen",
        "workers killed",
    } <= set(figures.faults)
    assert figures.interrupted >= 1
    assert figures.errors


@pytest.mark.covers("REF-04")
def test_race_when_processes_meet_ended_tokens_then_each_is_renewed_once(
    report: Report,
) -> None:
    """Our client's processes share a store, and that is all they need."""
    ours = [each for each in report.race if each.client == OURS]
    assert [(each.lost, each.unanswered, each.per_expiry) for each in ours] == [
        (0, 0, 1)
    ]


def test_report_when_written_then_people_and_programs_can_read_it(
    report: Report, tmp_path: Path
) -> None:
    """The table has the promises; the JSON has all of it."""
    report.write(tmp_path)
    table = (tmp_path / "report.md").read_text("utf-8")
    said = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert f"|  | {_CASE} |" in table
    assert "| refreshes per expiry | 1.00 |" in table
    assert "Every promise was kept." in table
    assert said["cases"][0]["per_expiry"] == 1.0
    assert said["race"][0]["lost"] == 0
