"""In CI nothing is skipped in silence, in whichever process it runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance.test_conformance import ONLY_WORKERS

_ROOT = Path(__file__).parents[1]
_HOOKS = """\
from tests.conftest import pytest_make_collect_report, pytest_runtest_makereport
"""
_WHOLE = 'import pytest\n\npytest.skip("no browser", allow_module_level=True)\n'
_SOME = """
import pytest

def test_passes(): pass

def test_skips(): pytest.skip("no server")

@pytest.mark.xfail
def test_fails_as_expected(): raise ValueError
"""


@pytest.mark.parametrize("workers", [0, 1])
def test_skip_when_all_are_required_then_is_a_failure(
    tmp_path: Path, workers: int
) -> None:
    """A test, or a module that is not even collected; an expected failure is none."""
    (tmp_path / "conftest.py").write_text(_HOOKS)
    (tmp_path / "test_whole.py").write_text(_WHOLE)
    (tmp_path / "test_some.py").write_text(_SOME)
    command = [sys.executable, "-m", "pytest", "-q", f"--numprocesses={workers}"]
    done = subprocess.run(
        [*command, "--continue-on-collection-errors"],
        cwd=tmp_path,
        env={
            **os.environ,
            **ONLY_WORKERS,
            "PYTHONPATH": str(_ROOT),
            "REQUIRE_ALL": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed, 1 passed, 1 xfailed, 1 error" in done.stdout
