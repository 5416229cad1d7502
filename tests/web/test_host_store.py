"""The store of this host: what workers share where the application names none."""

from __future__ import annotations

import logging
import stat
from pathlib import Path
from typing import Any

import anyio
import pytest

from atproto_oauth_asgi.stores import MemoryStore, SQLiteStore
from atproto_oauth_asgi.stores.host import host_store_path
from tests.sessions.making import ALICE, make_session
from tests.sessions.token_server import TokenServer
from tests.web.desk import Desk

pytestmark = pytest.mark.anyio


@pytest.fixture
def temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the system's directory for temporary files be one of this test."""

    def path_here(client_id: str) -> Path | None:
        return host_store_path(client_id, temporary_directory=tmp_path)

    monkeypatch.setattr("atproto_oauth_asgi.web.stores.host_store_path", path_here)
    return tmp_path


class Worker(Desk):
    """One of several workers of an application, in front of one server."""

    def __init__(self, server: TokenServer | None = None) -> None:
        super().__init__()
        if server is not None:
            self.server = server
            tokens: Any = self.site.client.sessions.tokens
            tokens.renew, tokens.revoke = server.refresh, server.revoke


def held_by(temporary_directory: Path) -> bytes:
    """All that lies in the one directory there, which is this user's own."""
    [directory] = temporary_directory.iterdir()
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    return b"".join(each.read_bytes() for each in directory.iterdir())


@pytest.mark.covers("REF-04", "REF-22", "RFR-02", "RFR-17")
async def test_workers_when_nothing_is_configured_then_one_refresh_for_all(
    temporary_directory: Path,
) -> None:
    """Both know what the other one has done, and nobody else can look into it."""
    one = Worker()
    two = Worker(one.server)
    one.server.during = lambda: anyio.sleep(0.05)
    session = make_session()
    cookie = one.cookie(session)
    lines: set[str] = set()

    async def visit(worker: Worker) -> None:
        sent = await worker.get("/", cookie)
        assert sent.body == ALICE.encode()
        lines.update(sent.header("set-cookie"))

    async with anyio.create_task_group() as group:
        for worker in (one, two, one, two):
            group.start_soon(visit, worker)
    await visit(two)
    assert one.server.sent == [session.refresh_token]
    assert len(lines) == 1
    held = held_by(temporary_directory)
    for secret in (session.access_token, session.did, cookie[1].partition("=")[2]):
        assert secret.encode() not in held
    for worker in (one, two):
        await worker.site.aclose()


@pytest.mark.covers("SESS-14", "CKE-09")
async def test_workers_when_one_logs_out_then_the_other_knows_in_two_seconds(
    temporary_directory: Path,
) -> None:
    """A cookie that was copied before is dead everywhere on this host."""
    del temporary_directory
    one = Worker()
    two = Worker(one.server)
    cookie = one.cookie()
    assert (await two.get("/", cookie)).body == ALICE.encode()
    opened = await one.site.sessions.open(cookie[1].partition("=")[2])
    await one.site.sessions.end(opened)  # type: ignore[arg-type]
    two.clock.now += 2
    assert (await two.get("/", cookie)).body == b"nobody"
    for worker in (one, two):
        await worker.site.aclose()


async def test_requests_when_they_follow_each_other_then_the_file_is_not_read_for_each(
    temporary_directory: Path,
) -> None:
    """Whether somebody has logged out is asked once in two seconds, for each session."""
    del temporary_directory
    desk = Worker()
    loads: list[str] = []
    store: Any = desk.site.store
    load = store.load

    async def counting(kind: str, key: str) -> Any:
        loads.append(kind)
        return await load(kind, key)

    store.load = counting
    cookie = desk.cookie()
    for _ in range(10):
        await desk.get("/", cookie)
    assert loads == ["tombstone"] * 2  # the session's, and the account's
    await desk.site.aclose()


def test_store_when_the_application_names_one_then_that_is_taken(
    temporary_directory: Path,
) -> None:
    """And no file is made."""
    store = MemoryStore()
    assert Desk(store=store).site.store is store
    assert list(temporary_directory.iterdir()) == []


def test_store_when_no_file_can_be_made_then_memory_and_one_warning(
    temporary_directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It names the remedy."""
    temporary_directory.chmod(0o777)
    with caplog.at_level(logging.WARNING):
        site = Worker().site
    assert isinstance(site.store, MemoryStore)
    assert isinstance(site.logins, MemoryStore)
    assert site.store is not site.logins
    [record] = caplog.records
    assert "pass store=SQLiteStore(...)" in record.getMessage()


def test_store_when_a_file_can_be_made_then_it_is_that(
    temporary_directory: Path,
) -> None:
    """Sessions and logins are coordinated in the same file."""
    del temporary_directory
    site = Worker().site
    assert isinstance(site.store, SQLiteStore)
    assert site.store is site.logins
