"""The client that an application gets: it speaks to one person's PDS, as them.

The guard is the transport. Whatever is set on the client or on a single call, a
request passes through ``SessionTransport``, which checks where it goes and puts on
the credentials itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Mapping
from typing import Any, Protocol, Self

import httpx
from typing_extensions import override

from atproto_oauth_asgi.dpop import (
    Clock,
    NonceCache,
    ProofSigner,
    origin_of,
    send_with_nonce_retry,
)
from atproto_oauth_asgi.exceptions import (
    AuthorizationServerError,
    Blocked,
    ScopeMissingError,
)
from atproto_oauth_asgi.models import OAuthSession
from atproto_oauth_asgi.protocol.challenges import parse_challenges
from atproto_oauth_asgi.protocol.oauth_error import parse_refusal

_UNAUTHORIZED, _FORBIDDEN = 401, 403
_OURS = ("authorization", "dpop", "cookie", "host", "proxy-authorization")
# A request that every PDS refuses without a nonce and that changes nothing.
_NONCE_PROBE = "/xrpc/com.atproto.server.getSession"


class SessionTokens(Protocol):
    """Where a client finds the newest tokens of its session."""

    async def current(self) -> OAuthSession:
        """Return the session, renewed if its access token is about to end."""

    async def renew(self, stale: OAuthSession) -> OAuthSession:
        """Return a session with a newer access token than the one just refused."""


class SessionTransport(httpx.AsyncBaseTransport):
    """Lets through what goes to the session's PDS, signed; nothing else.

    Spec: RFC 9449 section 7, RFC 6750 section 3.1.
    """

    def __init__(
        self,
        tokens: SessionTokens,
        *,
        pds_url: str,
        inner: httpx.AsyncBaseTransport,
        nonces: NonceCache,
        clock: Clock,
    ) -> None:
        self._tokens = tokens
        self.pds_url = origin_of(pds_url)
        self._inner = inner
        self._nonces = nonces
        self._clock = clock
        self._signer: tuple[OAuthSession, ProofSigner] | None = None

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; at most once more for a nonce and once for a new token."""
        session = await self._tokens.current()
        self._target(request, session)
        if not _is_replayable(request):
            session = await self._spare_the_stream(request, session)
        response = await self._send(request, session)
        if not _is_token_refused(response) or not _is_replayable(request):
            return response
        await response.aclose()
        return await self._send(request, await self._tokens.renew(session))

    @override
    async def aclose(self) -> None:
        """Leave the shared connections alone."""

    async def _send(
        self, request: httpx.Request, session: OAuthSession
    ) -> httpx.Response:
        target = self._target(request, session)
        url = str(target)

        async def attempt(nonce: str | None) -> httpx.Response:
            proof = self._signer_of(session).sign(
                request.method,
                url,
                now=self._clock(),
                nonce=nonce,
                access_token=session.access_token,
            )
            copy = _copy_with(
                request,
                target,
                {"Authorization": f"DPoP {session.access_token}", "DPoP": proof},
            )
            return await self._inner.handle_async_request(copy)

        if _is_replayable(request):
            response = await send_with_nonce_retry(
                attempt, url=url, nonces=self._nonces
            )
        else:
            response = await attempt(self._nonces.get(url))
            self._nonces.learn(url, response.headers)
        # A PDS's cookies have no business in a client that may be shared.
        response.headers.pop("set-cookie", None)
        return response

    async def _spare_the_stream(
        self, request: httpx.Request, session: OAuthSession
    ) -> OAuthSession:
        """Ask first, before a body is spent that could not be sent again.

        The answer brings a nonce, and tells whether the access token still counts.
        """
        probe = httpx.Request("GET", request.url.copy_with(raw_path=_PROBE_PATH))
        response = await self._send(probe, session)
        await response.aclose()
        if _is_token_refused(response):
            return await self._tokens.renew(session)
        return session

    def _target(self, request: httpx.Request, session: OAuthSession) -> httpx.URL:
        """Return where a request goes: to the PDS, which may have moved meanwhile."""
        origin, home = origin_of(str(request.url)), origin_of(session.pds_url)
        if request.url.userinfo or origin not in {home, self.pds_url}:
            message = "this client speaks to the session's own PDS only"
            raise Blocked(message)
        to = httpx.URL(home)
        return request.url.copy_with(scheme=to.scheme, host=to.host, port=to.port)

    def _signer_of(self, session: OAuthSession) -> ProofSigner:
        if self._signer is None or self._signer[0] is not session:
            self._signer = (session, ProofSigner(session.dpop_private_key))
        return self._signer[1]


