"""A plugin of pytest that writes down which tests of which ids passed."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import pytest

from tests.conformance.record import RECORD, Record, load_record, save_record, updated
from tests.conformance.rules import ConformanceError


class Recorder:
    """Collects the outcomes of one run."""

    def __init__(self) -> None:
        self.covers: dict[str, tuple[str, ...]] = {}
        self.ran: dict[str, str] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note the ids of every test that is to run."""
        for item in session.items:
            marks = item.iter_markers("covers")
            self.covers[item.nodeid] = tuple(
                rule_id for mark in marks for rule_id in mark.args
            )

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note how a test ended; the worst of its phases counts."""
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
        asked = config.invocation_params.args or os.environ.get("PYTEST_ADDOPTS")
        ended = exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}
        return not asked and ended and self.covers.keys() == self.ran.keys()


def _load_or_empty(config: pytest.Config) -> Record:
    try:
        return load_record(config.rootpath / RECORD)
    except ConformanceError:
        return Record()


def pytest_configure(config: pytest.Config) -> None:
    """Begin a recording."""
    config.pluginmanager.register(Recorder(), "conformance-recorder")
