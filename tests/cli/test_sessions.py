"""``sessions``: what lies in a store is counted, listed, ended."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from atproto_oauth_asgi import ATProtoOAuthMiddleware, ClientKey
from atproto_oauth_asgi.cli.main import main
from atproto_oauth_asgi.crypto.keys import generate_private_key
from atproto_oauth_asgi.sessions.lifetime import Lifetime
from atproto_oauth_asgi.sessions.record_sealer import RecordSealer
from atproto_oauth_asgi.sessions.records import RecordedSessions
from atproto_oauth_asgi.stores import (
    PostgresStore,
    RecordStore,
    RedisStore,
    SQLiteStore,
)
from atproto_oauth_asgi.stores.locks import unix_now
from atproto_oauth_asgi.testing import AtprotoNetwork, login_as
from tests.cli.deployment import HOST, METADATA, SECRET, URL, Deployment
from tests.services.servers import PostgresService, RedisService
from tests.sessions.making import make_session

Output = pytest.CaptureFixture[str]
CLIENT_ID = f"{URL}{METADATA}"
ALICE, BOB = "did:plc:" + "a" * 24, "did:plc:" + "b" * 24


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the command finds what must not stand among its arguments."""
    monkeypatch.setenv("SECRET_KEY", SECRET.decode())
    monkeypatch.setenv("ATPROTO_CLIENT_ID", CLIENT_ID)
    monkeypatch.setenv("ATPROTO_STORE", f"sqlite:{tmp_path / 'sessions.db'}")


@pytest.fixture
def store(tmp_path: Path) -> SQLiteStore:
    return SQLiteStore(tmp_path / "sessions.db")


def in_store(
    store: Any, work: Callable[[RecordedSessions], Awaitable[None]], **options: Any
) -> None:
    """Do something to the sessions of an application, and close its store."""
    merged = {"client_id": CLIENT_ID, **options}

    async def do() -> None:
        async with aclosing(store):
            sealer = RecordSealer([SECRET], clock=unix_now, **merged)
            await work(RecordedSessions(store, sealer, lifetime=Lifetime()))

    anyio.run(do)


async def some(sessions: RecordedSessions) -> None:
    """Two of Alice, one of them ended; two of Bob, of a later key and of none."""
    for did, kid, name in (
        (ALICE, "old", "1"),
        (ALICE, "old", "2"),
        (BOB, "new", "3"),
        (BOB, None, "4"),
    ):
        session = make_session(did=did, kid=kid, session_id=name, handle="x.test")
        await sessions.save_new(session)
    ended = make_session(did=ALICE, kid="old", session_id="2")
    await sessions.end(ended, code="logged_out")


