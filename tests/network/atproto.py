"""A PLC directory, two PDSs and an authorization server in one process.

They behave like the reference servers, and strictly: every proof and assertion is
verified with joserfc, no ``jti`` counts twice, refresh tokens work once. Knobs make
them misbehave. No socket is opened: it is a transport, under the real fetcher.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey
from typing_extensions import override

from atproto_oauth_asgi.client import OAuthClient
from atproto_oauth_asgi.config import ClientKey
from atproto_oauth_asgi.crypto.keys import (
    PrivateKey,
    generate_private_key,
    public_jwk,
    thumbprint,
)
from atproto_oauth_asgi.exceptions import Unreachable
from atproto_oauth_asgi.models import OAuthSession
from atproto_oauth_asgi.network import services
from atproto_oauth_asgi.network.auth_server import ClientIdentity
from atproto_oauth_asgi.network.services import NetworkServices, build_services
from atproto_oauth_asgi.network_options import Network
from atproto_oauth_asgi.stores.memory import MemoryStateStore

ALICE = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"
BOB = "did:plc:bbbbbbbbbbbbbbbbbbbbbbbb"
HANDLE = "alice.example.com"
PLC = "https://plc.example.com"
RESOLVER = "https://resolver.example.com"
PDS = "https://pds.example.com"
PDS2 = "https://pds2.example.com"
ISSUER = "https://as.example.com"
OTHER_ISSUER = "https://eve.example.net"
CLIENT_ID = "https://app.example.com/oauth-client-metadata.json"
REDIRECT_URI = "https://app.example.com/oauth/callback"
SCOPE = "atproto repo:com.example.post"

PAR, TOKEN, REVOKE = "/oauth/par", "/oauth/token", "/oauth/revoke"


class Clock:
    """A clock that stands still until it is told."""

    def __init__(self) -> None:
        self.now = 1_750_000_000.0

    def __call__(self) -> float:
        return self.now


class Streamed(httpx.AsyncByteStream):
    """A body that has not been read, as answers from the network are."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.is_closed = False

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self.body

    @override
    async def aclose(self) -> None:
        self.is_closed = True


def answer(
    status: int = 200,
    members: Any = None,
    *,
    headers: dict[str, str] | list[tuple[str, str]] | None = None,
) -> httpx.Response:
    """An answer with a JSON body, or raw bytes."""
    body = members if isinstance(members, bytes) else json.dumps(members).encode()
    response = httpx.Response(status, headers=headers, stream=Streamed(body))
    response.headers.setdefault("Content-Type", "application/json")
    return response


@dataclass(kw_only=True)
class Seen:
    """One request, taken apart."""

    method: str
    url: str
    headers: httpx.Headers
    form: dict[str, str]
    proof: dict[str, Any] = field(default_factory=dict)
    thumbprint: str = ""
    assertion: dict[str, Any] = field(default_factory=dict)
    kid: str | None = None

    @property
    def path(self) -> str:
        return urlsplit(self.url).path

    @property
    def origin(self) -> str:
        return self.url.removesuffix(self.path)


def read_proof(seen: Seen) -> None:
    """Verify the DPoP proof, if there is one, and keep what it says."""
    if (text := seen.headers.get("dpop")) is None:
        return
    header = jws.extract_compact(text.encode()).headers()
    assert header.keys() == {"typ", "alg", "jwk"}
    assert header["typ"] == "dpop+jwt"
    assert header["jwk"].keys() == {"kty", "crv", "x", "y"}
    key = ECKey.import_key(header["jwk"])
    seen.proof = jwt.decode(text, key, algorithms=["ES256"]).claims
    seen.thumbprint = key.thumbprint()


Script = Callable[[Seen], Awaitable[httpx.Response | None]]


