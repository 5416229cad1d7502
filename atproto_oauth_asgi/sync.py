"""The OAuth client for code without an event loop: scripts, threads, Flask views.

It drives the asynchronous client in a thread of its own, which is started by the first
call. Everything else is the same: arguments, results, errors, the guard.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from functools import partial, wraps
from types import TracebackType
from typing import Any, Concatenate, Final, ParamSpec, Self, TypeVar, cast

import anyio
import httpx
from typing_extensions import override

from atproto_oauth_asgi import client as asynchronous
from atproto_oauth_asgi.config import OAuthConfig
from atproto_oauth_asgi.models import OAuthSession
from atproto_oauth_asgi.network.loop_thread import LoopThread
from atproto_oauth_asgi.network.pds import SessionTransport, xrpc_path
from atproto_oauth_asgi.sessions.keeper import OnSessionUpdated
from atproto_oauth_asgi.stores.base import RecordStore, SessionStore, StateStore

_P = ParamSpec("_P")
_R = TypeVar("_R")


def _like(
    method: Callable[Concatenate[Any, _P], object],
) -> Callable[[Callable[..., None]], Callable[Concatenate[Any, _P], None]]:
    """Give a constructor the parameters of another one."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        return wraps(method)(function)

    return decorate


def _blocking(
    method: Callable[
        Concatenate[asynchronous.OAuthClient, _P], Coroutine[Any, Any, _R]
    ],
) -> Callable[Concatenate[OAuthClient, _P], _R]:
    """Return the method for callers that wait."""

    @wraps(method)
    def call(self: OAuthClient, /, *args: _P.args, **options: _P.kwargs) -> _R:
        loop, client = self._running()
        return loop.call(partial(method, client, *args, **options))

    return call


class OAuthClient:
    """Logs people in with their atproto accounts and keeps their sessions working.

    Arguments and methods are those of ``atproto_oauth_asgi.OAuthClient``, without
    ``await``. Stores and hooks are the same, too; they run in the client's thread. It
    may be shared by threads, and made before a process forks. Close it, or use it as a
    context; what is not closed is closed when the program ends.
    """

    @_like(asynchronous.OAuthClient.__init__)
    def __init__(self, *args: Any, **options: Any) -> None:
        """Take what the asynchronous client takes."""
        self._lock = threading.Lock()
        self._loop: LoopThread | None = None
        self._finalizer: weakref.finalize[Any, Any] | None = None
        self._make = partial(asynchronous.OAuthClient, *args, **options)
        self._client = self._make()

    @classmethod
    def from_config(
        cls,
        config: OAuthConfig,
        *,
        state_store: StateStore | RecordStore | None = None,
        session_store: SessionStore | RecordStore | None = None,
        on_session_updated: OnSessionUpdated | None = None,
    ) -> Self:
        """Return the client of a configuration; as ``OAuthClient.from_config``."""
        return cls(
            **config.client_options,
            state_store=state_store,
            session_store=session_store,
            on_session_updated=on_session_updated,
        )

    start_authorization: Final = _blocking(asynchronous.OAuthClient.start_authorization)
    handle_callback: Final = _blocking(asynchronous.OAuthClient.handle_callback)
    refresh_session: Final = _blocking(asynchronous.OAuthClient.refresh_session)
    restore: Final = _blocking(asynchronous.OAuthClient.restore)
    revoke_session: Final = _blocking(asynchronous.OAuthClient.revoke_session)

    def pds_client(self, session: OAuthSession) -> PDSClient:
        """Return an ``httpx.Client`` that speaks to the session's PDS, as that person.

        It renews by itself as the asynchronous one does.
        """
        loop, client = self._running()
        guard = client.pds_client(session).session_transport
        return PDSClient(_BlockingTransport(guard, loop, owner=self))

    def make_authenticated_request(
        self, session: OAuthSession, method: str, url: str, **options: Any
    ) -> httpx.Response:
        """Send one request to the session's PDS; ``options`` are those of httpx.

        Raises:
            Blocked: the URL does not lead there.
            SessionError, TransportError: as the requests of a ``pds_client``.
        """
        return self.pds_client(session).request(method, url, **options)

    def close(self) -> None:
        """Close the connections and end the thread; the next call starts anew."""
        with self._lock:
            loop, self._loop = self._loop, None
            if loop is not None:
                loop.end(self._client.aclose)

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def _running(self) -> tuple[LoopThread, asynchronous.OAuthClient]:
        with self._lock:
            if self._loop is None or not self._loop.is_here:
                if self._loop is not None:
                    # The connections belong to the process that forked this one.
                    self._client = self._make()
                self._loop = loop = LoopThread()
                if self._finalizer is not None:
                    self._finalizer.detach()
                self._finalizer = weakref.finalize(self, loop.end, self._client.aclose)
            return self._loop, self._client


