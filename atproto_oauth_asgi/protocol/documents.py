"""RFC 8259: JSON from strangers, read with suspicion.

What two readers could understand differently (a member given twice, ``NaN``, numbers
out of range) is refused, as is what would be costly to read.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from atproto_oauth_asgi.exceptions import OAuthError

MakeError = Callable[[str], OAuthError]
"""Makes the error to raise from a message; mostly an error class."""

_MAX_BYTES = 256 * 1024
_MAX_DEPTH = 32
# 2**64 has 20 digits; nothing that we read needs more.
_MAX_DIGITS = 20
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def parse_json_object(body: bytes, *, what: str, error: MakeError) -> Mapping[str, Any]:
    """Return the members of one JSON object.

    ``what`` names the document in the message, ``error`` makes what is raised.

    Raises:
        OAuthError: made by ``error``; it is not a JSON object, too large or too
            deep, or has numbers or members that are ambiguous.
    """
    if len(body) > _MAX_BYTES:
        raise error(f"{what}: too large")
    try:
        value = _decode(body.decode("utf-8"))
    except (ValueError, RecursionError):
        # Those errors hold the whole text, which may be tokens.
        raise error(f"{what}: not valid JSON") from None
    if not isinstance(value, dict):
        raise error(f"{what}: not a JSON object")
    if _is_deeper_than(value, _MAX_DEPTH):
        raise error(f"{what}: too deeply nested")
    return value


def string(
    members: Mapping[str, Any], name: str, *, what: str, error: MakeError
) -> str:
    """Return a member that must be there and be a string.

    Raises:
        OAuthError: made by ``error``; it is missing or something else.
    """
    value = members.get(name)
    if not _is_text(value):
        raise error(f"{what}: {name} is missing or not a string")
    return str(value)


def optional_string(
    members: Mapping[str, Any], name: str, *, what: str, error: MakeError
) -> str | None:
    """Return a member that is a string, or None if it is not there.

    Raises:
        OAuthError: made by ``error``; it is there and something else.
    """
    if name not in members:
        return None
    return string(members, name, what=what, error=error)


def string_list(
    members: Mapping[str, Any], name: str, *, what: str, error: MakeError
) -> tuple[str, ...]:
    """Return a member that must be there and be a list of strings.

    Raises:
        OAuthError: made by ``error``; it is missing or something else.
    """
    value = members.get(name)
    if not isinstance(value, list) or not all(map(_is_text, value)):
        raise error(f"{what}: {name} is missing or not a list of strings")
    return tuple(value)


def optional_string_list(
    members: Mapping[str, Any], name: str, *, what: str, error: MakeError
) -> tuple[str, ...] | None:
    """Return a member that is a list of strings, or None if it is not there.

    Raises:
        OAuthError: made by ``error``; it is there and something else.
    """
    if name not in members:
        return None
    return string_list(members, name, what=what, error=error)


def true(members: Mapping[str, Any], name: str, *, what: str, error: MakeError) -> None:
    """Return nothing if a member is JSON ``true``; neither 1 nor ``"true"`` will do.

    Raises:
        OAuthError: made by ``error``; it is missing or something else.
    """
    if members.get(name) is not True:
        raise error(f"{what}: {name} is not true")


def _is_text(value: object) -> bool:
    # A lone surrogate cannot be written back: it would fail somewhere later.
    return isinstance(value, str) and not _SURROGATE.search(value)


def _is_deeper_than(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [inner for outer in level for inner in _children(outer)]
        if not level:
            return False
    return True


def _children(value: Any) -> Sequence[Any]:
    inner = value.values() if isinstance(value, dict) else value
    return [item for item in inner if isinstance(item, dict | list)]


def _without_repeats(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        message = "a member is given twice"
        raise ValueError(message)
    return members


def _integer(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        message = "a number is too long"
        raise ValueError(message)
    return int(text)


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        message = "a number is too large"
        raise ValueError(message)
    return value


def _refuse(text: str) -> float:
    message = f"{text} is not JSON"
    raise ValueError(message)


_decode = json.JSONDecoder(
    object_pairs_hook=_without_repeats,
    parse_int=_integer,
    parse_float=_number,
    parse_constant=_refuse,
).decode
