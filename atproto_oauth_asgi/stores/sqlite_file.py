"""The file of a ``SQLiteStore``: made, checked, opened, and known again."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from atproto_oauth_asgi.exceptions import StoreError
from atproto_oauth_asgi.stores.locks import unix_now
from atproto_oauth_asgi.stores.private_files import make_private_file

_Identity = tuple[int, int]

_APPLICATION_ID = 0x61744F41  # "atOA", in the header of the file
_SCHEMA_VERSION = 1
_FILES = ("-shm", "-wal", "")
_BESIDE = ("-wal", "-shm", "-journal")
_RETRY_S = 0.005

# AUTOINCREMENT: a version is never given out twice, not even after a deletion.
_SCHEMA = (
    """CREATE TABLE records (
        version INTEGER PRIMARY KEY AUTOINCREMENT,
        kind BLOB NOT NULL, key BLOB NOT NULL, owner BLOB,
        expires_at REAL NOT NULL, value BLOB NOT NULL,
        UNIQUE (kind, key))""",
    "CREATE INDEX records_by_owner ON records (owner, kind)",
    "CREATE INDEX records_by_end ON records (expires_at)",
    """CREATE TABLE locks (
        name BLOB PRIMARY KEY, token BLOB NOT NULL, ends_at REAL NOT NULL)""",
    f"PRAGMA application_id = {_APPLICATION_ID}",
    f"PRAGMA user_version = {_SCHEMA_VERSION}",
)
_REASONS = {
    sqlite3.SQLITE_BUSY: "another process has kept the store's file locked",
    sqlite3.SQLITE_FULL: "there is no room for the store on its disk",
    sqlite3.SQLITE_READONLY: "the store's file cannot be written",
    sqlite3.SQLITE_CANTOPEN: "the store's file cannot be opened",
    sqlite3.SQLITE_CORRUPT: "the store's file is damaged: restore or remove it",
    sqlite3.SQLITE_NOTADB: "the store's file is not one of SQLite: name another",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenFile:
    """A connection to the file, and which files it has open.

    Somebody may remove or replace them meanwhile, such as what tidies up temporary
    directories. Who went on with the old ones would share nothing with anybody; and
    files of which a part is new would be damaged by those who still have the old part.
    """

    path: Path
    connection: sqlite3.Connection
    identities: tuple[_Identity, ...]

    def is_in_place(self) -> bool:
        """Return whether these are still the files that others open by their names."""
        try:
            return self.identities == _identities(self.path)
        except FileNotFoundError:
            return False

    def put_aside(self) -> None:
        """Rename what is left of them, so that nobody mixes it with new ones."""
        # The file itself comes last: once it is gone, others begin anew.
        for ending, identity in zip(_FILES, self.identities, strict=True):
            with suppress(FileNotFoundError):
                left = Path(f"{self.path}{ending}")
                if _identity(left) == identity:
                    left.replace(f"{self.path}.damaged{ending}")


def open_file(path: Path, *, deadline: float) -> OpenFile:
    """Return the file, opened; made if there is none.

    Args:
        path: absolute.
        deadline: on ``time.monotonic``.

    Raises:
        StoreError: it is not safe, or not a store that this version can read.
        sqlite3.Error: it cannot be used.
        OSError: it cannot be made.
    """
    make_private_file(path, beside=_BESIDE)
    while True:
        try:
            return _open(path, timeout_s=max(0.0, deadline - time.monotonic()))
        except sqlite3.OperationalError as error:
            # When several open a new file at once SQLite does not always wait.
            if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                raise
        time.sleep(_RETRY_S)


def store_error(error: sqlite3.Error | OSError) -> StoreError:
    """Return what to raise for it: nothing that stands in the file is told."""
    if isinstance(error, OSError):
        return StoreError(f"the store's file cannot be used: {error.strerror}")
    reason = _REASONS.get(_code(error))
    return StoreError(reason or "SQLite cannot use the store's file")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Change the file wholly or not at all, with nobody else writing meanwhile."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _open(path: Path, *, timeout_s: float) -> OpenFile:
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode=rw",
        uri=True,
        timeout=timeout_s,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        _set_up(connection)
        return OpenFile(path=path, connection=connection, identities=_identities(path))
    except BaseException:
        connection.close()
        raise


def _set_up(connection: sqlite3.Connection) -> None:
    if _is_empty(connection):
        with transaction(connection):
            if _is_empty(connection):
                _create(connection)
    _check(connection)
    with closing(connection.execute("PRAGMA journal_mode = WAL")) as rows:
        if rows.fetchone()[0] != "wal":
            message = "the store's file does not lie on a disk of this machine"
            raise StoreError(message)
    # No commit waits for the disk. A process that dies loses nothing; a machine that
    # does may lose the last moments, and never the file.
    connection.execute("PRAGMA synchronous = NORMAL")
    # From the first reading on the log is there, and is this one.
    _check(connection)


def _create(connection: sqlite3.Connection) -> None:
    for statement in _SCHEMA:
        connection.execute(statement)
    # A new file in place of a lost one gives no version that the old one gave.
    connection.execute(
        "INSERT INTO sqlite_sequence (name, seq) VALUES ('records', ?)",
        (int(unix_now() * 1_000_000),),
    )


def _is_empty(connection: sqlite3.Connection) -> bool:
    return not any(_header(connection)) and not _number(
        connection, "SELECT count(*) FROM sqlite_master"
    )


def _check(connection: sqlite3.Connection) -> None:
    application_id, version = _header(connection)
    if application_id != _APPLICATION_ID:
        message = "the store's file belongs to another program: name one of its own"
        raise StoreError(message)
    if version != _SCHEMA_VERSION:
        message = "the store's file was written by a newer version of this library"
        raise StoreError(message)


def _header(connection: sqlite3.Connection) -> tuple[int, int]:
    application_id = _number(connection, "PRAGMA application_id")
    return application_id, _number(connection, "PRAGMA user_version")


def _number(connection: sqlite3.Connection, query: str) -> int:
    with closing(connection.execute(query)) as rows:
        return int(rows.fetchone()[0])


def _identities(path: Path) -> tuple[_Identity, ...]:
    return tuple(_identity(Path(f"{path}{ending}")) for ending in _FILES)


def _identity(path: Path) -> _Identity:
    found = path.stat()
    return found.st_dev, found.st_ino


def _code(error: sqlite3.Error) -> int:
    """Return the primary result code; 0 if it is the driver that complains."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
