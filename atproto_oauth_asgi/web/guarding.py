"""What the decorators of the frameworks share: a view that answers only some people."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

_F = TypeVar("_F", bound=Callable[..., Any])


def guard(view: _F, refuse: Callable[..., Any], *, is_async: bool) -> _F:
    """Return a view that answers with the refusal, where ``refuse`` gives one.

    Args:
        view: whatever the framework calls one.
        refuse: gets the positional arguments of the view; None lets them in.
        is_async: whether what the view gives is awaited. It stays as it is.
    """
    call: Callable[..., Any] = view
    if is_async:

        @wraps(view)
        async def guarded(*args: Any, **kwargs: Any) -> Any:
            refusal = refuse(*args)
            return await call(*args, **kwargs) if refusal is None else refusal

        return cast("_F", guarded)

    @wraps(view)
    def guarded_plain(*args: Any, **kwargs: Any) -> Any:
        refusal = refuse(*args)
        return call(*args, **kwargs) if refusal is None else refusal

    return cast("_F", guarded_plain)
