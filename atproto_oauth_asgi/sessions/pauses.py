"""After a failure: how long not to ask again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from atproto_oauth_asgi.exceptions import RefreshUnavailable
from atproto_oauth_asgi.sessions.lifecycle import OpenedSession
from atproto_oauth_asgi.stores.recent import Recent

_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0
_FAILURES_KEPT = 10_000
_SOONEST_AGAIN_S = 1.0


@dataclass(frozen=True, slots=True)
class _Pause:
    """How long it is, in seconds, and when it is over."""

    length_s: float
    until: float


class Pauses:
    """Pauses by name that double with every failure, to a minute."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._pauses: Recent[str, _Pause] = Recent(_FAILURES_KEPT)

    def begin(self, name: str) -> None:
        """Begin a pause, twice as long as the one before."""
        before = self._pauses.pop(name, None)
        doubled = before.length_s * 2 if before else _FIRST_PAUSE_S
        length_s = min(_LONGEST_PAUSE_S, doubled)
        self._pauses[name] = _Pause(length_s, self._clock() + length_s)

    def forget(self, name: str) -> None:
        """Begin anew: it went well."""
        self._pauses.pop(name, None)

    def check(self, name: str) -> None:
        """Check that no pause is under way.

        Raises:
            RefreshUnavailable: one is.
        """
        pause = self._pauses.get(name)
        # A clock that was set back must not make a pause of hours.
        if pause and 0 < pause.until - self._clock() <= pause.length_s:
            message = "renewing the tokens failed a moment ago; it is tried again soon"
            raise RefreshUnavailable(message)

    def check_not_too_soon(self, opened: OpenedSession) -> None:
        """Refuse to renew renewed tokens that a PDS refuses all the same.

        Raises:
            RefreshUnavailable: they were renewed a moment ago.
        """
        if opened.session.renewals == 0:
            return
        now = self._clock()
        age_s = now - opened.renewed_at
        if not opened.is_due(now) and 0 <= age_s < _SOONEST_AGAIN_S:
            raise RefreshUnavailable("the tokens were renewed a moment ago")