class FakeAtproto(httpx.AsyncBaseTransport):
    """All hosts at once.

    Attributes:
        seen: every request.
        down: origins that cannot be reached.
        no_pds: origins without the metadata of a PDS.
        scripts: by path, what comes before the ordinary behaviour; what it gives
            back is the answer, unless it is None.
        require_nonce: whether proofs must hold ``nonce``.
        token_changes: members that differ in token answers; None leaves one out.
        nonce: what answers of the authorization server offer; None for nothing.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.seen: list[Seen] = []
        self.down: set[str] = set()
        self.no_pds: set[str] = set()
        self.scripts: dict[str, Script] = {}
        self.require_nonce = False
        self.nonce: str | None = "nonce-1"
        self.token_changes: dict[str, Any] = {}
        self.metadata_changes: dict[str, Any] = {}
        self.homes = {ALICE: PDS, BOB: PDS}
        self.handles = {HANDLE: ALICE}
        self.issuers = {PDS: ISSUER, PDS2: ISSUER}
        self.client_keys: dict[str, ECKey] = {}
        self.signs_in = ALICE
        self.issued: list[str] = []
        self._jtis: set[str] = set()
        self._requests: dict[str, Seen] = {}
        self._codes: dict[str, Seen] = {}
        self._refresh_tokens: dict[str, str] = {}

    # --- what tests ask for ----------------------------------------------------

    def paths(self) -> list[str]:
        """The paths asked for at the authorization server's endpoints, in order."""
        return [seen.path for seen in self.seen if seen.path.startswith("/oauth/")]

    def sent(self, path: str) -> list[Seen]:
        """The requests to a path."""
        return [seen for seen in self.seen if seen.path == path]

    def revoked(self) -> list[str]:
        """The tokens that were revoked."""
        return [seen.form["token"] for seen in self.sent(REVOKE)]

    def approve(self, auth_url: str) -> dict[str, str]:
        """Sign in and say yes; the parameters of the callback."""
        query = dict(parse_qsl(urlsplit(auth_url).query))
        pushed = self._requests.pop(query["request_uri"])
        assert query == {
            "client_id": pushed.form["client_id"],
            "request_uri": query["request_uri"],
        }
        code = f"code-{secrets.token_urlsafe(8)}"
        self._codes[code] = pushed
        return {"code": code, "state": pushed.form["state"], "iss": ISSUER}

    def expect_code(self, code: str, form: dict[str, str], *, key: PrivateKey) -> None:
        """Know a code, as if somebody had approved a request with this form and key."""
        headers = httpx.Headers()
        pushed = Seen(method="POST", url=ISSUER + PAR, headers=headers, form=form)
        pushed.thumbprint = thumbprint(key)
        self._codes[code] = pushed

    def session(self, **changes: Any) -> OAuthSession:
        """A session as this server would have made it, an hour before its end."""
        key = generate_private_key()
        refresh_token = self._new_token("refresh")
        self._refresh_tokens[refresh_token] = thumbprint(key)
        made = OAuthSession(
            did=ALICE,
            pds_url=PDS,
            authserver_iss=ISSUER,
            access_token=self._new_token("access"),
            refresh_token=refresh_token,
            dpop_private_key=key,
            scope=SCOPE,
            session_id="session-1",
        )
        return made.replace(**changes)

    # --- how they behave -------------------------------------------------------

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        seen = self._see(request, await request.aread())
        if seen.origin in self.down:
            raise Unreachable("no route to host")
        if (script := self.scripts.get(seen.path)) is not None:
            scripted = await script(seen)
            if scripted is not None:
                return scripted
        return self._answer(seen)

    def _see(self, request: httpx.Request, body: bytes) -> Seen:
        seen = Seen(
            method=request.method,
            url=str(request.url.copy_with(query=None)),
            headers=request.headers,
            form=dict(parse_qsl(body.decode())),
        )
        read_proof(seen)
        self.seen.append(seen)
        return seen

    def _answer(self, seen: Seen) -> httpx.Response:
        if seen.origin == PLC:
            return self._did_document(seen.path.removeprefix("/"))
        if seen.origin == RESOLVER:
            return answer(200, {"did": self.handles[HANDLE]})
        if seen.path == "/.well-known/did.json":
            return self._did_document(f"did:web:{seen.origin.removeprefix('https://')}")
        if seen.path == "/.well-known/oauth-protected-resource":
            return self._resource(seen.origin)
        if seen.path == "/.well-known/oauth-authorization-server":
            return answer(200, metadata(seen.origin) | self.metadata_changes)
        return self._endpoint(seen)

    def _resource(self, origin: str) -> httpx.Response:
        if origin in self.no_pds:
            return answer(404, {})
        issuers = [self.issuers[origin]]
        return answer(200, {"resource": origin, "authorization_servers": issuers})

    def _did_document(self, did: str) -> httpx.Response:
        if did not in self.homes:
            return answer(404, {})
        names = [f"at://{name}" for name, owner in self.handles.items() if owner == did]
        service = {
            "id": "#atproto_pds",
            "type": "AtprotoPersonalDataServer",
            "serviceEndpoint": self.homes[did],
        }
        return answer(200, {"id": did, "alsoKnownAs": names, "service": [service]})

    def _endpoint(self, seen: Seen) -> httpx.Response:
        problem = self._find_problem(seen)
        if problem is not None:
            response = answer(400, {"error": problem})
        elif seen.path == PAR:
            response = self._push(seen)
        elif seen.path == TOKEN:
            response = self._tokens(seen)
        else:
            response = answer(200, {})
        if self.nonce is not None:
            response.headers["DPoP-Nonce"] = self.nonce
        return response

    def _find_problem(self, seen: Seen) -> str | None:
        # A strict server: the assertion's jti is used up before the nonce is seen.
        if (problem := self._find_client_problem(seen)) is not None:
            return problem
        proof = seen.proof
        if (proof["htm"], proof["htu"]) != ("POST", seen.url) or "ath" in proof:
            return "invalid_dpop_proof"
        if proof["iat"] != int(self.clock()) or not self._is_new(proof["jti"]):
            return "invalid_dpop_proof"
        if self.require_nonce and proof.get("nonce") != self.nonce:
            return "use_dpop_nonce"
        return None

    def _find_client_problem(self, seen: Seen) -> str | None:
        if not self.client_keys:
            return "invalid_client" if "client_assertion" in seen.form else None
        text = seen.form["client_assertion"]
        header = jws.extract_compact(text.encode()).headers()
        seen.kid = header["kid"]
        try:
            key = self.client_keys[header["kid"]]
            seen.assertion = jwt.decode(text, key, algorithms=["ES256"]).claims
        except (JoseError, KeyError):
            return "invalid_client"
        is_ours = seen.assertion["aud"] == ISSUER
        is_new = self._is_new(seen.assertion["jti"])
        return None if is_ours and is_new else "invalid_client"

    def _is_new(self, jti: str) -> bool:
        is_new = jti not in self._jtis
        self._jtis.add(jti)
        return is_new

    def _push(self, seen: Seen) -> httpx.Response:
        request_uri = f"urn:ietf:params:oauth:request_uri:{secrets.token_hex(8)}"
        self._requests[request_uri] = seen
        return answer(201, {"request_uri": request_uri, "expires_in": 299})

    def _tokens(self, seen: Seen) -> httpx.Response:
        is_known = (
            self._redeem_code(seen)
            if seen.form["grant_type"] == "authorization_code"
            else self._refresh_tokens.pop(seen.form["refresh_token"], None)
            == seen.thumbprint
        )
        if not is_known:
            return answer(400, {"error": "invalid_grant"})
        refresh_token = self._new_token("refresh")
        self._refresh_tokens[refresh_token] = seen.thumbprint
        members = {
            "access_token": self._new_token("access"),
            "refresh_token": refresh_token,
            "token_type": "DPoP",
            "sub": self.signs_in,
            "scope": SCOPE,
            "expires_in": 3600,
            **self.token_changes,
        }
        present = {k: v for k, v in members.items() if v is not None}
        return answer(200, present)

    def _redeem_code(self, seen: Seen) -> bool:
        pushed = self._codes.pop(seen.form["code"], None)
        digest = hashlib.sha256(seen.form["code_verifier"].encode()).digest()
        challenge = urlsafe_b64encode(digest).decode().rstrip("=")
        return pushed is not None and (
            pushed.form["code_challenge"],
            pushed.form["redirect_uri"],
            pushed.thumbprint,
        ) == (challenge, seen.form["redirect_uri"], seen.thumbprint)

    def _new_token(self, kind: str) -> str:
        token = f"{kind}-{secrets.token_urlsafe(12)}"
        self.issued.append(token)
        return token


