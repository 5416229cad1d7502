"""Sessions without a login, and the clock that they live by."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Any

from typing_extensions import override

from atproto_oauth_asgi import ATProtoOAuthMiddleware
from atproto_oauth_asgi.crypto.keys import generate_private_key
from atproto_oauth_asgi.models import OAuthSession
from atproto_oauth_asgi.sessions.cookies import split_value
from atproto_oauth_asgi.sessions.lifecycle import OpenedSession, SealedSessions
from atproto_oauth_asgi.sessions.lifetime import Lifetime
from atproto_oauth_asgi.sessions.refresh import RefreshCoordinator

NOW = 1_900_000_000.0
HOUR_S = 3600.0
MAX_AGE_S = 14 * 86400.0
SECRET = b"a secret of the tests, 32 bytes or more"
ALICE = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"
PDS = "https://pds.example.com"

# Making one is slow, and no test here looks at it.
_KEY = generate_private_key()


class Clock:
    """A clock that stands still until a test turns it."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def when(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def make_session(*, expires_at: float | None = NOW, **changes: Any) -> OAuthSession:
    """A session whose access token ends now, unless something else is said."""
    token = secrets.token_urlsafe(8)
    members: dict[str, Any] = {
        "did": ALICE,
        "handle": "alice.test",
        "pds_url": PDS,
        "authserver_iss": PDS,
        "access_token": f"access-of-the-login-{token}",
        "refresh_token": f"refresh-of-the-login-{token}",
        "dpop_private_key": _KEY,
        "scope": "atproto",
        "expires_at": None if expires_at is None else when(expires_at),
        "created_at": when(NOW - HOUR_S),
        "session_id": secrets.token_urlsafe(32),
    }
    return OAuthSession(**{**members, **changes})


def make_sessions(clock: Clock, *, max_age_s: float = MAX_AGE_S) -> SealedSessions:
    return SealedSessions(
        (SECRET,), context="test", clock=clock, lifetime=Lifetime(limit_s=max_age_s)
    )


async def as_it_is(opened: OpenedSession) -> OpenedSession:
    """Whatever fits into the cookies of a browser; here everything does."""
    return opened


def cookie_of(
    middleware: ATProtoOAuthMiddleware,
    session: OAuthSession,
    *,
    port: int | None = None,
) -> str:
    """The ``Cookie`` field of a browser that is logged in, without any login."""
    site = middleware._site
    pairs = split_value(
        site.session_cookie(port), site.sessions.sealed.seal(session).value
    )
    return "; ".join(f"{name}={value}" for name, value in pairs)


class Coordinator(RefreshCoordinator):
    """One whose sessions all fit into cookies."""

    @override
    async def refresh(
        self, opened: OpenedSession, *, may_send: bool = True
    ) -> OpenedSession:
        renewed = await super().refresh(opened, may_send=may_send)
        assert isinstance(renewed, OpenedSession)
        return renewed
