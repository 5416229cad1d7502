"""Sessions in a ``RecordStore``: many of each account, one for each login."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from atproto_oauth_asgi.exceptions import (
    RefreshUnavailable,
    SessionError,
    SessionExpired,
    SessionRevoked,
    StoreError,
)
from atproto_oauth_asgi.models import (
    OAuthSession,
    deserialize_oauth_session,
    serialize_oauth_session,
)
from atproto_oauth_asgi.sessions.keeper import IsUsable
from atproto_oauth_asgi.sessions.lifecycle import age_of, record_key
from atproto_oauth_asgi.sessions.lifetime import Lifetime
from atproto_oauth_asgi.sessions.marks import LEASE_S, TRIED, Mark, is_fresh, started
from atproto_oauth_asgi.sessions.outcomes import ENDINGS
from atproto_oauth_asgi.sessions.record_sealer import RecordSealer, SealedOtherwise
from atproto_oauth_asgi.stores.base import Record, RecordStore
from atproto_oauth_asgi.stores.locks import Lease

_log = logging.getLogger("atproto_oauth_asgi")

_ENDING_KEPT_S = 30 * 24 * 3600.0
_TRIES = 5
KIND = "session"
"""The kind of their records."""

_ALIVE, _ENDED, _NO_MARK = "alive", "ended", "-"
_OF_ANOTHER_RELEASE = "a session was kept by another release"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptSession:
    """What the store holds of a session.

    Attributes:
        session: the session.
        version: of its record.
        renewed_at: when its tokens came, in Unix seconds.
        seen_at: when the person was here, to within some minutes, in Unix seconds.
        mark: that its refresh token was sent, or is about to be; or "-".
    """

    session: OAuthSession
    version: int
    renewed_at: float
    seen_at: float
    mark: str


class RecordedSessions:
    """Keeps sessions, their marks and their endings.

    Args:
        store: where.
        sealer: what the store sees is sealed.
        lifetime: how long a session is kept.
    """

    def __init__(
        self, store: RecordStore, sealer: RecordSealer, *, lifetime: Lifetime
    ) -> None:
        self._store = store
        self._sealer = sealer
        self._lifetime = lifetime

    async def save_new(self, session: OAuthSession) -> None:
        """Keep a session that has just begun."""
        now = self._sealer.clock()
        await self._save(session, renewed_at=now, seen_at=now)

    async def save_renewed(
        self, session: OAuthSession, *, was_kept: bool, mark: Mark | None = None
    ) -> None:
        """Keep a session that was renewed, in place of its mark.

        Raises:
            SessionError: it was ended meanwhile.
            StoreError: the store does not answer.
        """
        if mark is None or await self._save_over(mark, session) is None:
            await self._save_over_anything(session, was_kept=was_kept)

    async def _save_over(self, mark: Mark, session: OAuthSession) -> int | None:
        """Save with one call: nothing shall come between an answer and this."""
        return await self._save(
            session,
            renewed_at=self._sealer.clock(),
            seen_at=mark.seen_at,
            if_version=mark.version,
        )

    async def _save_over_anything(
        self, session: OAuthSession, *, was_kept: bool
    ) -> None:
        now = self._sealer.clock()
        for _ in range(_TRIES):
            kept = await self.load(session.did, session.session_id)
            if kept is None and was_kept:
                raise SessionRevoked("the session was ended while it was renewed")
            if kept is not None and _is_later(kept, session):
                return
            version = await self._save(
                session,
                renewed_at=now,
                seen_at=kept.seen_at if kept else now,
                if_version=kept.version if kept else 0,
            )
            if version is not None:
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
            kept = await self.load(did, session_id)
            return None if kept is None else kept.session
        found, problems = await self.load_all(await self.keys_of(did))
        if problems and not found:
            raise problems[0]
        usable = list(filter(is_usable, found))
        return max(usable or found, key=_last_renewed, default=None)

    async def load(self, did: str, session_id: str) -> KeptSession | None:
        """Return what the store holds of a session, in one read.

        Raises:
            SessionError: it has ended.
            StoreError: the store does not answer, or holds something else.
        """
        key = _key_of(did, session_id)
        record = await self._store.load(KIND, key)
        return None if record is None else self._open(record, key)

    async def keys_of(
        self, did: str, *, but: OAuthSession | None = None
    ) -> Sequence[str]:
        """Return where the sessions of an account lie, except for one."""
        spared = but and _key_of(did, but.session_id)
        keys = await self._store.keys(KIND, _owner_of(did))
        return [key for key in keys if key != spared]

    async def all_of(self, did: str) -> list[OAuthSession]:
        """Return the sessions of an account that can be opened."""
        return (await self.load_all(await self.keys_of(did)))[0]

    async def load_all(
        self, keys: Iterable[str]
    ) -> tuple[list[OAuthSession], Sequence[SessionError | StoreError]]:
        """Return the sessions in records that can be opened, and why others cannot.

        ``keys`` are those that the store gives for records of the kind ``KIND``.

        Raises:
            StoreError: the store does not answer.
        """
        found: list[OAuthSession] = []
        problems: list[SessionError | StoreError] = []
        for key in keys:
            record = await self._store.load(KIND, key)
            try:
                found += [] if record is None else [self._open(record, key).session]
            except (SessionError, StoreError) as error:
                problems.append(error)
        return found, problems

    async def would_keep(self, session: OAuthSession) -> bool:
        """Return True: every session has a place of its own."""
        del session
        return True

    async def note_seen(self, kept: KeptSession) -> None:
        """Note that the person is here; who changes the record meanwhile has done so."""
        await self._save(
            kept.session,
            renewed_at=kept.renewed_at,
            seen_at=self._sealer.clock(),
            mark=kept.mark,
            if_version=kept.version,
        )

    async def mark(self, session: OAuthSession) -> Mark | None:
        """Say that the session's refresh token is about to be sent.

        Returns:
            None if the session is not kept here.

        Raises:
            SessionError: it has ended.
            RefreshUnavailable: somebody else is about to send it, or has done so.
            StoreError: the store does not answer.
        """
        kept, now = (
            await self.load(session.did, session.session_id),
            self._sealer.clock(),
        )
        if kept is None:
            return None
        version = None
        if not (_is_later(kept, session) or is_fresh(kept.mark, now=now)):
            version = await self._save_mark(kept, started(now))
        if version is None:
            raise RefreshUnavailable("the tokens are being renewed by somebody else")
        was_interrupted = kept.mark != _NO_MARK
        return Mark(version, was_interrupted=was_interrupted, seen_at=kept.seen_at)

    async def unmark(self, session: OAuthSession, mark: Mark) -> None:
        """Say that the token was sent, and that nothing definite came of it.

        Raises:
            SessionError: the session has ended meanwhile.
            StoreError: the store does not answer.
        """
        kept = await self.load(session.did, session.session_id)
        if kept is not None and kept.version == mark.version:
            await self._save_mark(kept, TRIED)

    async def end(self, session: OAuthSession, *, code: str) -> OAuthSession | None:
        """End a session; see ``end_at``."""
        key = _key_of(session.did, session.session_id)
        return await self.end_at(key, did=session.did, code=code)

    async def end_at(self, key: str, *, did: str, code: str) -> OAuthSession | None:
        """Put the reason in place of a session; its tokens are gone from the store.

        A record that cannot be opened here is ended, too: nobody is to go on with it.

        Returns:
            The state that was kept; None if there was none that can be read, or it has
            ended already.

        Raises:
            StoreError: the store does not answer.
        """
        for _ in range(_TRIES):
            record = await self._store.load(KIND, key)
            try:
                kept = None if record is None else self._open(record, key).session
            except SessionError:
                return None
            except StoreError as error:
                _log.warning("tokens not revoked: did=%s: %s", did, error)
                kept = None
            version = await self._store.save(
                KIND,
                key,
                self._sealer.seal(f"{_ENDED} {code}", kind=KIND, key=key),
                expires_at=self._sealer.clock() + _ENDING_KEPT_S,
                owner=_owner_of(did),
                if_version=record.version if record else 0,
            )
            if version is not None:
                return kept
        raise StoreError("the session was changed by others while it was ended")

    def lock(self, session: OAuthSession) -> AbstractAsyncContextManager[Lease]:
        """Return a context that one renewal of a session is in at a time."""
        return self._store.lock(
            record_key("renew", session.did, session.session_id), LEASE_S
        )

    async def _save_mark(self, kept: KeptSession, mark: str) -> int | None:
        return await self._save(
            kept.session,
            renewed_at=kept.renewed_at,
            seen_at=kept.seen_at,
            mark=mark,
            if_version=kept.version,
        )

    async def _save(
        self,
        session: OAuthSession,
        *,
        renewed_at: float,
        seen_at: float,
        mark: str = _NO_MARK,
        if_version: int | None = None,
    ) -> int | None:
        key, now = _key_of(session.did, session.session_id), self._sealer.clock()
        head = f"{_ALIVE} {renewed_at!r} {seen_at!r} {mark}"
        text = f"{head}\n{serialize_oauth_session(session)}"
        return await self._store.save(
            KIND,
            key,
            self._sealer.seal(text, kind=KIND, key=key),
            expires_at=self._lifetime.expiry_of_record(
                session, seen_at=seen_at, now=now
            ),
            owner=_owner_of(session.did),
            if_version=if_version,
        )

    def _open(self, record: Record, key: str) -> KeptSession:
        head, _, text = self._sealer.unseal(record, kind=KIND, key=key).partition("\n")
        form, *words = head.split(" ")
        if form == _ENDED:
            raise ENDINGS.get(words[0], SessionExpired)("the session has ended")
        if form != _ALIVE:
            # Not an ending: a newer release runs beside this one, for now.
            raise SealedOtherwise(_OF_ANOTHER_RELEASE)
        try:
            return KeptSession(
                session=deserialize_oauth_session(text),
                version=record.version,
                renewed_at=float(words[0]),
                seen_at=float(words[1]),
                mark=words[2],
            )
        except (ValueError, IndexError, StoreError) as error:
            raise SealedOtherwise(_OF_ANOTHER_RELEASE) from error


def _key_of(did: str, session_id: str) -> str:
    # Sessions that were made by hand have no id.
    return record_key(KIND, did, session_id)


def _owner_of(did: str) -> str:
    return record_key("did", did)


def _is_later(kept: KeptSession, session: OAuthSession) -> bool:
    return age_of(kept.session) > age_of(session)


def _last_renewed(session: OAuthSession) -> float:
    return (session.verified_at or session.created_at).timestamp()
