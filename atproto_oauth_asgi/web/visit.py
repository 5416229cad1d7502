"""The session during one request: opened, renewed, written back, ended."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import anyio

from atproto_oauth_asgi.exceptions import (
    CookieTooLarge,
    NotAuthenticatedError,
    OAuthError,
    RefreshUnavailable,
    SessionError,
    StoreError,
)
from atproto_oauth_asgi.models import OAuthSession
from atproto_oauth_asgi.sessions.cookies import clear_cookie_lines, set_cookie_lines
from atproto_oauth_asgi.sessions.lifecycle import OpenedSession
from atproto_oauth_asgi.web.site import Site

_log = logging.getLogger("atproto_oauth_asgi")

_REASONS = {
    "session_expired": "expired",
    "session_revoked": "revoked",
    "refresh_interrupted": "refresh_interrupted",
    "account_moved": "moved",
    "client_key_retired": "key_retired",
}


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
        opened: OpenedSession | None = None,
    ) -> None:
        self.site = site
        self.opened = opened
        self.reason: str | None = None
        self._cookie = cookie
        self._present = tuple(present)
        self._response_began = False
        self._to_write = False
        self._to_clear = False
        self._has_waited = False
        self._refreshing: anyio.Lock | None = None

    @property
    def session(self) -> OAuthSession | None:
        """The session as it is now, None for nobody."""
        return self.opened.session if self.opened else None

    @property
    def is_due(self) -> bool:
        """Whether the access token is about to end."""
        return self.opened is not None and self.opened.is_due(self.site.config.clock())

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

    async def end(self) -> None:
        """Log out: here at once, and at the server.

        Raises:
            RefreshUnavailable: the response has begun, the cookie cannot be cleared.
            StoreError: the store does not answer; the session goes on.
        """
        if self.opened is None:
            return
        if self._response_began:
            message = "the response has begun, the cookie cannot be deleted any more"
            raise RefreshUnavailable(message)
        await self.site.coordinator.end(self.opened)
        self.opened = None
        self._to_clear, self._to_write = True, False

    async def begin_response(self) -> list[bytes]:
        """Return the ``Set-Cookie`` lines of the response that now begins."""
        self._response_began = True
        if self._to_write and self.opened is not None:
            try:
                # A slow response must not put back what others have renewed since.
                newest = await self.site.coordinator.newest(self.opened)
                return self.write_lines(newest)
            except (CookieTooLarge, RefreshUnavailable, StoreError) as error:
                # The outcome of the refresh waits for the next request.
                _log.error("cookie not written: code=%s: %s", error.code, error)
            except SessionError:
                self._to_clear = True
        return self.clear_lines() if self._to_clear else []

    def write_lines(self, opened: OpenedSession) -> list[bytes]:
        """Return the ``Set-Cookie`` lines that put a session into the browser.

        Raises:
            CookieTooLarge: it does not fit.
        """
        return set_cookie_lines(
            self._cookie,
            opened.value,
            present=self._present,
            max_age_s=self.site.sessions.remaining_s(opened.session),
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
                self.opened = await self.site.coordinator.refresh(
                    opened, may_send=not self._response_began
                )
            except RefreshUnavailable:
                raise
            except SessionError as error:
                self._lose(error)
                raise
            self._to_write = True

    def _still_valid(self) -> bool:
        expires_at = self.session.expires_at if self.session else None
        now = self.site.config.clock()
        return expires_at is None or now < expires_at.timestamp()

    def _lose(self, error: SessionError) -> None:
        self.opened = None
        self.reason = _REASONS.get(error.code, "expired")
        self._to_clear, self._to_write = True, False

    def _require(self) -> OAuthSession:
        if self.opened is None:
            raise NotAuthenticatedError("nobody is logged in")
        return self.opened.session
