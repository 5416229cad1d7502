"""RFC 9110 section 6.6.1: how far the clocks of other servers are from ours."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime

import httpx

from atproto_oauth_asgi.exceptions import AuthorizationServerError
from atproto_oauth_asgi.protocol.oauth_error import parse_refusal
from atproto_oauth_asgi.stores.recent import Recent

_IMF_FIXDATE = re.compile(
    r"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT"
)
# A field in whole seconds, and an answer that was on its way.
_NOT_WORTH_IT_S = 5.0
# More is no clock that goes wrong, and nothing is signed for another day.
_BELIEVED_S = 300.0
_ISSUERS_REMEMBERED = 1024
_REFUSALS_OF_A_TIME = frozenset({"invalid_client", "invalid_dpop_proof"})


class ServerClocks:
    """What authorization servers say of the time; bounded.

    What is dated by it goes to the server that said so, and is good nowhere else: one
    that lies makes only its own answers fail.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._apart_s: Recent[str, float] = Recent(_ISSUERS_REMEMBERED)

    async def send_dated(
        self, issuer: str, send: Callable[[float], Awaitable[httpx.Response]]
    ) -> httpx.Response:
        """Send a request; send it once more if it was refused for a clock.

        ``send`` gets the seconds by which the server's clock is ahead.
        """
        ahead_s = self.ahead_s(issuer)
        response = await send(ahead_s)
        self.learn(issuer, response.headers)
        if ahead_s == self.ahead_s(issuer) or not _refuses_a_time(response):
            return response
        return await send(self.ahead_s(issuer))

    def learn(self, issuer: str, headers: httpx.Headers) -> None:
        """Remember the time in an answer that has just come, if there is one."""
        date = _read_date(headers)
        if date is None:
            return
        self._apart_s[issuer] = date - self._clock()

    def ahead_s(self, issuer: str) -> float:
        """Return by how many seconds a server's clock is to be taken as ahead of ours."""
        apart_s = self._apart_s.get(issuer, 0.0)
        return apart_s if _NOT_WORTH_IT_S < abs(apart_s) <= _BELIEVED_S else 0.0

    @contextmanager
    def named_in_refusals(self, issuer: str) -> Iterator[None]:
        """Let a refusal say that the clocks are too far apart, if they are.

        Raises:
            AuthorizationServerError: the same as within, with a longer message.
        """
        try:
            yield
        except AuthorizationServerError as error:
            apart_s = abs(self._apart_s.get(issuer, 0.0))
            if apart_s <= _BELIEVED_S or error.error not in _REFUSALS_OF_A_TIME:
                raise
            raise type(error)(
                f"{error}; our clock and the server's are {apart_s:.0f} seconds apart",
                error=error.error,
                error_description=error.error_description,
            ) from error


def _refuses_a_time(response: httpx.Response) -> bool:
    if response.is_success:
        return False
    refusal = parse_refusal(response.status_code, response.content)
    return refusal.error in _REFUSALS_OF_A_TIME


def _read_date(headers: httpx.Headers) -> float | None:
    date = headers.get("date", "")
    if not _IMF_FIXDATE.fullmatch(date):
        return None
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError):
        return None
