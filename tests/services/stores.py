"""Stores on the servers, by the URL of the server."""

from __future__ import annotations

from collections.abc import Callable

from atproto_oauth_asgi.stores.locks import unix_now
from atproto_oauth_asgi.stores.postgres import PostgresStore
from atproto_oauth_asgi.stores.redis import RedisStore


def store_on(
    url: str, name: str, *, clock: Callable[[], float] = unix_now
) -> RedisStore | PostgresStore:
    """Return a store of this name; processes with the same name see the same records."""
    if url.startswith("postgresql:"):
        return PostgresStore(url, table=name, clock=clock)
    return RedisStore(url, prefix=f"{name}:", clock=clock)


async def make_tables(store: RedisStore | PostgresStore) -> None:
    """Make what the store needs on its server."""
    if isinstance(store, PostgresStore):
        await store.create_table()
