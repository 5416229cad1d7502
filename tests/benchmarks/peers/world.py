"""A made-up network for clients that have no seam for one: it is put under ``httpx``."""

from __future__ import annotations

import json
import sys
import time
from base64 import urlsafe_b64decode
from typing import Any

import anyio
import httpx

DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
HANDLE = "alice.example-handle.com"
ISSUER, PDS = "https://auth.example-as.com", "https://pds.example-pds.com"
CLIENT_ID = "https://app.example-app.com/client.json"
REDIRECT_URI = "https://app.example-app.com/callback"

_NONCE = "nonce-1"
_LATENCY_S = 0.02
_DID_DOCUMENT = {
    "id": DID,
    "alsoKnownAs": [f"at://{HANDLE}"],
    "verificationMethod": [
        {
            "id": f"{DID}#atproto",
            "type": "Multikey",
            "controller": DID,
            "publicKeyMultibase": "zQ3shunBKsXixLxKtC5qeSG9E4J5RkGN57im31pcTzbNQnm5w",
        }
    ],
    "service": [
        {
            "id": "#atproto_pds",
            "type": "AtprotoPersonalDataServer",
            "serviceEndpoint": PDS,
        }
    ],
}
_SERVER = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/oauth/authorize",
    "token_endpoint": f"{ISSUER}/oauth/token",
    "revocation_endpoint": f"{ISSUER}/oauth/revoke",
    "pushed_authorization_request_endpoint": f"{ISSUER}/oauth/par",
    "require_pushed_authorization_requests": True,
    "response_types_supported": ["code"],
    "response_modes_supported": ["query"],
    "grant_types_supported": ["authorization_code", "refresh_token"],
    "code_challenge_methods_supported": ["S256"],
    "token_endpoint_auth_methods_supported": ["none", "private_key_jwt"],
    "token_endpoint_auth_signing_alg_values_supported": ["ES256"],
    "scopes_supported": ["atproto", "transition:generic"],
    "subject_types_supported": ["public"],
    "dpop_signing_alg_values_supported": ["ES256"],
    "authorization_response_iss_parameter_supported": True,
    "client_id_metadata_document_supported": True,
}
_TOKENS = {
    "access_token": "access",
    "refresh_token": "refresh",
    "token_type": "DPoP",
    "scope": "atproto",
    "expires_in": 3600,
    "sub": DID,
}
_DOCUMENTS: dict[str, Any] = {
    f"/{DID}": _DID_DOCUMENT,
    "/.well-known/oauth-protected-resource": {
        "resource": PDS,
        "authorization_servers": [ISSUER],
    },
    "/.well-known/oauth-authorization-server": _SERVER,
}
_ANSWERS: dict[str, tuple[int, dict[str, Any]]] = {
    "/oauth/par": (201, {"request_uri": "urn:request:1", "expires_in": 299}),
    "/oauth/token": (200, _TOKENS),
}


class Waits:
    """When which question was asked and answered."""

    def __init__(self) -> None:
        self._spans: list[tuple[float, float]] = []

    def note(self, began: float) -> None:
        """Note a question that has just been answered."""
        self._spans.append((time.perf_counter(), began))

    def take(self) -> int:
        """Return how many came one after the other, and begin anew."""
        counted, free_at = 0, 0.0
        for ended, began in sorted(self._spans):
            if began >= free_at:
                counted, free_at = counted + 1, ended
        self._spans.clear()
        return counted


def install() -> Waits:
    """Put the network under ``httpx``, and under dnspython if that is there."""
    waits = Waits()

    async def send(_: object, request: httpx.Request) -> httpx.Response:
        began = time.perf_counter()
        await request.aread()
        await anyio.sleep(_LATENCY_S)
        waits.note(began)
        return _answer(request)

    def send_blocking(_: object, request: httpx.Request) -> httpx.Response:
        began = time.perf_counter()
        request.read()
        time.sleep(_LATENCY_S)
        waits.note(began)
        return _answer(request)

    # By name: what is put there has other types, and need not have the same.
    for kind, name, function in (
        (httpx.AsyncHTTPTransport, "handle_async_request", send),
        (httpx.HTTPTransport, "handle_request", send_blocking),
    ):
        setattr(kind, name, function)
    _install_dns(waits)
    return waits


def _install_dns(waits: Waits) -> None:
    if "dns.asyncresolver" not in sys.modules:
        return

    class Record:
        strings = (f"did={DID}".encode(),)

    async def resolve(*_: object, **__: object) -> list[Record]:
        began = time.perf_counter()
        await anyio.sleep(_LATENCY_S)
        waits.note(began)
        return [Record()]

    sys.modules["dns.asyncresolver"].resolve = resolve  # type: ignore[attr-defined]


def _answer(request: httpx.Request) -> httpx.Response:
    path = request.url.path
    if path == "/.well-known/atproto-did":
        return httpx.Response(200, text=DID, request=request)
    if path in _DOCUMENTS:
        return httpx.Response(200, json=_DOCUMENTS[path], request=request)
    code, members = _ANSWERS.get(path, (404, {}))
    if path in _ANSWERS and _nonce_of(request.headers["dpop"]) != _NONCE:
        code, members = 400, {"error": "use_dpop_nonce"}
    nonce = {"DPoP-Nonce": _NONCE}
    return httpx.Response(code, json=members, headers=nonce, request=request)


def _nonce_of(proof: str) -> object:
    claims = proof.split(".")[1]
    return json.loads(urlsafe_b64decode(claims + "=" * (-len(claims) % 4))).get("nonce")