_PROBE_PATH = _NONCE_PROBE.encode("ascii")


def _is_replayable(request: httpx.Request) -> bool:
    return isinstance(request.stream, httpx.ByteStream)


def _is_token_refused(response: httpx.Response) -> bool:
    """Return whether the access token itself is the reason. RFC 6750 section 3.1."""
    if response.status_code != _UNAUTHORIZED:
        return False
    challenges = parse_challenges(response.headers.get_list("www-authenticate"))
    return any(
        challenge.scheme in {"dpop", "bearer"}
        and challenge.params.get("error") == "invalid_token"
        for challenge in challenges
    )


def _copy_with(
    request: httpx.Request, target: httpx.URL, credentials: Mapping[str, str]
) -> httpx.Request:
    """Return the request with nothing of the caller's that is ours to decide."""
    headers = httpx.Headers(
        [
            (name, value)
            for name, value in request.headers.raw
            if name.lower().decode("latin-1") not in _OURS
        ]
    )
    headers.update(credentials)
    timeout = request.extensions.get("timeout")
    return httpx.Request(
        request.method,
        target,
        headers=headers,
        stream=request.stream,
        extensions={} if timeout is None else {"timeout": timeout},
    )


class PDSClient(httpx.AsyncClient):
    """An ``httpx.AsyncClient`` that is one person, at their PDS.

    Relative URLs go to the PDS; anything that would leave its origin raises
    ``Blocked`` before it is sent. Redirects are returned, never followed. Closing
    it closes nothing that is shared, so it is as cheap to drop as to make.

    Its requests raise, beside the exceptions of httpx:
        Blocked: the URL does not lead to the PDS.
        TransportError: no connection, no answer in time.
        SessionError: the session has ended or cannot be renewed now.
    """

    def __init__(self, transport: SessionTransport) -> None:
        super().__init__(
            transport=transport, base_url=transport.pds_url, trust_env=False
        )

    @override
    async def send(
        self,
        request: httpx.Request,
        *,
        stream: bool = False,
        auth: Any = None,
        follow_redirects: Any = None,
    ) -> httpx.Response:
        """Send a request; ``auth`` and ``follow_redirects`` have no effect."""
        del auth, follow_redirects
        return await super().send(
            request, stream=stream, auth=None, follow_redirects=False
        )

    async def query(
        self,
        nsid: str,
        params: Mapping[str, Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Call an XRPC query (GET). Spec: atproto XRPC, "Lexicon HTTP Endpoints"."""
        return await self.get(f"/xrpc/{nsid}", params=params, headers=headers)

    async def procedure(
        self,
        nsid: str,
        *,
        json: Any = None,
        content: bytes | AsyncIterable[bytes] | None = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Call an XRPC procedure (POST), with a JSON body or raw content."""
        return await self.post(
            f"/xrpc/{nsid}", json=json, content=content, params=params, headers=headers
        )

    def proxied(self, service: str) -> Self:
        """Return a client whose calls the PDS passes on to another service.

        Args:
            service: DID and fragment, such as ``did:web:api.bsky.app#bsky_appview``.
        """
        clone = type(self)(self._session_transport)
        clone.headers.update({**self.headers, "atproto-proxy": service})
        clone.timeout = self.timeout
        return clone

    @property
    def _session_transport(self) -> SessionTransport:
        transport = self._transport
        if not isinstance(transport, SessionTransport):
            raise Blocked("the transport of this client was replaced")
        return transport


def raise_for_xrpc(response: httpx.Response) -> httpx.Response:
    """Return the response if it is a success.

    Raises:
        ScopeMissingError: the session lacks a permission.
        AuthorizationServerError: any other refusal, with the ``error`` of the body.
    """
    if response.is_success:
        return response
    refusal = parse_refusal(response.status_code, response.content)
    if response.status_code == _FORBIDDEN and refusal.error == "ScopeMissingError":
        raise ScopeMissingError("the session was not granted this permission")
    message = f"the PDS answered {response.status_code} ({refusal.error})"
    raise AuthorizationServerError(message, error=refusal.error)
