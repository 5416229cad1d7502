"""A store on Redis or Valkey, for applications that run on many hosts."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from atproto_oauth_asgi.exceptions import ConfigurationError, StoreError
from atproto_oauth_asgi.stores.base import Record
from atproto_oauth_asgi.stores.locks import Lease, unix_now
from atproto_oauth_asgi.stores.redis_scripts import KEYS, SAVE, TAKE, UNLOCK
from atproto_oauth_asgi.stores.remote import (
    SWEEP_AFTER_S,
    decode,
    digest_of,
    encode,
    held,
)

if TYPE_CHECKING:
    from redis.asyncio import Redis, RedisCluster

    from atproto_oauth_asgi.stores.redis_server import RedisServer

_LONGEST_TTL_MS = 10**12
_KEYS_AT_ONCE = 500


class RedisStore:
    """A ``RecordStore`` on Redis 5 or newer, or Valkey; for asyncio only.

    All keys of a store lie in one hash slot, so that each method is one atomic step in
    Redis Cluster too. Locks end by the clock of the server.

    Args:
        url_or_client: ``redis://``, ``rediss://`` or ``unix://``, with connections of
            its own for each event loop; or a client of ``redis.asyncio`` that sends
            nothing twice (``retry=Retry(NoBackoff(), 0)``), which stays yours to close.
        prefix: what the keys begin with; stores with different ones share nothing.
        clock: gives Unix seconds.

    Raises:
        ConfigurationError: one of these is of no use, or ``redis`` is not installed.
    """

    def __init__(
        self,
        url_or_client: str | Redis | RedisCluster,
        *,
        prefix: str = "atproto:",
        clock: Callable[[], float] = unix_now,
    ) -> None:
        if not prefix or not set(prefix).isdisjoint("{}"):
            message = "prefix: wants a character or more, and no braces"
            raise ConfigurationError(message)
        self._prefix = f"{prefix}{{{prefix}}}"
        self._server = _server_of(url_or_client)
        self._clock = clock

    async def load(self, kind: str, key: str) -> Record | None:
        """Return the record; as ``RecordStore.load``."""
        fields = ("value", "version", "expires_at")
        name = self._record_name(kind, key)
        return self._alive(await self._server.run("HMGET", name, *fields))

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
        names = [self._record_name(kind, key), f"{self._prefix}version"]
        owner_id = b""
        if owner is not None:
            owner_id = digest_of(kind, owner)
            names.append(self._owner_name(owner_id))
        now = self._clock()
        version = await self._server.run_script(
            SAVE,
            names,
            repr(float(now)),
            repr(float(expires_at)),
            math.ceil(min(1000 * (expires_at - now), _LONGEST_TTL_MS)),
            "" if if_version is None else if_version,
            value,
            encode(key),
            owner_id,
            repr(SWEEP_AFTER_S),
        )
        return None if version is None else int(version)

    async def take(self, kind: str, key: str) -> Record | None:
        """Return the record and delete it; as ``RecordStore.take``."""
        name = self._record_name(kind, key)
        return self._alive(await self._server.run_script(TAKE, [name]))

    async def delete(self, kind: str, key: str) -> None:
        """Delete the record; as ``RecordStore.delete``."""
        await self._server.run("DEL", self._record_name(kind, key))

    async def keys(self, kind: str, owner: str) -> list[str]:
        """Return the keys of an owner's records; as ``RecordStore.keys``."""
        owner_id = digest_of(kind, owner)
        owned = self._owner_name(owner_id)
        listed: list[bytes] = await self._server.run("ZRANGE", owned, 0, -1)
        alive: list[str] = []
        for start in range(0, len(listed), _KEYS_AT_ONCE):
            some = listed[start : start + _KEYS_AT_ONCE]
            names = [self._record_name(kind, decode(key)) for key in some]
            now = repr(float(self._clock()))
            found = await self._server.run_script(
                KEYS, [owned, *names], now, owner_id, *some
            )
            alive += map(decode, found)
        return alive

    async def owned_keys(self, kind: str) -> list[str]:
        """Return the keys of records that have an owner; see ``ListsOwnedKeys``.

        Not on a cluster, which cannot be walked through as one server can.
        """
        found: set[bytes] = set()
        cursor, pattern = 0, f"{_as_literal(self._prefix)}owner:*"
        while True:
            scan = ("SCAN", cursor, "MATCH", pattern, "COUNT", _KEYS_AT_ONCE)
            cursor, owners = await self._server.run(*scan)
            for owner in owners:
                found.update(await self._server.run("ZRANGE", owner, 0, -1))
            if int(cursor) == 0:
                return [key for key in map(decode, found) if await self.load(kind, key)]

    def lock(self, key: str, lease_s: float) -> AbstractAsyncContextManager[Lease]:
        """Return a context for one at a time; as ``RecordStore.lock``."""
        name = f"{self._prefix}lock:{digest_of(key).hex()}"
        lease_ms = max(1, math.ceil(1000 * lease_s))

        async def acquire(token: bytes) -> bool:
            took = await self._server.run("SET", name, token, "NX", "PX", lease_ms)
            return took is not None

        async def release(token: bytes) -> None:
            await self._server.run_script(UNLOCK, [name], token)

        return held(lease_s, acquire=acquire, release=release, clock=self._clock)

    async def aclose(self) -> None:
        """Close the connections of this event loop; a later call opens new ones.

        A client that was given stays open.
        """
        await self._server.aclose()

    def _record_name(self, kind: str, key: str) -> str:
        return f"{self._prefix}record:{digest_of(kind, key).hex()}"

    def _owner_name(self, owner_id: bytes) -> str:
        return f"{self._prefix}owner:{owner_id.hex()}"

    def _alive(self, fields: Sequence[bytes | None]) -> Record | None:
        value, version, expires_at = fields
        if value is None or version is None or expires_at is None:
            return None
        try:
            record = Record(
                value=value, version=int(version), expires_at=float(expires_at)
            )
        except ValueError as error:
            message = "Redis gave back what is no record of this store"
            raise StoreError(message) from error
        return record if record.expires_at > self._clock() else None


def _as_literal(text: str) -> str:
    """Return a pattern that matches this text alone."""
    return re.sub(r"([*?\[\]\\^-])", r"\\\1", text)


def _server_of(url_or_client: str | Redis | RedisCluster) -> RedisServer:
    try:
        from atproto_oauth_asgi.stores.redis_server import RedisServer
    except ImportError as error:
        message = "RedisStore needs the redis package: pip install 'atproto-oauth-asgi[redis]'"
        raise ConfigurationError(message) from error
    return RedisServer(url_or_client)
