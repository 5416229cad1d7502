"""What browsers hold of their sessions, whichever way it is kept.

In ``cookie`` mode a browser holds the session itself, sealed; in ``server`` mode a
reference to the store; in ``identity`` mode a session without tokens. A session that
outgrows its cookie moves into the store, so that one application may have all kinds.
"""

from __future__ import annotations

import logging
from contextlib import suppress

from atproto_oauth_asgi.config import OAuthConfig, SessionMode
from atproto_oauth_asgi.exceptions import (
    LoggedOut,
    OAuthError,
    SessionError,
    StoreError,
)
from atproto_oauth_asgi.models import OAuthSession
from atproto_oauth_asgi.sessions.lifecycle import (
    Held,
    OpenedSession,
    Past,
    Reference,
    SealedSessions,
)
from atproto_oauth_asgi.sessions.record_sealer import SealedOtherwise
from atproto_oauth_asgi.sessions.refresh import RefreshCoordinator
from atproto_oauth_asgi.sessions.services import SessionServices
from atproto_oauth_asgi.sessions.stored import CheckSize, StoredSessions
from atproto_oauth_asgi.stores.base import RecordStore

_log = logging.getLogger("atproto_oauth_asgi")


def build_held_sessions(
    services: SessionServices,
    store: RecordStore,
    *,
    config: OAuthConfig,
    context: str,
    check_size: CheckSize,
) -> HeldSessions:
    """Return what keeps the sessions of browsers for one application.

    Args:
        services: of its client, which keeps sessions in the same store.
        store: what its processes share.
        config: what it has decided.
        context: what cookie values are bound to.
        check_size: refuses values that do not fit into cookies.
    """
    clock = config.clock
    sealed = SealedSessions(
        config.secrets, context=context, clock=clock, lifetime=services.lifetime
    )
    in_store = StoredSessions(services, sealed=sealed, check_size=check_size)
    in_cookies = RefreshCoordinator(
        store=store,
        sessions=sealed,
        send=services.unkept.renew,
        revoke=in_store.give_back,
        fit=in_store.move_if_too_large,
        clock=clock,
    )
    return HeldSessions(
        sealed, mode=config.session_mode, in_cookies=in_cookies, in_store=in_store
    )


