"""One case from its start to its figures."""

from __future__ import annotations

from typing_extensions import override

from tests.services.servers import RedisService


class LastingRedis(RedisService):
    """A Redis that forgets nothing over a restart, as the documentation wants it."""

    @override
    def command(self) -> list[str]:
        without = list(super().command())
        place = without.index("--appendonly") + 1
        without[place] = "yes"
        return [*without, "--appendfsync", "always"]
