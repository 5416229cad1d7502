"""The demo shows an address and accounts that work, and leaves nothing behind."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.reference_network.process import (
    NetworkNotInstalledError,
    check_node_modules,
    find_node,
)

ROOT = Path(__file__).parents[2]
STUB_APP = """
import json
import os

async def app(scope, receive, send):
    if scope["type"] == "http":
        names = ("ATPROTO_PLC_URL", "ATPROTO_HANDLE_RESOLVER_URL")
        body = json.dumps({name: os.environ.get(name) for name in names}).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})
"""

Start = Callable[..., "Demo"]


class Demo:
    """A running demo, and what it has printed so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        self.output = ""
        for line in process.stdout:
            self.output += line
            if "Ctrl-C" in line:
                break

    @property
    def address(self) -> str:
        return self.printed(r"Open +(http://\S+)")

    def printed(self, pattern: str) -> str:
        found = re.search(pattern, self.output)
        assert found, self.output
        return found.group(1)

    def stop(self, number: signal.Signals) -> tuple[int, str]:
        """Return exit code and all that was printed as an error."""
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=30)
        return self.process.returncode, errors


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    (tmp_path / "stub_app.py").write_text(STUB_APP)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("ATPROTO_PLC_URL", "http://left-over.test")
    started: list[subprocess.Popen[str]] = []

    def start(network: str, *, app: str = "stub_app:app") -> Demo:
        module = "tests.reference_network.demo"
        process = subprocess.Popen(
            [sys.executable, "-m", module, network, "--app", app],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return Demo(process)

    yield start
    for process in started:
        process.terminate()
        process.communicate(timeout=30)


def is_open(url: str) -> bool:
    try:
        httpx.get(url)
    except httpx.ConnectError:
        return False
    return True


@pytest.mark.network
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_reference_demo_when_stopped_then_leaves_quietly(
    start: Start, number: signal.Signals
) -> None:
    """It serves against the local network; a signal ends both, without complaint."""
    try:
        find_node()
        check_node_modules()
    except NetworkNotInstalledError as error:
        pytest.skip(str(error))
    demo = start("reference")
    settings = httpx.get(demo.address).json()
    pds_url = demo.printed(r"PDS at (\S+)")
    assert settings["ATPROTO_HANDLE_RESOLVER_URL"] == pds_url
    assert is_open(settings["ATPROTO_PLC_URL"])
    handle, password = demo.printed("Account +(.+)").split(", password ")
    sign_in = httpx.post(
        f"{pds_url}/xrpc/com.atproto.server.createSession",
        json={"identifier": handle, "password": password},
    )
    assert sign_in.is_success
    assert demo.stop(number) == (0, "")
    left = [url for url in (demo.address, *settings.values()) if is_open(url)]
    assert left == []


def test_live_demo_when_started_then_uses_no_local_network(start: Start) -> None:
    """The example is left to its defaults, whatever the shell had set."""
    demo = start("live")
    assert set(httpx.get(demo.address).json().values()) == {None}
    assert "public" in demo.output
    assert demo.stop(signal.SIGTERM) == (0, "")


def test_demo_when_port_is_taken_then_uses_another(start: Start) -> None:
    """Something on the usual port does not stop the demo."""
    first, second = start("live"), start("live")
    assert first.address != second.address
    assert is_open(first.address)
    assert is_open(second.address)


def test_demo_when_application_is_broken_then_fails_with_its_error(
    start: Start,
) -> None:
    """What is wrong with the application is shown, and the demo does not hang."""
    demo = start("live", app="no_such_module:app")
    _, errors = demo.process.communicate(timeout=30)
    assert demo.process.returncode == 1
    assert "no_such_module" in errors
    assert "Traceback" not in errors
