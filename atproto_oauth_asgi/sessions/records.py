"""Pending logins and sessions in a ``RecordStore``: the store sees sealed bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

from typing_extensions import override

from atproto_oauth_asgi.crypto.sealing import Sealer
from atproto_oauth_asgi.exceptions import (
    AccountMoved,
    ClientKeyRetired,
    OAuthError,
    SessionError,
    SessionExpired,
    SessionRevoked,
    StoreError,
)
from atproto_oauth_asgi.models import (
    OAuthSession,
    OAuthState,
    deserialize_oauth_session,
    deserialize_oauth_state,
    serialize_oauth_session,
    serialize_oauth_state,
)
from atproto_oauth_asgi.sessions.keeper import IsUsable
from atproto_oauth_asgi.sessions.lifecycle import record_key
from atproto_oauth_asgi.sessions.outcomes import LEASE_S
from atproto_oauth_asgi.sessions.pending import LOGIN_LIFETIME_S
from atproto_oauth_asgi.stores.base import Record, RecordStore, StateStore
from atproto_oauth_asgi.stores.locks import Lease

# A refresh token of the reference server that is not used lives three months.
_IDLE_LIFETIME_S = 180 * 24 * 3600.0
_ENDING_KEPT_S = 30 * 24 * 3600.0
_TRIES = 3
_PENDING, _SESSION = "pending", "session"
_ENDED = "ended:"
_ENDINGS: dict[str, type[SessionError]] = {
    ending.code: ending
    for ending in (SessionExpired, SessionRevoked, AccountMoved, ClientKeyRetired)
}


class RecordSealer:
    """Seals the records of one client, each bound to its kind and key.

    Args:
        secrets: newest first.
        client_id: records of another client do not open.
        clock: gives Unix seconds.
    """

    def __init__(
        self, secrets: Sequence[bytes], *, client_id: str, clock: Callable[[], float]
    ) -> None:
        self._sealer = Sealer(secrets, purpose=f"record {client_id}")
        self.clock = clock

    def seal(self, text: str, *, kind: str, key: str) -> bytes:
        """Return the text sealed."""
        sealed = self._sealer.seal(
            text.encode(), context=f"{kind} {key}", now=self.clock()
        )
        return sealed.encode("ascii")

    def unseal(self, record: Record, *, kind: str, key: str) -> str:
        """Return the text in a record.

        Raises:
            StoreError: it was not sealed by us for this place. Somebody changed it, or
                the secret that sealed it is not configured any more.
        """
        plaintext = self._sealer.unseal(
            record.value.decode("ascii", "replace"),
            context=f"{kind} {key}",
            now=self.clock(),
            max_age_s=_IDLE_LIFETIME_S,
        )
        if plaintext is None:
            message = "a record cannot be opened: is its secret_key still configured?"
            raise StoreError(message)
        return plaintext.decode()


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


class RecordedSessions:
    """Sessions in a ``RecordStore``: many of each account, one for each login."""

    def __init__(self, store: RecordStore, sealer: RecordSealer) -> None:
        self._store = store
        self._sealer = sealer

    async def save_new(self, session: OAuthSession) -> None:
        """Keep a session that has just begun."""
        await self._save(session, if_version=None)

    async def save_renewed(self, session: OAuthSession, *, was_kept: bool) -> None:
        """Keep a session that was renewed.

        Raises:
            SessionError: it was ended meanwhile.
        """
        key = _key_of(session.did, session.session_id)
        for _ in range(_TRIES):
            record = await self._store.load(_SESSION, key)
            if record is not None:
                self._open(record, key)
            elif was_kept:
                raise SessionRevoked("the session was ended while it was renewed")
            version = 0 if record is None else record.version
            if await self._save(session, if_version=version) is not None:
                return
        raise StoreError("the session was changed by others while it was saved")

    async def find(
        self, did: str, session_id: str | None, is_usable: IsUsable
    ) -> OAuthSession | None:
        """Return the newest state of a session, or of the account's newest one.

        Raises:
            SessionError: why there is none, where that is known.
        """
        if session_id is not None:
            return await self._load(_key_of(did, session_id))
        keys = await self._store.keys(_SESSION, _owner_of(did))
        found, problems = await self._load_all(keys)
        if problems and not found:
            raise problems[0]
        usable = list(filter(is_usable, found))
        return max(usable or found, key=_last_renewed, default=None)

    async def would_keep(self, session: OAuthSession) -> bool:
        """Return True: every session has a place of its own."""
        del session
        return True

    async def end(self, session: OAuthSession, *, code: str) -> None:
        """Put the reason in place of a session; its tokens are gone from the store."""
        key = _key_of(session.did, session.session_id)
        await self._store.save(
            _SESSION,
            key,
            self._sealer.seal(_ENDED + code, kind=_SESSION, key=key),
            expires_at=self._sealer.clock() + _ENDING_KEPT_S,
            owner=_owner_of(session.did),
        )

    def lock(self, session: OAuthSession) -> AbstractAsyncContextManager[Lease]:
        """Return a context that one renewal of a session is in at a time."""
        return self._store.lock(
            record_key("renew", session.did, session.session_id), LEASE_S
        )

    async def _save(
        self, session: OAuthSession, *, if_version: int | None
    ) -> int | None:
        key = _key_of(session.did, session.session_id)
        text = serialize_oauth_session(session)
        return await self._store.save(
            _SESSION,
            key,
            self._sealer.seal(text, kind=_SESSION, key=key),
            expires_at=self._sealer.clock() + _IDLE_LIFETIME_S,
            owner=_owner_of(session.did),
            if_version=if_version,
        )

    async def _load_all(
        self, keys: Sequence[str]
    ) -> tuple[list[OAuthSession], list[OAuthError]]:
        """Return the sessions that can be opened, and why others cannot."""
        found: list[OAuthSession] = []
        problems: list[OAuthError] = []
        for key in keys:
            record = await self._store.load(_SESSION, key)
            try:
                found += [] if record is None else [self._open(record, key)]
            except (SessionError, StoreError) as error:
                problems.append(error)
        return found, problems

    async def _load(self, key: str) -> OAuthSession | None:
        record = await self._store.load(_SESSION, key)
        return None if record is None else self._open(record, key)

    def _open(self, record: Record, key: str) -> OAuthSession:
        text = self._sealer.unseal(record, kind=_SESSION, key=key)
        if text.startswith(_ENDED):
            code = text.removeprefix(_ENDED)
            raise _ENDINGS.get(code, SessionExpired)("the session has ended")
        return deserialize_oauth_session(text)


def _key_of(did: str, session_id: str) -> str:
    # Sessions that were made by hand have no id.
    return record_key(_SESSION, did, session_id)


def _owner_of(did: str) -> str:
    return record_key("did", did)


def _last_renewed(session: OAuthSession) -> float:
    return (session.verified_at or session.created_at).timestamp()
