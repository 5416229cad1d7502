"""``PostgresStore`` on a real PostgreSQL keeps the contract, and its own promises."""

from __future__ import annotations

import logging
import secrets
import subprocess
import sys
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing

import anyio
import psycopg
import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test
from psycopg.rows import dict_row, tuple_row
from psycopg_pool import AsyncConnectionPool, AsyncNullConnectionPool
from typing_extensions import override

from atproto_oauth_asgi.exceptions import ConfigurationError, StoreError
from atproto_oauth_asgi.stores import postgres_server
from atproto_oauth_asgi.stores.base import Record
from atproto_oauth_asgi.stores.locks import unix_now
from atproto_oauth_asgi.stores.postgres import PostgresStore
from atproto_oauth_asgi.testing.record_stores import (
    ManualClock,
    RecordStoreContract,
    Stores,
)
from tests.services.servers import PostgresService
from tests.stores.model import RecordStoreMachine

Server = psycopg.Connection[tuple[object, ...]]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """The driver works on asyncio only."""
    return "asyncio"


@pytest.fixture
def table() -> str:
    return f"records_{secrets.token_hex(4)}"


@pytest.fixture
def server(postgres_service: PostgresService) -> Iterator[Server]:
    """A look at the server from outside."""
    with psycopg.connect(postgres_service.url, autocommit=True) as connection:
        yield connection


@pytest.fixture
async def store(
    postgres_service: PostgresService, table: str
) -> AsyncIterator[PostgresStore]:
    async with aclosing(PostgresStore(postgres_service.url, table=table)) as store:
        await store.create_table()
        yield store


@pytest.mark.covers("STORE-03", "STORE-04", "STORE-05", "STORE-06", "STORE-08")
class TestPostgresStore(RecordStoreContract):
    """Two stores with connections of their own, on one server."""

    @override
    @pytest.fixture
    async def stores(
        self, clock: ManualClock, postgres_service: PostgresService, table: str
    ) -> AsyncIterator[Stores]:
        one, other = (
            PostgresStore(postgres_service.url, table=table, clock=clock)
            for _ in range(2)
        )
        async with aclosing(one), aclosing(other):
            await one.create_table()
            yield one, other

    @pytest.fixture(autouse=True)
    def outside(self, server: Server, table: str) -> None:
        self.server, self.table = server, table

    @override
    async def pass_time(self, clock: ManualClock, seconds: float) -> None:
        """Locks go by the clock of the server: there they become older."""
        clock.advance(seconds)
        self.server.execute(
            f"UPDATE {self.table}_locks"
            " SET ends_at = ends_at - make_interval(secs => %s)",
            [seconds],
        )


@pytest.mark.covers("STORE-10")
class TestPostgresStoreWithoutSessions(TestPostgresStore):
    """Every statement runs in a session of its own, as behind a pooler of transactions.

    Nothing that a session would have to keep (prepared statements, settings, listeners,
    advisory locks, temporary tables) can be of use then.
    """

    @override
    @pytest.fixture
    async def stores(
        self, clock: ManualClock, postgres_service: PostgresService, table: str
    ) -> AsyncIterator[Stores]:
        pools = [
            AsyncNullConnectionPool(postgres_service.url, open=False, max_size=4)
            for _ in range(2)
        ]
        async with pools[0], pools[1]:
            one, other = (
                PostgresStore(pool, table=table, clock=clock) for pool in pools
            )
            await one.create_table()
            yield one, other


class TestPostgresStoreModel:
    """The same, against a model."""

    def test_store_when_used_in_any_order_then_behaves_like_a_dictionary(
        self, postgres_service: PostgresService, server: Server, table: str
    ) -> None:
        """No sequence of calls tells a store from a dictionary with times."""

        class Machine(RecordStoreMachine):
            @override
            def make_store(self, clock: ManualClock) -> PostgresStore:
                server.execute(f"TRUNCATE {table}")
                return PostgresStore(postgres_service.url, table=table, clock=clock)

        anyio.run(make_table, postgres_service.url, table)
        few = settings(max_examples=15, stateful_step_count=30)
        run_state_machine_as_test(Machine, settings=few)


async def make_table(url: str, table: str) -> None:
    async with aclosing(PostgresStore(url, table=table)) as store:
        await store.create_table()


# --- What lies on the server ---------------------------------------------------------


@pytest.mark.anyio
async def test_create_table_when_many_do_then_all_succeed(
    postgres_service: PostgresService, table: str
) -> None:
    """Each worker may call it at its start; records that are there stay."""

    async def create() -> None:
        await make_table(postgres_service.url, table)

    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(create)
    async with aclosing(PostgresStore(postgres_service.url, table=table)) as store:
        await store.save("s", "k", b"v", expires_at=unix_now() + 600)
        await store.create_table()
        assert await store.load("s", "k") is not None


@pytest.mark.anyio
async def test_store_when_the_table_is_missing_then_names_the_remedy(
    postgres_service: PostgresService, table: str
) -> None:
    """Who forgot the one call is told so."""
    async with aclosing(PostgresStore(postgres_service.url, table=table)) as store:
        with pytest.raises(StoreError, match=r"store\.create_table\(\)"):
            await store.load("s", "k")


