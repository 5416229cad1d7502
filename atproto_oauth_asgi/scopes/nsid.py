"""Names of record types, methods and permission sets.

Spec: atproto "Namespaced Identifiers (NSIDs)", "NSID Syntax".
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from atproto_oauth_asgi.scopes.syntax import refuse

ANY = "*"
"""The wildcard: every name."""

_MAX_LENGTH = 317
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_NSID = re.compile(rf"(?![0-9])(?:{_LABEL}\.){{2,}}[a-zA-Z][a-zA-Z0-9]{{0,62}}")


def is_nsid(text: str) -> bool:
    """Return whether this is a name such as ``com.example.post``."""
    return len(text) <= _MAX_LENGTH and _NSID.fullmatch(text) is not None


def canonical_names(names: Iterable[str], *, parameter: str) -> tuple[str, ...]:
    """Return names sorted and without doubles, or the wildcard alone.

    Raises:
        ConfigurationError: one is neither an NSID nor the wildcard, or there is none.
    """
    found = set(names)
    if not found or not all(name == ANY or is_nsid(name) for name in found):
        raise refuse(parameter, "an NSID such as com.example.post, or * alone")
    return (ANY,) if ANY in found else tuple(sorted(found))
