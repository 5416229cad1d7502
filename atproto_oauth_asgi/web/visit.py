"""The session during one request: opened, renewed, written back, ended."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import anyio
from anyio.lowlevel import EventLoopToken

from atproto_oauth_asgi.exceptions import (
    CookieTooLarge,
    LoggedOut,
    NotAuthenticatedError,
    OAuthError,
    RefreshUnavailable,
    SessionError,
    StoreError,
)
from atproto_oauth_asgi.models import OAuthSession
from atproto_oauth_asgi.sessions.cookies import clear_cookie_lines, set_cookie_lines
from atproto_oauth_asgi.sessions.lifecycle import OpenedSession, Past
from atproto_oauth_asgi.sessions.outcomes import CookieOutrun
from atproto_oauth_asgi.web.place import Place
from atproto_oauth_asgi.web.site import Site

_log = logging.getLogger("atproto_oauth_asgi")

_REASONS = {
    "session_expired": "expired",
    "session_revoked": "revoked",
    "logged_out": "revoked",
    "refresh_interrupted": "refresh_interrupted",
    "account_moved": "moved",
    "client_key_retired": "key_retired",
}

# A person needs longer for a new login, whose cookie must not be overwritten.
_PAST_IS_WRITTEN_S = 3.0


class Visit:
    """One request's session. It is the keeper of tokens for the request's client.

    In cookie mode new tokens reach the browser with the response, so that a refresh
    is sent only until the response begins.
    """

    def __init__(
        self,
        site: Site,
        *,
        cookie: str,
        present: Iterable[str] = (),
    ) -> None:
        self.site = site
        self.opened: OpenedSession | None = None
        self.past: Past | None = None
        self.reason: str | None = None
        self.root_path = ""
        self.loop: EventLoopToken | None = None
        self._cookie = cookie
        self._present = tuple(present)
        self._response_began = False
        self._came_at = site.config.clock()
        self._to_write = False
        self._to_clear = False
        self._has_waited = False
        self._refreshing: anyio.Lock | None = None

    def enter(self, found: OpenedSession | Past | None, *, value: str) -> None:
        """Be the visit of whom a cookie value stands for."""
        if isinstance(found, OpenedSession):
            self.opened = found
            self._to_write = found.value != value or (
                self.site.sessions.wants_to_be_written(found)
            )
        elif found is not None:
            self.past, self.reason = found, _reason_of(found.code)
            self._to_write = found.value != value

    def leave(self, error: LoggedOut) -> None:
        """Be the visit of nobody: the person has logged out, here or elsewhere.

        The cookie is left alone. The answer to the log-out has cleared it, and by now
        there may be another one.
        """
        _log.debug("session is over: did=%s code=%s", error.did, error.code)
        self.opened, self.past = None, None
        self.reason = _reason_of(error.code)
        self._to_write = False

    @property
    def session(self) -> OAuthSession | None:
        """The session as it is now, None for nobody."""
        return self.opened.session if self.opened else None

    @property
    def place(self) -> Place:
        """Where the browser has found the application."""
        return self.site.place(self.root_path)

    @property
    def login_hint(self) -> str | None:
        """Who was here until their session ended: a handle or DID; else None."""
        return (self.past.handle or self.past.did) if self.past else None

    @property
    def is_due(self) -> bool:
        """Whether the access token is about to end."""
        return self.opened is not None and self.opened.is_due(self.site.config.clock())

    @property
    def is_due_ahead(self) -> bool:
        """Whether it should be renewed before the application runs.

        New tokens of a session in a cookie reach the browser with the response only.
        """
        return self.opened is not None and not self.opened.is_kept and self.is_due

    async def current(self) -> OAuthSession:
        """Return the session, renewed first if its access token is about to end.

        Raises:
            NotAuthenticatedError: nobody is logged in.
            SessionError: the session has ended, or cannot be renewed now.
        """
        if self.is_due and not (self._has_waited and self._still_valid()):
            await self._refresh(self.opened)
        return self._require()

    async def renew(self, stale: OAuthSession) -> OAuthSession:
        """Return the session with a newer access token than one that was refused."""
        if self.session is stale:
            await self._refresh(self.opened)
        return self._require()

    async def refresh_ahead(self) -> None:
        """Renew the session before the application runs; a failure can wait."""
        try:
            await self._refresh(self.opened)
        except (RefreshUnavailable, StoreError) as error:
            _log.info("not refreshed ahead: code=%s: %s", error.code, error)
        except OAuthError as error:
            _log.debug("session is over: code=%s", error.code)
        except Exception:  # noqa: BLE001 - and logged, with the traceback
            # Whatever it was, the application can answer without new tokens.
            _log.exception("not refreshed ahead")

    def stop_waiting(self) -> None:
        """From now on, do not wait for a refresh that is still under way."""
        self._has_waited = True

    async def end(self, *, everywhere: bool = False) -> None:
        """Log out: here at once, and at the server; or out of all sessions here.

        Raises:
            RefreshUnavailable: the response has begun, the cookie cannot be cleared.
            StoreError: the store does not answer; the session goes on.
        """
        if self.opened is None:
            return
        if self._response_began:
            message = "the response has begun, the cookie cannot be deleted any more"
            raise RefreshUnavailable(message)
        session = self.opened.session
        await self.site.sessions.end(self.opened, everywhere=everywhere)
        self.opened = None
        self._to_clear, self._to_write = True, False
        await self.site.hooks.logged_out(session)

    async def begin_response(self) -> list[bytes]:
        """Return the ``Set-Cookie`` lines of the response that now begins."""
        self._response_began = True
        if self._to_clear:
            return self.clear_lines()
        if not self._to_write:
            return []
        try:
            held = await self._held_by_now()
            return self.write_lines(held) if held else []
        except (CookieTooLarge, RefreshUnavailable, StoreError) as error:
            # The outcome of the refresh waits for the next request.
            _log.error("cookie not written: code=%s: %s", error.code, error)
            return []

    def write_lines(self, held: OpenedSession | Past) -> list[bytes]:
        """Return the ``Set-Cookie`` lines that put it into the browser.

        Raises:
            CookieTooLarge: it does not fit.
        """
        return set_cookie_lines(
            self._cookie,
            held.value,
            present=self._present,
            max_age_s=self.site.sessions.sealed.cookie_lifetime_s(held),
            now=self.site.config.clock(),
        )

    def clear_lines(self) -> list[bytes]:
        """Return the ``Set-Cookie`` lines that take the session out of the browser."""
        return clear_cookie_lines(self._cookie, present=self._present)

    async def _refresh(self, opened: OpenedSession | None) -> None:
        # Most requests never get here.
        self._refreshing = self._refreshing or anyio.Lock()
        if self._has_waited and self._refreshing.locked():
            message = "the tokens are being renewed, which takes too long"
            raise RefreshUnavailable(message)
        async with self._refreshing:
            if opened is None or self.opened is not opened:
                return
            try:
                renewed = await self.site.sessions.refresh(
                    opened, may_send=not self._response_began
                )
            except RefreshUnavailable:
                raise
            except SessionError as error:
                if isinstance(error, CookieOutrun) and self._is_late:
                    # The session goes on, in what the browser has by now.
                    raise RefreshUnavailable(str(error)) from error
                self._lose(opened, error)
                if not isinstance(error, LoggedOut):
                    await self.site.hooks.lost(opened.session, self.reason)
                raise
            self.opened = renewed
            self._to_write |= renewed.value != opened.value
            await self.site.hooks.refreshed(renewed.session)

    async def _held_by_now(self) -> OpenedSession | Past | None:
        """Return what the browser should hold; None to leave alone what it does."""
        if self.opened is None:
            # Others may have learnt of the end long ago. The next request tells.
            return None if self._is_late else self.past
        try:
            # A slow response must not put back what others have renewed since.
            return await self.site.sessions.to_write(self.opened)
        except (CookieTooLarge, RefreshUnavailable):
            raise
        except SessionError:
            # By now there may be the cookie of another login. The next request tells.
            return None

    @property
    def _is_late(self) -> bool:
        """Whether the browser may have got another cookie since the request came."""
        return self.site.config.clock() - self._came_at > _PAST_IS_WRITTEN_S

    def _still_valid(self) -> bool:
        expires_at = self.session.expires_at if self.session else None
        now = self.site.config.clock()
        return expires_at is None or now < expires_at.timestamp()

    def _lose(self, opened: OpenedSession, error: SessionError) -> None:
        if isinstance(error, LoggedOut):
            self.leave(error)
        else:
            past = self.site.sessions.remember(opened, error)
            self.opened, self.past, self._to_write = None, past, True
            self.reason = _reason_of(error.code)

    def _require(self) -> OAuthSession:
        if self.opened is None:
            raise NotAuthenticatedError("nobody is logged in")
        return self.opened.session


def _reason_of(code: str) -> str:
    return _REASONS.get(code, "expired")
