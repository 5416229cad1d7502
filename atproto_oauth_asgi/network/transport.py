"""The one way out: a transport that decides which address it connects to.

A URL is checked, its name resolved once, every address checked, and a checked
address connected to. TLS then proves the name. Nothing in between asks again, so an
answer that changes (DNS rebinding) changes nothing.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from itertools import count
from typing import TYPE_CHECKING

import anyio.to_thread
import httpx
from anyio.lowlevel import RunVar
from typing_extensions import override

from atproto_oauth_asgi.exceptions import (
    Blocked,
    ConfigurationError,
    TimedOut,
    TransportError,
    Unreachable,
)
from atproto_oauth_asgi.network_options import Network
from atproto_oauth_asgi.protocol.urls import Url, check_url

if TYPE_CHECKING:
    import httpcore

_MAX_IDLE_CONNECTIONS = 50
# Node, which the reference server runs on, hangs up after 5 s. A code or a refresh token
# that is sent at this very moment is not sent again.
_IDLE_S = 4.0
# Sent anew from the checked URL, or never: nothing here has use for cookies.
_REPLACED_HEADERS = frozenset({b"host", b"cookie", b"proxy-authorization"})

_instances = count()
_is_ours: ContextVar[bool] = ContextVar("atproto_oauth_asgi.is_ours", default=False)


class GuardedTransport(httpx.AsyncBaseTransport):
    """Sends requests to public hosts over https, and to none other.

    It knows no proxy, no cookie, no redirect and no environment variable. It opens
    on first use, and holds a pool of connections per event loop.

    Raises:
        ConfigurationError: the network's options cannot be honoured.
    """

    def __init__(self, network: Network) -> None:
        if network.unsafe_proxy_url is not None:
            message = "unsafe_proxy_url: proxies are not supported yet"
            raise ConfigurationError(message)
        _check_context(network.ssl_context)
        self._network = network
        self._policy = network.url_policy
        self._timeout_s = network.timeout_s
        self._user_agent = (network.user_agent or "").encode("latin-1")
        _keep_headers_out_of_logs()
        number = next(_instances)
        self._pools: RunVar[httpcore.AsyncConnectionPool | None] = RunVar(
            f"atproto_oauth_asgi.pool.{number}", None
        )
        self._opening: RunVar[anyio.Lock | None] = RunVar(
            f"atproto_oauth_asgi.opening.{number}", None
        )

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request.

        Raises:
            Blocked: the URL, or an address of its host, is not one we connect to.
            TimedOut: one of the timeouts in ``request.extensions`` ran out.
            Unreachable: no connection could be made, or it broke.
        """
        url = check_url(str(request.url), self._policy, what="URL")
        pool = await self._pool()
        with _our_errors(url.host), _headers_kept_secret():
            response = await pool.handle_async_request(self._prepare(request, url))
        extensions = ("http_version", "reason_phrase")
        return httpx.Response(
            status_code=response.status,
            headers=response.headers,
            stream=_Body(response, url.host),
            extensions={name: response.extensions[name] for name in extensions},
        )

    @override
    async def aclose(self) -> None:
        """Close the connections of this event loop; a later request opens new ones."""
        pool = self._pools.get()
        self._pools.set(None)
        if pool is not None:
            await pool.aclose()

    def _prepare(self, request: httpx.Request, url: Url) -> httpcore.Request:
        import httpcore

        limits = ("connect", "read", "write", "pool")
        timeout = dict.fromkeys(limits, self._timeout_s)
        return httpcore.Request(
            method=request.method,
            url=httpcore.URL(
                scheme=url.scheme,
                host=url.host.strip("[]"),
                port=url.port,
                target=url.target,
            ),
            headers=self._headers(request, url),
            content=_body_of(request),
            # No other extension: some of them lead elsewhere (sni_hostname, target).
            extensions={"timeout": request.extensions.get("timeout", timeout)},
        )

    def _headers(self, request: httpx.Request, url: Url) -> list[tuple[bytes, bytes]]:
        kept = [
            (name, value)
            for name, value in request.headers.raw
            if name.lower() not in _REPLACED_HEADERS
        ]
        # httpx's own clients always send one.
        named = request.headers.get("user-agent", "python-httpx/")
        if named.startswith("python-httpx/"):
            kept = [item for item in kept if item[0].lower() != b"user-agent"]
            kept.append((b"User-Agent", self._user_agent or _user_agent()))
        return [(b"Host", url.authority.encode("ascii")), *kept]

    async def _pool(self) -> httpcore.AsyncConnectionPool:
        pool = self._pools.get()
        return await self._open() if pool is None else pool

    async def _open(self) -> httpcore.AsyncConnectionPool:
        opening = self._opening.get() or anyio.Lock()
        self._opening.set(opening)
        async with opening:
            pool = self._pools.get()
            if pool is None:
                # What it imports, and the certificates, take tens of milliseconds. The
                # usual threads may be taken by an application that waits for us.
                pool = await anyio.to_thread.run_sync(
                    _build_pool, self._network, limiter=anyio.CapacityLimiter(1)
                )
                self._pools.set(pool)
        return pool


