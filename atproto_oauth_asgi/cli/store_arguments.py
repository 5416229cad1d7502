"""Which store is meant, and what opens the records in it."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

from atproto_oauth_asgi.crypto.secret_keys import load_secrets
from atproto_oauth_asgi.exceptions import ConfigurationError
from atproto_oauth_asgi.sessions.lifetime import Lifetime
from atproto_oauth_asgi.sessions.record_sealer import RecordSealer
from atproto_oauth_asgi.sessions.records import RecordedSessions
from atproto_oauth_asgi.sessions.tombstones import Tombstones
from atproto_oauth_asgi.stores.locks import unix_now
from atproto_oauth_asgi.stores.postgres import PostgresStore
from atproto_oauth_asgi.stores.redis import RedisStore
from atproto_oauth_asgi.stores.sqlite import SQLiteStore

Store = SQLiteStore | RedisStore | PostgresStore

_SQLITE = "sqlite:"
_REDIS = ("redis://", "rediss://", "unix://")
_POSTGRES = ("postgresql://", "postgres://")
# Where an application is told of its own, by habit. A password stands in none of the
# arguments, which every user of a machine can read.
_STORE, _SECRET, _CLIENT = "ATPROTO_STORE", "SECRET_KEY", "ATPROTO_CLIENT_ID"


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """A store, opened for one client."""

    store: Store
    sessions: RecordedSessions
    tombstones: Tombstones


def add_store_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what names a store and the client whose sessions lie in it."""
    group = parser.add_argument_group("the store")
    group.add_argument(
        "--store",
        metavar="URL",
        help=f"sqlite:PATH, redis://..., postgresql://... (or the variable {_STORE},"
        " which others cannot read)",
    )
    group.add_argument(
        "--name",
        help="the prefix of a RedisStore, the table of a PostgresStore, if it has"
        " another one than by default",
    )
    group.add_argument(
        "--secret-file",
        type=Path,
        metavar="FILE",
        help=f"holds secret_key, several in lines (or the variable {_SECRET})",
    )
    group.add_argument(
        "--client-id",
        metavar="URL",
        help=f"of the application (or the variable {_CLIENT})",
    )


def open_desk(options: argparse.Namespace) -> Desk:
    """Return what the arguments name; nothing is connected to yet.

    Raises:
        ConfigurationError: something is missing, or of no use.
    """
    url = _given(options.store, _STORE, option="--store")
    client_id = _given(options.client_id, _CLIENT, option="--client-id")
    secrets = load_secrets(_read_secrets(options.secret_file)).reveal()
    store = _make_store(url, options.name)
    sealer = RecordSealer(secrets, client_id=client_id, clock=unix_now)
    return Desk(
        store=store,
        sessions=RecordedSessions(store, sealer, lifetime=Lifetime()),
        tombstones=Tombstones(store, clock=unix_now),
    )


def _given(value: str | None, variable: str, *, option: str) -> str:
    found = value or os.environ.get(variable)
    if not found:
        message = f"{option}: it is needed, or the environment variable {variable}"
        raise ConfigurationError(message)
    return found


def _read_secrets(path: Path | None) -> list[str]:
    if path is None:
        text = _given(None, _SECRET, option="--secret-file")
    else:
        text = path.read_text(encoding="utf-8")
    return [line.strip() for line in text.splitlines() if line.strip()]


def _make_store(url: str, name: str | None) -> Store:
    if url.startswith(_SQLITE):
        path = Path(url.removeprefix(_SQLITE))
        # A store would make it: a mistyped name must not look like an empty one.
        if not path.is_file():
            message = f"--store: there is no file {path}"
            raise ConfigurationError(message)
        return SQLiteStore(path)
    if url.startswith(_REDIS):
        return RedisStore(url) if name is None else RedisStore(url, prefix=name)
    if url.startswith(_POSTGRES):
        return PostgresStore(url) if name is None else PostgresStore(url, table=name)
    # It may hold a password, so it is not repeated.
    message = "--store: it begins with sqlite:, redis:// or postgresql://"
    raise ConfigurationError(message)
