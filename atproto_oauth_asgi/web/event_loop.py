"""In which event loop requests are served."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import get_ident

from anyio.lowlevel import EventLoopToken, current_token


class EventLoops:
    """Knows the event loop of a thread while an application lives in it.

    To ask anyio takes longer than to open a session that was opened before.
    """

    def __init__(self) -> None:
        self._by_thread: dict[int, EventLoopToken] = {}

    def current(self) -> EventLoopToken:
        """Return what stands for the running event loop in other threads."""
        return self._by_thread.get(get_ident()) or current_token()

    @contextmanager
    def remembered(self) -> Iterator[None]:
        """Remember the running event loop, which must not end before this does."""
        self._by_thread[get_ident()] = current_token()
        try:
            yield
        finally:
            self._by_thread.pop(get_ident(), None)
