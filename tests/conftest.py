"""What every test shares: both event loops, checked markers, no silent skips."""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Iterator

import pytest
from hypothesis import settings

# A machine that is busy with other things is no failure: where time counts, a test says so.
settings.register_profile("busy", deadline=None)
settings.load_profile("busy")

pytest_plugins = [
    "tests.reference_network.fixtures",
    "tests.browser.fixtures",
    "tests.cli.deployment",
    "tests.conformance.recorder",
    "tests.documentation",
    "tests.network.staging",
    "tests.services.fixtures",
]

_REQUIREMENT_ID = re.compile(r"[A-Z]+-A?[0-9]{2,3}")

# In CI a skipped test is a failed one: there everything that a test may need is
# installed, so a skip means that something is checked nowhere. An expected failure
# is not a skip, although pytest reports it as one.
_REQUIRE_ALL = os.environ.get("REQUIRE_ALL", "") not in {"", "0"}


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """The event loop that a test marked ``anyio`` runs on: each in turn."""
    name: str = request.param
    return name


@pytest.fixture(autouse=True)
def _own_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep applications of tests apart: their default is a file that all share.

    ``tests/web/test_host_store.py`` and the workers of ``tests/stored_app.py`` have it.
    """
    monkeypatch.setattr("atproto_oauth_asgi.web.stores.host_store_path", lambda _: None)


def _requirement_ids(item: pytest.Item) -> Iterator[object]:
    for marker in item.iter_markers("covers"):
        if marker.kwargs or not marker.args:
            message = f"{item.nodeid}: covers() takes one or more ids, nothing else"
            raise pytest.UsageError(message)
        yield from marker.args


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a ``covers`` marker whose ids are misspelt."""
    for item in items:
        for found in _requirement_ids(item):
            if not isinstance(found, str) or not _REQUIREMENT_ID.fullmatch(found):
                message = f"{item.nodeid}: {found!r} is not an id such as NET-04"
                raise pytest.UsageError(message)


def _fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not _REQUIRE_ALL or not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr
    if isinstance(reason, tuple):
        reason = f"{reason[2]} ({reason[0]}:{reason[1]})"
    report.outcome = "failed"
    report.longrepr = f"Not allowed under REQUIRE_ALL=1: {reason}"


# Outermost of all wrappers, so that it sees what pytest's own have decided.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[
    None, pytest.TestReport, pytest.TestReport
]:
    """Treat a skip in a test, a fixture or a marker as a failure, if asked to."""
    report = yield
    _fail_if_skipped(report)
    return report


# Module-level skips and `importorskip` happen while tests are collected.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[
    None, pytest.CollectReport, pytest.CollectReport
]:
    """Treat a module that skips itself as a failure, if asked to."""
    report = yield
    _fail_if_skipped(report)
    return report
