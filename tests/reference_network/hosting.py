"""An application of the tests at a public https address, and who logs in to it there.

The PDS fetches the client's metadata and keys from a real server, through the front.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Unpack
from urllib.parse import parse_qsl, urlsplit

import anyio

from atproto_oauth_asgi import ATProtoOAuthMiddleware, OAuthClient, OAuthSession
from atproto_oauth_asgi.config import OAuthConfig, OAuthOptions
from atproto_oauth_asgi.sessions.wish import LoginOptions
from atproto_oauth_asgi.stores.memory import MemoryStateStore
from tests.notes_app import make_app
from tests.reference_network.process import Account, ReferenceNetwork
from tests.reference_network.sign_in import Browser, approve, open_page
from tests.reference_network.tls import APP_HOST
from tests.serving import served_in_thread

PUBLIC_URL = f"https://{APP_HOST}"


@dataclass
class Clock:
    """The time of day, but for a clock that goes wrong by some seconds."""

    ahead_s: float = 0.0

    def __call__(self) -> float:
        """Return Unix seconds."""
        return datetime.now(UTC).timestamp() + self.ahead_s


@contextmanager
def hosted_app(
    reference: ReferenceNetwork, **options: Unpack[OAuthOptions]
) -> Iterator[ATProtoOAuthMiddleware]:
    """Serve the notes application at `PUBLIC_URL`, unknown to the PDS so far."""
    defaults: OAuthOptions = {"public_url": PUBLIC_URL, "network": reference.network}
    merged: OAuthOptions = {**defaults, **options}
    app = make_app(reference, **merged)
    with served_in_thread(app) as origin:
        reference.route(APP_HOST, port=urlsplit(origin).port)
        reference.forget_clients()
        try:
            yield app
        finally:
            reference.route(APP_HOST, port=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """The client of a hosted application, used without the middleware.

    Attributes:
        client: it remembers logins, and keeps no sessions.
        browser: at the server's pages; it is new at every desk.
    """

    client: OAuthClient
    browser: Browser

    async def log_in(
        self, account: Account, **options: Unpack[LoginOptions]
    ) -> OAuthSession:
        """Return the session of an account whose owner said yes to everything."""
        auth_url, _ = await self.client.start_authorization(account.handle, **options)
        return await self.end(await self.approve(auth_url, account))

    async def approve(self, auth_url: str, account: Account, **how: Any) -> str:
        """Say yes, as `sign_in.approve`; return the redirect URL to the client."""
        return await anyio.to_thread.run_sync(
            lambda: approve(auth_url, account, browser=self.browser, **how)
        )

    async def pass_by(self, auth_url: str) -> str:
        """Return where the server redirects the browser to without showing a page."""
        back = await anyio.to_thread.run_sync(
            lambda: open_page(auth_url, browser=self.browser)
        )
        assert back is not None, "the server shows a page"
        return back

    async def end(self, redirect_url: str) -> OAuthSession:
        """Return the session that a redirect URL leads to."""
        return await self.client.handle_callback(**parameters_of(redirect_url))

    async def describe(self, session: OAuthSession) -> dict[str, Any]:
        """Return what the PDS tells its own people about their session."""
        async with self.client.pds_client(session) as pds:
            answer = await pds.query("com.atproto.server.getSession")
        answer.raise_for_status()
        described: dict[str, Any] = answer.json()
        return described


def parameters_of(redirect_url: str) -> dict[str, str]:
    """Return the parameters of a callback at the hosted application."""
    assert redirect_url.startswith(f"{PUBLIC_URL}/oauth/callback?")
    return dict(parse_qsl(urlsplit(redirect_url).query))


@asynccontextmanager
async def open_desk(
    reference: ReferenceNetwork, config: OAuthConfig
) -> AsyncIterator[Desk]:
    """Open a client with the configuration of a hosted application."""
    client = OAuthClient.from_config(config, state_store=MemoryStateStore())
    with Browser(reference.open_http()) as browser:
        try:
            yield Desk(client=client, browser=browser)
        finally:
            with anyio.CancelScope(shield=True):
                await client.aclose()
