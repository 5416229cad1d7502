"""The one line that an application adds. A request reads from top to bottom."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Unpack

import anyio
from starlette.requests import Request
from starlette.responses import Response

from atproto_oauth_asgi.config import OAuthConfig, OAuthOptions
from atproto_oauth_asgi.exceptions import StoreError
from atproto_oauth_asgi.web.answers import answer_failure, log_failure
from atproto_oauth_asgi.web.auth import ATProtoAuth, check_not_inside, current
from atproto_oauth_asgi.web.headers import wants_fresh_tokens, with_private_headers
from atproto_oauth_asgi.web.lifespan import run_lifespan
from atproto_oauth_asgi.web.nesting import check_apart
from atproto_oauth_asgi.web.routes import Handlers, Routes
from atproto_oauth_asgi.web.site import Site
from atproto_oauth_asgi.web.visit import Visit
from atproto_oauth_asgi.web.visits import Visits

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
ASGIApp = Callable[[Any, Receive, Send], Awaitable[None]]

_FOREGROUND_BUDGET_S = 5.0
_TRY_AGAIN_LATER = 1013
_RESPONSE_BEGINS = frozenset(
    {"http.response.start", "websocket.accept", "websocket.http.response.start"}
)


class ATProtoOAuthMiddleware:
    """Puts "log in with your AT Protocol account" into an ASGI application.

    It answers the OAuth routes itself and sets ``scope["atproto"]``, an
    ``ATProtoAuth``, for everything else.

    Args:
        app: the application.
        config: an ``OAuthConfig``; or
        options: the options of one.

    Raises:
        ConfigurationError: with every problem of the options; or another one stands
            around the application already, with the same names.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        config: OAuthConfig | None = None,
        **options: Unpack[OAuthOptions],
    ) -> None:
        self.app = app
        self.config: OAuthConfig = config or OAuthConfig(**options)
        check_apart(self.config, app)
        self._site = Site(self.config)
        self._visits = Visits(self._site)
        self._routes = Routes(self._site, self._visits)
        # One for all requests of nobody at the root of a site: nothing in it changes.
        self._nobody = ATProtoAuth(self._visits.nobody())
        self._is_loopback = self.config.is_loopback
        self._scope_key = self.config.scope_key

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        kind = scope["type"]
        if self._scope_key in scope:
            check_not_inside(scope[self._scope_key], config=self.config)
        if kind == "http":
            handlers = self._routes.find(scope)
            if handlers is not None or self._is_loopback:
                await self._handle_http(handlers, scope, receive, send)
                return
        elif kind != "websocket":
            await self._handle_other(scope, receive, send)
            return
        if scope.get("root_path") or self._visits.may_bring_a_session(scope):
            await self._serve(scope, receive, send)
            return
        # Most requests of most sites: nothing is made for them that they can spare.
        scope[self._scope_key] = self._nobody
        token = current.set(self._nobody)
        try:
            await self.app(scope, receive, send)
        finally:
            current.reset(token)

    async def _handle_other(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            with self._visits.loops.remembered():
                await run_lifespan(
                    self.app, scope, receive, send, on_shutdown=self._site.aclose
                )
        else:
            await self.app(scope, receive, send)

    async def _handle_http(
        self, handlers: Handlers | None, scope: Any, receive: Receive, send: Send
    ) -> None:
        """Answer what is ours, or what came to the wrong name; or pass it on."""
        request = Request(scope, receive)
        response: Response | None
        if handlers is not None:
            response = await self._routes.answer(request, handlers)
        else:
            response = self._routes.redirect_to_loopback(request)
        if response is not None:
            await response(scope, receive, _spelt_out(send))
            return
        await self._serve(scope, receive, send)

    async def _serve(self, scope: Any, receive: Receive, send: Send) -> None:
        """Open the session, renew it if it is due, and let the application answer."""
        try:
            visit = await self._visits.open(scope)
        except StoreError as error:
            await self._refuse(error, scope, receive, send)
            return
        auth = scope[self._scope_key] = ATProtoAuth(visit)
        if visit.opened is not None or visit.reason is not None:
            send = _writing_back(visit, send)
        token = current.set(auth)
        try:
            if visit.is_due_ahead and wants_fresh_tokens(scope["headers"]):
                await self._serve_renewing(visit, scope, receive, send)
            else:
                await self.app(scope, receive, send)
        finally:
            current.reset(token)

    async def _refuse(
        self, error: StoreError, scope: Any, receive: Receive, send: Send
    ) -> None:
        """Answer ourselves: to the application this person would be nobody."""
        if scope["type"] == "websocket":
            log_failure(error)
            await receive()
            await send({"type": "websocket.close", "code": _TRY_AGAIN_LATER})
            return
        response = answer_failure(self._site, Request(scope, receive), error)
        await response(scope, receive, _spelt_out(send))

    async def _serve_renewing(
        self, visit: Visit, scope: Any, receive: Receive, send: Send
    ) -> None:
        """Renew first, but do not wait for long: the rest goes on beside the app."""
        renewed = anyio.Event()
        failure: Exception | None = None

        async def renew() -> None:
            await visit.refresh_ahead()
            renewed.set()

        try:
            async with anyio.create_task_group() as beside:
                beside.start_soon(renew)
                with anyio.move_on_after(_FOREGROUND_BUDGET_S):
                    await renewed.wait()
                visit.stop_waiting()
                await self.app(scope, receive, send)
        except ExceptionGroup as group:
            failure = group.exceptions[0]
        if failure is not None:
            # The application's own exception, as if nothing had run beside it.
            raise failure


def _writing_back(visit: Visit, send: Send) -> Send:
    """Return a ``send`` that puts the session's cookies on the response's start."""

    async def send_with_cookies(message: Any) -> None:
        if message["type"] in _RESPONSE_BEGINS:
            lines = await visit.begin_response()
            headers = with_private_headers(message.get("headers", ()))
            headers += [(b"set-cookie", line) for line in lines]
            message = {**message, "headers": headers}
        await send(message)

    return send_with_cookies


def _spelt_out(send: Send) -> Send:
    """Say ``more_body`` with every body: the test client of Quart 0.23 asks for it."""

    async def spelt_out(message: Any) -> None:
        if message["type"] == "http.response.body":
            message.setdefault("more_body", False)
        await send(message)

    return spelt_out