def as_json(capsys: Output, *arguments: str) -> Any:
    assert main(["sessions", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def check_all(capsys: Output, *named: str) -> None:
    """Count, list and end what ``some`` has made."""
    by_kid = {"old": 1, "new": 1, "none": 1}
    counts = as_json(capsys, "count", *named)
    assert counts == {"by_kid": by_kid, "ended": 1, "unreadable": 0}
    (session,) = as_json(capsys, "list", ALICE, *named)
    assert (session["session_id"], session["kid"]) == ("1", "old")
    assert as_json(capsys, "end", BOB, *named) == {"did": BOB, "ended": 2}
    counts = as_json(capsys, "count", *named)
    assert counts == {"by_kid": {"old": 1}, "ended": 3, "unreadable": 0}
    assert as_json(capsys, "end", BOB, *named) == {"did": BOB, "ended": 0}


def test_sessions_when_in_sqlite_then_are_counted_listed_and_ended(
    store: SQLiteStore, capsys: Output
) -> None:
    """A file is named by its path."""
    in_store(store, some)
    check_all(capsys)


def test_sessions_when_in_redis_then_are_counted_listed_and_ended(
    redis_service: RedisService, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server is named by its URL; there may be many in batches."""
    monkeypatch.setattr("atproto_oauth_asgi.cli.sessions._AT_ONCE", 2)
    monkeypatch.setenv("ATPROTO_STORE", redis_service.url)
    prefix = f"{secrets.token_hex(4)}:"
    in_store(RedisStore(redis_service.url, prefix=prefix), some)
    check_all(capsys, "--name", prefix)


def test_sessions_when_in_postgres_then_are_counted_listed_and_ended(
    postgres_service: PostgresService, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table may have another name."""
    table = f"records_{secrets.token_hex(4)}"
    store = PostgresStore(postgres_service.url, table=table)
    monkeypatch.setenv("ATPROTO_STORE", postgres_service.url)
    anyio.run(store.create_table)
    in_store(store, some)
    named = partial(as_json, capsys)
    assert named("count", "--name", table)["by_kid"]["new"] == 1
    assert named("end", BOB, "--name", table)["ended"] == 2


def test_sessions_when_of_another_secret_then_are_told_apart(
    store: SQLiteStore, capsys: Output
) -> None:
    """What cannot be opened is counted as that, and shown to nobody."""
    in_store(store, some, client_id="https://other.example.com/c.json")
    counts = as_json(capsys, "count")
    assert counts == {"by_kid": {}, "ended": 0, "unreadable": 4}
    assert as_json(capsys, "list", ALICE) == []


def test_account_when_some_sessions_are_of_another_secret_then_all_are_ended(
    store: SQLiteStore, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is to be logged out everywhere is; the secret may be changing."""
    in_store(store, some)
    newer = secrets.token_urlsafe(32)
    monkeypatch.setenv("SECRET_KEY", newer)
    assert as_json(capsys, "end", BOB) == {"did": BOB, "ended": 2}
    monkeypatch.setenv("SECRET_KEY", f"{newer}\n{SECRET.decode()}")
    counts = as_json(capsys, "count")
    assert counts == {"by_kid": {"old": 1}, "ended": 3, "unreadable": 0}


def test_sessions_when_shown_to_people_then_are_tables(
    store: SQLiteStore, capsys: Output
) -> None:
    """The counts stand in front; a session has a line; no token is in it."""
    assert main(["sessions", "count"]) == 2
    in_store(store, some)
    capsys.readouterr()
    main(["sessions", "count"])
    assert capsys.readouterr().out.splitlines()[-1] == "1  ended"
    main(["sessions", "list", BOB])
    printed = capsys.readouterr().out
    assert printed.splitlines()[0].split()[:2] == ["session", "handle"]
    session = make_session()
    assert session.access_token not in printed
    assert len(printed.splitlines()) == 3
    main(["sessions", "end", BOB])
    assert capsys.readouterr().out.startswith("2 ended;")


def test_sessions_when_there_are_none_then_says_so(
    store: SQLiteStore, capsys: Output
) -> None:
    """An empty store is no error."""

    async def nothing(_: RecordedSessions) -> None:
        await store.load("session", "k")

    in_store(store, nothing)
    assert main(["sessions", "count"]) == 0
    assert capsys.readouterr().out == "0  sessions\n"


def test_secret_when_in_a_file_then_several_lines_open(
    store: SQLiteStore, capsys: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a secret is being changed the file holds both."""
    in_store(store, some)
    monkeypatch.delenv("SECRET_KEY")
    file = tmp_path / "secrets"
    file.write_text(f"{secrets.token_urlsafe(32)}\n{SECRET.decode()}\n")
    counts = as_json(capsys, "count", "--secret-file", str(file))
    assert (counts["ended"], counts["unreadable"]) == (1, 0)


def ask(app: ATProtoOAuthMiddleware, cookies: Any) -> Any:
    browser = TestClient(app, base_url=URL, cookies=cookies)
    return browser.get("/").json()


@pytest.mark.parametrize("mode", ["server", "cookie"])
def test_account_when_ended_then_browsers_are_logged_out(
    deployment: Deployment, store: SQLiteStore, mode: str, capsys: Output
) -> None:
    """Ending an account here is a logout everywhere, wherever its sessions lie."""
    network: AtprotoNetwork = deployment.network

    async def who(request: Request) -> JSONResponse:
        return JSONResponse(request.scope["atproto"].did)

    def start() -> ATProtoOAuthMiddleware:
        return ATProtoOAuthMiddleware(
            Starlette(routes=[Route("/", who)]),
            secret_key=SECRET,
            public_url=URL,
            session=mode,  # type: ignore[arg-type]
            store=SQLiteStore(store.path),
            client_keys=[KEY],
            network=network.network,
        )

    app = start()
    network.serve_client(HOST, app)
    browser = TestClient(app, base_url=URL)
    login_as(browser, "alice.test")
    did = network.accounts["alice.test"].did
    cookies = dict(browser.cookies)
    assert ask(start(), cookies) == did
    in_the_store = int(mode == "server")
    assert sum(as_json(capsys, "count")["by_kid"].values()) == in_the_store
    assert as_json(capsys, "end", did)["ended"] == in_the_store
    assert ask(start(), cookies) is None


KEY = ClientKey(generate_private_key())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["count", "--store", "mysql://u:secretly@h/"], "it begins with"),
        (["count", "--store", "sqlite:/no/such/file"], "there is no file"),
        (["count", "--secret-file", "/no/such/file"], "No such file"),
        (["list", "alice.test"], "not a DID"),
    ],
)
def test_sessions_when_arguments_are_of_no_use_then_says_why(
    arguments: list[str], told: str, capsys: Output, store: RecordStore
) -> None:
    """The reason is told, and nothing that may be a password."""
    assert main(["sessions", *arguments]) in {1, 2}
    printed = capsys.readouterr().err
    assert told in printed
    assert "secretly" not in printed


@pytest.mark.parametrize(
    "variable", ["ATPROTO_STORE", "SECRET_KEY", "ATPROTO_CLIENT_ID"]
)
def test_sessions_when_something_is_missing_then_names_the_variable(
    variable: str, monkeypatch: pytest.MonkeyPatch, capsys: Output, tmp_path: Path
) -> None:
    """Whoever leaves something out learns where it is looked for."""
    monkeypatch.delenv(variable)
    (tmp_path / "sessions.db").touch()
    assert main(["sessions", "count"]) == 2
    assert variable in capsys.readouterr().err


def test_secret_when_looked_for_then_is_no_argument(capsys: Output) -> None:
    """Arguments can be read by every user of a machine."""
    with pytest.raises(SystemExit):
        main(["sessions", "count", "--help"])
    options = re.findall(r"--[a-z-]+", capsys.readouterr().out)
    assert [each for each in options if "secret" in each] == ["--secret-file"] * 2
