"""A plugin of pytest that writes down which tests of which ids passed.

Tests may run in several workers of pytest-xdist. What they tell is in their reports,
which come together in one process, and that one writes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from tests.conformance.record import RECORD, Record, load_record, save_record, updated
from tests.conformance.rules import ConformanceError

# An option that says how tests are run, and not which.
_WORKERS = "--numprocesses="


class Recorder:
    """Collects the outcomes of one run."""

    def __init__(self) -> None:
        self.collected: set[str] = set()
        self.covers: dict[str, tuple[str, ...]] = {}
        self.ran: dict[str, str] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note every test that is to run, where there are no workers."""
        self.collected.update(item.nodeid for item in session.items)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note what could not be collected; it never runs."""
        if report.failed:
            self.collected.add(report.nodeid)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        """Note every test that a worker found; all of them find the same."""
        self.collected.update(ids)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the ids of a test and how it ended; the worst of its phases counts."""
        self.covers[report.nodeid] = tuple(
            str(value) for name, value in report.user_properties if name == "covers"
        )
        if report.failed:
            self.ran[report.nodeid] = "failed"
        elif report.skipped or hasattr(report, "wasxfail"):
            self.ran.setdefault(report.nodeid, "skipped")
        elif report.when == "call":
            self.ran.setdefault(report.nodeid, "passed")

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Write the record: anew after a full run, else what has changed."""
        if not self.ran:
            return
        path = session.config.rootpath / RECORD
        if self._is_full(session.config, exitstatus):
            now = datetime.now(UTC).isoformat(timespec="seconds")
            before = Record(full_run=now)
        else:
            before = _load_or_empty(session.config)
        save_record(updated(before, self.ran, self.covers), path)

    def _is_full(self, config: pytest.Config, exitstatus: int) -> bool:
        """Whether pytest was asked for nothing in particular, and came to the end."""
        given = config.invocation_params.args
        asked = [argument for argument in given if not argument.startswith(_WORKERS)]
        ended = exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}
        if asked or os.environ.get("PYTEST_ADDOPTS"):
            return False
        return ended and self.collected == self.ran.keys()


def _load_or_empty(config: pytest.Config) -> Record:
    try:
        return load_record(config.rootpath / RECORD)
    except ConformanceError:
        return Record()


def pytest_itemcollected(item: pytest.Item) -> None:
    """Let the reports of a test carry the ids that it covers."""
    for mark in item.iter_markers("covers"):
        item.user_properties.extend(("covers", rule_id) for rule_id in mark.args)


def pytest_configure(config: pytest.Config) -> None:
    """Begin a recording, but not in a worker."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Recorder(), "conformance-recorder")
