"""What the log tells of a day at an application: who, where, and why not."""

from __future__ import annotations

import ast
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Unpack
from urllib.parse import parse_qs, urlsplit

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket

import atproto_oauth_asgi.exceptions
from atproto_oauth_asgi import ATProtoOAuthMiddleware, ClientKey
from atproto_oauth_asgi.config import OAuthOptions
from atproto_oauth_asgi.crypto.keys import generate_private_key
from atproto_oauth_asgi.testing import (
    Account,
    AtprotoNetwork,
    approve,
    behaviours,
    deny,
    login_as,
)
from tests.sessions.making import HOUR_S, NOW, Clock

NAME = "atproto_oauth_asgi"
PACKAGE = Path(atproto_oauth_asgi.exceptions.__file__).parent
DOCS = Path(__file__).parents[1] / "docs" / "reference" / "logging.md"
SECRET = "a secret of the tests, 32 bytes or more"
ORIGIN = "http://127.0.0.1:8000"
HOSTED = "https://app.notes.internal"
FIELDS = {
    *("did", "issuer", "kid", "code", "incident", "host", "address", "limit"),
    *("hook", "page", "mount", "redirect_uri"),
}
RESOURCE = "/.well-known/oauth-protected-resource"


# --- The list ------------------------------------------------------------------------


def log_calls() -> Iterator[ast.Call]:
    """Every call that writes into our log."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.is_relative_to(PACKAGE / "testing"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == "_log"
            ):
                yield node


def message_of(call: ast.Call) -> str:
    """The message that a call writes, as it stands in the code."""
    text = call.args[1 if level_of(call) == "LOG" else 0]
    assert isinstance(text, ast.Constant), ast.unparse(call)
    assert isinstance(text.value, str), ast.unparse(call)
    return text.value


def level_of(call: ast.Call) -> str:
    assert isinstance(call.func, ast.Attribute)
    return {"exception": "ERROR"}.get(call.func.attr, call.func.attr.upper())


def events_of(call: ast.Call) -> set[tuple[str, str]]:
    """Level and message; where the level depends on something, each of them."""
    named = {level_of(call)}
    if named == {"LOG"}:
        choice = ast.walk(call.args[0])
        named = {each.attr for each in choice if isinstance(each, ast.Attribute)}
    return {(level, message_of(call)) for level in named}


def documented() -> list[tuple[str, str]]:
    """Level and message of every row of the table of events."""
    text = DOCS.read_text(encoding="utf-8")
    return re.findall(r"^\| `([A-Z]+)` \| `([^`]+)` \|", text, re.MULTILINE)


@pytest.mark.covers("LOG-06")
def test_events_when_compared_then_the_documentation_lists_each() -> None:
    """Whoever watches the log finds every line that can come, and no other."""
    written = set().union(*map(events_of, log_calls()))
    assert sorted(documented()) == sorted(written)
    assert len(written) > 10


def test_events_when_read_then_are_words_and_known_fields() -> None:
    """Every line is an event in words, then fields that a program can find."""
    for message in map(message_of, log_calls()):
        words, _, rest = message.partition(":")
        assert "%" not in words, message
        named = re.findall(r"(\w+)=%[sr]", rest)
        assert set(named) <= FIELDS, message
        assert message.count("%") - len(named) <= 1, message


def test_loggers_when_looked_at_then_are_one() -> None:
    """One name in the settings of logging is all that people need."""
    for path in PACKAGE.rglob("*.py"):
        found = re.findall(r'^_log = .*"(.*)"', path.read_text("utf-8"), re.MULTILINE)
        assert found in ([], [NAME]), path


# --- A day ---------------------------------------------------------------------------


async def who(request: Request) -> Response:
    return JSONResponse({"did": request.scope["atproto"].did})


async def listen(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_json({"did": websocket.scope["atproto"].did})
    await websocket.close()


class Day:
    """A network, applications on it, and what the log says."""

    def __init__(self, net: AtprotoNetwork, clock: Clock, log: Any) -> None:
        self.net = net
        self.clock = clock
        self._log = log

    def open(self, origin: str = ORIGIN, **options: Unpack[OAuthOptions]) -> TestClient:
        """A browser, at an application that has just been started."""
        merged: OAuthOptions = {
            "secret_key": SECRET,
            "network": self.net.network,
            "clock": self.clock,
            **options,
        }
        routes = [Route("/", who), WebSocketRoute("/ws", listen)]
        app = ATProtoOAuthMiddleware(Starlette(routes=routes), **merged)
        self.net.serve_client(HOSTED.removeprefix("https://"), app)
        return TestClient(app, base_url=origin, follow_redirects=False)

    @property
    def alice(self) -> Account:
        return self.net.accounts["alice.test"]

    def begin(self, browser: TestClient, identifier: str = "alice.test") -> str:
        """Send the login form; return where the browser is sent."""
        answer = self.send(browser, identifier)
        assert answer.status_code == 200, answer.text
        auth_url: str = answer.json()["authorization_url"]
        return auth_url

    def send(self, browser: TestClient, identifier: str) -> Any:
        return browser.post(
            "/oauth/login",
            json={"identifier": identifier},
            headers={"Origin": str(browser.base_url), "Sec-Fetch-Site": "same-origin"},
        )

    def lines(self, level: int = logging.DEBUG) -> list[str]:
        """Our lines so far, at this level or above."""
        return [
            f"{record.levelname} {record.getMessage()}"
            for record in self._log.records
            if record.name == NAME and record.levelno >= level
        ]

    def failures(self) -> list[str]:
        """Our warnings, the incident's number left out."""
        lines = self.lines(logging.WARNING)
        return [re.sub(r" incident=[0-9a-f]{8}", "", line) for line in lines]

    def about(self, code: str, account: Account | None = None) -> str:
        """How the line of a login that failed begins."""
        did = (account or self.alice).did
        return f"WARNING request failed: did={did} issuer={self.net.issuer} code={code}"


