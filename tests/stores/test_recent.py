from __future__ import annotations

from atproto_oauth_asgi.stores.recent import Recent


def test_recent_when_there_are_too_many_then_the_oldest_makes_room() -> None:
    """Whoever sends new names without end fills no memory; the newest ones count."""
    recent: Recent[str, int] = Recent(2)
    recent["a"] = 1
    recent["b"] = 2
    recent["a"] = 3
    recent["c"] = 4
    assert list(recent.items()) == [("a", 3), ("c", 4)]
