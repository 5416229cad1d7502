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
from playwright.sync_api import expect
from starlette.testclient import TestClient

from atproto_oauth_asgi.cli import demo as command
from atproto_oauth_asgi.cli.demo_app import make_app
from atproto_oauth_asgi.cli.main import main
from tests.browser.fixtures import BrowserPage, Screenshots
from tests.reference_network.process import (
    NetworkNotInstalledError,
    check_node_modules,
    find_node,
)

ROOT = Path(__file__).parents[2]
FAILING_APP = """
async def app(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})
"""
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

MODULE = "atproto_oauth_asgi demo"

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

    @property
    def pds_url(self) -> str:
        return self.printed(r"PDS at (\S+)")

    @property
    def accounts(self) -> list[tuple[str, str]]:
        """Handles and passwords, as printed."""
        return re.findall(r"Account +(\S+), password (\S+)", self.output)

    def stop(self, number: signal.Signals) -> tuple[int, str]:
        """Return exit code and all that was printed as an error."""
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=30)
        return self.process.returncode, errors


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    (tmp_path / "stub_app.py").write_text(STUB_APP)
    (tmp_path / "failing_app.py").write_text(FAILING_APP)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("ATPROTO_PLC_URL", "http://left-over.test")
    started: list[subprocess.Popen[str]] = []

    def start(
        *arguments: str, app: str | None = "stub_app:app", module: str = MODULE
    ) -> Demo:
        named = [] if app is None else ["--app", app]
        words = module.split()
        process = subprocess.Popen(
            [sys.executable, "-m", *words, *arguments, *named],
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


def settings_of(demo: Demo) -> dict[str, str]:
    """What the application was started with; both lead to servers that are there."""
    settings: dict[str, str] = httpx.get(demo.address).json()
    assert settings["ATPROTO_HANDLE_RESOLVER_URL"] == demo.pds_url
    assert all(map(is_open, settings.values()))
    return settings


def assert_leaves(demo: Demo, number: signal.Signals) -> None:
    """A signal ends the application and the network, without complaint."""
    urls = [demo.address, *settings_of(demo).values()]
    assert demo.stop(number) == (0, "")
    assert [url for url in urls if is_open(url)] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_local_demo_when_stopped_then_leaves_quietly(
    start: Start, number: signal.Signals
) -> None:
    """It serves against the in-process network; a signal ends both."""
    demo = start()
    query = {"handle": demo.accounts[0][0]}
    url = f"{demo.pds_url}/xrpc/com.atproto.identity.resolveHandle"
    assert httpx.get(url, params=query).json()["did"].startswith("did:plc:")
    assert_leaves(demo, number)


def test_demo_when_no_network_is_named_then_is_the_local_one(start: Start) -> None:
    """The demo without an argument is the one that is there at once."""
    demo = start()
    assert "official" not in demo.output
    assert len(demo.accounts) == 2


@pytest.mark.parametrize(
    ("arguments", "module"),
    [
        ((), MODULE),
        (("NETWORK=live",), f"{MODULE} --live"),
        (("NETWORK=reference",), "tests.reference_network.demo"),
        (
            ("NETWORK=reference", "APP=yours:app"),
            "tests.reference_network.demo --app yours:app",
        ),
    ],
)
def test_make_demo_when_packages_are_stale_then_fetches_what_is_needed(
    arguments: tuple[str, ...], module: str
) -> None:
    """Whoever has just cloned waits for npm only if the official PDS is wanted."""
    stale = "tests/reference_network/package.json"
    done = subprocess.run(
        [
            "make",
            "--no-print-directory",
            "--dry-run",
            f"--what-if={stale}",
            "demo",
            *arguments,
        ],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )
    assert done.stdout.rstrip().endswith(f"python -m {module}")
    assert ("npm" in done.stdout) is ("reference" in module)


@pytest.mark.browser
@pytest.mark.parametrize("app", [None, "examples.fastapi_app:app"])
def test_local_demo_when_opened_in_a_browser_then_whole_login_works(
    start: Start, browser_page: BrowserPage, screenshots: Screenshots, app: str | None
) -> None:
    """What is printed is all that a stranger needs: log in, post, log out."""
    demo = start(app=app)
    page = browser_page.page
    handle, password = demo.accounts[0]
    page.goto(demo.address)
    page.get_by_role("link", name="Log in").click()
    page.get_by_label("Your handle").fill(handle)
    screenshots.take("login")
    page.get_by_role("button", name="Continue").click()
    expect(page).to_have_url(re.compile(f"^{demo.pds_url}/oauth/authorize"))
    expect(page.get_by_label("Handle")).to_have_value(handle)
    screenshots.take("consent")
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Authorize").click()
    expect(page.get_by_text(f"You are {handle}")).to_be_visible()
    page.locator('input[name="text"]').fill("first")
    page.get_by_role("button", name="Post").click()
    expect(page.get_by_role("listitem")).to_have_text("first")
    screenshots.take("logged-in")
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("link", name="Log in")).to_be_visible()
    assert page.context.cookies(demo.address) == []
    assert browser_page.errors_from(demo.pds_url) == []


