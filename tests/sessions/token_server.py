"""A token endpoint like the reference server's: a token that comes twice ends it all."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta

import anyio

from atproto_oauth_asgi.exceptions import OAuthError, SessionRevoked
from atproto_oauth_asgi.models import OAuthSession
from atproto_oauth_asgi.sessions.tokens import BeforeSend, nothing_to_do
from tests.sessions.making import HOUR_S, Clock, when


class TokenServer:
    """What a coordinator sends refreshes and revocations to.

    Args:
        clock: tells when new access tokens end.
        failures: what the next refreshes raise, before the token is looked at.
        rotates: whether a refresh brings a new refresh token.
        during: runs while a refresh is on its way.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        failures: Iterable[OAuthError] = (),
        rotates: bool = True,
        during: Callable[[], Awaitable[object]] = anyio.lowlevel.checkpoint,
    ) -> None:
        self.sent: list[str | None] = []
        self.given: list[str | None] = []
        self.revoked: list[str | None] = []
        self.is_ended = False
        self.during = during
        self.failures = list(failures)
        self._clock = clock
        self._rotates = rotates

    async def refresh(
        self, session: OAuthSession, before_send: BeforeSend = nothing_to_do
    ) -> OAuthSession:
        await before_send()
        token = session.refresh_token
        has_come_before = self._rotates and token in self.sent
        self.sent.append(token)
        await self.during()
        if self.failures:
            raise self.failures.pop(0)
        if has_come_before or self.is_ended:
            self.is_ended = True
            message = "the server ended the session"
            raise SessionRevoked(message)
        self.given.append(secrets.token_urlsafe() if self._rotates else token)
        return session.replace(
            renewals=session.renewals + 1,
            access_token=secrets.token_urlsafe(),
            refresh_token=self.given[-1],
            expires_at=when(self._clock()) + timedelta(seconds=HOUR_S),
        )

    async def revoke(self, session: OAuthSession) -> None:
        self.revoked.append(session.refresh_token)