@pytest.mark.anyio
async def test_store_when_the_table_has_a_schema_then_stays_in_it(
    postgres_service: PostgresService, server: Server, table: str
) -> None:
    """Everything it makes lies there; a word of SQL may be a name."""
    server.execute(f"CREATE SCHEMA {table}")
    name = f"{table}.select"
    async with aclosing(PostgresStore(postgres_service.url, table=name)) as store:
        await store.create_table()
        await store.save("s", "k", b"v", expires_at=unix_now() + 600, owner="o")
        assert await store.keys("s", "o") == ["k"]
        async with store.lock("a", 30.0):
            pass
    rows = server.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = %s::regnamespace"
        " AND relname NOT LIKE '%%pkey' ORDER BY 1",
        [table],
    )
    assert [row[0] for row in rows] == [
        *("select", "select_expires_at", "select_locks", "select_owner_id"),
        "select_version",
    ]


@pytest.mark.anyio
async def test_store_when_its_role_may_do_little_then_works(
    store: PostgresStore, server: Server, table: str, postgres_service: PostgresService
) -> None:
    """What the documentation grants is enough, and a person can read the kinds."""
    server.execute(f"CREATE ROLE {table} LOGIN")
    server.execute(
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table}, {table}_locks TO {table}"
    )
    server.execute(f"GRANT USAGE ON SEQUENCE {table}_version TO {table}")
    url = postgres_service.url.replace("postgres@", f"{table}@")
    end = unix_now() + 600
    async with aclosing(PostgresStore(url, table=table)) as limited:
        async with limited.lock("a", 30.0):
            for _ in range(20):
                await limited.save("session", "k", b"v", expires_at=end, owner="o")
        assert await limited.keys("session", "o") == ["k"]
        server.execute(f"DELETE FROM {table} WHERE kind = 'session'")
        assert await limited.take("session", "k") is None


@pytest.mark.anyio
async def test_save_when_many_have_expired_then_they_are_swept_in_small_steps(
    store: PostgresStore, server: Server, table: str
) -> None:
    """The table does not grow by what is over; who saves waits for little of it."""
    now = unix_now()
    server.execute(
        f"INSERT INTO {table} (id, kind, key, version, expires_at, value)"
        " SELECT sha256(n::text::bytea), 's', 'k', n, %s, '' FROM"
        " generate_series(1, 250) n",
        [now - 3601],
    )
    server.execute(
        f"INSERT INTO {table}_locks SELECT sha256(n::text::bytea), '',"
        " now() - interval '2 hours' FROM generate_series(1, 30) n"
    )
    await store.save("s", "just over", b"v", expires_at=now - 100)
    for _ in range(14):
        await store.save("s", "alive", b"v", expires_at=now + 600)
    assert rows_in(server, table) == 252
    await store.save("s", "alive", b"v", expires_at=now + 600)
    assert rows_in(server, table) == 152
    assert rows_in(server, f"{table}_locks") == 0
    for _ in range(32):
        await store.save("s", "alive", b"v", expires_at=now + 600)
    assert rows_in(server, table) == 2


def rows_in(server: Server, table: str) -> object:
    row = server.execute(f"SELECT count(*) FROM {table}").fetchone()
    return row and row[0]


@pytest.mark.anyio
async def test_save_when_sweeping_fails_then_the_record_is_saved(
    store: PostgresStore, server: Server, table: str
) -> None:
    """What was done is not called undone because of something else."""
    server.execute(f"DROP TABLE {table}_locks")
    for _ in range(16):
        made = await store.save("s", "k", b"v", expires_at=unix_now() + 600)
        assert made is not None


@pytest.mark.anyio
async def test_save_when_a_statement_hangs_then_store_error_and_no_late_write(
    store: PostgresStore, server: Server, table: str
) -> None:
    """Somebody has locked the table; what was given up is not done afterwards."""
    end = unix_now() + 600
    with server.transaction():
        server.execute(f"LOCK TABLE {table} IN EXCLUSIVE MODE")
        with anyio.fail_after(10):
            with pytest.raises(StoreError, match="QueryCanceled"):
                await store.save("s", "k", b"v", expires_at=end)
    with anyio.fail_after(10):
        await store.save("s", "other", b"v", expires_at=end)
    assert await store.load("s", "k") is None


# --- Connections ---------------------------------------------------------------------