@pytest.mark.browser
def test_local_demo_when_password_is_wrong_or_denied_then_pages_tell(
    start: Start, browser_page: BrowserPage, screenshots: Screenshots
) -> None:
    """A mistake can be corrected on the page, and a no leads back to the app."""
    demo = start(app="examples.fastapi_app:app")
    page = browser_page.page
    page.goto(f"{demo.address}/oauth/login")
    page.get_by_label("Your handle").fill("bob.test")
    page.get_by_role("button", name="Continue").click()
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Authorize").click()
    expect(page.get_by_role("alert")).to_be_visible()
    screenshots.take("wrong-password")
    page.get_by_role("button", name="Deny").click()
    expect(page.get_by_text("You declined")).to_be_visible()
    assert page.url.startswith(f"{demo.address}/oauth/callback")


@pytest.mark.browser
def test_local_demo_when_somebody_stays_signed_in_then_others_still_can(
    start: Start, browser_page: BrowserPage, screenshots: Screenshots
) -> None:
    """The page offers who is signed in, and takes whom the application names."""
    demo = start(app="examples.fastapi_app:app")
    page = browser_page.page

    def enter(handle: str) -> None:
        page.goto(f"{demo.address}/oauth/login")
        page.get_by_label("Your handle").fill(handle)
        page.get_by_role("button", name="Continue").click()

    def authorize(password: str) -> None:
        page.get_by_label("Password").fill(password)
        page.get_by_role("button", name="Authorize").click()

    (alice, alices_password), (bob, bobs_password) = demo.accounts
    enter(alice)
    page.get_by_label("Stay signed in").check()
    authorize(alices_password)
    expect(page.get_by_text(f"You are {alice}")).to_be_visible()
    enter(bob)
    expect(page.get_by_role("combobox")).to_contain_text(alice)
    screenshots.take("somebody-else")
    authorize(bobs_password)
    expect(page.get_by_text(f"You are {bob}")).to_be_visible()


@pytest.mark.network
def test_reference_demo_when_stopped_then_leaves_quietly(start: Start) -> None:
    """It serves against the official PDS; a signal ends both."""
    try:
        find_node()
        check_node_modules()
    except NetworkNotInstalledError as error:
        pytest.skip(str(error))
    demo = start(module="tests.reference_network.demo")
    handle, password = demo.accounts[0]
    sign_in = httpx.post(
        f"{demo.pds_url}/xrpc/com.atproto.server.createSession",
        json={"identifier": handle, "password": password},
    )
    assert sign_in.is_success
    assert_leaves(demo, signal.SIGTERM)


def test_live_demo_when_started_then_uses_no_local_network(start: Start) -> None:
    """The example is left to its defaults, whatever the shell had set."""
    demo = start("--live")
    assert set(httpx.get(demo.address).json().values()) == {None}
    assert "public" in demo.output
    assert demo.stop(signal.SIGTERM) == (0, "")


def test_demo_when_port_is_taken_then_uses_another(start: Start) -> None:
    """Something on the usual port does not stop the demo."""
    first, second = start("--live"), start("--live")
    assert first.address != second.address
    assert is_open(first.address)
    assert is_open(second.address)


def test_demo_when_application_is_broken_then_fails_with_its_error(
    start: Start,
) -> None:
    """What is wrong with the application is shown, and the demo does not hang."""
    demo = start("--live", app="no_such_module:app")
    _, errors = demo.process.communicate(timeout=30)
    assert demo.process.returncode == 2
    assert "no_such_module" in errors
    assert "Traceback" not in errors


def test_demo_when_application_does_not_start_then_fails_with_its_reason(
    start: Start,
) -> None:
    """A script that starts the demo is told by the exit code that it did not start."""
    demo = start("--live", app="failing_app:app")
    _, errors = demo.process.communicate(timeout=30)
    assert demo.process.returncode > 0
    assert "no database" in errors


def test_demo_application_when_nobody_posts_a_note_then_sends_them_to_log_in() -> None:
    """The form may be sent after the session has ended: there is no error page."""
    client = TestClient(make_app(), base_url="http://127.0.0.1:8000")
    answer = client.post("/notes", data={"text": "a"}, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/oauth/login")


def test_demo_when_port_is_named_then_is_that_one_or_an_error(start: Start) -> None:
    """A port that is asked for is not replaced by another."""
    first = start("--live")
    port = first.address.rpartition(":")[2]
    second = start("--live", "--port", port)
    _, errors = second.process.communicate(timeout=30)
    assert second.process.returncode == 2
    assert f"nobody can listen on {port}" in errors


def test_demo_when_uvicorn_is_missing_then_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is no dependency of the package; who lacks it is told."""
    monkeypatch.setattr(command, "find_spec", lambda _: None)
    assert main(["demo", "--live"]) == 2
    assert "pip install uvicorn" in capsys.readouterr().err
