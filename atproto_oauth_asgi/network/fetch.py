"""One request of the protocol: a small answer, in limited time, read to its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import anyio
import httpx

from atproto_oauth_asgi.exceptions import (
    TimedOut,
    TooLarge,
    TransportError,
    Unreachable,
)
from atproto_oauth_asgi.network.turns import Turns
from atproto_oauth_asgi.network_options import Network
from atproto_oauth_asgi.protocol.documents import MakeError
from atproto_oauth_asgi.protocol.urls import check_url

DOCUMENT_BYTES = 256 * 1024
"""How large a DID document or the metadata of a server may be."""

_CONNECT_S = 5.0
# Beside requests to a PDS in somebody's name, which are not counted.
_TURNS_PER_HOST = 50
_TURNS_IN_ALL = 500
_WAITING_PER_HOST = 500
_MAX_HEADERS = 100
_MAX_HEADER_BYTES = 32 * 1024
_OK = 200
_NOT_NOW = frozenset({401, 403, 407, 429})
_SERVER_ERRORS = range(500, 600)


class Fetcher:
    """Sends single requests through a guarded transport."""

    def __init__(self, transport: httpx.AsyncBaseTransport, network: Network) -> None:
        self._transport = transport
        self._policy = network.url_policy
        self._timeout_s = network.timeout_s
        self._turns = Turns(
            per_host=_TURNS_PER_HOST,
            in_all=_TURNS_IN_ALL,
            waiting=_WAITING_PER_HOST,
        )

    async def fetch(  # noqa: PLR0913 - all but the first two are named
        self,
        method: str,
        url: str,
        *,
        what: str,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        max_body_bytes: int = DOCUMENT_BYTES,
        timeout_s: float | None = None,
    ) -> httpx.Response:
        """Return the whole answer, whatever its status; redirects are not followed.

        The answer does not lead back to the request, which may hold secrets.

        Args:
            method: the HTTP method.
            url: an absolute URL.
            what: what is asked for, for messages.
            headers: further headers.
            content: the body to send.
            max_body_bytes: a larger answer is refused.
            timeout_s: seconds from waiting for a turn to the last byte; None means
                the network's.

        Raises:
            Blocked: the URL, or an address of its host, is not one we connect to.
            TimedOut: the answer was not complete in time.
            TooLarge: the answer has too many bytes or headers.
            Unreachable: there was no answer, or too many wait for this host.
            TransportError: the answer is compressed.
        """
        host = check_url(url, self._policy, what=what).host
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        request = _build_request(method, url, headers=headers, content=content)
        # The limit below holds for the rest.
        request.extensions["timeout"] = {"connect": min(_CONNECT_S, limit_s)}
        try:
            with anyio.fail_after(limit_s):
                async with self._turns.take(host):
                    return await self._send(request, what=what, limit=max_body_bytes)
        except TimeoutError as error:
            raise TimedOut(f"{what}: the answer took too long") from error

    async def fetch_document(
        self,
        url: str,
        *,
        what: str,
        error: MakeError,
        media_types: frozenset[str] = frozenset({"application/json"}),
    ) -> bytes:
        """Return the body of a document that must be there: status 200, no redirect.

        ``error`` makes what is raised when the server answers something else.

        Raises:
            OAuthError: made by ``error``; there is no such document.
            TransportError: there was no answer, or the server is out of order.
        """
        accept = {"Accept": ", ".join(sorted(media_types))}
        response = await self.fetch("GET", url, what=what, headers=accept)
        check_available(response, what=what)
        if response.status_code != _OK:
            raise error(f"{what}: the server answered {response.status_code}")
        found = response.headers.get("content-type", "").partition(";")[0]
        if found.strip().lower() not in media_types:
            raise error(f"{what}: the answer has the wrong media type")
        return response.content

    async def _send(
        self, request: httpx.Request, *, what: str, limit: int
    ) -> httpx.Response:
        response = await self._transport.handle_async_request(request)
        try:
            _check_headers(response, what=what, limit=limit)
            body = await _read(response, what=what, limit=limit)
        finally:
            # Closing also gives back the connection when we are being cancelled.
            with anyio.CancelScope(shield=True):
                await response.aclose()
        return httpx.Response(
            response.status_code, headers=response.headers, content=body
        )


def check_available(response: httpx.Response, *, what: str) -> None:
    """Return nothing unless the answer says "not now".

    Raises:
        Unreachable: the status is 429 or 5xx, or one that something on the way
            gives (401, 403, 407): a public document asks for no credentials.
    """
    status = response.status_code
    if status in _NOT_NOW or status in _SERVER_ERRORS:
        raise Unreachable(f"{what}: the server is out of order, it answered {status}")


def _build_request(
    method: str, url: str, *, headers: Mapping[str, str] | None, content: bytes | None
) -> httpx.Request:
    own = {"Accept": "*/*", **(headers or {}), "Accept-Encoding": "identity"}
    return httpx.Request(method, url, headers=own, content=content)


def _check_headers(response: httpx.Response, *, what: str, limit: int) -> None:
    raw = response.headers.raw
    size = sum(len(name) + len(value) for name, value in raw)
    if len(raw) > _MAX_HEADERS or size > _MAX_HEADER_BYTES:
        raise TooLarge(f"{what}: the answer has too many headers")
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise TransportError(f"{what}: the answer is compressed, which was not asked")
    length = response.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        raise TooLarge(f"{what}: the answer is too large")


async def _read(response: httpx.Response, *, what: str, limit: int) -> bytes:
    body = bytearray()
    # What an asynchronous transport gives is asynchronous.
    async for part in cast("httpx.AsyncByteStream", response.stream):
        body += part
        if len(body) > limit:
            raise TooLarge(f"{what}: the answer is too large")
    return bytes(body)
