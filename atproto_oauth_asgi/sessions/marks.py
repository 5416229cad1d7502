"""Marks: written where others look, right before a refresh token is sent.

Whoever finds one under the lock knows that somebody was killed or cut off in between:
the token may have been used, and nobody knows what for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from atproto_oauth_asgi.crypto.sealing import MAX_CLOCK_STEP_S
from atproto_oauth_asgi.exceptions import (
    RefreshInterrupted,
    SessionError,
    SessionRevoked,
    StoreError,
)
from atproto_oauth_asgi.stores.base import Record

LEASE_S = 30.0
"""How long a refresh may take, from the lock to the save."""

TRIED = "tried"
"""The token was sent, and nothing definite came of it."""

_STARTED = "started:"


@dataclass(frozen=True, slots=True)
class Mark:
    """That a refresh is about to be sent.

    Attributes:
        version: of the record that says so.
        was_interrupted: whether an earlier one was, with the same token.
        seen_at: when the person was here, where the record says it.
    """

    version: int
    was_interrupted: bool
    seen_at: float = 0.0


def started(now: float) -> str:
    """Return the mark of who is about to send."""
    return f"{_STARTED}{now!r}"


def is_mark(text: str) -> bool:
    """Return whether a text is a mark of either kind."""
    return text == TRIED or text.startswith(_STARTED)


def is_fresh(text: str, *, now: float) -> bool:
    """Return whether the one who has set a mark may still be about to send."""
    _, _, started_at = text.partition(_STARTED)
    if not started_at:
        return False
    # A clock that was set back must not make it fresh for hours.
    return -MAX_CLOCK_STEP_S <= now - _parse(started_at) < LEASE_S


def as_interrupted(error: SessionError, marks: Sequence[Mark]) -> SessionError:
    """Return the end of a session, told as a loss where an earlier refresh was cut."""
    if isinstance(error, SessionRevoked) and any(m.was_interrupted for m in marks):
        message = "the session ended, as an earlier renewal of it was cut off"
        return RefreshInterrupted(message)
    return error


def read_number(record: Record) -> float:
    """Return the number in a record.

    Raises:
        StoreError: somebody else has written there.
    """
    return _parse(record.value.decode("ascii", "replace"))


def _parse(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        message = "a record of the store does not hold what was written there"
        raise StoreError(message) from None
