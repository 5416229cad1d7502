"""What an application may hear of logins: the types of the hooks.

A hook is a function or a coroutine function. Plain functions run in a thread, so they
may wait. What each is for stands at the options of ``OAuthConfig``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from atproto_oauth_asgi.models import OAuthSession

LoginVerdict = str | bool | None
"""A path to go to; ``False`` to refuse the login; ``True`` or ``None`` to go on."""

OnLogin = Callable[[OAuthSession], LoginVerdict | Awaitable[LoginVerdict]]
"""Called with each new session, before it reaches the browser."""

OnLogout = Callable[[OAuthSession], object]
"""Called with a session that the person has ended. What it returns does not matter."""

OnRefresh = Callable[[OAuthSession], object]
"""Called with a session that has new tokens."""

OnSessionLost = Callable[[OAuthSession, str], object]
"""Called with a session that has turned out to be over, and with ``auth.reason``."""
