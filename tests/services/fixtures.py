"""The servers as pytest fixtures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import pytest

from tests.services.process import Service, ServiceNotInstalledError
from tests.services.servers import PostgresService, RedisClusterService, RedisService

_S = TypeVar("_S", bound=Service)


@pytest.fixture(scope="session")
def redis_service() -> Iterator[RedisService]:
    """A Redis for the whole test run; it may be frozen, not stopped."""
    yield from _running(RedisService)


@pytest.fixture(scope="session")
def postgres_service() -> Iterator[PostgresService]:
    """A PostgreSQL for the whole test run; it may be frozen, not stopped."""
    yield from _running(PostgresService)


@pytest.fixture
def redis_cluster() -> Iterator[RedisClusterService]:
    """A Redis Cluster, for one test."""
    yield from _running(RedisClusterService)


@pytest.fixture
def own_redis() -> Iterator[RedisService]:
    """A Redis for one test, which may stop it."""
    yield from _running(RedisService)


@pytest.fixture
def own_postgres() -> Iterator[PostgresService]:
    """A PostgreSQL for one test, which may stop it."""
    yield from _running(PostgresService)


def _running(kind: type[_S]) -> Iterator[_S]:
    try:
        service = kind()
    except ServiceNotInstalledError as error:
        pytest.skip(str(error))
    try:
        service.start()
        yield service
    finally:
        service.remove()