class HeldSessions:
    """Begins, opens, renews and ends the sessions of browsers."""

    def __init__(
        self,
        sealed: SealedSessions,
        *,
        mode: SessionMode,
        in_cookies: RefreshCoordinator,
        in_store: StoredSessions,
    ) -> None:
        self.sealed = sealed
        self.in_cookies = in_cookies
        self.in_store = in_store
        self._mode = mode

    async def begin(self, session: OAuthSession) -> str:
        """Keep a new session; return the cookie value that stands for it.

        Raises:
            CookieTooLarge: it does not fit, and has been revoked.
            StoreError: the store does not answer; the session has been revoked.
        """
        try:
            return await self._begin(session)
        except OAuthError:
            await self.in_store.revoke_quietly(session)
            raise

    async def _begin(self, session: OAuthSession) -> str:
        if self._mode == "server":
            return (await self.in_store.begin(session)).value
        if self._mode == "identity":
            await self.in_store.revoke_quietly(session)
            session = session.replace(
                access_token="", refresh_token=None, expires_at=None
            )
        generation = await self.in_cookies.tombstones.generation(session.did)
        value = self.sealed.seal(session, generation=generation).value
        self.in_store.check_size(value)
        return value

    def recall(self, value: str) -> OpenedSession | None:
        """Return a session that needs no second look: it was opened a moment ago.

        There is nothing to wait for then. None: ``open`` has to tell.
        """
        held = self.sealed.recall(value)
        if isinstance(held, OpenedSession) and self.in_cookies.knows(held):
            return held
        return None

    async def open(self, value: str) -> OpenedSession | Past | None:
        """Return the session that a cookie value stands for, or what is left of it.

        None: the value says nothing here.

        Raises:
            LoggedOut: somebody has logged it out.
            StoreError: the store does not answer.
        """
        held = self.sealed.read(value)
        if held is None or isinstance(held, Past):
            return held
        try:
            return await self._open(held)
        except LoggedOut as error:
            error.did = _did_of(held)
            raise
        except SessionError as error:
            return self._remember(held, error)
        except SealedOtherwise as error:
            # As with a cookie that cannot be read: nobody's here, and left alone.
            _log.warning("session not opened: did=%s: %s", _did_of(held), error)
            return None

    async def refresh(
        self, opened: OpenedSession, *, may_send: bool = True
    ) -> OpenedSession:
        """Return the session with new tokens.

        Raises:
            RefreshUnavailable: not now; the session lives. Also when the cookie would
                have to change and ``may_send`` is False.
            SessionError: the session has ended.
            StoreError: the store does not answer.
        """
        if opened.is_kept:
            return await self.in_store.refresh(opened)
        found = await self.in_cookies.refresh(opened, may_send=may_send)
        return found if isinstance(found, OpenedSession) else await self._follow(found)

    async def to_write(self, opened: OpenedSession) -> OpenedSession:
        """Return what the browser should hold of a session by now.

        Raises:
            RefreshUnavailable: that cannot be read here.
            SessionError: the session has ended.
            StoreError: the store does not answer.
        """
        if opened.is_kept:
            await self.in_store.check(opened)
            return opened
        newest = await self.in_cookies.newest(opened)
        if isinstance(newest, Reference):
            return await self.in_store.open(newest)
        if self.sealed.wants_to_be_seen(newest):
            return self.sealed.seal_seen(newest)
        return newest

    async def abandon(self, session: OAuthSession) -> None:
        """End a new session that no browser will get; failures are only logged."""
        if self._mode == "server":
            with suppress(StoreError):
                return await self.in_store.end(session)
        return await self.in_store.revoke_quietly(session)

    def wants_to_be_written(self, opened: OpenedSession) -> bool:
        """Return whether the browser's cookie should say that the person was here."""
        return not opened.is_kept and self.sealed.wants_to_be_seen(opened)

    def remember(self, opened: OpenedSession, error: SessionError) -> Past:
        """Return what a browser keeps of a session that has ended."""
        session = opened.session
        return self.sealed.remember(session.did, session.handle, code=error.code)

    async def end(self, opened: OpenedSession, *, everywhere: bool = False) -> None:
        """Log out: here at once, at the server if that answers in time.

        Args:
            opened: the session.
            everywhere: also out of all other sessions that the account has here.

        Raises:
            StoreError: the store does not answer.
        """
        did, issuer = opened.session.did, opened.session.authserver_iss
        if everywhere:
            # This one comes last: who holds none cannot ask again after a failure.
            await self.in_store.end_all(opened.session)
            await self.in_cookies.tombstones.bury_account(did)
            # Of those that have moved into the store meanwhile.
            await self.in_store.end_all(opened.session)
        if opened.is_kept:
            # Of one that was moved into the store an older cookie may be about.
            await self.in_cookies.tombstones.bury(opened)
            await self.in_store.end(opened.session)
        elif (moved := await self.in_cookies.end(opened)) is not None:
            with suppress(SessionError):
                await self.in_store.end((await self.in_store.open(moved)).session)
        _log.info("logged out: did=%s issuer=%s", did, issuer)

    async def _open(self, held: OpenedSession | Reference) -> OpenedSession:
        if isinstance(held, Reference):
            return await self.in_store.open(held)
        self.sealed.check(held)
        await self.in_cookies.tombstones.check_lately(held)
        await self.in_cookies.confirm(held)
        return held

    async def _follow(self, reference: Reference) -> OpenedSession:
        """Return a session that was moved into the store, usable."""
        opened = await self.in_store.open(reference)
        if opened.is_due(self.in_store.now):
            return await self.in_store.refresh(opened)
        return opened

    def _remember(self, held: OpenedSession | Reference, error: SessionError) -> Past:
        if isinstance(held, OpenedSession):
            return self.remember(held, error)
        return self.sealed.remember(held.did, held.handle, code=error.code)


def _did_of(held: Held) -> str:
    return held.session.did if isinstance(held, OpenedSession) else held.did
