"""A PDS: who somebody is, and their records."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from atproto_oauth_asgi.testing.accounts import Account
from atproto_oauth_asgi.testing.grants import Ledger
from atproto_oauth_asgi.testing.proofs import Nonces, Verifier
from atproto_oauth_asgi.testing.records import Records, cid_of
from atproto_oauth_asgi.testing.refusals import (
    Refusal,
    bad_proof,
    bad_token,
    challenge_of,
)
from atproto_oauth_asgi.testing.sessions import Grant

_UNAUTHORIZED, _FORBIDDEN = 401, 403
_MAX_LIMIT = 100
_Answering = Callable[[Request, Grant], Awaitable[Any]]


class Pds:
    """The XRPC methods that an application under test is likely to call."""

    def __init__(
        self,
        *,
        accounts: Mapping[str, Account],
        ledger: Ledger,
        nonces: Nonces,
        verifier: Verifier,
        records: Records,
    ) -> None:
        self._accounts = accounts
        self._ledger = ledger
        self._nonces = nonces
        self._verifier = verifier
        self._records = records

    def routes(self, origin: str, *, issuer: str) -> list[Route]:
        """Return the routes of a PDS's host."""
        resource = {
            "resource": origin,
            "authorization_servers": [issuer],
            "scopes_supported": [],
            "bearer_methods_supported": ["header"],
        }

        async def describe(_: Request) -> Response:
            return JSONResponse(resource)

        call = self._authorized
        return [
            Route("/.well-known/oauth-protected-resource", describe),
            _open("com.atproto.identity.resolveHandle", self._resolve_handle),
            _open("com.atproto.repo.getRecord", self._get_record),
            _open("com.atproto.repo.listRecords", self._list_records),
            call(
                origin,
                "GET",
                nsid="com.atproto.server.getSession",
                answering=self._session,
            ),
            *(
                call(
                    origin, "POST", nsid=f"com.atproto.repo.{name}", answering=answering
                )
                for name, answering in {
                    "createRecord": self._put_record,
                    "putRecord": self._put_record,
                    "deleteRecord": self._delete_record,
                    "uploadBlob": self._upload_blob,
                }.items()
            ),
            Route("/xrpc/{nsid}", _unknown, methods=["GET", "POST"]),
        ]

    def _authorized(
        self, origin: str, method: str, *, nsid: str, answering: _Answering
    ) -> Route:
        async def endpoint(request: Request) -> Response:
            is_dpop = request.headers.get("authorization", "").startswith("DPoP ")
            try:
                grant = self._check(request, origin)
                response: Response = JSONResponse(await answering(request, grant))
            except Refusal as refusal:
                response = _refuse(refusal, with_challenge=True)
            if is_dpop:
                response.headers["DPoP-Nonce"] = self._nonces.next
            return response

        return Route(f"/xrpc/{nsid}", endpoint, methods=[method])

    def _check(self, request: Request, origin: str) -> Grant:
        """Return the session that a request belongs to. Spec: RFC 9449 section 7."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if not scheme:
            message = "Authentication Required"
            raise Refusal("AuthMissing", message, status=_UNAUTHORIZED)
        if scheme != "DPoP":
            raise Refusal("InvalidToken", "Malformed token")
        proofs = request.headers.getlist("dpop")
        if len(proofs) != 1:
            raise bad_proof("DPoP proof required")
        try:
            thumbprint = self._verifier.check_proof(
                proofs[0],
                method=request.method,
                url=origin + request.url.path,
                access_token=token,
            )
        except Refusal as refusal:
            refusal.status = _UNAUTHORIZED
            raise
        grant = self._ledger.check_access(token)
        if grant.thumbprint != thumbprint:
            raise bad_token("Invalid DPoP key binding")
        return grant

    def _account(self, name: str) -> Account:
        for account in self._accounts.values():
            if name in {account.did, account.handle}:
                return account
        raise Refusal("InvalidRequest", f"Could not find repo: {name}")

    async def _resolve_handle(self, request: Request) -> Any:
        handle = request.query_params.get("handle", "")
        if handle not in self._accounts:
            raise Refusal("HandleNotFound", "Unable to resolve handle")
        return {"did": self._accounts[handle].did}

    async def _session(self, _: Request, grant: Grant) -> Any:
        account = self._account(grant.did)
        return {"did": account.did, "handle": account.handle, "active": True}

    async def _get_record(self, request: Request) -> Any:
        query = request.query_params
        did = self._account(query.get("repo", "")).did
        collection, rkey = query.get("collection", ""), query.get("rkey", "")
        found = self._records.get(did, collection, rkey=rkey)
        if found is None:
            raise Refusal("RecordNotFound", "Could not locate record")
        return found

    async def _list_records(self, request: Request) -> Any:
        query = request.query_params
        did = self._account(query.get("repo", "")).did
        limit = query.get("limit", "50")
        if not limit.isdecimal() or not 0 < int(limit) <= _MAX_LIMIT:
            raise Refusal("InvalidRequest", "limit: 1 to 100")
        found = self._records.newest(did, query.get("collection", ""))
        return {"records": found[: int(limit)]}

    async def _put_record(self, request: Request, grant: Grant) -> Any:
        body = await self._own_body(request, grant)
        collection = body["collection"]
        action = "create" if request.url.path.endswith("createRecord") else "update"
        _check_scope(grant, collection, action=action)
        if not isinstance(body.get("record"), dict):
            raise Refusal("InvalidRequest", "record: an object")
        rkey = str(body.get("rkey") or self._records.new_key())
        return self._records.put(grant.did, collection, rkey=rkey, value=body["record"])

    async def _delete_record(self, request: Request, grant: Grant) -> Any:
        body = await self._own_body(request, grant)
        _check_scope(grant, body["collection"], action="delete")
        self._records.delete(grant.did, body["collection"], rkey=str(body.get("rkey")))
        return {}

    async def _upload_blob(self, request: Request, grant: Grant) -> Any:
        scopes = grant.scope.split(" ")
        if not any(s == "transition:generic" or s.startswith("blob") for s in scopes):
            raise _missing_scope("blob:*/*")
        data = await request.body()
        blob = {
            "$type": "blob",
            "ref": {"$link": cid_of(data)},
            "mimeType": request.headers.get("content-type", "*/*"),
            "size": len(data),
        }
        return {"blob": blob}

    async def _own_body(self, request: Request, grant: Grant) -> dict[str, Any]:
        try:
            body = await request.json()
        except ValueError as error:
            raise Refusal("InvalidRequest", "the body is not JSON") from error
        if not isinstance(body, dict) or not isinstance(body.get("collection"), str):
            raise Refusal("InvalidRequest", "collection: it is missing")
        if self._account(str(body.get("repo"))).did != grant.did:
            raise Refusal("InvalidRequest", "Could not write to another repo")
        return body


def _open(nsid: str, answering: Callable[[Request], Awaitable[Any]]) -> Route:
    async def endpoint(request: Request) -> Response:
        try:
            return JSONResponse(await answering(request))
        except Refusal as refusal:
            return _refuse(refusal, with_challenge=False)

    return Route(f"/xrpc/{nsid}", endpoint)


async def _unknown(_: Request) -> Response:
    members = {"error": "MethodNotImplemented", "message": "Method Not Implemented"}
    return JSONResponse(members, 501)


def _refuse(refusal: Refusal, *, with_challenge: bool) -> Response:
    members = {"error": refusal.error, "message": str(refusal)}
    response = JSONResponse(members, refusal.status)
    is_dpop = refusal.error != "AuthMissing"
    if with_challenge and is_dpop and refusal.status == _UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = challenge_of(refusal)
    return response


def _check_scope(grant: Grant, collection: str, *, action: str) -> None:
    """Spec: atproto "Permissions", the resource ``repo``."""
    if not any(
        _covers(scope, collection, action=action) for scope in grant.scope.split(" ")
    ):
        raise _missing_scope(f"repo:{collection}?action={action}")


def _covers(scope: str, collection: str, *, action: str) -> bool:
    if scope == "transition:generic":
        return True
    head, _, query = scope.partition("?")
    params = parse_qs(query)
    resource, _, first = head.partition(":")
    collections = [first] if first else params.get("collection", [])
    actions = params.get("action", [action])
    is_named = bool({collection, "*"}.intersection(collections))
    return resource == "repo" and is_named and action in actions


def _missing_scope(scope: str) -> Refusal:
    message = f'Missing required scope "{scope}"'
    return Refusal("ScopeMissingError", message, status=_FORBIDDEN)
