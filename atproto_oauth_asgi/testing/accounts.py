"""People of the network: accounts, their DID documents, their handles."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, Router

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One account.

    Attributes:
        did: its DID.
        handle: its handle.
        password: for the consent page.
    """

    did: str
    handle: str
    password: str = field(repr=False)


class Directory:
    """A PLC directory.

    Attributes:
        documents: by DID; tests may change them, and remove them.
    """

    def __init__(self) -> None:
        self.documents: dict[str, dict[str, Any]] = {}
        self.site: Router = Router([Route("/{did}", self._answer)])

    async def _answer(self, request: Request) -> Response:
        did = request.path_params["did"]
        if did not in self.documents:
            message = f"DID not registered: {did}"
            return JSONResponse({"message": message}, status_code=404)
        return JSONResponse(self.documents[did], media_type="application/did+ld+json")


def new_did() -> str:
    """Return a DID that nobody has."""
    return "did:plc:" + "".join(secrets.choice(_ALPHABET) for _ in range(24))


def build_did_document(did: str, *, handle: str, pds_url: str) -> dict[str, Any]:
    """Return a document as the directory publishes it. Spec: atproto "DID"."""
    return {
        "@context": ["https://www.w3.org/ns/did/v1"],
        "id": did,
        "alsoKnownAs": [f"at://{handle}"],
        "verificationMethod": [],
        "service": [
            {
                "id": "#atproto_pds",
                "type": "AtprotoPersonalDataServer",
                "serviceEndpoint": pds_url,
            }
        ],
    }


def account_site(did: str, documents: dict[str, dict[str, Any]]) -> Router:
    """Return the site of a handle, which is also that of a ``did:web``.

    Spec: atproto "Handle", "HTTPS well-known"; W3C did:web.
    """

    async def say_did(_: Request) -> Response:
        return PlainTextResponse(did)

    async def show_document(_: Request) -> Response:
        if did not in documents:
            return PlainTextResponse("not here", 404)
        return JSONResponse(documents[did], media_type="application/did+json")

    return Router(
        [
            Route("/.well-known/atproto-did", say_did),
            Route("/.well-known/did.json", show_document),
        ]
    )
