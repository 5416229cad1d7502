"""Counts how often a step waits for the network; what it asks for at once is one wait.

No clock takes part: all that was asked is held back until nobody can go on without it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar
from urllib.parse import parse_qsl, urlsplit

import anyio
import anyio.lowlevel
import httpx
import pytest
from typing_extensions import override

from atproto_oauth_asgi.client import OAuthClient
from atproto_oauth_asgi.models import OAuthSession
from atproto_oauth_asgi.network import identity, services
from atproto_oauth_asgi.stores.memory import MemoryStateStore
from atproto_oauth_asgi.testing import AtprotoNetwork, approve

_T = TypeVar("_T")

# The end of a task wakes those who wait for it a turn of the loop later, and on asyncio
# everybody looks blocked meanwhile.
_TURNS = 5
# Servers may sleep; nothing else takes time here.
_PATIENCE_S = 20.0


class Waves:
    """A network of which every request and every DNS question is a wait."""

    def __init__(self, net: AtprotoNetwork) -> None:
        self.net = net
        self._asked = 0
        self._answer = anyio.Event()

    async def wait(self) -> None:
        """Wait until all others wait, too."""
        self._asked += 1
        await self._answer.wait()

    async def count(self, step: Callable[[], Awaitable[_T]]) -> tuple[int, _T]:
        """Return how often a step waits, and what it gives."""
        waits = 0
        values: list[_T] = []

        async def run() -> None:
            values.append(await step())

        with anyio.fail_after(_PATIENCE_S):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(run)
                while not values:
                    await _settle()
                    waits += self._let_go()
        return waits, values[0]

    def _let_go(self) -> bool:
        """Answer what was asked; return whether there was anything."""
        was_asked, self._asked = self._asked > 0, 0
        answer, self._answer = self._answer, anyio.Event()
        answer.set()
        return was_asked

    async def query_txt(
        self, name: str, *, servers: Sequence[str] | None, timeout_s: float
    ) -> list[str]:
        """Answer in the place of DNS."""
        del servers, timeout_s
        await self.wait()
        return self.net.internet.texts.get(name, [])


async def _settle() -> None:
    for _ in range(_TURNS):
        await anyio.lowlevel.checkpoint()
        await anyio.wait_all_tasks_blocked()


class _Transport(httpx.AsyncBaseTransport):
    def __init__(self, waves: Waves) -> None:
        self._waves = waves
        self._inner = httpx.ASGITransport(waves.net.internet)

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await self._waves.wait()
        # As the guarded transport does, whatever the caller says.
        request.headers["Host"] = request.url.netloc.decode("ascii")
        return await self._inner.handle_async_request(request)


@contextmanager
def waves_of(net: AtprotoNetwork) -> Iterator[Waves]:
    """Let the clients that are made inside wait in waves."""
    waves = Waves(net)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(services, "GuardedTransport", lambda _: _Transport(waves))
        patch.setattr(identity, "system_query_txt", waves.query_txt)
        yield waves


class Worker:
    """A process that logs people in; several of them share their states."""

    def __init__(self, waves: Waves, *, states: MemoryStateStore | None = None) -> None:
        self.states = states or MemoryStateStore()
        self._waves = waves
        self._client = OAuthClient(
            "http://localhost",
            "http://127.0.0.1/callback",
            "atproto",
            self.states,
            network=replace(
                waves.net.network,
                # Whoever hangs is not to be cut off.
                timeout_s=2 * _PATIENCE_S,
                login_budget_s=2 * _PATIENCE_S,
            ),
        )

    def other(self) -> Worker:
        """Return a worker that knows nothing but the states."""
        return Worker(self._waves, states=self.states)

    async def begin(self, handle: str) -> str:
        """Begin a login; return where the browser goes."""
        auth_url, _ = await self._client.start_authorization(handle)
        return auth_url

    async def start(self, handle: str) -> tuple[int, str]:
        """Begin a login; return how often that waits, and where the browser goes."""
        return await self._waves.count(lambda: self.begin(handle))

    async def finish(self, auth_url: str, handle: str) -> tuple[int, OAuthSession]:
        """Sign in and come back; return how often that waits, and the session."""
        back = approve(auth_url, handle)
        answer = dict(parse_qsl(urlsplit(back).query))
        return await self._waves.count(lambda: self._client.handle_callback(**answer))

    async def log_in(self, handle: str) -> tuple[int, int]:
        """Log in; return how often the two halves wait."""
        begun, auth_url = await self.start(handle)
        ended, _ = await self.finish(auth_url, handle)
        return begun, ended