class PDSClient(httpx.Client):
    """An ``httpx.Client`` that is one person, at their PDS.

    What ``atproto_oauth_asgi.PDSClient`` says of itself is true of this one.
    """

    def __init__(self, transport: _BlockingTransport) -> None:
        super().__init__(
            transport=transport, base_url=transport.guard.pds_url, trust_env=False
        )
        self._guarded = transport

    @property
    def session_transport(self) -> httpx.BaseTransport:
        """The guard that all requests pass."""
        return self._guarded

    @override
    def send(
        self,
        request: httpx.Request,
        *,
        stream: bool = False,
        auth: Any = None,
        follow_redirects: Any = None,
    ) -> httpx.Response:
        """Send a request; ``auth`` and ``follow_redirects`` have no effect."""
        del auth, follow_redirects
        return super().send(request, stream=stream, auth=None, follow_redirects=False)

    def query(
        self,
        nsid: str,
        params: Mapping[str, Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Call an XRPC query (GET). Spec: atproto XRPC, "Lexicon HTTP Endpoints"."""
        return self.get(xrpc_path(nsid), params=params, headers=headers)

    def procedure(
        self,
        nsid: str,
        *,
        json: Any = None,
        content: bytes | Iterator[bytes] | None = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Call an XRPC procedure (POST), with a JSON body or raw content."""
        return self.post(
            xrpc_path(nsid), json=json, content=content, params=params, headers=headers
        )

    def proxied(self, service: str) -> Self:
        """Return a client whose calls the PDS passes on to another service.

        Args:
            service: DID and fragment, such as ``did:web:api.bsky.app#bsky_appview``.
        """
        clone = type(self)(self._guarded)
        clone.headers.update({**self.headers, "atproto-proxy": service})
        clone.timeout = self.timeout
        return clone


class _BlockingTransport(httpx.BaseTransport):
    """Hands requests over to the guard, which lives in the other thread."""

    def __init__(
        self, guard: SessionTransport, loop: LoopThread, *, owner: OAuthClient
    ) -> None:
        self.guard = guard
        self._loop = loop
        # Who has a client of a person keeps the one that it came from.
        self._owner = owner

    @override
    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request, and return its answer as soon as it begins."""
        response = self._loop.call(partial(self._send, request))
        # What an asynchronous transport gives is asynchronous.
        body = cast("httpx.AsyncByteStream", response.stream)
        response.stream = _BlockingBody(body, self._loop)
        return response

    async def _send(self, request: httpx.Request) -> httpx.Response:
        if not isinstance(request.stream, httpx.AsyncByteStream):
            request.stream = _Upload(request.stream)
        return await self.guard.handle_async_request(request)

    @override
    def close(self) -> None:
        """Leave the shared connections alone."""


class _BlockingBody(httpx.SyncByteStream):
    """The body of an answer, one piece at a time."""

    def __init__(self, body: httpx.AsyncByteStream, loop: LoopThread) -> None:
        self._body = body
        self._loop = loop

    @override
    def __iter__(self) -> Iterator[bytes]:
        pieces = aiter(self._body)
        while (piece := self._loop.call(partial(_next_of, pieces))) is not None:
            yield piece

    @override
    def close(self) -> None:
        self._loop.call(self._body.aclose)


class _Upload(httpx.AsyncByteStream):
    """A body that the caller's iterator gives; it may block."""

    def __init__(self, body: Any) -> None:
        self._body = body

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = iter(self._body)
        while True:
            piece = await anyio.to_thread.run_sync(next, pieces, None)
            if piece is None:
                return
            yield piece


async def _next_of(pieces: AsyncIterator[bytes]) -> bytes | None:
    return await anext(pieces, None)
