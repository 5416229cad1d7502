"""RFC 9449: tokens that work only together with a key.

A proof is a small JWT, made anew for every request. Servers hand out nonces that
the next proof must hold; the first request to a server therefore often comes back
with a challenge and is sent once more.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import Any

import httpx
from typing_extensions import override

from atproto_oauth_asgi.crypto.encoding import b64url
from atproto_oauth_asgi.crypto.keys import (
    JwtSigner,
    PrivateKey,
    generate_private_key,
    public_coordinates,
)
from atproto_oauth_asgi.protocol.challenges import parse_challenges
from atproto_oauth_asgi.stores.recent import Recent

_BAD_REQUEST, _UNAUTHORIZED = 400, 401
_NONCE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,512}")
_ORIGINS_REMEMBERED = 1024
_LARGEST_ERROR_BODY = 10_000

# Text, as encoding it anew for each key takes a tenth of a signature.
_HEADER = (
    '{"alg":"ES256","typ":"dpop+jwt",'
    '"jwk":{"crv":"P-256","kty":"EC","x":"%s","y":"%s"}}'
)

Clock = Callable[[], float]


class ProofSigner:
    """Makes proofs with one key; the header is encoded once."""

    __slots__ = ("_ath", "_signer")

    def __init__(self, private_key: PrivateKey) -> None:
        header = _HEADER % public_coordinates(private_key)
        self._signer = JwtSigner(private_key, header)
        self._ath = ("", "")

    def sign(
        self,
        method: str,
        url: str,
        *,
        now: float,
        nonce: str | None = None,
        access_token: str | None = None,
    ) -> str:
        """Return a proof for one request; never send it twice.

        Spec: RFC 9449 section 4.2.
        """
        claims: dict[str, Any] = {
            "jti": secrets.token_urlsafe(16),
            "htm": method,
            "htu": _target_of(url),
            "iat": int(now),
        }
        if access_token is not None:
            claims["ath"] = self._hash(access_token)
        if nonce is not None:
            claims["nonce"] = nonce
        return self._signer.sign(claims)

    def _hash(self, access_token: str) -> str:
        token, digest = self._ath
        if token != access_token:
            digest = b64url(hashlib.sha256(access_token.encode("ascii")).digest())
            self._ath = (access_token, digest)
        return digest


class NonceCache:
    """The newest nonce of each origin; bounded; shared by all sessions.

    Spec: RFC 9449 section 8.2. A nonce is never used at another origin.
    """

    def __init__(self) -> None:
        self._nonces: Recent[str, str] = Recent(_ORIGINS_REMEMBERED)

    def get(self, url: str | httpx.URL) -> str | None:
        """Return the newest nonce of the URL's origin."""
        return self._nonces.get(origin_of(url))

    def learn(self, url: str | httpx.URL, headers: httpx.Headers) -> str | None:
        """Remember the nonce that a response offers, and return it."""
        nonce = read_nonce(headers)
        if nonce is None:
            return None
        self._nonces[origin_of(url)] = nonce
        return nonce

    def recall(self, url: str, nonce: str | None) -> None:
        """Take a nonce that another process learnt, unless a newer one is known."""
        origin = origin_of(url)
        if nonce is not None and _NONCE.fullmatch(nonce) and origin not in self._nonces:
            self._nonces[origin] = nonce


def read_nonce(headers: httpx.Headers) -> str | None:
    """Return the nonce in a response, if it is one (and only one)."""
    nonce = headers.get("dpop-nonce", "")
    return nonce if _NONCE.fullmatch(nonce) else None


def origin_of(url: str | httpx.URL) -> str:
    """Return scheme, host and port of a URL, the default port left out."""
    # Parsing takes longer than signing, so that a URL is handed on as it is.
    parsed = httpx.URL(url)
    # Not `host`: that one is decoded, without the brackets of an IPv6 address.
    return f"{parsed.scheme}://{parsed.netloc.decode('ascii')}"


async def send_with_nonce_retry(
    attempt: Callable[[str | None], Awaitable[httpx.Response]],
    *,
    url: str | httpx.URL,
    nonces: NonceCache,
) -> httpx.Response:
    """Send a request; send it once more if the server only wanted a newer nonce.

    ``attempt`` is called with the nonce to use, at most twice. An answer that is
    not read yet stays unread unless it has to be told apart.

    Spec: RFC 9449 sections 8 and 9.
    """
    known = nonces.get(url)
    response = await attempt(known)
    offered = nonces.learn(url, response.headers)
    if offered is None or offered == known or not _is_challenge(response):
        return response
    await response.aclose()
    response = await attempt(offered)
    nonces.learn(url, response.headers)
    return response


def _is_challenge(response: httpx.Response) -> bool:
    if response.status_code == _UNAUTHORIZED and is_challenged(
        response.headers, "use_dpop_nonce"
    ):
        return True
    if response.status_code not in {_BAD_REQUEST, _UNAUTHORIZED}:
        return False
    return _body_asks_for_nonce(response)


