"""Permissions, checked beside a plain look-up, and beside reading them each time."""

from __future__ import annotations

from collections.abc import Iterator

from atproto_oauth_asgi.scopes import ScopesSet
from tests.benchmarks.harness import Case

_NAMES = [f"com.example.app.record{number}" for number in range(200)]
_GRANTED = " ".join(
    ["atproto", *(f"repo:{name}?action=create&action=update" for name in _NAMES)]
)
_ASKED = f"repo:{_NAMES[123]}?action=create"
_FEW = f"atproto repo:{_NAMES[123]}?action=create&action=update"


def cases() -> Iterator[Case]:
    """Give what is measured in time."""
    granted, few = ScopesSet(_GRANTED), ScopesSet(_FEW)
    actions = {name: {"create", "update"} for name in _NAMES}
    resource, _, collection = _ASKED.partition("?")[0].partition(":")

    def look_up() -> bool:
        return resource == "repo" and "create" in actions[collection]

    def read_and_check() -> bool:
        return ScopesSet(_FEW).allows(_ASKED)

    yield Case(
        name="permission among 200 scopes",
        base_name="among 2",
        base=lambda: few.allows(_ASKED),
        work=lambda: granted.allows(_ASKED),
        target=1.1,
    )
    yield Case(
        name="permission checked, not read anew",
        base_name="scopes read each time",
        base=read_and_check,
        work=lambda: granted.allows(_ASKED),
        target=0.1,
    )
    yield Case(
        name="permission checked, beside a dict",
        base_name="bare look-up in a dict",
        base=look_up,
        work=lambda: granted.allows(_ASKED),
        target=15,
    )
