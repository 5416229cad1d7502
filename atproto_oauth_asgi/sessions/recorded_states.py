"""Pending logins in a ``RecordStore``: the store sees sealed bytes."""

from __future__ import annotations

from typing_extensions import override

from atproto_oauth_asgi.models import (
    OAuthState,
    deserialize_oauth_state,
    serialize_oauth_state,
)
from atproto_oauth_asgi.sessions.lifecycle import record_key
from atproto_oauth_asgi.sessions.pending import LOGIN_LIFETIME_S
from atproto_oauth_asgi.sessions.record_sealer import RecordSealer
from atproto_oauth_asgi.stores.base import Record, RecordStore, StateStore

_PENDING = "pending"


class RecordedStates(StateStore):
    """Pending logins in a ``RecordStore``."""

    def __init__(self, store: RecordStore, sealer: RecordSealer) -> None:
        self._store = store
        self._sealer = sealer

    @override
    async def save_state(self, state: OAuthState) -> None:
        """Keep a login under ``state.state``, for ten minutes."""
        key = record_key(_PENDING, state.state)
        text = serialize_oauth_state(state)
        await self._store.save(
            _PENDING,
            key,
            self._sealer.seal(text, kind=_PENDING, key=key),
            expires_at=self._sealer.clock() + LOGIN_LIFETIME_S,
        )

    @override
    async def get_state(self, state_key: str) -> OAuthState | None:
        """Return the login, or None if it is unknown, deleted or expired."""
        key = record_key(_PENDING, state_key)
        return self._open(await self._store.load(_PENDING, key), key)

    @override
    async def delete_state(self, state_key: str) -> None:
        """Forget the login; one that is not there is no error."""
        await self._store.delete(_PENDING, record_key(_PENDING, state_key))

    @override
    async def take_state(self, state_key: str) -> OAuthState | None:
        """Return the login and forget it: of several callers one gets it."""
        key = record_key(_PENDING, state_key)
        return self._open(await self._store.take(_PENDING, key), key)

    def _open(self, record: Record | None, key: str) -> OAuthState | None:
        if record is None:
            return None
        return deserialize_oauth_state(
            self._sealer.unseal(record, kind=_PENDING, key=key)
        )
