"""Where logins and sessions are kept: the contracts, and the stores made here."""

from atproto_oauth_asgi.stores.base import (
    Record,
    RecordStore,
    SessionStore,
    StateStore,
)
from atproto_oauth_asgi.stores.locks import Lease
from atproto_oauth_asgi.stores.memory import (
    MemorySessionStore,
    MemoryStateStore,
    MemoryStore,
)

__all__ = [
    "Lease",
    "MemorySessionStore",
    "MemoryStateStore",
    "MemoryStore",
    "Record",
    "RecordStore",
    "SessionStore",
    "StateStore",
]
