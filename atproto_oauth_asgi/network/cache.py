"""Fetching once for many: single flights, and a cache bounded in number and time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from itertools import count
from threading import Lock
from typing import Generic, TypeVar

import anyio
from anyio.lowlevel import RunVar

from atproto_oauth_asgi.exceptions import OAuthError

_T = TypeVar("_T")

_instances = count()


class _Flight(Generic[_T]):
    """Work under way, and what came of it; nothing, if it was cancelled."""

    __slots__ = ("done", "error", "values")

    def __init__(self) -> None:
        self.done = anyio.Event()
        self.values: tuple[_T, ...] = ()
        self.error: OAuthError | None = None


class SingleFlight(Generic[_T]):
    """Does the work of a key once for all who ask while it is under way.

    It may be shared by event loops; each has flights of its own.
    """

    def __init__(self) -> None:
        self._flights: RunVar[dict[str, _Flight[_T]]] = RunVar(
            f"atproto_oauth_asgi.flights.{next(_instances)}"
        )

    async def run(self, key: str, work: Callable[[], Awaitable[_T]]) -> _T:
        """Return what the work gives; whoever asks first does it, the others wait.

        When the first is cancelled, one of the others does the work *again*: what
        must not be done twice has to be shielded from cancellation by itself.

        Raises:
            OAuthError: what the work raised; everyone gets an error of their own.
        """
        flights = self._flights_here()
        while (flight := flights.get(key)) is not None:
            await flight.done.wait()
            if flight.error is not None:
                raise _copy_of(flight.error) from flight.error
            if flight.values:
                return flight.values[0]
        return await self._lead(key, work, flights)

    async def _lead(
        self,
        key: str,
        work: Callable[[], Awaitable[_T]],
        flights: dict[str, _Flight[_T]],
    ) -> _T:
        flight: _Flight[_T] = _Flight()
        flights[key] = flight
        try:
            value = await work()
        except OAuthError as error:
            flight.error = error
            raise
        else:
            flight.values = (value,)
            return value
        finally:
            del flights[key]
            flight.done.set()

    def _flights_here(self) -> dict[str, _Flight[_T]]:
        try:
            return self._flights.get()
        except LookupError:
            flights: dict[str, _Flight[_T]] = {}
            self._flights.set(flights)
            return flights


class SharedCache(Generic[_T]):
    """Keeps what was fetched, by key; errors are not kept."""

    def __init__(
        self, *, clock: Callable[[], float], lifetime_s: float, max_entries: int
    ) -> None:
        self._clock = clock
        self._lifetime_s = lifetime_s
        self._max_entries = max_entries
        self._entries: OrderedDict[str, tuple[float, _T]] = OrderedDict()
        self._lock = Lock()
        self._flights: SingleFlight[_T] = SingleFlight()

    async def get(
        self, key: str, fetch: Callable[[], Awaitable[_T]], *, fresh: bool = False
    ) -> _T:
        """Return the value of a key, fetched if it is not known or ``fresh`` is asked.

        A fresh value is never one whose fetch began before it was asked for.

        Raises:
            OAuthError: what ``fetch`` raised.
        """

        async def fetch_and_keep() -> _T:
            # Its age counts from the question: the answer may have been slow.
            asked_at = self._clock()
            value = await fetch()
            self._keep(key, (asked_at, value))
            return value

        if fresh:
            return await fetch_and_keep()
        entry = self._find(key)
        if entry is not None:
            return entry[1]
        return await self._flights.run(key, fetch_and_keep)

    def _find(self, key: str) -> tuple[float, _T] | None:
        with self._lock:
            entry = self._entries.get(key)
            # A clock that was set back makes an entry suspect, not immortal.
            if entry is None or not 0 <= self._clock() - entry[0] < self._lifetime_s:
                return None
            self._entries.move_to_end(key)
            return entry

    def _keep(self, key: str, entry: tuple[float, _T]) -> None:
        with self._lock:
            known = self._entries.get(key)
            # An answer to an older question must not replace a newer one.
            if known is not None and entry[0] < known[0] <= self._clock():
                return
            self._entries[key] = entry
            self._entries.move_to_end(key)
            while len(self._entries) > self._max_entries:
                self._entries.popitem(last=False)


def _copy_of(error: OAuthError) -> OAuthError:
    """The same error for somebody else, without what belongs to one login."""
    kind = type(error)
    copied = kind.__new__(kind, *error.args)
    copied.__dict__.update(error.__dict__)
    copied.app_state = copied.did = copied.issuer = None
    return copied