@pytest.mark.anyio
async def test_store_when_a_pool_is_given_then_uses_it_and_leaves_it_open(
    postgres_service: PostgresService, table: str
) -> None:
    """The pool may have been made for other uses, with other habits."""
    async with AsyncConnectionPool(
        postgres_service.url,
        open=False,
        min_size=1,
        max_size=2,
        kwargs={"autocommit": False, "row_factory": dict_row, "prepare_threshold": 1},
    ) as pool:
        store = PostgresStore(pool, table=table)
        await store.create_table()
        end = unix_now() + 600
        made = [
            await store.save("s", "k", b"\0", expires_at=end, owner="o")
            for _ in range(5)
        ]
        await store.aclose()
        async with pool.connection() as connection:
            cursor = connection.cursor(row_factory=tuple_row)
            await cursor.execute("SELECT * FROM pg_prepared_statements")
            assert await cursor.fetchall() == []
            await cursor.execute("SHOW statement_timeout")
            assert await cursor.fetchall() == [("0",)]
        async with aclosing(PostgresStore(postgres_service.url, table=table)) as other:
            record = Record(value=b"\0", version=made[-1] or 0, expires_at=end)
            assert await other.load("s", "k") == record
        assert await store.keys("s", "o") == ["k"]


@pytest.mark.anyio
async def test_store_when_calls_are_cancelled_at_any_time_then_connections_last(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled calls neither use up the connections nor mix up the answers."""
    monkeypatch.setattr(postgres_server, "_MAX_CONNECTIONS", 2)
    await store.aclose()
    end = unix_now() + 600
    for key in "abcdef":
        await store.save("s", key, key.encode(), expires_at=end)

    async def load(key: str) -> None:
        record = await store.load("s", key)
        assert record is not None
        assert record.value == key.encode()

    for step in range(100):
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                for key in "abcdef":
                    tasks.start_soon(load, key)
                await anyio.sleep(step / 10_000)
                scope.cancel()
    async with anyio.create_task_group() as tasks:
        for key in "abcdef" * 10:
            tasks.start_soon(load, key)


def test_store_when_event_loops_follow_each_other_then_serves_all(
    postgres_service: PostgresService, table: str
) -> None:
    """Each loop gets connections of its own."""
    anyio.run(make_table, postgres_service.url, table)
    store = PostgresStore(postgres_service.url, table=table)

    async def count() -> int:
        record = await store.load("s", "k")
        number = int(record.value) + 1 if record else 1
        await store.save("s", "k", b"%d" % number, expires_at=unix_now() + 600)
        await store.aclose()
        return number

    assert [anyio.run(count) for _ in range(3)] == [1, 2, 3]


# --- Set-up --------------------------------------------------------------------------


def test_store_when_on_trio_then_says_so(postgres_service: PostgresService) -> None:
    """The driver would fail in ways that nobody understands."""
    store = PostgresStore(postgres_service.url)
    with pytest.raises(ConfigurationError, match="asyncio only, not on trio"):
        anyio.run(store.load, "s", "k", backend="trio")


SECRET = "hunter2"


@pytest.mark.parametrize(
    "conninfo",
    [
        f"http://:{SECRET}@localhost",
        f"postgresql://u:{SECRET}@localhost/db?{SECRET}={SECRET}",
        f"host=localhost password='{SECRET}",
        SECRET,
    ],
)
def test_store_when_the_connection_string_is_wrong_then_is_refused_without_its_secrets(
    conninfo: str,
) -> None:
    """A slip in it does not write the password into a log."""
    with pytest.raises(ConfigurationError, match="PostgresStore: not a") as caught:
        PostgresStore(conninfo)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.covers("STORE-05")
@pytest.mark.parametrize(
    "table",
    [
        *(
            "",
            "a b",
            'a"b',
            "a'; DROP TABLE users; --",
            "Records",
            "1a",
            "a.b.c",
            "a\n",
        ),
        *("a" * 49, ".a", "a.", "é", "a$b"),
    ],
)
def test_store_when_the_table_name_is_odd_then_is_refused(table: str) -> None:
    """The one text that becomes a part of statements is checked first."""
    with pytest.raises(ConfigurationError, match="table"):
        PostgresStore("postgresql://localhost", table=table)


@pytest.mark.anyio
async def test_store_when_the_server_refuses_then_shows_no_password(
    postgres_service: PostgresService,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Neither error, nor log, nor the store itself shows what the string holds."""
    caplog.set_level(logging.DEBUG)
    url = postgres_service.url.replace("postgres@", f"nobody_there:{SECRET}@")
    async with aclosing(PostgresStore(url)) as store:
        with pytest.raises(StoreError) as caught:
            await store.load("s", "k")
        assert SECRET not in "".join(traceback.format_exception(caught.value))
        assert SECRET not in repr(store)
    assert SECRET not in caplog.text


@pytest.mark.covers("SUP-05", "ASG-17")
@pytest.mark.parametrize("package", ["psycopg", "psycopg_pool"])
def test_store_when_the_package_is_missing_then_says_how_to_get_it(
    package: str,
) -> None:
    """Without the extra there is a clear error, and no weaker store instead."""
    program = (
        "import sys\n"
        f"sys.modules['{package}'] = None\n"
        "from atproto_oauth_asgi import ConfigurationError, PostgresStore\n"
        "try:\n    PostgresStore('postgresql://localhost')\n"
        "except ConfigurationError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.stderr, done.returncode) == ("", 0)
    assert "pip install 'atproto-oauth-asgi[postgres]'" in done.stdout
