"""Sessions that lie in the store; browsers hold references to them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import cast

from atproto_oauth_asgi.exceptions import (
    CookieTooLarge,
    LoggedOut,
    RefreshUnavailable,
    SessionError,
    SessionExpired,
    StoreError,
)
from atproto_oauth_asgi.models import OAuthSession
from atproto_oauth_asgi.network.beside import run_shielded
from atproto_oauth_asgi.sessions.lifecycle import (
    OpenedSession,
    Reference,
    SealedSessions,
)
from atproto_oauth_asgi.sessions.pauses import Pauses
from atproto_oauth_asgi.sessions.records import KeptSession, RecordedSessions
from atproto_oauth_asgi.sessions.revocation import revoke_quietly
from atproto_oauth_asgi.sessions.services import SessionServices

_log = logging.getLogger("atproto_oauth_asgi")

CheckSize = Callable[[str], None]
"""Raises ``CookieTooLarge`` for a value that fits into no browser."""


class StoredSessions:
    """Opens, renews and ends them, for all who share the store."""

    def __init__(
        self,
        services: SessionServices,
        *,
        sealed: SealedSessions,
        check_size: CheckSize,
    ) -> None:
        # The client of a middleware keeps sessions in a RecordStore, and nowhere else.
        self._records = cast("RecordedSessions", services.records)
        self._services = services
        self._lifetime = services.lifetime
        self._clock = services.clock
        self._sealed = sealed
        self._pauses = Pauses(clock=services.clock)
        self.check_size = check_size

    @property
    def now(self) -> float:
        """The time, in Unix seconds."""
        return self._clock()

    async def begin(self, session: OAuthSession) -> Reference:
        """Put a session into the store; return the reference to it.

        Raises:
            StoreError: the store does not answer.
        """
        await self._records.save_new(session)
        return self._sealed.refer(session)

    async def open(self, reference: Reference) -> OpenedSession:
        """Return the session that a reference leads to: one read of the store.

        Raises:
            SessionError: it has ended.
            SealedOtherwise: it was sealed with a secret that is not known here.
            StoreError: the store does not answer.
        """
        await self._services.renewals.save_another()
        kept = await self._records.load(reference.did, reference.session_id)
        if kept is None:
            raise SessionExpired("the session is over: log in again")
        opened = self._as_opened(kept, reference.value)
        self._sealed.check(opened)
        if not reference.is_current:
            # Its secret will be taken away: the newest one seals both anew.
            await self._records.note_seen(kept)
            return replace(opened, value=self._sealed.refer(kept.session).value)
        if self._lifetime.wants_note(kept.seen_at, now=self._clock()):
            await self._records.note_seen(kept)
        return opened

    async def check(self, opened: OpenedSession) -> None:
        """Check that nobody has ended a session since it was opened.

        Raises:
            SessionError: somebody has.
            StoreError: the store does not answer, or holds something else.
        """
        session = opened.session
        if await self._records.load(session.did, session.session_id) is None:
            raise SessionExpired("the session is gone")

    async def refresh(self, opened: OpenedSession) -> OpenedSession:
        """Return the session with new tokens; its reference stays the same.

        Raises:
            SessionError: it has ended.
            RefreshUnavailable: not now; the session lives.
            StoreError: the store does not answer.
        """
        name = opened.session.session_id
        self._pauses.check(name)
        self._pauses.check_not_too_soon(opened)
        try:
            session = await self._services.renewals.renew(opened.session)
        except RefreshUnavailable:
            self._pauses.begin(name)
            raise
        self._pauses.forget(name)
        return replace(opened, session=session, renewed_at=self._clock())

    async def end(self, session: OAuthSession) -> None:
        """Log a session out: here at once, at its server if that answers in time.

        Who renews it meanwhile finds that it has ended, and revokes what they got.

        Raises:
            StoreError: the store does not answer.
        """
        kept = await self._records.end(session, code=LoggedOut.code)
        await self._revoke(kept)

    async def end_all(self, but: OAuthSession) -> None:
        """Log the other sessions of an account out that lie in the store.

        Raises:
            StoreError: the store does not answer; some may have been ended.
        """
        for key in await self._records.keys_of(but.did, but=but):
            kept = await self._records.end_at(key, did=but.did, code=LoggedOut.code)
            await self._revoke(kept)

    async def move_if_too_large(
        self, opened: OpenedSession
    ) -> OpenedSession | Reference:
        """Return a session as it is, or a reference to it where it fits no browser.

        One that comes late replaces nothing: others may have renewed it there, or ended
        it, meanwhile.

        Raises:
            SessionError: it was ended there.
            StoreError: the store does not answer.
        """
        try:
            self.check_size(opened.value)
        except CookieTooLarge:
            await self._records.save_renewed(opened.session, was_kept=False)
            _log.info("session moved into the store: did=%s", opened.session.did)
            return self._sealed.refer(opened.session)
        return opened

    async def give_back(self, session: OAuthSession) -> None:
        """Revoke tokens of a cookie that is over; if they lie here by now, that ends.

        Raises:
            AuthorizationServerError, DiscoveryError, TransportError: of the server.
        """
        with suppress(SessionError, StoreError):
            if await self._records.load(session.did, session.session_id) is not None:
                await self._records.end(session, code=LoggedOut.code)
        await self._services.unkept.end(session)

    async def _revoke(self, kept: OAuthSession | None) -> None:
        if kept is not None:
            # Somebody who has clicked "log out" may close the browser at once.
            await run_shielded(lambda: self.revoke_quietly(kept))

    async def revoke_quietly(self, session: OAuthSession) -> None:
        """Revoke tokens that nobody will use; a server that fails is only logged."""
        await revoke_quietly(self._services.tokens.revoke, session)

    def _as_opened(self, kept: KeptSession, value: str) -> OpenedSession:
        return OpenedSession(
            session=kept.session,
            value=value,
            renewed_at=kept.renewed_at,
            seen_at=kept.seen_at,
            ends_at=self._lifetime.end_of(kept.session),
            is_kept=True,
        )
