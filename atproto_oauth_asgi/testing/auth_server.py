"""An authorization server as strict as the reference one: push, redeem, revoke."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from atproto_oauth_asgi.testing.clients import Client, Clients
from atproto_oauth_asgi.testing.grants import Ledger, require, tokens_of
from atproto_oauth_asgi.testing.proofs import Nonces, Verifier
from atproto_oauth_asgi.testing.refusals import (
    Refusal,
    bad_proof,
    bad_request,
    challenge_of,
)

Form: TypeAlias = Mapping[str, str]
_Answering: TypeAlias = Callable[[Request, Form], Awaitable[Response]]

_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_HINT = re.compile(r"did:[a-z]+:.+|[^\s@:/]+\.[^\s@:/]+")
_FORM_TYPE = "application/x-www-form-urlencoded"
_UNAUTHORIZED = 401


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
        return JSONResponse(build_metadata(self.issuer))

    async def _push(self, request: Request, form: Form) -> Response:
        """Spec: RFC 9126 section 2."""
        thumbprint = self._thumbprint(request)
        client, kid = await self._clients.authenticate(form)
        _check_request(client, form)
        pushed = self._ledger.push(form, kid=kid, thumbprint=thumbprint)
        members = {"request_uri": pushed.request_uri, "expires_in": 299}
        return JSONResponse(members, 201)

    async def _give_tokens(self, request: Request, form: Form) -> Response:
        """Spec: RFC 6749 sections 4.1.3 and 6."""
        thumbprint = self._thumbprint(request)
        _, kid = await self._clients.authenticate(form)
        if thumbprint is None:
            raise bad_proof("DPoP proof required")
        if form.get("grant_type") == "authorization_code":
            require(form, "code", "redirect_uri", "code_verifier")
            grant = self._ledger.redeem(form, kid=kid, thumbprint=thumbprint)
        elif form.get("grant_type") == "refresh_token":
            require(form, "refresh_token")
            grant = self._ledger.refresh(form, kid=kid, thumbprint=thumbprint)
        else:
            raise Refusal("invalid_grant", "Unsupported grant_type")
        return JSONResponse(tokens_of(grant, lifetime_s=self._ledger.lifetime_s))

    async def _revoke(self, request: Request, form: Form) -> Response:
        """Spec: RFC 7009. Like the reference server it says yes to anything."""
        thumbprint = self._thumbprint(request)
        client, _ = await self._clients.authenticate(form)
        self._ledger.revoke(
            form.get("token", ""), client_id=client.client_id, thumbprint=thumbprint
        )
        return JSONResponse({})

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
        "scopes_supported": ["atproto", "transition:generic"],
        "subject_types_supported": ["public"],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["none", "private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": ["ES256"],
        "dpop_signing_alg_values_supported": ["ES256"],
        "prompt_values_supported": ["none", "login", "consent", "select_account"],
        "authorization_response_iss_parameter_supported": True,
        "require_pushed_authorization_requests": True,
        "client_id_metadata_document_supported": True,
    }


async def _no_keys(_: Request) -> Response:
    return JSONResponse({"keys": []})


async def _read_form(request: Request) -> Form:
    content_type = request.headers.get("content-type", "").partition(";")[0]
    if content_type.strip().lower() != _FORM_TYPE:
        raise bad_request("the body must be a form")
    pairs = parse_qsl((await request.body()).decode("utf-8"), keep_blank_values=True)
    if len(dict(pairs)) < len(pairs):
        raise bad_request("a parameter is there twice")
    return dict(pairs)


def _refuse(refusal: Refusal) -> Response:
    members = {"error": refusal.error, "error_description": str(refusal)}
    response = JSONResponse(members, refusal.status)
    if refusal.status == _UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = challenge_of(refusal)
    return response


def _check_request(client: Client, form: Form) -> None:
    """Spec: RFC 6749 section 4.1.1, RFC 7636, atproto OAuth."""
    require(form, "redirect_uri", "scope", "code_challenge")
    if form.get("response_type") != "code":
        raise Refusal("unsupported_response_type", "response_type must be code")
    if "request_uri" in form:
        raise bad_request("request_uri: not here")
    if not client.allows_redirect(form["redirect_uri"]):
        raise bad_request("Invalid redirect_uri")
    is_s256 = form.get("code_challenge_method") == "S256"
    if not is_s256 or not _CHALLENGE.fullmatch(form["code_challenge"]):
        raise bad_request("code_challenge: S256 is required")
    if form.get("response_mode", "query") != "query":
        raise bad_request("response_mode: query only")
    _check_wishes(client, form)


def _check_wishes(client: Client, form: Form) -> None:
    scopes = set(form["scope"].split(" "))
    if "atproto" not in scopes:
        raise Refusal("invalid_scope", 'The "atproto" scope is required')
    if not scopes <= client.scopes:
        raise Refusal("invalid_scope", "Scope is not declared in the client metadata")
    if not _HINT.fullmatch(form.get("login_hint", "did:x:y")):
        raise bad_request("login_hint: a handle or a DID")
    if form.get("prompt") == "none" and client.is_public:
        raise bad_request('Public clients are not allowed to use "prompt=none"')
