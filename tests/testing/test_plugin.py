"""The fixture is there for everybody who installs the package."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

STRANGER = """
from atproto_oauth_asgi.testing import behaviours

SEEN = []

def test_first(atproto_network):
    SEEN.append(atproto_network.accounts["alice.test"].did)
    atproto_network.on("pds.test", None, behaviours.status(500))
    assert atproto_network.request("GET", atproto_network.pds_url).status_code == 500

def test_second(atproto_network):
    assert atproto_network.accounts["alice.test"].did not in SEEN
    assert atproto_network.request("GET", atproto_network.pds_url).status_code == 404
"""


PAGE = Path(__file__).parents[2] / "docs/how-to/test-your-app.md"


def run_pytest(folder: Path, source: str) -> str:
    """Run a test module in a folder of its own; give what pytest says."""
    (folder / "test_stranger.py").write_text(source, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "--rootdir", folder],
        cwd=folder,
        capture_output=True,
        check=False,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_fixture_when_used_in_a_project_of_its_own_then_each_test_is_fresh(
    tmp_path: Path,
) -> None:
    """No import and no configuration is needed; tests do not see each other."""
    assert "2 passed" in run_pytest(tmp_path, STRANGER)


def test_page_when_its_blocks_are_one_module_then_every_test_passes(
    tmp_path: Path,
) -> None:
    """What the documentation shows, with and without the fixture, is a test suite."""
    text = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"^```py(?:thon)?\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert "12 passed" in run_pytest(tmp_path, "\n".join(blocks))


def test_plugin_when_nobody_uses_it_then_costs_nothing(tmp_path: Path) -> None:
    """pytest imports it in every project; the network comes with the first use."""
    source = """
import sys

def test_nothing():
    loaded = {name for name in sys.modules if name.startswith("atproto_oauth_asgi")}
    assert loaded == {"atproto_oauth_asgi", "atproto_oauth_asgi._pytest_plugin"}
"""
    assert "1 passed" in run_pytest(tmp_path, source)
