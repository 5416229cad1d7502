"""An application behind the middleware, at which somebody is logged in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from atproto_oauth_asgi.models import OAuthSession
from atproto_oauth_asgi.sessions.lifecycle import record_key
from atproto_oauth_asgi.web.site import Site
from tests.sessions.making import HOUR_S, NOW, Clock, cookie_of, make_session
from tests.sessions.token_server import TokenServer
from tests.web.driving import (
    App,
    Message,
    Sent,
    answering,
    ask,
    http_scope,
    make_middleware,
    values,
)

HELLO = answering()
LATER = NOW + HOUR_S


class Desk:
    """An application behind the middleware, and a person who is logged in."""

    def __init__(self, app: App = HELLO, **options: Any) -> None:
        self.clock = Clock()
        self.app = make_middleware(app, clock=self.clock, **options)
        self.server = TokenServer(self.clock)
        self.site: Site = self.app._site
        tokens: Any = self.site.client.sessions.tokens
        tokens.renew, tokens.revoke = self.server.refresh, self.server.revoke

    def cookie(self, session: OAuthSession | None = None) -> tuple[str, str]:
        """The header of a browser; its access token lives on unless said otherwise."""
        session = session or make_session(expires_at=LATER)
        return ("cookie", cookie_of(self.app, session))

    async def get(self, path: str = "/", *headers: Any, **scope: Any) -> Sent:
        return await ask(self.app, http_scope(path, headers=headers, **scope))


def noise(size: int) -> Iterator[str]:
    """Text that does not get shorter by compression."""
    while size > 0:
        part = record_key(str(size))
        yield part[: min(size, len(part))]
        size -= len(part)


def set_cookies(message: Message) -> list[str]:
    return values(message["headers"], "set-cookie")
