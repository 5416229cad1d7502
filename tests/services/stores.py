"""Stores on the servers, by the URL of the server."""

from __future__ import annotations

from atproto_oauth_asgi.stores.postgres import PostgresStore
from atproto_oauth_asgi.stores.redis import RedisStore


def store_on(url: str, name: str) -> RedisStore | PostgresStore:
    """Return a store of this name; processes with the same name see the same records."""
    if url.startswith("postgresql:"):
        return PostgresStore(url, table=name)
    return RedisStore(url, prefix=f"{name}:")


async def make_tables(store: RedisStore | PostgresStore) -> None:
    """Make what the store needs on its server."""
    if isinstance(store, PostgresStore):
        await store.create_table()
