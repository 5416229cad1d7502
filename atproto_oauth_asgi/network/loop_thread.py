"""An event loop in a thread, for callers that have none."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import anyio
from anyio.from_thread import BlockingPortal
from anyio.lowlevel import checkpoint

_R = TypeVar("_R")
# Longer than a refresh may be under way.
_STOP_TIMEOUT_S = 20.0


class LoopThread:
    """An event loop in a thread that does not keep the program from ending.

    Raises:
        RuntimeError: it cannot be started.
    """

    def __init__(self) -> None:
        self._process = os.getpid()
        self._serving = _Serving()
        self._thread = threading.Thread(
            target=self._serving.run, name="atproto_oauth_asgi.sync", daemon=True
        )
        self._thread.start()
        self._serving.began.wait()
        if self._serving.portal is None:
            message = "the event loop of atproto_oauth_asgi.sync could not be started"
            raise RuntimeError(message)

    @property
    def is_here(self) -> bool:
        """Whether it runs in this process; a fork leaves threads behind."""
        return self._process == os.getpid() and self._thread.is_alive()

    def call(self, function: Callable[[], Coroutine[Any, Any, _R]]) -> _R:
        """Run the function in the loop, and return what it returns."""
        portal = self._serving.portal
        if portal is None or not self.is_here:
            message = "this client was closed; make a new one from its OAuthClient"
            raise RuntimeError(message)
        result: _R = portal.call(function)
        return result

    def end(self, close: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Let what is under way come to its end, close what was opened, and leave."""
        portal = self._serving.portal
        # The garbage collector may come by in any thread, this one included.
        if portal is None or not self.is_here or self._is_this_thread():
            return
        self._serving.at_end = close
        with suppress(RuntimeError):  # somebody else has ended it by now
            portal.call(portal.stop)
        self._thread.join(_STOP_TIMEOUT_S)

    def _is_this_thread(self) -> bool:
        return threading.current_thread() is self._thread


class _Serving:
    """What the thread of a loop does; it knows nobody who could keep it alive."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.portal: BlockingPortal | None = None
        self.at_end: Callable[[], Coroutine[Any, Any, None]] = checkpoint

    def run(self) -> None:
        """Run until the portal is stopped."""
        try:
            anyio.run(self._serve)
        finally:
            self.began.set()

    async def _serve(self) -> None:
        # Leaving waits for the calls that are under way: a refresh must be saved.
        async with BlockingPortal() as portal:
            self.portal = portal
            self.began.set()
            await portal.sleep_until_stopped()
        await self.at_end()
