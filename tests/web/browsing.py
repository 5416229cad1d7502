"""A browser at an application, without pictures."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from atproto_oauth_asgi import ATProtoOAuthMiddleware
from tests.sessions.making import SECRET, Clock
from tests.web.fake_network import FakeNetwork

ORIGIN = "http://127.0.0.1:8000"


class Browser:
    """A cookie jar at a development application."""

    def __init__(self, site: WebSite, http: httpx.AsyncClient) -> None:
        self.site = site
        self.http = http

    async def begin(self, identifier: str = "alice.test", **fields: str) -> str:
        """Send the login form; return where the browser is handed over to."""
        data = {"identifier": identifier, **fields}
        response = await self.http.post("/oauth/login", data=data)
        assert response.status_code == 200, response.text
        return response.headers["refresh"].partition("url=")[2]

    async def come_back(self, **changes: str | None) -> httpx.Response:
        """Open the callback of the newest login."""
        return await self.http.get(self.site.fake.callback_path(**changes))

    async def log_in(self, identifier: str = "alice.test") -> httpx.Response:
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

    def __init__(self, fake: FakeNetwork, **options: Any) -> None:
        self.fake = fake
        self.clock = Clock()
        merged = {"secret_key": SECRET, "network": fake.network(), "clock": self.clock}
        self.app = ATProtoOAuthMiddleware(tell_who, **{**merged, **options})

    @asynccontextmanager
    async def browser(self, **headers: str | None) -> AsyncIterator[Browser]:
        """A browser; None takes one of its usual headers away."""
        usual = {"Origin": ORIGIN, "Sec-Fetch-Site": "same-origin"}
        given = {k: v for k, v in {**usual, **headers}.items() if v is not None}
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app), base_url=ORIGIN, headers=given
        ) as http:
            yield Browser(self, http)
            # The connections belong to this event loop.
            await self.app._site.client.aclose()


async def tell_who(scope: Any, receive: Any, send: Any) -> None:
    """The application: it answers who is there."""
    response: Response = JSONResponse(Request(scope).scope["atproto"].did)
    await response(scope, receive, send)