def _build_pool(network: Network) -> httpcore.AsyncConnectionPool:
    import httpcore

    from atproto_oauth_asgi.network.backend import GuardedBackend

    _user_agent()  # reads files, so not in the event loop
    return httpcore.AsyncConnectionPool(
        ssl_context=network.ssl_context or default_context(),
        network_backend=GuardedBackend(network),
        max_connections=None,
        max_keepalive_connections=_MAX_IDLE_CONNECTIONS,
        keepalive_expiry=_IDLE_S,
    )


def _body_of(request: httpx.Request) -> AsyncIterable[bytes]:
    if isinstance(request.stream, httpx.ByteStream):
        return _Whole(b"".join(request.stream))
    if isinstance(request.stream, AsyncIterable):
        return request.stream
    message = "the body of the request cannot be read asynchronously"
    raise Blocked(message)


class _Whole:
    """A body that is there. No generator: a cancelled request would leave it hanging."""

    def __init__(self, content: bytes) -> None:
        self._left = [content]

    def __aiter__(self) -> _Whole:
        return self

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop()


class _Body(httpx.AsyncByteStream):
    """The bytes of an answer, with our errors."""

    def __init__(self, response: httpcore.Response, host: str) -> None:
        self._response = response
        self._host = host
        self._parts = self._read()
        self._is_begun = False

    @override
    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._parts

    @override
    async def aclose(self) -> None:
        with _our_errors(self._host):
            await self._response.aclose()
        # If something was left, the connection is closed now. Reading on ends the
        # generators below at once; trio complains of those that are left hanging.
        if self._is_begun:
            with suppress(TransportError):
                async for _ in self._parts:
                    pass

    async def _read(self) -> AsyncIterator[bytes]:
        self._is_begun = True
        with _our_errors(self._host):
            async for part in self._response.aiter_stream():
                yield part


@contextmanager
def _headers_kept_secret() -> Iterator[None]:
    token = _is_ours.set(True)
    try:
        yield
    finally:
        _is_ours.reset(token)


@contextmanager
def _our_errors(host: str) -> Iterator[None]:
    import httpcore

    try:
        yield
    except httpcore.TimeoutException as error:
        raise TimedOut(f"{host} took too long to answer") from error
    except httpcore.LocalProtocolError as error:
        message = "the request cannot be sent as it is"
        raise Blocked(message) from error
    except (httpcore.NetworkError, httpcore.ProtocolError) as error:
        raise Unreachable(f"{host} could not be reached") from error


def _is_to_be_logged(_: logging.LogRecord) -> bool:
    return not _is_ours.get()


def _keep_headers_out_of_logs() -> None:
    # At DEBUG httpcore writes down the headers of answers: nonces, cookies, codes. It
    # still does for other pools of this process. A filter is added only once.
    logging.getLogger("httpcore.http11").addFilter(_is_to_be_logged)


@cache
def default_context() -> ssl.SSLContext:
    """Return what checks certificates unless a network has a context of its own."""
    return httpx.create_ssl_context(trust_env=False)


def _check_context(context: ssl.SSLContext | None) -> None:
    if context is not None and not (
        context.check_hostname and context.verify_mode is ssl.CERT_REQUIRED
    ):
        message = "ssl_context: it must check certificates and host names"
        raise ConfigurationError(message)


@cache
def _user_agent() -> bytes:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"atproto-oauth-asgi/{version('atproto-oauth-asgi')}".encode()
    except PackageNotFoundError:
        # Applications that are packed into one file often leave it out.
        return b"atproto-oauth-asgi"
