"""What is tracked names no machine and no index, and CI runs nothing that can change."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packaging.project import PACKAGE, ROOT, project, tracked_files

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
# Folders of one machine, and hosts that packages come from. Written so that this file
# does not find itself.
MACHINE = re.compile(r"(?<![\w.])/(?:home|root|Users|work|opt)/(?=\w)")
INDEX = re.compile(
    r"\b(?:files\.python" + r"hosted|registry\.npm" + r"js|registry\.yarn)\b"
)
TEXT_OF_OTHERS = ("tests/vectors/",)
BINARY = (".png", ".ico", ".woff2")


def texts() -> Iterator[tuple[str, str]]:
    for name in sorted(tracked_files()):
        if not name.endswith(BINARY) and not name.startswith(TEXT_OF_OTHERS):
            yield name, (ROOT / name).read_text(encoding="utf-8")


def findings(text: str) -> list[str]:
    return [match[0] for rule in (MACHINE, INDEX) for match in rule.finditer(text)]


@pytest.mark.covers("SUP-02")
def test_tree_when_searched_then_names_no_machine_and_no_index() -> None:
    """A clone works elsewhere: packages come from where its user gets them."""
    assert {n: found for n, text in texts() if (found := findings(text))} == {}
    assert findings("see /" + "home/me and https://registry.npm" + "js.org/x") == [
        "/" + "home/",
        "registry.npm" + "js",
    ]


@pytest.mark.covers("SUP-02")
def test_locks_when_read_then_hold_hashes_and_no_addresses() -> None:
    """npm's locks pin every file by its hash, and none by a host; uv's is not kept."""
    tracked = tracked_files()
    assert "uv.lock" not in tracked
    locks = [name for name in tracked if name.endswith("package-lock.json")]
    assert len(locks) >= 2
    for name in locks:
        packages = json.loads((ROOT / name).read_text("utf-8"))["packages"]
        for path, package in packages.items():
            assert "resolved" not in package, (name, path)
            assert "integrity" in package or path == "" or package.get("link"), path


def uses(workflow: str) -> list[str]:
    return re.findall(r"uses: *(\S+)", workflow)


@pytest.mark.covers("SUP-02")
@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflow_when_read_then_pins_actions_and_starts_without_rights(
    path: Path,
) -> None:
    """An action cannot change under us, and a job may do no more than it says."""
    text = path.read_text("utf-8")
    for action in uses(text):
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action), action
    assert re.search(r"^permissions: \{\}$", text, re.MULTILINE)
    assert text.count("actions/checkout@") == text.count("persist-credentials: false")
    assert "pull_request_target" not in text
    # What strangers can write is not put into a script.
    assert re.findall(r"run:.*\$\{\{", text) == []


def test_workflows_when_read_then_are_there() -> None:
    """One asks for advisories, one is for every change, one for a release."""
    assert [path.name for path in WORKFLOWS] == [
        "audit.yml",
        "ci.yml",
        "release.yml",
    ]


@pytest.mark.covers("SUP-03")
def test_release_when_published_then_by_an_identity_and_attested_not_by_a_token() -> (
    None
):
    """Only the job that uploads may say who it is; no secret is stored to be stolen."""
    text = (ROOT / ".github/workflows/release.yml").read_text("utf-8")
    build, publish = text.split("\n  publish:\n")
    assert "id-token" not in build
    assert "id-token: write" in publish
    assert "environment: pypi" in publish
    assert re.search(
        r"uses: pypa/gh-action-pypi-publish@\S+.*\n.*\n *attestations: true", publish
    )
    assert "actions/checkout" not in publish
    assert "secrets." not in text
    assert "password" not in text


def test_change_log_when_read_then_names_the_version_newest_first() -> None:
    """A release is told below a version and a day, and SECURITY.md supports it."""
    version = project()["version"]
    headings = re.findall(
        r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE
    )
    assert headings[0] == "[Unreleased]"
    assert re.fullmatch(rf"\[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d", headings[1])
    minor = version.rpartition(".")[0]
    assert f"| {minor} | yes |" in (ROOT / "SECURITY.md").read_text("utf-8")


# trio looks for a library by `ldconfig`, so it comes first.
SILENT = """
import pkgutil, sys, trio
def watch(event, arguments):
    if event.startswith(("socket.connect", "socket.getaddrinfo", "socket.bind",
                         "socket.sendto", "subprocess.", "os.system", "os.exec")):
        print(event, arguments, flush=True)
sys.addaudithook(watch)
import {package}
for module in pkgutil.walk_packages({package}.__path__, "{package}."):
    if not module.name.endswith("__main__"):
        __import__(module.name)
print("done")
"""


@pytest.mark.covers("SUP-04")
def test_modules_when_imported_then_reach_nothing() -> None:
    """No import opens a connection, asks for a name or starts a program."""
    done = subprocess.run(
        [sys.executable, "-c", SILENT.format(package=PACKAGE)],
        capture_output=True,
        check=True,
        text=True,
    )
    assert done.stdout == "done\n"


@pytest.mark.covers("SUP-04")
def test_package_when_searched_then_imports_by_name_from_tables_only() -> None:
    """What is imported by a name comes from a table of ours, never from a request."""
    dynamic = {
        name
        for name, text in texts()
        if name.startswith(f"{PACKAGE}/") and "import_module" in text
    }
    assert dynamic == {
        f"{PACKAGE}/__init__.py",
        f"{PACKAGE}/cli/main.py",
        f"{PACKAGE}/stores/__init__.py",
    }
