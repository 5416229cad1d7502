"""A client with a host name, documents and keys; a test may get each of them wrong."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from atproto_oauth_asgi.crypto.keys import (
    JwtSigner,
    PrivateKey,
    generate_private_key,
    public_jwk,
    thumbprint,
)
from tests.contract.peers import Login, Peer, Teller

HOST = "notes.internal"
ORIGIN = f"https://{HOST}"
REDIRECT_URI = f"{ORIGIN}/callback"
SCOPE = "atproto repo:com.example.note"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class Site:
    """An ASGI program that serves what a test puts there."""

    def __init__(self) -> None:
        self.answers: dict[str, Response] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        nothing = PlainTextResponse("nothing here", 404)
        if scope["type"] == "http":
            await self.answers.get(scope["path"], nothing)(scope, receive, send)


def named(key: PrivateKey) -> dict[str, Any]:
    """The public key as it stands in a JWKS."""
    return {**public_jwk(key), "kid": thumbprint(key)}


class Hosted:
    """A confidential client. Its documents have a URL that no test had before."""

    redirect_uri = REDIRECT_URI
    scope = SCOPE

    def __init__(
        self,
        peer: Peer,
        site: Site,
        *,
        clock: Callable[[], float] = time.time,  # noqa: TID251 - the official server's
    ) -> None:
        self.peer = peer
        self.clock = clock
        self.site = site
        self.path = f"/{secrets.token_hex(8)}.json"
        self.client_id = ORIGIN + self.path
        self.key = generate_private_key()
        self.document: dict[str, Any] = {
            "client_id": self.client_id,
            "client_name": "Notes",
            "redirect_uris": [REDIRECT_URI],
            "scope": SCOPE,
            "response_types": ["code"],
            "grant_types": ["authorization_code", "refresh_token"],
            "dpop_bound_access_tokens": True,
            "application_type": "web",
            "token_endpoint_auth_method": "private_key_jwt",
            "token_endpoint_auth_signing_alg": "ES256",
            "jwks": {"keys": [named(self.key)]},
        }
        self.teller = Teller(peer)
        # Later requests find a nonce, so that each test sees one answer.
        self.teller.post("/oauth/par", {**Login(self.teller).form()})
        self.publish()

    def publish(self, **changes: Any) -> None:
        """Serve the document with changes; None leaves a member out."""
        merged = {**self.document, **changes}
        kept = {name: value for name, value in merged.items() if value is not None}
        self.answer(JSONResponse(kept))

    def publish_public(self, **changes: Any) -> None:
        """Be a client that has no key."""
        absent = {"jwks": None, "token_endpoint_auth_signing_alg": None}
        self.publish(token_endpoint_auth_method="none", **{**absent, **changes})

    def answer(self, response: Response, path: str = "") -> None:
        self.site.answers[path or self.path] = response

    def assertion(
        self, *, key: PrivateKey | None = None, kid: str | None = None, **claims: Any
    ) -> str:
        """A client assertion; None leaves a claim out, ``..._in_s`` counts from now."""
        now = int(self.clock())
        signer = key or self.key
        base = {
            "iss": self.client_id,
            "sub": self.client_id,
            "aud": self.peer.issuer,
            "jti": secrets.token_urlsafe(),
            "iat": now - 15,
            "exp": now + 45,
        }
        later = {
            n.removesuffix("_in_s"): now + v for n, v in claims.items() if "_in_" in n
        }
        plain = {n: v for n, v in claims.items() if "_in_" not in n}
        merged = {**base, **plain, **later}
        header = {"kid": kid or thumbprint(signer)}
        return JwtSigner(signer, header).sign(
            {name: value for name, value in merged.items() if value is not None}
        )

    def credentials(self) -> dict[str, str]:
        return {
            "client_id": self.client_id,
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": self.assertion(),
        }

    def login(self) -> Login:
        return Login(self.teller, side=self)

    def push(self, **changes: str | None) -> httpx.Response:
        return self.login().push(**changes)

    def push_as(self, claims: Mapping[str, Any]) -> httpx.Response:
        """Push with an assertion of one's own making."""
        return self.push(client_assertion=self.assertion(**claims))
