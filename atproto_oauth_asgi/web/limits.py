"""The gate that every login passes before anything is sent: ``LoginLimits``, counted."""

from __future__ import annotations

import logging
import math
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv6Address, ip_address
from threading import Lock

from starlette.requests import Request

from atproto_oauth_asgi.exceptions import TooManyLogins
from atproto_oauth_asgi.login_limits import LoginLimits
from atproto_oauth_asgi.network.admission import Admit, admitting
from atproto_oauth_asgi.sessions.lifecycle import record_key

_log = logging.getLogger("atproto_oauth_asgi")

_MINUTE_S = 60.0
_MAX_NAMES = 10_000
_RETRY_WHEN_FULL_S = 5
_INTERFACE_BITS = 64


class MinuteCount:
    """Counts what happens under a name, and allows so much of it in any minute.

    The names that were not heard of for longest make room beyond ten thousand.

    Args:
        limit: how often; None means without end.
        clock: gives Unix seconds.
    """

    def __init__(self, limit: int | None, *, clock: Callable[[], float]) -> None:
        self._limit = limit
        self._clock = clock
        self._times: OrderedDict[str, deque[float]] = OrderedDict()
        self._guard = Lock()

    def count(self, name: str) -> float:
        """Return 0 and count once more, or the seconds until that is allowed again."""
        if self._limit is None:
            return 0.0
        now = self._clock()
        with self._guard:
            times = self._times.setdefault(name, deque())
            self._times.move_to_end(name)
            if len(self._times) > _MAX_NAMES:
                self._times.popitem(last=False)
            # A clock that was set back leaves times of the future: they are no use.
            while times and not 0 <= now - times[0] < _MINUTE_S:
                times.popleft()
            if len(times) >= self._limit:
                return _MINUTE_S - (now - times[0])
            times.append(now)
            return 0.0


class LoginGate:
    """Lets logins begin, as many as the limits allow. Nobody waits here.

    It may be shared by tasks, threads and event loops.
    """

    def __init__(self, limits: LoginLimits, *, clock: Callable[[], float]) -> None:
        self._clients = MinuteCount(limits.per_client_per_minute, clock=clock)
        self._hosts = MinuteCount(limits.per_target_host_per_minute, clock=clock)
        self._client_key = limits.client_key or _network_of
        self._places = math.inf if limits.concurrent is None else limits.concurrent
        self._warnings = MinuteCount(1, clock=clock)
        self._guard = Lock()

    @contextmanager
    def admit(self, request: Request) -> Iterator[None]:
        """Hold a place, and count the hosts that the login inside leads to.

        A client that is over its limit uses up nothing of what others need.

        Raises:
            TooManyLogins: there is no place, or this client, or somebody on the way
                to a host, has used up what a minute allows.
        """
        # Not the key itself: it may be of any length, and is nobody's business.
        client = record_key("client", self._client_key(request))
        self._check(self._clients.count(client), limit="per_client_per_minute")
        with self._place(), admitting(self._host_counter()):
            yield

    @contextmanager
    def _place(self) -> Iterator[None]:
        with self._guard:
            is_free = self._places > 0
            self._places -= is_free
        if not is_free:
            self._refuse(_RETRY_WHEN_FULL_S, limit="concurrent")
        try:
            yield
        finally:
            with self._guard:
                self._places += 1

    def _host_counter(self) -> Admit:
        """Return what counts the hosts of one login, each of them once."""
        counted: set[str] = set()

        def admit(host: str) -> None:
            if host not in counted:
                wait_s = self._hosts.count(host)
                self._check(wait_s, limit="per_target_host_per_minute", host=host)
                counted.add(host)

        return admit

    def _check(self, wait_s: float, *, limit: str, host: str = "-") -> None:
        if wait_s > 0:
            self._refuse(math.ceil(wait_s), limit=limit, host=host)

    def _refuse(self, retry_after_s: int, *, limit: str, host: str = "-") -> None:
        # A flood of logins is not to be a flood of lines.
        if self._warnings.count(limit) == 0:
            _log.warning("logins are being refused: limit=%s host=%s", limit, host)
        raise TooManyLogins(
            "too many logins are being begun now", retry_after_s=retry_after_s
        )


def _network_of(request: Request) -> str:
    """Return the address at the other end; of an IPv6 one what a household shares."""
    host = request.client.host if request.client else ""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if not isinstance(address, IPv6Address):
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return f"{int(address) >> _INTERFACE_BITS:x}::/64"
