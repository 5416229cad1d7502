"""The end of tokens at their server, where nobody waits for how it went."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import anyio

from atproto_oauth_asgi.exceptions import OAuthError
from atproto_oauth_asgi.models import OAuthSession

_log = logging.getLogger("atproto_oauth_asgi")

_BUDGET_S = 5.0

Revoke = Callable[[OAuthSession], Awaitable[None]]
"""Ends a session at its server."""


async def revoke_quietly(revoke: Revoke, session: OAuthSession) -> None:
    """Revoke tokens that nobody will use; a server that fails is only logged."""
    try:
        with anyio.move_on_after(_BUDGET_S) as budget:
            await revoke(session)
    except OAuthError as error:
        _log.warning("revocation failed: did=%s code=%s", session.did, error.code)
    else:
        if budget.cancelled_caught:
            _log.warning("revocation took too long: did=%s", session.did)
