"""Commands and scripts for a Redis server, by the ``redis`` package."""

from __future__ import annotations

from contextlib import AbstractContextManager
from itertools import count
from typing import Any

from anyio.lowlevel import RunVar
from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from atproto_oauth_asgi.exceptions import ConfigurationError
from atproto_oauth_asgi.stores.redis_scripts import Script
from atproto_oauth_asgi.stores.remote import ANSWER_WITHIN_S, asking

_MAX_CONNECTIONS = 50
_instances = count()


class RedisServer:
    """A Redis server, or a cluster; each event loop has connections of its own.

    Args:
        url_or_client: as for ``RedisStore``.

    Raises:
        ConfigurationError: the URL or the client is of no use.
    """

    def __init__(self, url_or_client: str | Redis | RedisCluster) -> None:
        self._url = ""
        self._given: Redis | RedisCluster | None = None
        if isinstance(url_or_client, str):
            self._url = url_or_client
            _check_url(url_or_client)
        else:
            self._given = url_or_client
            _check_client(url_or_client)
        self._clients: RunVar[Redis | None] = RunVar(
            f"atproto_oauth_asgi.redis.{next(_instances)}", None
        )

    async def run(self, *command: str | bytes | float) -> Any:
        """Return the answer to a command, in bytes.

        Raises:
            StoreError: there was none.
        """
        with _asking():
            return await self._client().execute_command(*command, NEVER_DECODE=True)

    async def run_script(
        self, script: Script, keys: list[str], *arguments: str | bytes | float
    ) -> Any:
        """Return the answer to a script, in bytes.

        Raises:
            StoreError: there was none.
        """
        client = self._client()
        call = (len(keys), *keys, *arguments)
        with _asking():
            try:
                return await client.execute_command(
                    "EVALSHA", script.digest, *call, NEVER_DECODE=True
                )
            except NoScriptError:
                return await client.execute_command(
                    "EVAL", script.text, *call, NEVER_DECODE=True
                )

    async def aclose(self) -> None:
        """Close the connections of this event loop; not those of a given client."""
        client = self._clients.get()
        self._clients.set(None)
        if client is not None:
            with _asking():
                await client.aclose()

    def _client(self) -> Redis | RedisCluster:
        if self._given is not None:
            return self._given
        client = self._clients.get()
        if client is None:
            client = Redis.from_pool(_pool_of(self._url))
            self._clients.set(client)
        return client


def _asking() -> AbstractContextManager[None]:
    return asking("Redis", RedisError)


def _pool_of(url: str) -> BlockingConnectionPool:
    return BlockingConnectionPool.from_url(
        url,
        max_connections=_MAX_CONNECTIONS,
        timeout=ANSWER_WITHIN_S,
        # Every server knows this protocol, and nothing of the newer one is used.
        protocol=2,
        # What was sent may have been done: nothing is sent twice.
        retry=Retry(NoBackoff(), 0),
    )


def _check_url(url: str) -> None:
    try:
        _pool_of(url)
    except (RedisError, ValueError, TypeError):
        # Its text may hold a part of the URL, and so of the password.
        message = "RedisStore: not a redis://, rediss:// or unix:// URL"
        raise ConfigurationError(message) from None


def _check_client(client: Redis | RedisCluster) -> None:
    if isinstance(client, RedisCluster):
        retry = client.retry
    else:
        pool: Any = client.connection_pool
        retry = pool.make_connection().retry
    if retry.get_retries() != 0:
        message = (
            "RedisStore: the client sends a command again when an answer is lost, and"
            " a login would be taken twice; make it with retry=Retry(NoBackoff(), 0)"
        )
        raise ConfigurationError(message)
