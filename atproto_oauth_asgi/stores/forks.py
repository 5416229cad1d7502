"""What a forked child must not inherit: locks whose holders are not there."""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class _Holder(Protocol):
    def begin_anew(self) -> None:
        """Forget who holds what: whoever it was is in another process."""


# Only a child goes through it, and there no other thread is left to change it.
_holders: WeakSet[_Holder] = WeakSet()


def begin_anew_in_children(holder: _Holder) -> None:
    """Let ``holder.begin_anew`` be called in each child, as long as it lives."""
    _holders.add(holder)


def _after_fork_in_child() -> None:
    for holder in list(_holders):
        holder.begin_anew()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no forks
    os.register_at_fork(after_in_child=_after_fork_in_child)
