"""How long a session lasts, and how long it may be left alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

from atproto_oauth_asgi.models import OAuthSession

# A refresh token of the reference server that is not used lives three months.
_UNUSED_S = 180 * 24 * 3600.0
_NOTE_EVERY_S = 300.0

LONGEST_COOKIE_S = 400 * 86400
"""Browsers cut longer lives down to this, and no other copy of a cookie counts after it.

Spec: draft-ietf-httpbis-rfc6265bis section 5.5.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetime:
    """Two limits, in seconds; None for no limit.

    Attributes:
        limit_s: from the login to the end.
        idle_timeout_s: from the person's last visit to the end.
    """

    limit_s: float | None = None
    idle_timeout_s: float | None = None

    @property
    def max_age_s(self) -> float:
        """How old something sealed may be."""
        return min(self.limit_s or _UNUSED_S, LONGEST_COOKIE_S)

    def end_of(self, session: OAuthSession) -> float:
        """Return when the session ends whatever is done with it, in Unix seconds."""
        if self.limit_s is None:
            return math.inf
        return session.created_at.timestamp() + self.limit_s

    def end_unless_seen(self, seen_at: float, *, ends_at: float) -> float:
        """Return when it ends if the person does not come back."""
        if self.idle_timeout_s is None:
            return ends_at
        return min(ends_at, seen_at + self.idle_timeout_s)

    def expiry_of_record(
        self, session: OAuthSession, *, seen_at: float, now: float
    ) -> float:
        """Return until when a store has to keep the session."""
        end = min(self.end_of(session), now + _UNUSED_S)
        return self.end_unless_seen(seen_at, ends_at=end)

    def wants_note(self, seen_at: float, *, now: float) -> bool:
        """Return whether a visit should be noted; not every one is worth a write."""
        if self.idle_timeout_s is None:
            return False
        return now - seen_at >= min(_NOTE_EVERY_S, self.idle_timeout_s / 10)
