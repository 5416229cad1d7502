"""Saving what must not be lost: a hiccup of the store is waited out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from atproto_oauth_asgi.exceptions import StoreError

_T = TypeVar("_T")

_WAITS_S = (0.05, 0.2, 0.75)


async def patiently(save: Callable[[], Awaitable[_T]]) -> _T:
    """Return what ``save`` gives; it is tried again for a second.

    Raises:
        StoreError: the store does not answer for longer than that.
    """
    for wait_s in _WAITS_S:
        try:
            return await save()
        except StoreError:
            await anyio.sleep(wait_s)
    return await save()
