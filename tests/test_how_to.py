"""The how-to pages, followed: each in the surroundings that it is for."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import anyio
import pytest
from joserfc.jwk import ECKey

from atproto_oauth_asgi import ClientKey, ClientKeyRetired
from atproto_oauth_asgi.crypto.keys import generate_private_key
from tests.documentation import DOCS, SECRET, blocks, logged_in, program_of, run
from tests.reference_network.hosting import hosted_app, open_desk
from tests.reference_network.process import ReferenceNetwork
from tests.services.servers import PostgresService, RedisService
from tests.serving import served_in_process
from tests.test_workers import log_in, open_browser

pytestmark = [pytest.mark.network, pytest.mark.usefixtures("desk")]


def shell(page: str, command: str) -> str:
    """The block of a page that holds a command."""
    found = [text for _, text in blocks(DOCS / page, "sh") if command in text]
    assert len(found) == 1
    return found[0]


# --- Several workers -----------------------------------------------------------------


@pytest.fixture
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """The settings for a store, whose server runs."""
    settings = {"STORE": request.param, "STATE_DIRECTORY": str(tmp_path / "state")}
    if request.param == "redis":
        redis: RedisService = request.getfixturevalue("redis_service")
        settings["REDIS_URL"] = redis.url
    if request.param == "postgres":
        postgres: PostgresService = request.getfixturevalue("postgres_service")
        settings["DATABASE_URL"] = postgres.url
    return settings


@pytest.mark.parametrize("shared", ["sqlite", "redis", "postgres"], indirect=True)
def test_workers_page_when_followed_then_two_workers_know_the_person(
    shared: dict[str, str], fresh_network: ReferenceNetwork, tmp_path: Path
) -> None:
    """Saved as it stands, under two workers: logged in on both, logged out on both."""
    page = "how-to/several-workers.md"
    assert "--workers 2" in shell(page, "uvicorn")
    development = f"""
