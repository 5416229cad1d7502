"""A session in the browser's keeping: sealed into a cookie, opened, ended."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from atproto_oauth_asgi.crypto.sealing import MAX_CLOCK_STEP_S, Sealer
from atproto_oauth_asgi.exceptions import StoreError
from atproto_oauth_asgi.models import (
    OAuthSession,
    deserialize_oauth_session,
    serialize_oauth_session,
)

_OPENED_KEPT = 1024
_COMPRESS_ABOVE = 2800
_REFRESH_AHEAD_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedSession:
    """A session together with the one cookie value that stands for it.

    Attributes:
        session: the session.
        value: the sealed cookie value, exactly.
        sealed_at: when the value was made, in Unix seconds.
        follows: key of the refresh outcome that this value came out of, or None.
    """

    session: OAuthSession
    value: str = field(repr=False)
    sealed_at: float
    follows: str | None = None

    def is_due(self, now: float) -> bool:
        """Return whether the access token is about to end.

        That is 60 s before its end, or the last tenth of its life if it is short;
        its end, where nothing can be renewed.
        """
        if self.session.expires_at is None:
            return False
        ends_at = self.session.expires_at.timestamp()
        if self.session.refresh_token is None:
            return now >= ends_at
        margin = min(_REFRESH_AHEAD_S, max(0.0, ends_at - self.sealed_at) / 10)
        return now >= ends_at - margin


class SealedSessions:
    """Seals sessions into cookie values and opens them again.

    The seal binds a value to the cookie's name and to the client id, so that a
    value from another cookie, another app or another environment opens as nothing.
    """

    def __init__(
        self,
        secrets: Iterable[bytes],
        *,
        context: str,
        clock: Callable[[], float],
        max_age_s: float,
    ) -> None:
        self._sealer = Sealer(tuple(secrets), purpose="session")
        self._context = context
        self._clock = clock
        self._max_age_s = max_age_s
        self._opened: OrderedDict[str, OpenedSession] = OrderedDict()

    def seal(
        self, session: OAuthSession, *, follows: str | None = None
    ) -> OpenedSession:
        """Return the session with a new cookie value."""
        now = self._clock()
        text = f"{now!r} {follows or '-'}\n{serialize_oauth_session(session)}"
        value = self._sealer.seal(
            text.encode(),
            context=self._context,
            now=now,
            compress_above=_COMPRESS_ABOVE,
        )
        return self._keep(
            OpenedSession(session=session, value=value, sealed_at=now, follows=follows)
        )

    def open(self, value: str) -> OpenedSession | None:
        """Return the session in a cookie value, None if there is none that counts."""
        opened = self._opened.get(value) or self._unseal(value)
        if opened is None or self.remaining_s(opened.session) <= 0:
            return None
        # One that was opened before must not outlive a clock that is set back.
        if self._clock() - opened.sealed_at < -MAX_CLOCK_STEP_S:
            return None
        return opened

    def remaining_s(self, session: OAuthSession) -> float:
        """Return how long the session may still last, whatever is refreshed."""
        return session.created_at.timestamp() + self._max_age_s - self._clock()

    def _unseal(self, value: str) -> OpenedSession | None:
        sealed = self._sealer.unseal(
            value,
            context=self._context,
            now=self._clock(),
            max_age_s=self._max_age_s,
        )
        if sealed is None:
            return None
        try:
            return self._keep(_read(sealed.decode(), value))
        except (ValueError, StoreError):
            # Sealed by us, in a form of another release: signed out, no crash.
            return None

    def _keep(self, opened: OpenedSession) -> OpenedSession:
        self._opened[opened.value] = opened
        if len(self._opened) > _OPENED_KEPT:
            self._opened.popitem(last=False)
        return opened


def _read(text: str, value: str) -> OpenedSession:
    head, _, session = text.partition("\n")
    sealed_at, follows = head.split(" ")
    return OpenedSession(
        session=deserialize_oauth_session(session),
        value=value,
        sealed_at=float(sealed_at),
        follows=None if follows == "-" else follows,
    )


def record_key(*parts: str) -> str:
    """Return a store key for secrets: a hash, so that the store learns nothing."""
    return hashlib.sha256("\x00".join(parts).encode()).hexdigest()


def age_of(session: OAuthSession) -> tuple[int, float]:
    """Return what tells a later state of a session from an earlier one.

    The count comes first: the clocks of hosts differ.
    """
    checked_at = session.verified_at or session.created_at
    return session.renewals, checked_at.timestamp()