def is_challenged(headers: httpx.Headers, error: str) -> bool:
    """Return whether a DPoP challenge in ``WWW-Authenticate`` names this error."""
    challenges = parse_challenges(headers.get_list("www-authenticate"))
    return any(
        challenge.scheme == "dpop" and challenge.params.get("error") == error
        for challenge in challenges
    )


def _body_asks_for_nonce(response: httpx.Response) -> bool:
    if not response.is_closed or len(response.content) > _LARGEST_ERROR_BODY:
        return False
    try:
        members = response.json()
    except (ValueError, RecursionError):
        return False
    return isinstance(members, dict) and members.get("error") == "use_dpop_nonce"


def _target_of(url: str) -> str:
    """The ``htu``: no query, no fragment, and a path as it goes over the wire."""
    for mark in "?#":
        url = url.partition(mark)[0]
    has_path = "/" in url.partition("://")[2]
    return url if has_path else f"{url}/"


class DPoPManager:
    """The pieces of DPoP, for people who build their own requests."""

    @staticmethod
    def generate_keypair() -> PrivateKey:
        """Return a new P-256 private key."""
        return generate_private_key()

    @staticmethod
    def create_proof(
        method: str,
        url: str,
        private_key: PrivateKey,
        nonce: str | None = None,
        access_token: str | None = None,
    ) -> str:
        """Return a proof for one request, as the value of the ``DPoP`` header.

        Args:
            method: the HTTP method, in the case in which it is sent.
            url: the URL as it is sent; query and fragment are left out.
            private_key: the key that the token is bound to.
            nonce: the newest nonce of that server, if one is known.
            access_token: given for a PDS, left out for an authorization server.

        Spec: RFC 9449 section 4.2.
        """
        now = time.time()  # noqa: TID251 - the signature is fixed and has no clock
        return ProofSigner(private_key).sign(
            method, url, now=now, nonce=nonce, access_token=access_token
        )

    @staticmethod
    def is_dpop_nonce_error(response: httpx.Response) -> bool:
        """Return whether a (read) response asks for the same request with a nonce."""
        return _is_challenge(response)

    @staticmethod
    def extract_nonce_from_response(response: httpx.Response) -> str | None:
        """Return the nonce that a response offers, if it offers a proper one."""
        return read_nonce(response.headers)


class DPoPAuth(httpx.Auth):
    """Signs the requests of an ``httpx`` client of one's own.

    It adds ``Authorization`` and ``DPoP`` and answers nonce challenges. It is no
    guard: it signs whatever the client sends, wherever that goes. ``PDSClient`` is
    the one that keeps tokens at home.
    """

    def __init__(self, access_token: str, private_key: PrivateKey) -> None:
        self._access_token = access_token
        self._signer = ProofSigner(private_key)
        self._nonces = NonceCache()

    @override
    def auth_flow(
        self, request: httpx.Request
    ) -> Generator[httpx.Request, httpx.Response, None]:
        """Yield the request, and once more if the server challenges it."""
        url = str(request.url)
        known = self._nonces.get(url)
        response = yield self._sign(request, known)
        offered = self._learn(url, response)
        if offered in {None, known} or response.status_code != _UNAUTHORIZED:
            return
        # A stream that was sent cannot be sent again; the answer says so.
        can_repeat = isinstance(request.stream, httpx.ByteStream)
        if can_repeat and is_challenged(response.headers, "use_dpop_nonce"):
            self._learn(url, (yield self._sign(request, offered)))

    @override
    def sync_auth_flow(
        self, request: httpx.Request
    ) -> Generator[httpx.Request, httpx.Response, None]:
        """Do the same; a streamed body is read first where it may be needed twice."""
        if self._nonces.get(str(request.url)) is None:
            request.read()
        yield from self.auth_flow(request)

    @override
    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Do the same; a streamed body is read first where it may be needed twice."""
        if self._nonces.get(str(request.url)) is None:
            await request.aread()
        flow = self.auth_flow(request)
        to_send = next(flow)
        while True:
            response = yield to_send
            try:
                to_send = flow.send(response)
            except StopIteration:
                return

    def _learn(self, url: str, response: httpx.Response) -> str | None:
        # The client may have followed a redirect: a nonce is its giver's alone.
        if origin_of(str(response.url)) != origin_of(url):
            return None
        return self._nonces.learn(url, response.headers)

    def _sign(self, request: httpx.Request, nonce: str | None) -> httpx.Request:
        now = time.time()  # noqa: TID251 - for clients of one's own there is no clock
        proof = self._signer.sign(
            request.method,
            str(request.url),
            now=now,
            nonce=nonce,
            access_token=self._access_token,
        )
        request.headers["Authorization"] = f"DPoP {self._access_token}"
        request.headers["DPoP"] = proof
        return request
