"""Calling the hooks of the application, and what becomes of it."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import Any

import anyio.to_thread

from atproto_oauth_asgi.config import OAuthConfig
from atproto_oauth_asgi.exceptions import CallbackError, OAuthError
from atproto_oauth_asgi.models import OAuthSession
from atproto_oauth_asgi.stores.recent import Recent

_log = logging.getLogger("atproto_oauth_asgi")

_TOLD_KEPT = 4096


class LoginRefused(CallbackError):
    """The application does not let this person in."""

    code = "login_refused"
    status_hint = 403


class HookFailed(OAuthError):
    """The application's ``on_login`` has raised, so nobody knows whether it would."""

    code = "hook_failed"
    status_hint = 500


class Hooks:
    """The hooks of one middleware.

    A failing ``on_login`` fails the login: it may be what decides who gets in. The
    others only hear of what has happened, so their failures are logged.
    """

    def __init__(self, config: OAuthConfig) -> None:
        self._config = config
        # Requests of one session run beside each other, and all see it renewed or lost.
        self._told: Recent[tuple[str, str, int], None] = Recent(_TOLD_KEPT)

    async def login(self, session: OAuthSession) -> str | None:
        """Return where the application sends the person, None for where they wanted to.

        Raises:
            LoginRefused: nowhere.
            HookFailed: the hook has raised.
        """
        if self._config.on_login is None:
            return None
        try:
            verdict = await _call(self._config.on_login, session)
        except OAuthError:
            raise
        except Exception as error:
            _log.exception("hook failed: hook=%s did=%s", "on_login", session.did)
            raise HookFailed("on_login has raised") from error
        if verdict is False:
            raise LoginRefused("on_login has refused the login")
        return verdict if isinstance(verdict, str) else None

    async def logged_out(self, session: OAuthSession) -> None:
        """Tell that the person has logged out."""
        await self._tell("on_logout", session)

    async def refreshed(self, session: OAuthSession) -> None:
        """Tell that the session has new tokens; once in this process."""
        if self._config.on_refresh and self._is_new("on_refresh", session):
            await self._tell("on_refresh", session)

    async def lost(self, session: OAuthSession, reason: str | None) -> None:
        """Tell that the session is over; once in this process."""
        if self._config.on_session_lost and self._is_new("on_session_lost", session):
            await self._tell("on_session_lost", session, reason or "expired")

    def _is_new(self, event: str, session: OAuthSession) -> bool:
        key = (event, session.session_id, session.renewals)
        if key in self._told:
            return False
        self._told[key] = None
        return True

    async def _tell(self, name: str, session: OAuthSession, *facts: str) -> None:
        hook: Callable[..., object] | None = getattr(self._config, name)
        if hook is None:
            return
        try:
            await _call(hook, session, *facts)
        except Exception:  # noqa: BLE001 - and logged, with the traceback
            _log.exception("hook failed: hook=%s did=%s", name, session.did)


async def _call(hook: Callable[..., object], *facts: object) -> Any:
    """Return what a hook gives; a plain function may take its time in a thread."""
    if inspect.iscoroutinefunction(hook):
        return await hook(*facts)
    given = await anyio.to_thread.run_sync(hook, *facts)
    return await given if inspect.isawaitable(given) else given
