"""A connection to the file of a ``SQLiteStore``, used by one thread at a time."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar

from atproto_oauth_asgi.exceptions import StoreError
from atproto_oauth_asgi.stores.private_files import make_private_directory
from atproto_oauth_asgi.stores.sqlite_file import OpenFile, open_file, store_error

_log = logging.getLogger("atproto_oauth_asgi")

_T = TypeVar("_T")
_GRACE_S = 0.5


class SQLiteLane:
    """Runs work on one connection in worker threads, never on an event loop.

    It serves any number of event loops and threads. The file is opened on first use,
    and again when it was closed, removed, or the process forked.

    Args:
        path: absolute.
        timeout_s: how long work may wait for its turn and for other processes.
        private_directory: make the directory of the file, and let nobody else in.
    """

    def __init__(
        self, path: Path, *, timeout_s: float, private_directory: bool
    ) -> None:
        self.path = path
        self._timeout_s = timeout_s
        self._private_directory = private_directory
        self._turn = threading.Lock()
        self._opened: list[OpenFile] = []
        # Those who wait do so on their event loop and hold no thread meanwhile.
        self._limiter: RunVar[anyio.CapacityLimiter] = RunVar(f"turn {id(self)}")
        weakref.finalize(self, _close, self._opened).atexit = False
        with _registering:
            _lanes.add(self)

    async def run(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Return what the work gives. Who is cancelled does not learn of it.

        Raises:
            StoreError: the file cannot be used, or not in time.
        """
        deadline = time.monotonic() + self._timeout_s
        try:
            # The thread gives up by itself, unless the disk hangs: then it is left.
            with anyio.fail_after(self._timeout_s + _GRACE_S):
                return await anyio.to_thread.run_sync(
                    self._run,
                    work,
                    deadline,
                    abandon_on_cancel=True,
                    limiter=self._limiter_here(),
                )
        except TimeoutError as error:
            raise _late() from error

    async def close(self) -> None:
        """Close the connection; further work opens it again."""
        await anyio.to_thread.run_sync(
            self._close_in_turn, abandon_on_cancel=True, limiter=self._limiter_here()
        )

    def displaced(self) -> list[OpenFile]:
        """Return what is open, if it is not what others open any more."""
        return [each for each in tuple(self._opened) if not each.is_in_place()]

    def park(self) -> None:
        """Close the connection, and let no work begin until ``resume``."""
        self._turn.acquire()
        _close(self._opened)

    def resume(self) -> None:
        """Let work begin again."""
        self._turn.release()

    def _limiter_here(self) -> anyio.CapacityLimiter:
        limiter = self._limiter.get(None)
        if limiter is None:
            limiter = anyio.CapacityLimiter(1)
            self._limiter.set(limiter)
        return limiter

    def _run(self, work: Callable[[sqlite3.Connection], _T], deadline: float) -> _T:
        try:
            if self.displaced():
                _close_everywhere(self.path)
            with self._in_turn(deadline):
                return work(self._connection(deadline))
        except (sqlite3.Error, OSError) as error:
            raise store_error(error) from error

    @contextmanager
    def _in_turn(self, deadline: float) -> Iterator[None]:
        if not self._turn.acquire(timeout=_remaining_s(deadline)):
            raise _late()
        try:
            yield
        except sqlite3.Error:
            _close(self._opened)
            raise
        finally:
            self._turn.release()

    def _connection(self, deadline: float) -> sqlite3.Connection:
        if not self._opened:
            if self._private_directory:
                make_private_directory(self.path.parent)
            self._opened.append(open_file(self.path, deadline=deadline))
        connection = self._opened[0].connection
        wait_ms = int(1000 * _remaining_s(deadline))
        connection.execute(f"PRAGMA busy_timeout = {wait_ms}").close()
        return connection

    def _close_in_turn(self) -> None:
        with self._turn:
            _close(self._opened)


def _close(opened: list[OpenFile]) -> None:
    while opened:
        opened.pop().connection.close()


def _remaining_s(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())


def _late() -> StoreError:
    return StoreError("the store's file was in use for too long")


# What SQLite knows of the locks and the log of a file holds for the whole process, as
# long as any connection to it is open. So all have to be closed at a time: where the
# files were replaced, and before a fork, which would give the child a wrong idea.
_lanes: weakref.WeakSet[SQLiteLane] = weakref.WeakSet()
_registering = threading.Lock()
_parked: list[SQLiteLane] = []


def _close_everywhere(path: Path) -> None:
    with _registering:
        displaced = [
            each
            for lane in list(_lanes)
            if lane.path == path
            for each in lane.displaced()
        ]
        if displaced:  # pragma: no branch - another thread may have been quicker
            _park(path)
            try:
                for each in displaced:
                    each.put_aside()
            finally:
                _resume()
            _log.warning("store begins anew: its files were removed or replaced")


def _before_fork() -> None:
    _registering.acquire()
    _park()


def _after_fork() -> None:
    _resume()
    _registering.release()


def _park(path: Path | None = None) -> None:
    for lane in list(_lanes):
        if path in {None, lane.path}:
            lane.park()
            _parked.append(lane)


def _resume() -> None:
    while _parked:
        _parked.pop().resume()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no forks
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork,
        after_in_child=_after_fork,
    )
