"""A store on PostgreSQL, for applications that run on many hosts."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from string import Template
from typing import TYPE_CHECKING, Any

from atproto_oauth_asgi.exceptions import ConfigurationError, StoreError
from atproto_oauth_asgi.stores import postgres_statements as sql
from atproto_oauth_asgi.stores.base import Record
from atproto_oauth_asgi.stores.locks import Lease, unix_now
from atproto_oauth_asgi.stores.remote import (
    SWEEP_AFTER_S,
    decode,
    digest_of,
    encode,
    held,
)

if TYPE_CHECKING:
    from psycopg import AsyncConnection
    from psycopg_pool import AsyncConnectionPool

    from atproto_oauth_asgi.stores.postgres_server import PostgresServer, Rows

_TABLE = re.compile(r"([a-z_][a-z0-9_]{0,62}\.)?[a-z_][a-z0-9_]{0,47}")
_SAVES_PER_SWEEP = 16
_SWEPT_AT_ONCE = 100


class PostgresStore:
    """A ``RecordStore`` on PostgreSQL 12 or newer; for asyncio only.

    Call ``create_table`` once. Every statement stands by itself, so that poolers of
    transactions may lie between. Locks end by the clock of the server.

    Args:
        conninfo_or_pool: a connection string or URL, with connections of its own for
            each event loop; or an open ``psycopg_pool.AsyncConnectionPool``, which
            stays yours to close.
        table: where the records lie, in lower case; perhaps with a schema before it.
            Another table and a sequence have names that begin with it.
        clock: gives Unix seconds.

    Raises:
        ConfigurationError: one of these is of no use, or ``psycopg`` is not installed.
    """

    def __init__(
        self,
        conninfo_or_pool: str | AsyncConnectionPool[AsyncConnection[Any]],
        *,
        table: str = "atproto_records",
        clock: Callable[[], float] = unix_now,
    ) -> None:
        if not _TABLE.fullmatch(table):
            message = "table: wants a-z, 0-9 and _, 48 at most; perhaps a schema and ."
            raise ConfigurationError(message)
        self._names = sql.names_of(table)
        self._server = _server_of(conninfo_or_pool)
        self._clock = clock
        self._saves = 0

    async def create_table(self) -> None:
        """Create the tables, the indexes and the sequence, where they are missing.

        Raises:
            StoreError: the server did not answer, or does not allow it.
        """
        await self._run(sql.CREATE)

    async def load(self, kind: str, key: str) -> Record | None:
        """Return the record; as ``RecordStore.load``."""
        return await self._one(sql.LOAD, kind, key)

    async def save(  # noqa: PLR0913 (one of the six methods that are fixed)
        self,
        kind: str,
        key: str,
        value: bytes,
        *,
        expires_at: float,
        owner: str | None = None,
        if_version: int | None = None,
    ) -> int | None:
        """Create or replace a record; as ``RecordStore.save``."""
        may_create = if_version in {None, 0}
        rows = await self._run(
            sql.UPSERT if may_create else sql.UPDATE,
            {
                "id": digest_of(kind, key),
                "kind": encode(kind),
                "key": encode(key),
                "owner_id": None if owner is None else digest_of(kind, owner),
                "expires_at": float(expires_at),
                "value": value,
                "overwrite": if_version is None,
                "if_version": if_version,
                "now": float(self._clock()),
            },
        )
        await self._sweep_at_times()
        return int(rows[0][0]) if rows else None

    async def take(self, kind: str, key: str) -> Record | None:
        """Return the record and delete it; as ``RecordStore.take``."""
        return await self._one(sql.TAKE, kind, key)

    async def delete(self, kind: str, key: str) -> None:
        """Delete the record; as ``RecordStore.delete``."""
        await self._one(sql.TAKE, kind, key)

    async def keys(self, kind: str, owner: str) -> list[str]:
        """Return the keys of an owner's records; as ``RecordStore.keys``."""
        rows = await self._run(
            sql.KEYS,
            {"owner_id": digest_of(kind, owner), "now": float(self._clock())},
        )
        return [decode(key) for (key,) in rows]

    async def owned_keys(self, kind: str) -> list[str]:
        """Return the keys of records that have an owner; see ``ListsOwnedKeys``."""
        rows = await self._run(
            sql.OWNED_KEYS, {"kind": encode(kind), "now": float(self._clock())}
        )
        return [decode(key) for (key,) in rows]

    def lock(self, key: str, lease_s: float) -> AbstractAsyncContextManager[Lease]:
        """Return a context for one at a time; as ``RecordStore.lock``."""
        name = {"id": digest_of(key)}

        async def acquire(token: bytes) -> bool:
            lease = {**name, "token": token, "lease_s": float(lease_s)}
            return bool(await self._run(sql.LOCK, lease))

        async def release(token: bytes) -> None:
            await self._run(sql.UNLOCK, {**name, "token": token})

        return held(lease_s, acquire=acquire, release=release, clock=self._clock)

    async def aclose(self) -> None:
        """Close the connections of this event loop; a later call opens new ones.

        A pool that was given stays open.
        """
        await self._server.aclose()

    async def _run(
        self, statement: Template, parameters: Mapping[str, object] | None = None
    ) -> Rows:
        return await self._server.run(statement.substitute(self._names), parameters)

    async def _one(self, statement: Template, kind: str, key: str) -> Record | None:
        rows = await self._run(statement, {"id": digest_of(kind, key)})
        for value, version, expires_at in rows:
            if expires_at > self._clock():
                return Record(value=value, version=version, expires_at=expires_at)
        return None

    async def _sweep_at_times(self) -> None:
        self._saves += 1
        if self._saves % _SAVES_PER_SWEEP:
            return
        limits = {
            "before": self._clock() - SWEEP_AFTER_S,
            "margin_s": SWEEP_AFTER_S,
            "limit": _SWEPT_AT_ONCE,
        }
        # The record is saved, whatever becomes of this; the next sweep does more.
        with suppress(StoreError):
            await self._run(sql.SWEEP, limits)


def _server_of(
    conninfo_or_pool: str | AsyncConnectionPool[AsyncConnection[Any]],
) -> PostgresServer:
    try:
        from atproto_oauth_asgi.stores.postgres_server import PostgresServer
    except ImportError as error:
        message = (
            "PostgresStore needs psycopg and its pool:"
            " pip install 'atproto-oauth-asgi[postgres]'"
        )
        raise ConfigurationError(message) from error
    return PostgresServer(conninfo_or_pool)