from atproto_oauth_asgi import Network
app.user_middleware[0].kwargs["network"] = Network.development(
    plc_url={fresh_network.plc_url!r}, handle_resolver_url={fresh_network.pds_url!r}
)
"""
    program = program_of(page) + development
    (tmp_path / "workers.py").write_text(program, encoding="utf-8")
    settings = {**shared, "SECRET_KEY": SECRET, "PYTHONPATH": str(tmp_path)}
    alice = fresh_network.accounts["alice.test"]
    with served_in_process(
        "workers:app", settings=settings, options=["--workers", "2"]
    ) as origin:
        with closing(log_in(origin, fresh_network)) as browser:
            cookies = dict(browser.cookies)
            for _ in range(8):
                assert browser.get("/").json() == f"Hello, {alice.did}"
            assert browser.post("/oauth/logout").status_code == 303
        for _ in range(8):
            with open_browser(origin, cookies=cookies) as copy:
                assert copy.get("/").json() == "Hello, stranger"


# --- Background jobs -----------------------------------------------------------------


def test_jobs_page_when_followed_then_writes_as_who_is_not_there(
    fresh_network: ReferenceNetwork,
) -> None:
    """The job finds the session of the application, until its server ends it."""
    page = run("docs/how-to/background-jobs.md")
    alice = fresh_network.accounts["alice.test"]
    config = replace(page.names["make_config"](), network=fresh_network.network)
    page.names["make_config"] = lambda: config
    app = page.apps[0]
    app.user_middleware[0].kwargs["config"] = config
    write_note = page.names["write_note"]
    with logged_in(app, fresh_network, given=False) as browser:
        assert browser.post("/subscribe").status_code == 200
        assert page.names["subscribers"] == {alice.did}
        uri = anyio.run(write_note, alice.did, "by night")
        rkey = uri.rpartition("/")[2]
        assert fresh_network.get_record(alice.did, "com.example.note", rkey)
        browser.post("/oauth/logout")
        said = anyio.run(write_note, alice.did, "too late")
        assert said.startswith(f"{alice.did} has to log in again: "), said
    assert "session_expired" in anyio.run(write_note, "did:web:bob.test", "never")


def parameters(back: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(back).query))


# --- Client keys ---------------------------------------------------------------------


def test_key_when_made_by_the_command_then_is_private_and_good(tmp_path: Path) -> None:
    """The shell command makes a file that only its owner may read, with a P-256 key."""
    (tmp_path / "client-key.pem").unlink()
    command = shell("how-to/confidential-client.md", "openssl")
    subprocess.run(["sh", "-c", command], check=True, cwd=tmp_path)
    made = tmp_path / "client-key.pem"
    assert made.stat().st_mode & 0o077 == 0
    assert ClientKey(made.read_text()).kid


@pytest.mark.anyio
async def test_session_when_the_client_gets_its_first_key_then_is_not_renewed(
    tls_network: ReferenceNetwork,
) -> None:
    """What began without a key cannot be renewed once the client has one."""
    alice = tls_network.accounts["alice.test"]
    with hosted_app(tls_network) as app:
        async with open_desk(tls_network, app.config) as desk:
            before = await desk.log_in(alice)
    with hosted_app(
        tls_network, client_keys=[ClientKey(generate_private_key())]
    ) as app:
        async with open_desk(tls_network, app.config) as desk:
            assert (await desk.describe(before))["did"] == alice.did
            with pytest.raises(ClientKeyRetired):
                await desk.client.refresh_session(before)


# --- The Flask cookbook --------------------------------------------------------------


def test_cookbook_page_when_followed_then_posts(
    fresh_network: ReferenceNetwork,
) -> None:
    """Log in, post, log out by the buttons of the page."""
    (app,) = run("docs/how-to/move-from-the-flask-cookbook.md").apps
    alice = fresh_network.accounts["alice.test"]
    with logged_in(app, fresh_network) as browser:
        assert "post_text" in browser.get("/bsky/post").text
        uri = browser.post("/bsky/post", data={"post_text": "moved"}).json()
        rkey = uri.rpartition("/")[2]
        post = fresh_network.get_record(alice.did, "app.bsky.feed.post", rkey)
        assert post is not None
        assert post["value"]["text"] == "moved"
        assert browser.post("/oauth/logout").status_code == 303
        assert browser.post("/bsky/post", data={"post_text": "x"}).status_code == 401


def test_cookbook_key_when_taken_along_then_keeps_its_name() -> None:
    """The JWK of `generate_jwk.py`, whose kid is one of its own."""
    key = ECKey.import_key(generate_private_key())
    jwk = {**key.as_dict(private=True), "kid": "demo-1760000000"}
    assert ClientKey(json.dumps(jwk)).kid == "demo-1760000000"


@pytest.mark.anyio
async def test_cookbook_session_when_taken_along_then_is_renewed(
    tls_network: ReferenceNetwork,
) -> None:
    """A row of `oauth_session` becomes a session that works."""
    alice = tls_network.accounts["alice.test"]
    session_of = run("docs/how-to/move-from-the-flask-cookbook.md").names["session_of"]
    with hosted_app(
        tls_network, client_keys=[ClientKey(generate_private_key())]
    ) as app:
        async with open_desk(tls_network, app.config) as desk:
            old = await desk.log_in(alice)
            dpop_key = ECKey.import_key(old.dpop_private_key).as_dict(private=True)
            row = row_of(
                did=old.did,
                handle=old.handle,
                pds_url=old.pds_url,
                authserver_iss=old.authserver_iss,
                access_token=old.access_token,
                refresh_token=old.refresh_token,
                dpop_private_jwk=json.dumps(dpop_key),
            )
            moved = session_of(row, scope=old.scope, kid=old.kid)
            renewed = await desk.client.refresh_session(moved)
            assert (await desk.describe(renewed))["did"] == alice.did


def row_of(**columns: Any) -> sqlite3.Row:
    """A row of a table with these columns."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.row_factory = sqlite3.Row
        names = ", ".join(f"? AS {name}" for name in columns)
        row: sqlite3.Row = connection.execute(
            f"SELECT {names}", tuple(columns.values())
        ).fetchone()
        return row
