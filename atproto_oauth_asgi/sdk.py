"""The ``atproto`` SDK of MarshalX, logged in: typed calls through the guarded transport.

    client = sdk_client(auth)
    await client.send_post("hello")

Proofs, nonces and renewals happen underneath; the SDK's own ``login()`` stays unused.
"""

from __future__ import annotations

from typing import overload

import httpx
from typing_extensions import override

from atproto_oauth_asgi import sync
from atproto_oauth_asgi.client import OAuthClient
from atproto_oauth_asgi.exceptions import ConfigurationError
from atproto_oauth_asgi.models import OAuthSession
from atproto_oauth_asgi.web.auth import ATProtoAuth

try:
    from atproto import AsyncClient, AsyncRequest, Client, Request, models
    from atproto.exceptions import LoginRequiredError
except ImportError as _missing:
    message = (
        "atproto_oauth_asgi.sdk needs the atproto SDK: "
        "pip install 'atproto-oauth-asgi[sdk]'"
    )
    raise ImportError(message) from _missing

# What the protocol calls a handle that is not known to be somebody's.
_UNKNOWN_HANDLE = "handle.invalid"


def sdk_client(auth: ATProtoAuth) -> AsyncClient:
    """Return an SDK client that is the person who makes a request.

    Raises:
        NotAuthenticatedError: nobody is logged in.
    """
    session = auth.session
    transport = _AsyncGuard(auth.client.session_transport)
    client = AsyncClient(
        session.pds_url, request=AsyncRequest(transport=transport, trust_env=False)
    )
    client.me = _profile_of(session)
    return client


@overload
def oauth_login(
    sdk_client: AsyncClient, session: OAuthSession, *, oauth: OAuthClient
) -> AsyncClient: ...


@overload
def oauth_login(
    sdk_client: Client, session: OAuthSession, *, oauth: sync.OAuthClient
) -> Client: ...


def oauth_login(
    sdk_client: AsyncClient | Client,
    session: OAuthSession,
    *,
    oauth: OAuthClient | sync.OAuthClient,
) -> AsyncClient | Client:
    """Log an SDK client of one's own in with a session; return it.

    Args:
        sdk_client: one that nobody is logged in with. Its additional headers stay; how
            it reaches the network is replaced.
        session: whose it is from now on.
        oauth: renews the session: the asynchronous one for an ``AsyncClient``, the one
            of ``atproto_oauth_asgi.sync`` for a ``Client``.

    Raises:
        ConfigurationError: they do not fit, or somebody is logged in.
    """
    _check_not_logged_in(sdk_client)
    request: AsyncRequest | Request
    if isinstance(sdk_client, AsyncClient) and isinstance(oauth, OAuthClient):
        guard = oauth.pds_client(session).session_transport
        request = AsyncRequest(transport=_AsyncGuard(guard), trust_env=False)
    elif isinstance(sdk_client, Client) and isinstance(oauth, sync.OAuthClient):
        blocking = oauth.pds_client(session).session_transport
        request = Request(transport=_Guard(blocking), trust_env=False)
    else:
        message = (
            "oauth: an AsyncClient needs atproto_oauth_asgi.OAuthClient, "
            "a Client needs atproto_oauth_asgi.sync.OAuthClient"
        )
        raise ConfigurationError(message)
    request.set_additional_headers(sdk_client.request.get_headers())
    # The SDK takes a request at construction only, and its clones begin from this one.
    sdk_client._request = request  # noqa: SLF001
    sdk_client.update_base_url(session.pds_url)
    sdk_client.me = _profile_of(session)
    return sdk_client


def _check_not_logged_in(client: AsyncClient | Client) -> None:
    try:
        client.export_session_string()
    except LoginRequiredError:
        if client.me is None:
            return
    message = "sdk_client: somebody is logged in with it; make a new one"
    raise ConfigurationError(message)


def _profile_of(session: OAuthSession) -> models.AppBskyActorDefs.ProfileViewDetailed:
    """Return as much of a profile as the session knows; the SDK wants the DID."""
    return models.AppBskyActorDefs.ProfileViewDetailed(
        did=session.did, handle=session.handle or _UNKNOWN_HANDLE
    )


class _AsyncGuard(httpx.AsyncBaseTransport):
    """The guard, for a client that follows redirects whatever it is told."""

    def __init__(self, guard: httpx.AsyncBaseTransport) -> None:
        self._guard = guard

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return _without_redirect(await self._guard.handle_async_request(request))


class _Guard(httpx.BaseTransport):
    """The same, for callers that wait."""

    def __init__(self, guard: httpx.BaseTransport) -> None:
        self._guard = guard

    @override
    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return _without_redirect(self._guard.handle_request(request))


def _without_redirect(response: httpx.Response) -> httpx.Response:
    """Return the response, with nowhere to go: the SDK reports it as an error."""
    response.headers.pop("location", None)
    return response
