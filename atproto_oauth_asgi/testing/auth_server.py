"""An authorization server as strict as the official one: push, redeem, revoke."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, TypeAlias
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from atproto_oauth_asgi.testing.authorization_requests import (
    PROMPTS,
    RESPONSE_MODES,
    read_request,
)
from atproto_oauth_asgi.testing.clients import Clients
from atproto_oauth_asgi.testing.grants import Ledger
from atproto_oauth_asgi.testing.proofs import Nonces, Verifier
from atproto_oauth_asgi.testing.refusals import (
    Refusal,
    bad_grant,
    bad_proof,
    bad_request,
    challenge_of,
)
from atproto_oauth_asgi.testing.sessions import Sender, tokens_of

Form: TypeAlias = Mapping[str, str]
_Answering: TypeAlias = Callable[[Request, Form], Awaitable[Response]]

_FORM_TYPE, _JSON_TYPE = "application/x-www-form-urlencoded", "application/json"
_MAX_BODY_BYTES = 102_400
_UNAUTHORIZED, _TOO_LARGE, _WRONG_TYPE = 401, 413, 415
_LIFETIME_S = 299
_NEEDED = {
    "authorization_code": ("code", "redirect_uri"),
    "refresh_token": ("refresh_token",),
}


class AuthServer:
    """The endpoints that programs ask; the page for people is in ``consent``."""

    def __init__(
        self,
        issuer: str,
        *,
        clients: Clients,
        ledger: Ledger,
        nonces: Nonces,
        verifier: Verifier,
    ) -> None:
        self.issuer = issuer
        self._clients = clients
        self._ledger = ledger
        self._nonces = nonces
        self._verifier = verifier

    def routes(self) -> list[Route]:
        """Return the routes of the issuer's host, without the consent page."""
        return [
            Route("/.well-known/oauth-authorization-server", self._describe),
            Route("/oauth/jwks", _no_keys),
            self._endpoint("/oauth/par", self._push),
            self._endpoint("/oauth/token", self._give_tokens),
            self._endpoint("/oauth/revoke", self._revoke),
        ]

    def _endpoint(self, path: str, answering: _Answering) -> Route:
        async def endpoint(request: Request) -> Response:
            try:
                response = await answering(request, await _read_form(request))
            except Refusal as refusal:
                response = _refuse(refusal)
            response.headers["DPoP-Nonce"] = self._nonces.next
            response.headers["Cache-Control"] = "no-store"
            return response

        return Route(path, endpoint, methods=["POST"])

    async def _describe(self, _: Request) -> Response:
        headers = {"Cache-Control": "max-age=300"}
        return JSONResponse(build_metadata(self.issuer), headers=headers)

    async def _push(self, request: Request, form: Form) -> Response:
        """Spec: RFC 9126 section 2."""
        sender = await self._identify(request, form)
        pushed = self._ledger.push(read_request(form, sender), sender)
        members = {"request_uri": pushed.request_uri, "expires_in": _LIFETIME_S}
        return JSONResponse(members, 201)

    async def _give_tokens(self, request: Request, form: Form) -> Response:
        """Spec: RFC 6749 sections 4.1.3 and 6."""
        kind = form.get("grant_type", "")
        for name in _NEEDED.get(kind, ()):
            if not form.get(name):
                raise bad_grant(f"{name} is required")
        sender = await self._identify(request, form)
        if sender.thumbprint is None:
            raise bad_proof("DPoP proof required")
        if kind == "authorization_code":
            grant = await self._ledger.redeem(form, sender, issuer=self.issuer)
        elif kind == "refresh_token":
            grant = await self._ledger.refresh(form, sender, issuer=self.issuer)
        else:
            raise bad_grant(f'Grant type "{kind}" is not supported by the server')
        return JSONResponse(tokens_of(grant))

    async def _revoke(self, request: Request, form: Form) -> Response:
        """Spec: RFC 7009. Like the official server it says yes to anything."""
        if not form.get("token"):
            raise bad_request("token is required")
        thumbprint = self._thumbprint(request)
        with suppress(Refusal):
            sender = await self._authenticate(form, thumbprint)
            self._ledger.revoke(form["token"], sender)
        return JSONResponse({})

    async def _identify(self, request: Request, form: Form) -> Sender:
        return await self._authenticate(form, self._thumbprint(request))

    async def _authenticate(self, form: Form, thumbprint: str | None) -> Sender:
        client, key = await self._clients.authenticate(form, issuer=self.issuer)
        # RFC 7638: the name and the thumbprint of the key stand in one string.
        if key is not None and thumbprint == key.rpartition(" ")[2]:
            raise bad_request("the DPoP proof must be signed with another key")
        return Sender(client=client, client_key=key, thumbprint=thumbprint)

    def _thumbprint(self, request: Request) -> str | None:
        proofs = request.headers.getlist("dpop")
        if not proofs:
            return None
        if len(proofs) > 1:
            raise bad_proof("more than one DPoP proof")
        url = self.issuer + request.url.path
        return self._verifier.check_proof(proofs[0], method=request.method, url=url)


