"""What a process remembers, without growing for ever."""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeVar

from typing_extensions import override

_K = TypeVar("_K")
_V = TypeVar("_V")


class Recent(OrderedDict[_K, _V]):
    """So many entries at most: the one that was written longest ago makes room.

    Args:
        most: how many.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    @override
    def __setitem__(self, key: _K, value: _V) -> None:
        """Write an entry; it is the newest one then."""
        super().__setitem__(key, value)
        self.move_to_end(key)
        if len(self) > self._most:
            self.popitem(last=False)
