"""What a store is: three contracts, and the lease of a lock.

``RecordStore`` is the interface of this library's own stores. ``StateStore`` and
``SessionStore`` are for applications that keep logins and sessions themselves.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from atproto_oauth_asgi.exceptions import StoreError
from atproto_oauth_asgi.models import OAuthSession, OAuthState
from atproto_oauth_asgi.stores.locks import Lease, ProcessLocks

_log = logging.getLogger("atproto_oauth_asgi")

_TAKE_LEASE_S = 60.0
_take_locks = ProcessLocks()
_warned: set[type] = set()


class StateStore(ABC):
    """Keeps logins in progress, each for about ten minutes and one use.

    Every field of ``OAuthState`` must come back as it was, ``extra`` included. What is
    kept holds secrets: encrypt it. A store that fails raises; it never answers None
    because it could not look.
    """

    @abstractmethod
    async def save_state(self, state: OAuthState) -> None:
        """Keep a login under ``state.state``."""

    @abstractmethod
    async def get_state(self, state_key: str) -> OAuthState | None:
        """Return the login, or None if it is unknown, deleted or expired."""

    @abstractmethod
    async def delete_state(self, state_key: str) -> None:
        """Forget the login; one that is not there is no error."""

    async def take_state(self, state_key: str) -> OAuthState | None:
        """Return the login and forget it: of several callers one gets it.

        This default excludes the tasks and threads of this process only, and says so
        once. Override it where the store can read and delete in one step.

        Raises:
            StoreError: the store took so long that the login may be taken twice.
        """
        _warn_once(type(self))
        async with _take_locks.lock(f"{id(self)} {state_key}", _TAKE_LEASE_S) as lease:
            state = await self.get_state(state_key)
            if state is not None:
                await self.delete_state(state_key)
            if lease.remaining_s() <= 0:
                message = "the state store took too long to take a login"
                raise StoreError(message)
            return state


class SessionStore(ABC):
    """Keeps one session per account.

    What is kept holds secrets: encrypt it. A store that fails raises; it never answers
    None because it could not look.
    """

    @abstractmethod
    async def save_session(self, session: OAuthSession) -> None:
        """Keep the session under ``session.did``, in place of an older one."""

    @abstractmethod
    async def get_session(self, did: str) -> OAuthSession | None:
        """Return the account's session, or None if there is none."""

    @abstractmethod
    async def delete_session(self, did: str) -> None:
        """Forget the account's session; one that is not there is no error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What a ``RecordStore`` gives back.

    Attributes:
        value: the sealed bytes, as they were saved.
        version: positive; equal only if nothing was saved in between.
        expires_at: Unix seconds.
    """

    value: bytes = field(repr=False)
    version: int
    expires_at: float


class RecordStore(Protocol):
    """Keeps sealed bytes under a kind and a key, until they expire.

    The layer above chooses ``kind`` (a short word), ``key`` and ``owner`` (hashes) and
    seals the values; a store needs to read none of it and must take any text and bytes.

    Every method but ``lock`` is atomic towards all users of the store, in this process
    and in others. A record whose ``expires_at`` is reached, by the clock of the store,
    does not exist for any method, swept or not.

    A store that cannot answer, in about two seconds, raises ``StoreError``. It never
    answers None, False or nothing instead. All methods may be cancelled; a cancelled
    change is made wholly or not at all.
    """

    async def load(self, kind: str, key: str) -> Record | None:
        """Return the record, or None if there is none."""

    async def save(  # noqa: PLR0913 (one of the six methods that are fixed)
        self,
        kind: str,
        key: str,
        value: bytes,
        *,
        expires_at: float,
        owner: str | None = None,
        if_version: int | None = None,
    ) -> int | None:
        """Create or replace a record; return its new version, or None if it was not.

        Value, ``expires_at`` and owner are all replaced.

        Args:
            kind: the sort of record.
            key: names the record within its kind.
            value: sealed bytes.
            expires_at: Unix seconds; one that is past leaves no record.
            owner: what ``keys`` finds the record by; None for nobody.
            if_version: None writes in any case. 0 writes only if there is no record.
                Any other number writes only if the record has that version. Where the
                condition does not hold nothing changes and None is returned.

        Returns:
            The new version: positive, and never one that this key had before, not even
            before a deletion.
        """

    async def take(self, kind: str, key: str) -> Record | None:
        """Return the record and delete it: of several callers one gets it."""

    async def delete(self, kind: str, key: str) -> None:
        """Delete the record; one that is not there is no error."""

    async def keys(self, kind: str, owner: str) -> Sequence[str]:
        """Return the keys of an owner's records of a kind, in no order."""

    def lock(self, key: str, lease_s: float) -> AbstractAsyncContextManager[Lease]:
        """Return a context that one user of the store is in at a time.

        Entering waits, without limit, for as long as somebody else is inside; it may be
        cancelled, and then nothing is held. Put ``anyio.fail_after`` around the
        entering to wait less: an implementation holds neither a cancel scope nor a task
        group open while the body runs, nor a connection or transaction.

        A holder that does not leave loses the lock when the lease ends: others enter
        then. Leaving late is no error and never frees what somebody else holds by now.
        The lease counts from before the lock was asked for. Locks are a space of their
        own: they do not touch records.
        """


class ListsOwnedKeys(Protocol):
    """What the stores of this library can besides, for people who look after them."""

    async def owned_keys(self, kind: str) -> Sequence[str]:
        """Return the keys of all records of a kind that have an owner, in no order.

        It reads the whole store, and what is saved or deleted meanwhile may be missing
        or among them: nothing that answers requests asks for it.
        """


def _warn_once(store: type) -> None:
    if store not in _warned:
        _warned.add(store)
        _log.warning(
            "state store excludes no other process: %s does not override take_state",
            store.__qualname__,
        )