def build_metadata(issuer: str) -> dict[str, Any]:
    """Return what the server says of itself. Spec: RFC 8414, atproto OAuth."""
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/oauth/authorize",
        "token_endpoint": f"{issuer}/oauth/token",
        "pushed_authorization_request_endpoint": f"{issuer}/oauth/par",
        "revocation_endpoint": f"{issuer}/oauth/revoke",
        "jwks_uri": f"{issuer}/oauth/jwks",
        "scopes_supported": [
            "atproto",
            "transition:email",
            "transition:generic",
            "transition:chat.bsky",
        ],
        "subject_types_supported": ["public"],
        "response_types_supported": ["code"],
        "response_modes_supported": list(RESPONSE_MODES),
        "grant_types_supported": list(_NEEDED),
        "code_challenge_methods_supported": ["S256"],
        "ui_locales_supported": ["en-US"],
        "display_values_supported": ["page", "popup", "touch"],
        "token_endpoint_auth_methods_supported": ["none", "private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": ["ES256"],
        "dpop_signing_alg_values_supported": ["ES256"],
        "prompt_values_supported": list(PROMPTS),
        "authorization_response_iss_parameter_supported": True,
        "require_pushed_authorization_requests": True,
        "client_id_metadata_document_supported": True,
    }


async def _no_keys(_: Request) -> Response:
    return JSONResponse({"keys": []}, headers={"Cache-Control": "max-age=300"})


async def _read_form(request: Request) -> Form:
    """Return the parameters of a body: a form, or as the official server, JSON."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in {_FORM_TYPE, _JSON_TYPE}:
        message = "the body must be a form or JSON"
        raise Refusal("invalid_request", message, status=_WRONG_TYPE)
    body = await request.body()
    if len(body) > _MAX_BODY_BYTES:
        raise Refusal("invalid_request", "Payload too large", status=_TOO_LARGE)
    if kind == _JSON_TYPE:
        return _read_json(body)
    pairs = parse_qsl(body.decode("utf-8"), keep_blank_values=True)
    if len(dict(pairs)) < len(pairs):
        raise bad_request("a parameter is there twice")
    return dict(pairs)


def _read_json(body: bytes) -> Form:
    try:
        found = json.loads(body)
    except ValueError as error:
        raise bad_request("Invalid JSON") from error
    is_flat = isinstance(found, dict) and all(
        isinstance(value, str) for value in found.values()
    )
    if not is_flat:
        raise bad_request("the body must be an object of texts")
    return dict(found)


def _refuse(refusal: Refusal) -> Response:
    members = {"error": refusal.error, "error_description": str(refusal)}
    response = JSONResponse(members, refusal.status)
    if refusal.status == _UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = challenge_of(refusal)
    return response
