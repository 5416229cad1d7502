"""What a browser holds of a session: the session itself, sealed, or a reference."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from atproto_oauth_asgi.crypto.sealing import MAX_CLOCK_STEP_S, Sealer
from atproto_oauth_asgi.exceptions import SessionExpired, StoreError
from atproto_oauth_asgi.models import (
    OAuthSession,
    deserialize_oauth_session,
    serialize_oauth_session,
)
from atproto_oauth_asgi.sessions.lifetime import Lifetime
from atproto_oauth_asgi.stores.recent import Recent

_OPENED_KEPT = 1024
_COMPRESS_ABOVE = 2800
_REFRESH_AHEAD_S = 60.0
_SESSION, _REFERENCE, _PAST = "session", "reference", "past"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedSession:
    """A session together with the cookie value that stands for it.

    Attributes:
        session: the session.
        value: the sealed cookie value, exactly.
        renewed_at: when its tokens came, in Unix seconds.
        seen_at: when the person was here, to within some minutes, in Unix seconds.
        ends_at: when it ends whatever is renewed, in Unix seconds.
        is_kept: whether the session lies in the store, and the value refers to it.
        generation: of the account's sessions, which a log-out everywhere ends.
    """

    session: OAuthSession
    value: str = field(repr=False)
    renewed_at: float
    seen_at: float
    ends_at: float
    is_kept: bool = False
    generation: str = ""

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
        if now < ends_at - _REFRESH_AHEAD_S:
            return False
        margin = min(_REFRESH_AHEAD_S, max(0.0, ends_at - self.renewed_at) / 10)
        return now >= ends_at - margin


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What a cookie holds of a session that lies in the store.

    Attributes:
        did: whose it is.
        handle: theirs, at the login.
        session_id: which one it is.
        value: the sealed cookie value, exactly.
        is_current: whether the newest secret has sealed it.
    """

    did: str
    handle: str | None
    session_id: str
    value: str = field(repr=False)
    is_current: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What a cookie holds of a session that has ended: who it was, and why.

    Attributes:
        did: whose it was.
        handle: theirs, at the login.
        code: that of the ``SessionError`` that ended it.
        value: the sealed cookie value, exactly.
    """

    did: str
    handle: str | None
    code: str
    value: str = field(repr=False)


Held = OpenedSession | Reference | Past
"""What a cookie of ours can hold."""


class SealedSessions:
    """Seals what browsers hold into cookie values, and opens them again.

    The seal binds a value to the cookie's name and to the client id, so that a
    value from another cookie, another app or another environment opens as nothing.
    """

    def __init__(
        self,
        secrets: Iterable[bytes],
        *,
        context: str,
        clock: Callable[[], float],
        lifetime: Lifetime,
    ) -> None:
        self._sealer = Sealer(tuple(secrets), purpose="session")
        self._context = context
        self._clock = clock
        self._lifetime = lifetime
        self._opened: Recent[str, Held] = Recent(_OPENED_KEPT)

    def seal(self, session: OAuthSession, *, generation: str = "") -> OpenedSession:
        """Return a new session with its cookie value; it lives as is configured."""
        now = self._clock()
        opened = OpenedSession(
            session=session,
            value="",
            renewed_at=now,
            seen_at=now,
            ends_at=self._lifetime.end_of(session),
            generation=generation,
        )
        return self._seal(opened)

    def seal_renewed(
        self, opened: OpenedSession, session: OAuthSession
    ) -> OpenedSession:
        """Return a session whose new tokens have just come, with a new cookie value."""
        now = self._clock()
        return self._seal(replace(opened, session=session, renewed_at=now, seen_at=now))

    def seal_seen(self, opened: OpenedSession) -> OpenedSession:
        """Return a session with a cookie value that says: the person was here now."""
        return self._seal(replace(opened, seen_at=self._clock()))

    def refer(self, session: OAuthSession) -> Reference:
        """Return a reference to a session, with a new cookie value."""
        words = [session.did, session.handle or "-", session.session_id]
        value = self._seal_text(_REFERENCE, " ".join(words))
        reference = Reference(
            did=session.did,
            handle=session.handle,
            session_id=session.session_id,
            value=value,
        )
        self._opened[value] = reference
        return reference

    def remember(self, did: str, handle: str | None, *, code: str) -> Past:
        """Return that a session of somebody has ended, with a new cookie value."""
        value = self._seal_text(_PAST, " ".join([did, handle or "-", code]))
        return Past(did=did, handle=handle, code=code, value=value)

    def read(self, value: str) -> Held | None:
        """Return what a cookie value holds, None if it is none of ours."""
        found = self._opened.get(value) or self._unseal(value)
        # What was opened before must not outlive a clock that is set back.
        if isinstance(found, OpenedSession) and (
            self._clock() - found.seen_at < -MAX_CLOCK_STEP_S
        ):
            return None
        return found

    def recall(self, value: str) -> Held | None:
        """Return what was opened before and has not come to its end, else None."""
        found = self._opened.get(value) and self.read(value)
        if isinstance(found, OpenedSession) and self.remaining_s(found) <= 0:
            return None
        return found

    def check(self, opened: OpenedSession) -> None:
        """Check that a session is not too old, nor left alone for too long.

        Raises:
            SessionExpired: it is.
        """
        if self.remaining_s(opened) <= 0:
            raise SessionExpired("the session is over: log in again")

    def remaining_s(self, opened: OpenedSession) -> float:
        """Return how long the session may still last, if the person stays away."""
        over_at = self._lifetime.end_unless_seen(opened.seen_at, ends_at=opened.ends_at)
        return over_at - self._clock()

    def cookie_lifetime_s(self, held: Held) -> float:
        """Return how long a browser should keep what it holds."""
        if isinstance(held, OpenedSession):
            return held.ends_at - self._clock()
        return self._lifetime.max_age_s

    def wants_to_be_seen(self, opened: OpenedSession) -> bool:
        """Return whether it should be noted that the person was here."""
        return self._lifetime.wants_note(opened.seen_at, now=self._clock())

    def _seal(self, opened: OpenedSession) -> OpenedSession:
        times = f"{opened.renewed_at!r} {opened.seen_at!r} {opened.ends_at!r}"
        session = serialize_oauth_session(opened.session)
        text = f"{times} {opened.generation}\n{session}"
        sealed = replace(opened, value=self._seal_text(_SESSION, text))
        self._opened[sealed.value] = sealed
        return sealed

    def _seal_text(self, form: str, text: str) -> str:
        return self._sealer.seal(
            f"{form} {text}".encode(),
            context=self._context,
            now=self._clock(),
            compress_above=_COMPRESS_ABOVE,
        )

    def _unseal(self, value: str) -> Held | None:
        sealed = self._sealer.unseal(
            value,
            context=self._context,
            now=self._clock(),
            max_age_s=self._lifetime.max_age_s,
        )
        if sealed is None:
            return None
        try:
            found = _read(sealed.decode(), value, lifetime=self._lifetime)
        except (ValueError, StoreError):
            # Sealed by us, in a form of another release: signed out, no crash.
            return None
        if isinstance(found, Reference):
            found = replace(found, is_current=self._sealer.is_current(value))
        self._opened[value] = found
        return found


def _read(text: str, value: str, *, lifetime: Lifetime) -> Held:
    form, _, text = text.partition(" ")
    if form == _SESSION:
        return _read_session(text, value, lifetime=lifetime)
    did, handle, last = text.split(" ")
    name = None if handle == "-" else handle
    if form == _REFERENCE:
        return Reference(did=did, handle=name, session_id=last, value=value)
    if form == _PAST:
        return Past(did=did, handle=name, code=last, value=value)
    message = "a form of another release"
    raise ValueError(message)


def _read_session(text: str, value: str, *, lifetime: Lifetime) -> OpenedSession:
    head, _, rest = text.partition("\n")
    words = head.split(" ")
    renewed_at, seen_at, ends_at = map(float, words[:3])
    session = deserialize_oauth_session(rest)
    return OpenedSession(
        session=session,
        value=value,
        renewed_at=renewed_at,
        seen_at=seen_at,
        # The limit may have been lowered since.
        ends_at=min(ends_at, lifetime.end_of(session)),
        generation="".join(words[3:]),
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