@pytest.fixture
def day(caplog: pytest.LogCaptureFixture) -> Iterator[Day]:
    clock = Clock(NOW)
    # Whatever other tests have done to our logger.
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger=NAME)
    with AtprotoNetwork(clock=clock) as net:
        yield Day(net, clock, caplog)


@pytest.mark.covers("LOG-06")
def test_log_when_somebody_comes_and_goes_then_names_account_and_server(
    day: Day,
) -> None:
    """Begin, login and logout are told, each once, and nothing is a warning."""
    browser = day.open()
    login_as(browser, "alice.test")
    browser.post("/oauth/logout", headers={"Origin": ORIGIN})
    browser.post("/oauth/logout", headers={"Origin": ORIGIN})
    whom = f"did={day.alice.did} issuer={day.net.issuer}"
    assert day.lines(logging.INFO) == [
        f"INFO login begun: {whom}",
        f"INFO logged in: {whom}",
        f"INFO logged out: {whom}",
    ]


@pytest.mark.covers("LOG-06")
def test_log_when_one_login_replaces_another_then_tells_of_the_end(day: Day) -> None:
    """The session that makes room is ended, and that is told as any logout."""
    browser = day.open()
    login_as(browser, "alice.test")
    login_as(browser, "bob.test")
    whom = f"did={day.alice.did} issuer={day.net.issuer}"
    assert day.lines(logging.INFO)[-1] == f"INFO logged out: {whom}"


@pytest.mark.covers("LOG-06")
def test_log_when_another_server_answers_then_tells_and_again_when_used_twice(
    day: Day,
) -> None:
    """A mix-up is told, and so is the second use of the login that it ended."""
    browser = day.open()
    back = approve(day.begin(browser), day.alice)
    forged = back.replace("pds.test", "evil.test")
    assert forged != back
    assert browser.get(forged).status_code == 400
    assert browser.get(back).status_code == 400
    first, second = day.failures()
    assert first.startswith(day.about("issuer_mismatch"))
    assert second.startswith(day.about("login_expired"))


@pytest.mark.covers("LOG-06")
def test_log_when_another_account_signs_in_then_tells_who_was_meant(day: Day) -> None:
    """The line names the account that the login began with."""
    browser = day.open()
    back = approve(day.begin(browser), day.net.accounts["bob.test"])
    assert browser.get(back).status_code == 400
    (line,) = day.failures()
    assert line.startswith(day.about("subject_mismatch"))


