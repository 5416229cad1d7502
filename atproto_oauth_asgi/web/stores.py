"""What the processes of an application share, where it has not named a store."""

from __future__ import annotations

from atproto_oauth_asgi.config import OAuthConfig
from atproto_oauth_asgi.stores.base import RecordStore
from atproto_oauth_asgi.stores.host import host_store_path
from atproto_oauth_asgi.stores.memory import MemoryStore

_MAX_LOGINS = 10_000


def open_stores(config: OAuthConfig) -> tuple[RecordStore, RecordStore]:
    """Return where sessions are coordinated, and where logins are.

    That is the application's own store; else a file for all workers of this host; else
    the memory of this process, where logins have a room of their own, as strangers can
    make as many of them as they like.
    """
    if config.store is not None:
        return config.store, config.store
    path = host_store_path(config.client_id)
    if path is not None:
        # Most of its cost is sqlite3.
        from atproto_oauth_asgi.stores.sqlite import SQLiteStore  # noqa: PLC0415

        store = SQLiteStore(path, private_directory=True, clock=config.clock)
        return store, store
    logins = MemoryStore(max_records=_MAX_LOGINS, clock=config.clock)
    return MemoryStore(clock=config.clock), logins
