"""Requests that the network's own servers and people make, without a socket."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
from starlette.responses import JSONResponse
from starlette.routing import Route, Router
from starlette.types import ASGIApp

from atproto_oauth_asgi.testing.refusals import Refusal
from atproto_oauth_asgi.testing.wire import HangUp

_MAX_DOCUMENT_BYTES = 512 * 1024


async def ask(
    internet: ASGIApp, method: str, *, url: str, options: Mapping[str, Any]
) -> httpx.Response:
    """Return the answer of whichever host a URL names; redirects are not followed.

    Raises:
        httpx.HTTPError: the host hung up, or the URL leads nowhere.
    """
    transport = httpx.ASGITransport(internet)
    async with httpx.AsyncClient(transport=transport) as client:
        try:
            return await client.request(method, url, **options)
        except HangUp as error:
            raise httpx.RemoteProtocolError("the host hung up") from error


async def fetch_document(internet: ASGIApp, url: str) -> Any:
    """Return the JSON of a client's document.

    Raises:
        Refusal: there is none, or it is not served as one.

    Spec: draft-ietf-oauth-client-id-metadata-document, section 4.
    """
    try:
        headers = {"Accept": "application/json"}
        response = await ask(internet, "GET", url=url, options={"headers": headers})
        kind = response.headers.get("content-type", "").partition(";")[0].strip()
        is_small = len(response.content) <= _MAX_DOCUMENT_BYTES
        if response.is_success and kind == "application/json" and is_small:
            return response.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise _no_metadata() from error
    raise _no_metadata()


def client_site(client: ASGIApp | Mapping[str, Any]) -> ASGIApp:
    """Return a program: a client's own, or one that serves documents by path."""
    if not isinstance(client, Mapping):
        return client
    return Router(
        [Route(path, JSONResponse(members)) for path, members in client.items()]
    )


def _no_metadata() -> Refusal:
    message = "Unable to obtain client metadata"
    return Refusal("invalid_client_metadata", message)