@pytest.mark.covers("LOG-06")
def test_log_when_the_person_declines_then_tells_so(day: Day) -> None:
    """A login that ends with no is told with the account it was for."""
    browser = day.open()
    assert browser.get(deny(day.begin(browser))).status_code == 400
    (line,) = day.failures()
    assert line.startswith(day.about("login_denied"))


@pytest.mark.covers("LOG-06")
def test_log_when_the_browser_is_another_then_tells_so_and_no_account(
    day: Day,
) -> None:
    """Whoever brings somebody else's answer is not told apart by it."""
    back = approve(day.begin(day.open()), day.alice)
    assert day.open().get(back).status_code == 400
    (line,) = day.failures()
    assert line.startswith("WARNING request failed: did=None issuer=None code=wrong_b")


@pytest.mark.covers("LOG-06")
def test_log_when_a_server_refuses_a_login_then_names_it(day: Day) -> None:
    """What goes wrong before the browser leaves is told with account and server."""
    day.net.on("pds.test", "/oauth/par", behaviours.status(500))
    assert day.send(day.open(), "alice.test").status_code == 502
    (line,) = day.failures()
    assert line.startswith(day.about("authorization_server"))


@pytest.mark.covers("LOG-06")
def test_log_when_a_host_is_not_found_then_names_the_account(day: Day) -> None:
    """A login that ends on the way to the server is told with the account."""
    day.net.on("pds.test", RESOURCE, behaviours.status(404))
    assert day.send(day.open(), "alice.test").status_code == 502
    (line,) = day.failures()
    assert f"did={day.alice.did} issuer=None code=discovery" in line


@pytest.mark.covers("LOG-06")
@pytest.mark.parametrize("identifier", ["https://inside.test", "inside.test"])
def test_log_when_an_address_is_refused_then_names_host_and_address(
    day: Day, identifier: str
) -> None:
    """It is told where it happens, also where nobody else hears of it."""
    day.net.internet.addresses["inside.test"] = ["10.0.0.1"]
    assert day.send(day.open(), identifier).status_code >= 400
    expected = "WARNING address refused: host=inside.test address='10.0.0.1'"
    assert expected in day.lines()


@pytest.mark.covers("LOG-06")
def test_log_when_another_site_posts_then_tells_so(day: Day) -> None:
    """A forged request is told, without a word of what the other site sent."""
    answer = day.open().post(
        "/oauth/logout",
        data={"return_to": "/canary"},
        headers={"Origin": "https://canary.example", "Sec-Fetch-Site": "cross-site"},
    )
    assert answer.status_code == 403
    assert day.failures() == ["WARNING request refused: code=csrf"]


@pytest.mark.covers("LOG-06")
def test_log_when_a_websocket_comes_from_elsewhere_then_tells_so(day: Day) -> None:
    """Somebody else's page gets no session, and the log says that it tried."""
    browser = day.open()
    login_as(browser, "alice.test")
    for origin, did in ((ORIGIN, day.alice.did), ("https://evil.example", None)):
        headers = {"Origin": origin}
        with browser.websocket_connect(f"ws{ORIGIN[4:]}/ws", headers=headers) as socket:
            assert socket.receive_json() == {"did": did}
    expected = "INFO session not opened: WebSocket of another origin"
    assert day.lines().count(expected) == 1


# --- The ends of sessions ------------------------------------------------------------


def visit_later(day: Day, browser: TestClient) -> None:
    """Come back once the access token has ended."""
    day.clock.now += 2 * HOUR_S
    assert browser.get("/").json() == {"did": None}


def ended(day: Day, code: str) -> str:
    """How the line of a session that its server ended begins."""
    return (
        f"WARNING session ended: did={day.alice.did} issuer={day.net.issuer} "
        f"code={code}:"
    )


@pytest.mark.covers("LOG-06")
def test_log_when_a_refresh_token_comes_twice_then_tells_who_lost_the_session(
    day: Day,
) -> None:
    """A copied cookie at a host that knows of nothing: the server ends it all."""
    browser, thief = day.open(), day.open()
    login_as(browser, "alice.test")
    thief.cookies.update(browser.cookies)
    day.clock.now += 2 * HOUR_S
    assert browser.get("/").json() == {"did": day.alice.did}
    assert day.failures() == []
    assert thief.get("/").json() == {"did": None}
    (line,) = day.failures()
    assert line.startswith(ended(day, "session_revoked"))


