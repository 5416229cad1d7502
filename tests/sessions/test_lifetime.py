"""A session ends after its time, or once nobody comes back; not sooner, nor later."""

from __future__ import annotations

import pytest

from atproto_oauth_asgi.sessions.lifetime import Lifetime
from tests.sessions.making import HOUR_S, NOW, make_session, when

DAY_S = 86400.0
# What a session is kept for whose tokens nobody uses.
UNUSED_S = 180 * DAY_S
SESSION = make_session(created_at=when(NOW))


def test_limit_when_set_then_counts_from_the_login() -> None:
    """Whatever is done with the session; without a limit there is no end."""
    assert Lifetime(limit_s=DAY_S).end_of(SESSION) == NOW + DAY_S
    assert Lifetime().end_of(SESSION) == float("inf")
    assert Lifetime(limit_s=DAY_S).max_age_s == DAY_S
    assert Lifetime().max_age_s == UNUSED_S


def test_idle_when_set_then_counts_from_the_last_visit() -> None:
    """The sooner of both ends counts; without a limit on idleness the other one."""
    idle = Lifetime(idle_timeout_s=HOUR_S)
    assert idle.end_unless_seen(NOW, ends_at=NOW + DAY_S) == NOW + HOUR_S
    assert idle.end_unless_seen(NOW, ends_at=NOW + 1) == NOW + 1
    assert Lifetime().end_unless_seen(NOW, ends_at=NOW + DAY_S) == NOW + DAY_S


def test_record_when_kept_then_until_no_cookie_can_lead_to_it() -> None:
    """The soonest of the three ends: the limit, idleness, and tokens nobody uses."""
    now = NOW + DAY_S

    def expiry(**limits: float) -> float:
        lifetime = Lifetime(**limits)
        return lifetime.expiry_of_record(SESSION, seen_at=now - 60, now=now)

    assert expiry() == now + UNUSED_S
    assert expiry(limit_s=2 * DAY_S) == NOW + 2 * DAY_S
    assert expiry(limit_s=1000 * DAY_S) == now + UNUSED_S
    assert expiry(limit_s=2 * DAY_S, idle_timeout_s=HOUR_S) == now - 60 + HOUR_S


@pytest.mark.parametrize(
    ("idle_timeout_s", "after_s", "wants"),
    [
        (None, 10 * DAY_S, False),
        (10 * DAY_S, 299.9, False),
        (10 * DAY_S, 300.0, True),
        (600.0, 59.9, False),
        (600.0, 60.0, True),
    ],
)
def test_note_when_a_visit_comes_then_is_wanted_often_enough_only(
    idle_timeout_s: float | None, after_s: float, wants: bool
) -> None:
    """A tenth of the idle time is lost at most; and a write in five minutes will do."""
    lifetime = Lifetime(idle_timeout_s=idle_timeout_s)
    assert lifetime.wants_note(NOW, now=NOW + after_s) is wants
