"""RFC 6749 section 5.2: what an authorization server says when it refuses."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

_ERROR_CODE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,64}")
_MAX_DESCRIPTION = 500


@dataclass(frozen=True, slots=True)
class ServerRefusal:
    """``error`` is a checked code; ``error_description`` is foreign text, capped."""

    error: str
    error_description: str | None


def parse_refusal(status: int, body: bytes) -> ServerRefusal:
    """Return the error of a refusal; whatever is not one becomes ``http_<status>``."""
    try:
        members = json.loads(body)
    except (ValueError, RecursionError):
        members = None
    if not isinstance(members, dict):
        return ServerRefusal(f"http_{status}", None)
    error, description = members.get("error"), members.get("error_description")
    if not isinstance(error, str) or not _ERROR_CODE.fullmatch(error):
        return ServerRefusal(f"http_{status}", None)
    if not isinstance(description, str):
        return ServerRefusal(error, None)
    return ServerRefusal(error, description[:_MAX_DESCRIPTION])