def metadata(issuer: str) -> dict[str, Any]:
    """What an authorization server says of itself."""
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/oauth/authorize",
        "token_endpoint": f"{issuer}{TOKEN}",
        "pushed_authorization_request_endpoint": f"{issuer}{PAR}",
        "revocation_endpoint": f"{issuer}{REVOKE}",
        "scopes_supported": ["atproto"],
        "response_types_supported": ["code"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["none", "private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": ["ES256"],
        "dpop_signing_alg_values_supported": ["ES256"],
        "authorization_response_iss_parameter_supported": True,
        "require_pushed_authorization_requests": True,
        "client_id_metadata_document_supported": True,
    }


def install(monkeypatch: pytest.MonkeyPatch) -> FakeAtproto:
    """Put the fake in the place of the guarded transport of new clients."""
    internet = FakeAtproto()
    monkeypatch.setattr(services, "GuardedTransport", lambda _: internet)
    return internet


def network(**options: Any) -> Network:
    """The options that lead to the fake."""
    return Network(plc_url=PLC, handle_resolver_url=RESOLVER, **options)


def open_services(
    internet: FakeAtproto, *keys: ClientKey, **options: Any
) -> NetworkServices:
    """The services of one client; the server knows its keys."""
    know_keys(internet, *keys)
    identity = ClientIdentity(CLIENT_ID, keys, clock=internet.clock)
    return build_services(network(**options), identity, clock=internet.clock)


def open_client(internet: FakeAtproto, *keys: ClientKey, **options: Any) -> OAuthClient:
    """A client with a state store in memory."""
    know_keys(internet, *keys)
    options.setdefault("state_store", MemoryStateStore(clock=internet.clock))
    options.setdefault("network", network())
    return OAuthClient(
        CLIENT_ID,
        REDIRECT_URI,
        SCOPE,
        client_keys=keys,
        clock=internet.clock,
        **options,
    )


def know_keys(internet: FakeAtproto, *keys: ClientKey) -> None:
    """Publish the client's keys, as the reference server would fetch them."""
    for key in keys:
        jwk: dict[str, Any] = {**public_jwk(key.private_key)}
        internet.client_keys[key.kid] = ECKey.import_key(jwk)
