"""A browser at an application, without pictures."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import anyio
import httpx
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from atproto_oauth_asgi import ATProtoOAuthMiddleware
from atproto_oauth_asgi.testing import behaviours
from tests.network.atproto import (
    HANDLE,
    ISSUER,
    PAR,
    Servers,
)
from tests.network.programs import (
    answer,
)
from tests.sessions.making import SECRET

ORIGIN = "http://127.0.0.1:8000"

OUT_OF_ORDER = behaviours.status(500, "<h1>out of order</h1>", media_type="text/html")
MALFORMED = answer(200, b"{")
"""JSON, it says, and is none."""
ELSEWHERE = behaviours.redirect("https://evil.example.net/", code=307)
"""A redirect that nobody should follow."""


class Browser:
    """A cookie jar at a development application."""

    def __init__(self, site: WebSite, http: httpx.AsyncClient) -> None:
        self.site = site
        self.http = http

    async def begin(self, identifier: str = HANDLE, **fields: str) -> str:
        """Send the login form; return where the browser is handed over to."""
        data = {"identifier": identifier, **fields}
        response = await self.http.post("/oauth/login", data=data)
        assert response.status_code == 200, response.text
        return response.headers["refresh"].partition("url=")[2]

    async def come_back(self, **changes: str | None) -> httpx.Response:
        """Open the callback of the newest login."""
        return await self.http.get(self.site.callback_path(**changes))

    async def log_in(self, identifier: str = HANDLE) -> httpx.Response:
        await self.begin(identifier)
        response = await self.come_back()
        assert response.status_code == 303, response.text
        return response

    async def who(self) -> str | None:
        did: str | None = (await self.http.get("/")).json()
        return did

    @property
    def cookies(self) -> dict[str, str]:
        return {each.name: each.value or "" for each in self.http.cookies.jar}

    @property
    def login_cookies(self) -> dict[str, str]:
        return {k: v for k, v in self.cookies.items() if "-login-" in k}

    @property
    def session_cookie(self) -> str | None:
        return self.cookies.get(self.site.app._site.session_cookie(8000))

    def keep_only_logins(self) -> None:
        """Forget the session, as if only the login cookies had been copied."""
        kept = self.login_cookies
        self.http.cookies.clear()
        self.restore(kept)

    def restore(self, cookies: dict[str, str]) -> None:
        for name, value in cookies.items():
            self.http.cookies.set(name, value, domain="127.0.0.1", path="/")


class WebSite:
    """An application behind the middleware that people log in to."""

    def __init__(self, servers: Servers, **options: Any) -> None:
        self.servers = servers
        self.clock = servers.clock
        options.setdefault("network", servers.network())
        self.app = ATProtoOAuthMiddleware(
            tell_who, secret_key=SECRET, clock=self.clock, **options
        )

    @property
    def states(self) -> list[str]:
        """The ``state`` of every login that was begun, in order."""
        return [seen.form["state"] for seen in self.servers.taken(PAR)]

    def callback_path(self, **changes: str | None) -> str:
        """Where the newest login comes back to, once it has been approved."""
        state = changes.get("state") or self.states[-1]
        usual = {"state": state, "iss": ISSUER, **changes}
        if "code" not in changes:
            usual["code"] = self._approve(state)
        given = {name: value for name, value in usual.items() if value is not None}
        return f"/oauth/callback?{urlencode(given)}"

    def _approve(self, state: str) -> str:
        open_states = {p.form["state"] for p in self.servers.net.ledger.pushed.values()}
        return self.servers.code_for(state) if state in open_states else "used-up"

    @asynccontextmanager
    async def browser(self, **headers: str | None) -> AsyncIterator[Browser]:
        """A browser; None takes one of its usual headers away."""
        usual = {"Origin": ORIGIN, "Sec-Fetch-Site": "same-origin"}
        given = {k: v for k, v in {**usual, **headers}.items() if v is not None}
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app), base_url=ORIGIN, headers=given
        ) as http:
            try:
                yield Browser(self, http)
            finally:
                # The connections belong to this event loop.
                with anyio.CancelScope(shield=True):
                    await self.app._site.client.aclose()


async def tell_who(scope: Any, receive: Any, send: Any) -> None:
    """The application: it answers who is there."""
    response: Response = JSONResponse(Request(scope).scope["atproto"].did)
    await response(scope, receive, send)
