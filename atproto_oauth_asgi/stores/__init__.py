"""Where logins and sessions are kept: the contracts, and the stores made here.

A store on a disk or a server is imported when it is first asked for.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING

from atproto_oauth_asgi.stores.base import (
    Record,
    RecordStore,
    SessionStore,
    StateStore,
)
from atproto_oauth_asgi.stores.locks import Lease
from atproto_oauth_asgi.stores.memory import (
    MemorySessionStore,
    MemoryStateStore,
    MemoryStore,
)

if TYPE_CHECKING:
    from atproto_oauth_asgi.stores.postgres import PostgresStore
    from atproto_oauth_asgi.stores.redis import RedisStore
    from atproto_oauth_asgi.stores.sqlite import SQLiteStore

_LATER = {
    "PostgresStore": "postgres",
    "RedisStore": "redis",
    "SQLiteStore": "sqlite",
}

__all__ = [
    "Lease",
    "MemorySessionStore",
    "MemoryStateStore",
    "MemoryStore",
    "PostgresStore",
    "Record",
    "RecordStore",
    "RedisStore",
    "SQLiteStore",
    "SessionStore",
    "StateStore",
]


def __getattr__(name: str) -> object:
    """Import a store from its module."""
    if name not in _LATER:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    value: object = getattr(_import_module(f"{__name__}.{_LATER[name]}"), name)
    globals()[name] = value
    return value