@pytest.mark.covers("LOG-06")
def test_log_when_the_server_ends_a_session_then_tells_it_once(day: Day) -> None:
    """A browser that goes on showing the cookie is no further event."""
    browser = day.open()
    login_as(browser, "alice.test")
    cookies = dict(browser.cookies)
    day.net.revoke(day.alice.did)
    visit_later(day, browser)
    browser.cookies.update(cookies)
    visit_later(day, browser)
    (line,) = day.failures()
    assert line.startswith(ended(day, "session_revoked"))


@pytest.mark.covers("LOG-06")
def test_log_when_the_account_has_moved_then_tells_so(day: Day) -> None:
    """An account behind another server is told with the server it has left."""
    browser = day.open()
    login_as(browser, "alice.test")
    elsewhere = {
        "resource": day.net.pds_url,
        "authorization_servers": ["https://elsewhere.test"],
    }
    day.net.on("pds.test", RESOURCE, behaviours.document(elsewhere))
    visit_later(day, browser)
    (line,) = day.failures()
    assert line.startswith(ended(day, "account_moved"))


@pytest.mark.covers("LOG-06")
def test_log_when_a_client_key_is_gone_then_tells_whose_session_it_was(
    day: Day,
) -> None:
    """After a key was taken away too early the log tells who has to come again."""
    first, second = (ClientKey(generate_private_key()) for _ in range(2))
    before = day.open(HOSTED, public_url=HOSTED, scope="atproto", client_keys=[first])
    login_as(before, "alice.test")
    after = day.open(HOSTED, public_url=HOSTED, scope="atproto", client_keys=[second])
    after.cookies.update(before.cookies)
    visit_later(day, after)
    (line,) = day.failures()
    assert line.startswith(ended(day, "client_key_retired"))


@pytest.mark.covers("LOG-06")
def test_log_when_a_cookie_is_forged_or_dead_then_is_quiet_but_at_debug(
    day: Day,
) -> None:
    """Neither a deploy that reads no old cookie nor a scanner can flood the log."""
    browser = day.open()
    login_as(browser, "alice.test")
    cookies = dict(browser.cookies)
    browser.post("/oauth/logout", headers={"Origin": ORIGIN})
    before = len(day.lines(logging.INFO))
    browser.cookies.update(cookies)
    assert browser.get("/").json() == {"did": None}
    browser.cookies.update({name: value[:-1] for name, value in cookies.items()})
    assert browser.get("/").json() == {"did": None}
    assert len(day.lines(logging.INFO)) == before
    assert day.lines()[-2:] == [
        f"DEBUG session is over: did={day.alice.did} code=logged_out",
        "DEBUG session cookie not readable",
    ]


@pytest.mark.covers("LOG-03", "WEB-15")
def test_log_when_all_of_this_happens_then_holds_no_secret(
    day: Day, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody can log in, or read a session, with what a log at DEBUG holds."""
    browser, secrets = day.open(), set[str]()
    failed = approve(day.begin(browser), day.net.accounts["bob.test"])
    good = approve(day.begin(browser), day.alice)
    for back in (failed, good, good, failed):
        query = parse_qs(urlsplit(back).query)
        secrets |= {query["code"][0], query["state"][0], *browser.cookies.values()}
        browser.get(back)
    secrets |= set(browser.cookies.values())
    day.clock.now += 2 * HOUR_S
    assert browser.get("/").json() == {"did": day.alice.did}
    secrets |= set(browser.cookies.values())
    day.net.revoke()
    visit_later(day, browser)
    for seen in day.net.traffic:
        secrets |= {seen.headers[name] for name in ("dpop",) if name in seen.headers}
    ours = [
        record.getMessage()
        for record in caplog.records
        # The test's own browser logs the addresses it goes to.
        if not (record.name.startswith("httpx") and ORIGIN in record.getMessage())
    ]
    assert len(secrets) > 10
    assert [(line, text) for line in ours for text in secrets if text in line] == []
