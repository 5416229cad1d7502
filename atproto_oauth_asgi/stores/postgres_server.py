"""Statements for a PostgreSQL server, by the ``psycopg`` package."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from itertools import count
from typing import Any

import anyio
from anyio.lowlevel import RunVar
from psycopg import AsyncConnection, Error, ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from psycopg.errors import UndefinedTable
from psycopg.rows import tuple_row
from psycopg_pool import AsyncConnectionPool

from atproto_oauth_asgi.exceptions import ConfigurationError, StoreError
from atproto_oauth_asgi.stores.remote import ANSWER_WITHIN_S, asking

Pool = AsyncConnectionPool[AsyncConnection[Any]]
Rows = list[tuple[Any, ...]]

_MAX_CONNECTIONS = 10
# What was given up here must not be done there later, when a lock is free.
_LIMIT = b"SELECT set_config('statement_timeout', '1800', true)"
_instances = count()


class PostgresServer:
    """A PostgreSQL server; each event loop has connections of its own.

    Every statement is a transaction of its own and leaves nothing behind in the
    session, so that a pooler may give the next one to another server process.

    Args:
        conninfo_or_pool: as for ``PostgresStore``.

    Raises:
        ConfigurationError: the connection string is of no use.
    """

    def __init__(self, conninfo_or_pool: str | Pool) -> None:
        self._conninfo = ""
        self._given: Pool | None = None
        if isinstance(conninfo_or_pool, str):
            self._conninfo = conninfo_or_pool
            _check_conninfo(conninfo_or_pool)
        else:
            self._given = conninfo_or_pool
        self._pools: RunVar[Pool | None] = RunVar(
            f"atproto_oauth_asgi.postgres.{next(_instances)}", None
        )

    async def run(
        self, statement: str, parameters: Mapping[str, object] | None = None
    ) -> Rows:
        """Return the rows that a statement gives.

        Raises:
            StoreError: there was no answer.
        """
        with _asking():
            pool = await self._pool()
            connection = await pool.getconn()
            try:
                return await _run(connection, statement, parameters)
            except UndefinedTable as error:
                message = "the table is missing: call store.create_table() once"
                raise StoreError(message) from error
            finally:
                # Also when the time is over: else the pool would never get it back.
                with anyio.move_on_after(ANSWER_WITHIN_S, shield=True):
                    await pool.putconn(connection)

    async def aclose(self) -> None:
        """Close the connections of this event loop; not those of a given pool."""
        pool = self._pools.get()
        self._pools.set(None)
        if pool is not None:
            with _asking():
                await pool.close(timeout=ANSWER_WITHIN_S / 2)

    async def _pool(self) -> Pool:
        if self._given is not None:
            return self._given
        pool = self._pools.get()
        if pool is None:
            pool = _pool_of(self._conninfo)
            self._pools.set(pool)
        await pool.open()
        return pool


def _asking() -> AbstractContextManager[None]:
    return asking("PostgreSQL", Error)


async def _run(
    connection: AsyncConnection[Any],
    statement: str,
    parameters: Mapping[str, object] | None,
) -> Rows:
    async with connection.cursor(row_factory=tuple_row) as cursor:
        # One round trip and one transaction: the limit ends with the statement.
        # Prepared statements would belong to the session.
        async with connection.pipeline():
            await connection.execute(_LIMIT, prepare=False)
            await cursor.execute(statement.encode(), parameters, prepare=False)
        rows = await cursor.fetchall() if cursor.description else []
    if not connection.autocommit:
        await connection.commit()
    return rows


def _pool_of(conninfo: str) -> Pool:
    return AsyncConnectionPool(
        conninfo,
        kwargs={
            "autocommit": True,
            "prepare_threshold": None,
            "connect_timeout": int(ANSWER_WITHIN_S),
        },
        min_size=0,
        max_size=_MAX_CONNECTIONS,
        open=False,
        # A connection that a restart of the server broke is replaced unseen.
        check=AsyncConnectionPool.check_connection,
        timeout=ANSWER_WITHIN_S,
        # Longer pauses between attempts would outlast the outage.
        reconnect_timeout=ANSWER_WITHIN_S,
    )


def _check_conninfo(conninfo: str) -> None:
    try:
        conninfo_to_dict(conninfo)
    except ProgrammingError:
        # Its text may hold a part of the password.
        message = "PostgresStore: not a connection string or URL of PostgreSQL"
        raise ConfigurationError(message) from None
