"""The examples do what they say, each under uvicorn in a process of its own."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from cryptography.fernet import Fernet

from tests.notes_app import COLLECTION
from tests.reference_network.process import ReferenceNetwork
from tests.reference_network.sign_in import approve
from tests.serving import served_in_process

pytestmark = pytest.mark.network

_ROOT = Path(__file__).parents[1]
_EXAMPLES = sorted(_ROOT.glob("examples/*.py"))
_MAX_LINES = 60


@contextmanager
def _logged_in(
    app: str, network: ReferenceNetwork, *, server: str = "uvicorn"
) -> Iterator[httpx.Client]:
    """Serve an example and log Alice in."""
    settings = {
        "ATPROTO_PLC_URL": network.plc_url,
        "ATPROTO_HANDLE_RESOLVER_URL": network.pds_url,
    }
    with (
        served_in_process(app, settings=settings, server=server) as origin,
        httpx.Client(
            base_url=origin, headers={"Origin": origin}, trust_env=False
        ) as browser,
    ):
        form = {"identifier": "alice.test", "return_to": "/"}
        response = browser.post("/oauth/login", data=form)
        auth_url = response.headers["refresh"].partition("url=")[2]
        back = approve(auth_url, network.accounts["alice.test"])
        assert browser.get(back).status_code == 303
        yield browser


@pytest.mark.parametrize("example", _EXAMPLES, ids=lambda path: path.name)
def test_example_when_read_then_is_short(example: Path) -> None:
    """An example fits on a screen."""
    assert len(example.read_text().splitlines()) < _MAX_LINES


@pytest.mark.parametrize(
    ("framework", "server"),
    [
        ("fastapi", "uvicorn"),
        ("fastapi", "hypercorn"),
        ("quart", "uvicorn"),
        ("litestar", "uvicorn"),
        ("django", "uvicorn"),
    ],
)
def test_notes_example_when_logged_in_then_posts_a_note(
    framework: str,
    server: str,
    fresh_network: ReferenceNetwork,
) -> None:
    """The note that was typed is in the person's repository."""
    alice = fresh_network.accounts["alice.test"]
    app = f"examples.{framework}_app:app"
    with _logged_in(app, fresh_network, server=server) as browser:
        assert "You are alice.test" in browser.get("/").text
        response = browser.post("/notes", data={"text": "from the example"})
        assert response.status_code == 303
        assert browser.post("/oauth/logout").status_code == 303
        assert "Log in" in browser.get("/").text
        assert browser.post("/notes", data={"text": "x"}).status_code == 401
    notes = fresh_network.list_records(alice.did, COLLECTION)
    assert any(note["value"]["text"] == "from the example" for note in notes)


def test_starlette_example_when_logged_in_then_asks_the_pds(
    fresh_network: ReferenceNetwork,
) -> None:
    """The PDS knows the application's client as that person."""
    with _logged_in("examples.starlette_app:app", fresh_network) as browser:
        assert browser.get("/whoami").json()["handle"] == "alice.test"
        browser.post("/oauth/logout")
        response = browser.get("/")
        assert response.headers["location"] == "/oauth/login?return_to=%2F"


def test_flask_example_when_logged_in_then_knows_the_person(
    fresh_network: ReferenceNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A view waits for the client, and the next one finds the session again."""
    monkeypatch.setenv("ATPROTO_PLC_URL", fresh_network.plc_url)
    monkeypatch.setenv("ATPROTO_HANDLE_RESOLVER_URL", fresh_network.pds_url)
    example = runpy.run_path(str(_ROOT / "examples/flask_app.py"))
    alice = fresh_network.accounts["alice.test"]
    with example["oauth"], example["app"].test_client() as browser:
        assert "Log in" in browser.get("/").text
        assert browser.post("/login", data={"handle": "nobody.test"}).status_code == 400
        answer = browser.post("/login", data={"handle": "alice.test"})
        back = approve(answer.headers["location"], alice)
        back = back.removeprefix("http://127.0.0.1:8000")
        assert browser.get(back).status_code == 303
        assert browser.get("/").text == "You are alice.test"
        assert browser.get(back).status_code == 400
        assert browser.get("/").text == "You are alice.test"
    with example["app"].test_client() as stranger:
        assert "Log in" in stranger.get("/").text


# --- Programs in a terminal ----------------------------------------------------------


class Terminal:
    """Runs examples as a person would, one after the other."""

    def __init__(self, network: ReferenceNetwork, folder: Path) -> None:
        self._network = network
        self._settings = {
            **os.environ,
            "ATPROTO_PLC_URL": network.plc_url,
            "ATPROTO_HANDLE_RESOLVER_URL": network.pds_url,
            "SESSION_FILES": str(folder / "sessions"),
            "SESSION_KEY": Fernet.generate_key().decode(),
        }

    def log_in(self, handle: str) -> str:
        """Log somebody in; return what the program says at the end."""
        with self._start("examples.login_in_terminal", handle) as program:
            assert program.stdin
            assert program.stdout
            lines = iter(program.stdout.readline, "")
            auth_url = next(line for line in lines if line.startswith("http")).strip()
            back = approve(auth_url, self._network.accounts[handle])
            said, _ = program.communicate(f"{back}\n", timeout=60)
        assert program.returncode == 0
        return said.strip()

    def run(self, module: str, *arguments: str) -> tuple[int, str, str]:
        """Return exit code, output and errors of a program."""
        with self._start(module, *arguments) as program:
            said, complained = program.communicate(timeout=60)
        return program.returncode, said.strip(), complained.strip()

    def _start(self, module: str, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=_ROOT,
            env=self._settings,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def test_terminal_examples_when_run_in_turn_then_work_with_one_session(
    fresh_network: ReferenceNetwork, tmp_path: Path
) -> None:
    """Log in, write a note in the background, post by the SDK; renewed in between."""
    alice = fresh_network.accounts["alice.test"]
    terminal = Terminal(fresh_network, tmp_path)
    fresh_network.set_token_lifetime(1500)
    assert terminal.log_in("alice.test") == f"You are alice.test, {alice.did}"
    [kept] = (tmp_path / "sessions").iterdir()
    assert kept.stat().st_mode & 0o077 == 0
    before = kept.read_bytes()
    time.sleep(1.5)
    code, uri, _ = terminal.run("examples.background_job", alice.did, "by night")
    assert (code, uri.startswith(f"at://{alice.did}/com.example.note/")) == (0, True)
    assert kept.read_bytes() != before
    code, uri, _ = terminal.run("examples.sdk_post", alice.did, "by the SDK")
    assert (code, uri.startswith(f"at://{alice.did}/app.bsky.feed.post/")) == (0, True)


@pytest.mark.parametrize("module", ["examples.background_job", "examples.sdk_post"])
def test_terminal_example_when_nobody_logged_in_then_says_so(
    module: str, fresh_network: ReferenceNetwork, tmp_path: Path
) -> None:
    """A code that a program can look at, and no stack."""
    terminal = Terminal(fresh_network, tmp_path)
    code, _, complained = terminal.run(module, "did:plc:" + "a" * 24, "x")
    assert (code, complained.partition(":")[0]) == (1, "session_expired")
