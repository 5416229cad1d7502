"""One host that is everything: directory, PDS and authorization server.

It is what the reference network cannot be made to be: slow, broken, malicious.
"""

from __future__ import annotations

import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl, urlencode

import anyio
import anyio.to_thread
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from atproto_oauth_asgi import Network

ALICE = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"
BOB = "did:plc:bbbbbbbbbbbbbbbbbbbbbbbb"
_HANDLES = {"alice.test": ALICE, "bob.test": BOB}

Answer = Callable[[], Response]


class FakeNetwork:
    """The knobs of the host, and what it was asked.

    Attributes:
        asked: the paths of all requests.
        pushed: the forms of all authorization requests.
        tokens: the forms of all token requests.
        revoked: all tokens that were revoked.
        answers: what a path answers instead of what it should.
        slow: paths that answer only when ``go_on`` is set; ``is_asked_slowly`` tells
            that one was asked.
        token: changes to the next token answers.
    """

    def __init__(self) -> None:
        self.origin = ""
        self.reset()

    def reset(self) -> None:
        self.asked: list[str] = []
        self.pushed: list[dict[str, str]] = []
        self.tokens: list[dict[str, str]] = []
        self.revoked: list[str] = []
        self.answers: dict[str, Answer] = {}
        self.slow: set[str] = set()
        self.go_on = threading.Event()
        self.is_asked_slowly = threading.Event()
        self.token: dict[str, Any] = {}

    def network(self, **options: Any) -> Network:
        made = Network.development(plc_url=self.origin, handle_resolver_url=self.origin)
        for name, value in options.items():
            object.__setattr__(made, name, value)
        return made

    def callback(self, **changes: str | None) -> dict[str, str]:
        """The parameters with which the newest login comes back."""
        answer = {
            "state": self.pushed[-1]["state"],
            "iss": self.origin,
            "code": secrets.token_urlsafe(),
            **changes,
        }
        return {name: value for name, value in answer.items() if value is not None}

    def callback_path(self, **changes: str | None) -> str:
        return f"/oauth/callback?{urlencode(self.callback(**changes))}"

    async def answer(self, request: Request) -> Response:
        path = request.url.path
        self.asked.append(path)
        form = dict([*_pairs(await request.body())])
        if path in self.slow:
            self.is_asked_slowly.set()
            await anyio.to_thread.run_sync(self.go_on.wait, 10)
        self._note(path, form)
        make = self.answers.get(path)
        response = make() if make else self._answer(path, request)
        response.headers["DPoP-Nonce"] = "a-nonce-of-the-fake-network"
        return response

    def _note(self, path: str, form: dict[str, str]) -> None:
        if path == "/oauth/par":
            self.pushed.append(form)
        elif path == "/oauth/token":
            self.tokens.append(form)
        elif path == "/oauth/revoke":
            self.revoked.append(form["token"])

    def _answer(self, path: str, request: Request) -> Response:
        if path == "/xrpc/com.atproto.identity.resolveHandle":
            return self._resolve(request.query_params["handle"])
        if path == "/oauth/par":
            members = {"request_uri": f"urn:x:{secrets.token_hex()}", "expires_in": 300}
            return JSONResponse(members, status_code=201)
        made = {
            "/.well-known/oauth-protected-resource": self._resource,
            "/.well-known/oauth-authorization-server": self._server,
            "/oauth/token": self._tokens,
            "/oauth/revoke": dict,
        }.get(path)
        return JSONResponse(made() if made else self._document(path[1:]))

    def _resolve(self, handle: str) -> Response:
        if handle in _HANDLES:
            return JSONResponse({"did": _HANDLES[handle]})
        return JSONResponse({"error": "InvalidRequest"}, status_code=400)

    def _document(self, did: str) -> dict[str, Any]:
        [handle] = [name for name, each in _HANDLES.items() if each == did]
        service = {
            "id": "#atproto_pds",
            "type": "AtprotoPersonalDataServer",
            "serviceEndpoint": self.origin,
        }
        return {"id": did, "alsoKnownAs": [f"at://{handle}"], "service": [service]}

    def _resource(self) -> dict[str, Any]:
        return {"resource": self.origin, "authorization_servers": [self.origin]}

    def _tokens(self) -> dict[str, Any]:
        return {
            "access_token": secrets.token_urlsafe(),
            "refresh_token": secrets.token_urlsafe(),
            "token_type": "DPoP",
            "expires_in": 3600,
            "sub": ALICE,
            "scope": "atproto",
            **self.token,
        }

    def _server(self) -> dict[str, Any]:
        return {
            "issuer": self.origin,
            "authorization_endpoint": f"{self.origin}/oauth/authorize",
            "token_endpoint": f"{self.origin}/oauth/token",
            "pushed_authorization_request_endpoint": f"{self.origin}/oauth/par",
            "revocation_endpoint": f"{self.origin}/oauth/revoke",
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


def broken(status: int = 500) -> Answer:
    """An answer of a server that is out of order."""
    return lambda: Response("<h1>out of order</h1>", status_code=status)


def malformed() -> Response:
    """An answer that is no JSON although it says so."""
    return Response(b"{", media_type="application/json")


def elsewhere() -> Response:
    """A redirect that nobody should follow."""
    return RedirectResponse("http://127.0.0.1:1/", status_code=307)


def _pairs(body: bytes) -> list[tuple[str, str]]:
    return parse_qsl(body.decode("ascii"))


@contextmanager
def running_fake_network() -> Iterator[FakeNetwork]:
    fake = FakeNetwork()
    methods = ["GET", "POST"]
    app = Starlette(routes=[Route("/{path:path}", fake.answer, methods=methods)])
    # Naming the protocol makes asyncio send small answers at once.
    with socket.socket(proto=socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        fake.origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
        config = uvicorn.Config(app, log_level="warning", lifespan="off", ws="none")
        server = uvicorn.Server(config)
        thread = threading.Thread(
            target=server.run, kwargs={"sockets": [listener]}, daemon=True
        )
        thread.start()
        try:
            yield fake
        finally:
            fake.go_on.set()
            server.should_exit = True
            thread.join(timeout=10)
