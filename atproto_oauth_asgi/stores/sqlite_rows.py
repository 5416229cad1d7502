"""The records of a ``SQLiteStore``: one function a method, on a connection.

Texts are kept as bytes, so that every ``str`` has its place and its own. A row that
has expired is passed over by all, swept or not.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from atproto_oauth_asgi.stores.base import Record
from atproto_oauth_asgi.stores.sqlite_file import transaction

_SWEEP = 16

_LOAD = """SELECT value, version, expires_at FROM records
    WHERE kind = ? AND key = ? AND expires_at > ?"""
_KEYS = "SELECT key FROM records WHERE kind = ? AND owner = ? AND expires_at > ?"
_OWNED_KEYS = """SELECT key FROM records
    WHERE kind = ? AND owner IS NOT NULL AND expires_at > ?"""
_DELETE = "DELETE FROM records WHERE kind = ? AND key = ?"
# Replacing makes a new row, and so a new version.
_SAVE = """INSERT OR REPLACE INTO records (kind, key, owner, expires_at, value)
    VALUES (?, ?, ?, ?, ?)"""
_SWEEP_EXPIRED = """DELETE FROM records WHERE version IN
    (SELECT version FROM records WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)"""


def as_blob(text: str) -> bytes:
    """Return the bytes that stand for a text, and for no other."""
    return text.encode("utf-8", "surrogatepass")


def load(
    connection: sqlite3.Connection, *, kind: str, key: str, clock: Callable[[], float]
) -> Record | None:
    """Return the record, or None if there is none."""
    name = (as_blob(kind), as_blob(key), clock())
    for value, version, expires_at in connection.execute(_LOAD, name).fetchall():
        return Record(value=value, version=version, expires_at=expires_at)
    return None


def save(  # noqa: PLR0913 (a record, and the condition)
    connection: sqlite3.Connection,
    *,
    kind: str,
    key: str,
    value: bytes,
    expires_at: float,
    owner: str | None,
    if_version: int | None,
    clock: Callable[[], float],
) -> int | None:
    """Create or replace a record; as ``RecordStore.save``. Sweep a little."""
    with transaction(connection):
        found = load(connection, kind=kind, key=key, clock=clock)
        if if_version not in {None, found.version if found else 0}:
            return None
        connection.execute(_SWEEP_EXPIRED, (clock(), _SWEEP))
        by = None if owner is None else as_blob(owner)
        row = (as_blob(kind), as_blob(key), by, expires_at, value)
        return connection.execute(_SAVE, row).lastrowid


def take(
    connection: sqlite3.Connection, *, kind: str, key: str, clock: Callable[[], float]
) -> Record | None:
    """Return the record and delete it."""
    with transaction(connection):
        found = load(connection, kind=kind, key=key, clock=clock)
        delete(connection, kind=kind, key=key)
        return found


def delete(connection: sqlite3.Connection, *, kind: str, key: str) -> None:
    """Delete the record; one that is not there is no error."""
    connection.execute(_DELETE, (as_blob(kind), as_blob(key)))


def keys(
    connection: sqlite3.Connection, *, kind: str, owner: str, clock: Callable[[], float]
) -> list[str]:
    """Return the keys of an owner's records of a kind."""
    rows = connection.execute(_KEYS, (as_blob(kind), as_blob(owner), clock()))
    return [key.decode("utf-8", "surrogatepass") for (key,) in rows]


def owned_keys(
    connection: sqlite3.Connection, *, kind: str, clock: Callable[[], float]
) -> list[str]:
    """Return the keys of all records of a kind that have an owner."""
    rows = connection.execute(_OWNED_KEYS, (as_blob(kind), clock()))
    return [key.decode("utf-8", "surrogatepass") for (key,) in rows]
