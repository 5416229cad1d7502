"""Names of record types, methods and permission sets.

Spec: atproto "Namespaced Identifiers (NSIDs)", "NSID Syntax".
"""

from __future__ import annotations

from collections.abc import Iterable

from atproto_oauth_asgi.protocol.identifiers import is_nsid
from atproto_oauth_asgi.scopes.syntax import refuse

ANY = "*"
"""The wildcard: every name."""


def canonical_names(names: Iterable[str], *, parameter: str) -> tuple[str, ...]:
    """Return names sorted and without doubles, or the wildcard alone.

    Raises:
        ConfigurationError: one is neither an NSID nor the wildcard, or there is none.
    """
    found = set(names)
    if not found or not all(name == ANY or is_nsid(name) for name in found):
        raise refuse(parameter, "an NSID such as com.example.post, or * alone")
    return (ANY,) if ANY in found else tuple(sorted(found))
