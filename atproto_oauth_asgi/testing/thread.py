"""The one thread that the servers of a network run in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError, Future
from contextlib import ExitStack, suppress
from typing import Any

from anyio.from_thread import BlockingPortal, start_blocking_portal

from atproto_oauth_asgi.exceptions import ConfigurationError


class ServerThread:
    """Runs one coroutine function, and others besides when it is asked to."""

    def __init__(self, serve: Callable[..., Awaitable[None]]) -> None:
        """Take what to run; it is given a ``task_status`` to say that it is ready."""
        self._serve = serve
        self._open = ExitStack()
        self._portal: BlockingPortal | None = None

    @property
    def is_running(self) -> bool:
        """Whether it was started and not stopped."""
        return self._portal is not None

    def start(self) -> None:
        """Start, and return when the servers are ready; whatever they raise, it raises."""
        with ExitStack() as stack:
            portal = stack.enter_context(start_blocking_portal())
            future, _ = portal.start_task(self._serve)
            stack.callback(_cancel, future)
            self._open = stack.pop_all()
        self._portal = portal

    def stop(self) -> None:
        """Stop the servers, and wait for the end of the thread."""
        self._portal = None
        self._open.close()

    def call(self, function: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        """Run a coroutine function in the thread, and return what it returns.

        Raises:
            ConfigurationError: the thread does not run.
        """
        return self._running_portal().call(function, *args)

    def check_running(self) -> None:
        """Do nothing, if it runs.

        Raises:
            ConfigurationError: it does not.
        """
        self._running_portal()

    def _running_portal(self) -> BlockingPortal:
        if self._portal is None:
            raise ConfigurationError(["AtprotoNetwork: start it before you use it"])
        return self._portal


def _cancel(future: Future[Any]) -> None:
    future.cancel()
    with suppress(CancelledError):
        future.result()
