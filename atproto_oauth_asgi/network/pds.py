"""The client that an application gets: it speaks to one person's PDS, as them.

The guard is the transport. Whatever is set on the client or on a single call, a
request passes through ``SessionTransport``, which checks where it goes and puts on
the credentials itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
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
    ConfigurationError,
    ScopeMissingError,
)
from atproto_oauth_asgi.models import OAuthSession
from atproto_oauth_asgi.protocol.challenges import parse_challenges
from atproto_oauth_asgi.protocol.identifiers import is_nsid
from atproto_oauth_asgi.protocol.oauth_error import parse_refusal

Response = httpx.Response
"""What a PDS answers, for floors that do not know httpx."""

_UNAUTHORIZED, _FORBIDDEN = 401, 403
_OURS = frozenset(
    {b"authorization", b"dpop", b"cookie", b"host", b"proxy-authorization"}
)
# A request that every PDS refuses without a nonce and that changes nothing.
_NONCE_PROBE = "/xrpc/com.atproto.server.getSession"


class SessionTokens(Protocol):
    """Where a client finds the newest tokens of its session."""

    async def current(self) -> OAuthSession:
        """Return the session, renewed if its access token is about to end."""

    async def renew(self, stale: OAuthSession) -> OAuthSession:
        """Return a session with a newer access token than the one just refused."""


@dataclass(frozen=True, slots=True)
class _Home:
    """The origin of a PDS, as text and parsed."""

    origin: str
    url: httpx.URL


@lru_cache(maxsize=1024)
def _home_of(pds_url: str) -> _Home:
    # Parsing takes longer than all else that making a client does.
    origin = origin_of(pds_url)
    return _Home(origin, httpx.URL(origin))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Speaker:
    """A session, and what is worked out for it once: its signer, its PDS."""

    session: OAuthSession
    signer: ProofSigner
    home: _Home


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
        self._home = _home_of(pds_url)
        self.pds_url: httpx.URL = self._home.url
        self._inner = inner
        self._nonces = nonces
        self._clock = clock
        self._speaker: _Speaker | None = None

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; at most once more for a nonce and once for a new token."""
        session = await self._tokens.current()
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
        speaker = self._speaker_for(session)
        target = self._target(request, speaker.home)
        url = str(target)

        async def attempt(nonce: str | None) -> httpx.Response:
            proof = speaker.signer.sign(
                request.method,
                url,
                now=self._clock(),
                nonce=nonce,
                access_token=session.access_token,
            )
            copy = _signed_copy(
                request, target, access_token=session.access_token, proof=proof
            )
            return await self._inner.handle_async_request(copy)

        if _is_replayable(request):
            response = await send_with_nonce_retry(
                attempt, url=target, nonces=self._nonces
            )
        else:
            response = await attempt(self._nonces.get(target))
            self._nonces.learn(target, response.headers)
        # A PDS's cookies have no business in a client that may be shared.
        if "set-cookie" in response.headers:
            del response.headers["set-cookie"]
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

    def _target(self, request: httpx.Request, home: _Home) -> httpx.URL:
        """Return where a request goes: to the PDS, which may have moved meanwhile."""
        origin = origin_of(request.url)
        if request.url.userinfo or origin not in {home.origin, self._home.origin}:
            message = "this client speaks to the session's own PDS only"
            raise Blocked(message)
        if origin == home.origin:
            return request.url
        to = home.url
        return request.url.copy_with(scheme=to.scheme, host=to.host, port=to.port)

    def _speaker_for(self, session: OAuthSession) -> _Speaker:
        speaker = self._speaker
        if speaker is None or speaker.session is not session:
            speaker = self._speaker = _Speaker(
                session=session,
                signer=ProofSigner(session.dpop_private_key),
                home=_home_of(session.pds_url),
            )
        return speaker


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


def _signed_copy(
    request: httpx.Request, target: httpx.URL, *, access_token: str, proof: str
) -> httpx.Request:
    """Return the request with nothing of the caller's that is ours to decide."""
    kept = [
        (name, value)
        for name, value in request.headers.raw
        if name.lower() not in _OURS
    ]
    credentials = [
        (b"Authorization", f"DPoP {access_token}".encode("ascii")),
        (b"DPoP", proof.encode("ascii")),
    ]
    timeout = request.extensions.get("timeout")
    return httpx.Request(
        request.method,
        target,
        headers=[*kept, *credentials],
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
        """Call an XRPC query (GET).

        Raises:
            ConfigurationError: ``nsid`` names no method.

        Spec: atproto XRPC, "Lexicon HTTP Endpoints".
        """
        return await self.get(xrpc_path(nsid), params=params, headers=headers)

    async def procedure(
        self,
        nsid: str,
        *,
        json: Any = None,
        content: bytes | AsyncIterable[bytes] | None = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Call an XRPC procedure (POST), with a JSON body or raw content.

        Raises:
            ConfigurationError: ``nsid`` names no method.
        """
        return await self.post(
            xrpc_path(nsid), json=json, content=content, params=params, headers=headers
        )

    def proxied(self, service: str) -> Self:
        """Return a client whose calls the PDS passes on to another service.

        Args:
            service: DID and fragment, such as ``did:web:api.bsky.app#bsky_appview``.
        """
        clone = type(self)(self.session_transport)
        clone.headers.update({**self.headers, "atproto-proxy": service})
        clone.timeout = self.timeout
        return clone

    @property
    def session_transport(self) -> SessionTransport:
        """The guard that all requests pass.

        Raises:
            Blocked: it was replaced.
        """
        transport = self._transport
        if not isinstance(transport, SessionTransport):
            raise Blocked("the transport of this client was replaced")
        return transport


def xrpc_path(nsid: str) -> str:
    """Return where a method is called.

    Raises:
        ConfigurationError: it names none; whatever else it is does not get into a path.
    """
    if not is_nsid(nsid):
        raise ConfigurationError("nsid: a method such as com.example.getThing")
    return f"/xrpc/{nsid}"


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
