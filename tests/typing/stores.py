"""A store of one's own is told what it lacks."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from typing_extensions import override

from atproto_oauth_asgi import (
    MemorySessionStore,
    MemoryStateStore,
    MemoryStore,
    OAuthClient,
    OAuthConfig,
    OAuthSession,
    OAuthState,
    PostgresStore,
    RecordStore,
    RedisStore,
    SessionStore,
    SQLiteStore,
    StateStore,
)
from atproto_oauth_asgi.stores import Lease, Record

SECRET = b"not a secret, for nothing here runs"


class Own:
    """All six methods, and no base class."""

    async def load(self, kind: str, key: str) -> Record | None: ...

    async def save(
        self,
        kind: str,
        key: str,
        value: bytes,
        *,
        expires_at: float,
        owner: str | None = None,
        if_version: int | None = None,
    ) -> int | None: ...

    async def take(self, kind: str, key: str) -> Record | None: ...

    async def delete(self, kind: str, key: str) -> None: ...

    async def keys(self, kind: str, owner: str) -> Sequence[str]:
        raise NotImplementedError

    def lock(self, key: str, lease_s: float) -> AbstractAsyncContextManager[Lease]:
        raise NotImplementedError


class Forgetful:
    """Not all six."""

    async def load(self, kind: str, key: str) -> Record | None: ...


class HalfStates(StateStore):
    """Not all three."""

    @override
    async def save_state(self, state: OAuthState) -> None: ...


class Sessions(SessionStore):
    """All three, of which one gives something else."""

    @override
    async def save_session(self, session: OAuthSession) -> None: ...

    @override
    async def get_session(self, did: str) -> str:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        return did

    @override
    async def delete_session(self, did: str) -> None: ...


def ours() -> list[RecordStore]:
    return [
        MemoryStore(max_records=10),
        Own(),
        PostgresStore("postgresql://db.example.com/app"),
        RedisStore("redis://db.example.com"),
        SQLiteStore("sessions.sqlite3"),
    ]


def used() -> None:
    OAuthConfig(secret_key=SECRET, store=Own())
    OAuthClient("http://localhost", "", "", MemoryStateStore(), MemorySessionStore())
    OAuthClient("http://localhost", "", "", MemoryStore(), MemoryStore())


def wrong() -> None:
    OAuthConfig(secret_key=SECRET, store=Forgetful())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    OAuthConfig(secret_key=SECRET, store=MemoryStateStore())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    OAuthClient("http://localhost", "", "", MemorySessionStore())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    HalfStates()  # type: ignore[abstract]  # pyright: ignore[reportAbstractUsage]
