"""A mark tells whether somebody may still be about to send."""

from __future__ import annotations

import pytest

from atproto_oauth_asgi.exceptions import (
    RefreshInterrupted,
    SessionExpired,
    SessionRevoked,
    StoreError,
)
from atproto_oauth_asgi.sessions.marks import (
    TRIED,
    Mark,
    as_interrupted,
    is_fresh,
    is_mark,
    read_number,
    started,
)
from atproto_oauth_asgi.stores.base import Record
from tests.sessions.making import NOW


def record(value: bytes) -> Record:
    return Record(value=value, version=1, expires_at=NOW)


@pytest.mark.parametrize(
    ("after_s", "fresh"),
    [
        (0.0, True),
        (29.9, True),
        (30.0, False),
        (-60.0, True),
        (-60.1, False),
        (float("nan"), False),
    ],
)
def test_mark_when_set_then_is_fresh_for_one_lease(after_s: float, fresh: bool) -> None:
    """As long as a refresh may take; a clock that was set back makes it no fresher."""
    assert is_mark(started(NOW))
    assert is_fresh(started(NOW), now=NOW + after_s) is fresh


def test_mark_when_it_was_tried_then_keeps_nobody_waiting() -> None:
    """That one is over; and an outcome is no mark."""
    assert is_mark(TRIED)
    assert not is_fresh(TRIED, now=NOW)
    assert not is_mark("ended:started")
    assert not is_mark("a sealed session")


@pytest.mark.parametrize("value", [b"", b"x", b"\xff", b"1,5"])
def test_number_when_somebody_else_wrote_there_then_is_an_error(value: bytes) -> None:
    """It fails in the one way that callers expect, whatever the bytes are."""
    assert read_number(record(b"3")) == 3
    with pytest.raises(StoreError, match="what was written there"):
        read_number(record(value))


def test_end_when_an_earlier_refresh_was_cut_then_is_told_as_that() -> None:
    """Only where the server has revoked, and a mark says that something came before."""
    cut, clean = (Mark(1, was_interrupted=each) for each in (True, False))
    revoked, expired = SessionRevoked("revoked"), SessionExpired("expired")
    assert isinstance(as_interrupted(revoked, [clean, cut]), RefreshInterrupted)
    assert as_interrupted(revoked, [clean]) is revoked
    assert as_interrupted(revoked, []) is revoked
    assert as_interrupted(expired, [cut]) is expired
