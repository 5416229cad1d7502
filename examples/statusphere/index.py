"""What this server remembers of the repositories: SQLite, each call in a thread."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from anyio import to_thread

from examples.statusphere.records import Person, Status

_TABLES = """
create table if not exists people (
    did text primary key, handle text not null, display_name text not null,
    read_at real not null
);
create table if not exists statuses (
    uri text primary key, did text not null, emoji text not null,
    created_at real not null
);
create index if not exists newest on statuses (created_at);
"""
_NEWEST = """
select statuses.emoji, statuses.created_at, people.did, handle, display_name
from statuses join people using (did) order by created_at desc limit 30
"""
_PERSON = "select handle, display_name, read_at from people where did = ?"
_SAVE_STATUS = "insert or replace into statuses values (?, ?, ?, ?)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A status and whose it is."""

    emoji: str
    created_at: datetime
    person: Person


class Index:
    """A copy that pages are made of, so that they need not ask everybody's server."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def newest(self) -> list[Entry]:
        """Return the newest statuses of everybody."""
        return await to_thread.run_sync(self._newest)

    async def find(self, did: str) -> tuple[Person | None, float]:
        """Return somebody, and when their repository was last read."""
        return await to_thread.run_sync(self._find, did)

    async def add(self, status: Status) -> None:
        """Remember a status that was just written."""
        await to_thread.run_sync(self._add, status)

    async def replace(self, person: Person, statuses: list[Status]) -> None:
        """Remember what somebody's repository says now."""
        await to_thread.run_sync(self._replace, person, statuses)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=5)) as connection:
            connection.executescript(_TABLES)
            with connection:
                yield connection

    def _newest(self) -> list[Entry]:
        with self._open() as connection:
            return [_entry(*row) for row in connection.execute(_NEWEST)]

    def _find(self, did: str) -> tuple[Person | None, float]:
        with self._open() as connection:
            found = connection.execute(_PERSON, (did,)).fetchone()
        if found is None:
            return None, 0.0
        handle, display_name, read_at = found
        return Person(did=did, handle=handle, display_name=display_name), read_at

    def _add(self, status: Status) -> None:
        with self._open() as connection:
            connection.executemany(_SAVE_STATUS, _rows([status]))

    def _replace(self, person: Person, statuses: list[Status]) -> None:
        members = (person.did, person.handle, person.display_name)
        now = datetime.now(UTC).timestamp()
        with self._open() as connection:
            connection.execute("delete from statuses where did = ?", (person.did,))
            save = "insert or replace into people values (?, ?, ?, ?)"
            connection.execute(save, (*members, now))
            connection.executemany(_SAVE_STATUS, _rows(statuses))


def _rows(statuses: Iterable[Status]) -> list[tuple[str, str, str, float]]:
    return [(s.uri, s.did, s.emoji, s.created_at.timestamp()) for s in statuses]


def _entry(
    emoji: str, created_at: float, did: str, handle: str, display_name: str
) -> Entry:
    person = Person(did=did, handle=handle, display_name=display_name)
    when = datetime.fromtimestamp(created_at, UTC)
    return Entry(emoji=emoji, created_at=when, person=person)
