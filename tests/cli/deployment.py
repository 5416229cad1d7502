"""An application as it is deployed, by https at a name, with one thing broken."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from starlette.applications import Starlette
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from atproto_oauth_asgi import ATProtoOAuthMiddleware, ClientKey
from atproto_oauth_asgi.cli.main import main
from atproto_oauth_asgi.crypto.keys import generate_private_key
from atproto_oauth_asgi.testing import AtprotoNetwork
from atproto_oauth_asgi.testing.certificates import authority

HOST = "notes.internal"
URL = f"https://{HOST}"
METADATA, JWKS = "/oauth-client-metadata.json", "/oauth/jwks.json"
LOGIN, CALLBACK, LOGOUT = "/oauth/login", "/oauth/callback", "/oauth/logout"
SESSION = "/oauth/session"
SECRET = b"a secret of the tests, 32 bytes or more"


@dataclass
class Reply:
    """An answer on its way out."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    asked: Mapping[str, str] = field(default_factory=dict)

    def set(self, name: str, value: str | None) -> None:
        """Replace a header, or take it away."""
        self.headers = [each for each in self.headers if each[0] != name]
        if value is not None:
            self.headers.append((name, value))

    def edit(self, **members: Any) -> None:
        """Change members of the JSON in it; ``...`` takes one away."""
        known = json.loads(self.body) | members
        self.body = json.dumps(
            {k: v for k, v in known.items() if v is not ...}
        ).encode()

    def edit_cookies(self, change: Callable[[str], str]) -> None:
        """Change each ``Set-Cookie`` line."""
        self.headers = [
            (name, change(value) if name == "set-cookie" else value)
            for name, value in self.headers
        ]


Change = Callable[[Reply], None]


class Broken:
    """In front of an application: changes the answers of one path, or of all."""

    def __init__(
        self, app: ASGIApp, change: Change, *, path: str | None, method: str | None
    ) -> None:
        self._app = app
        self._change = change
        self._path = path
        self._method = method

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        messages: list[Message] = []

        async def keep(message: Message) -> None:
            messages.append(message)

        await self._app(scope, receive, keep)
        start, *rest = messages
        reply = Reply(
            status=start["status"],
            headers=[(n.decode(), v.decode()) for n, v in start["headers"]],
            body=b"".join(each.get("body", b"") for each in rest),
            asked={n.decode(): v.decode() for n, v in scope["headers"]},
        )
        is_meant = self._path in {None, scope["path"]}
        if is_meant and self._method in {None, scope["method"]}:
            self._change(reply)
        reply.set("content-length", str(len(reply.body)))
        raw = [(name.encode(), value.encode()) for name, value in reply.headers]
        await send({**start, "status": reply.status, "headers": raw})
        await send({"type": "http.response.body", "body": reply.body})


class Deployment:
    """The application, the network around it, and the doctor who looks at it."""

    def __init__(self, network: AtprotoNetwork, folder: Path) -> None:
        self.network = network
        self.authority = folder / "authority.pem"
        certificate = authority()._certificate
        self.authority.write_bytes(certificate.public_bytes(Encoding.PEM))

    def serve(self, app: ASGIApp | None = None, **options: Any) -> ASGIApp:
        """Put an application behind the name; that of ``make_app`` unless given."""
        app = app or make_app(self.network, **options)
        self.network.serve_client(HOST, with_date(app))
        return app

    def break_it(
        self,
        change: Change,
        *,
        path: str | None = None,
        method: str | None = None,
        **options: Any,
    ) -> None:
        """Serve the application with its answers changed."""
        app = make_app(self.network, **options)
        self.network.serve_client(
            HOST, Broken(with_date(app), change, path=path, method=method)
        )

    @property
    def reaching(self) -> list[str]:
        """The arguments that lead here."""
        return [
            *("--ca", str(self.authority)),
            *("--connect", f"127.0.0.1:{self.network.internet._port}"),
            *("--private", HOST),
        ]

    def doctor(self, *arguments: str, url: str = URL) -> int:
        """Run the command; give its exit code."""
        return main(["doctor", url, *self.reaching, *arguments])


def with_date(app: ASGIApp) -> ASGIApp:
    """Add the field that web servers add."""

    def date(reply: Reply) -> None:
        from email.utils import formatdate

        reply.headers.append(("date", formatdate(usegmt=True)))
        reply.headers.append(("strict-transport-security", "max-age=31536000"))

    return Broken(app, date, path=None, method=None)


def make_app(network: AtprotoNetwork, **options: Any) -> ATProtoOAuthMiddleware:
    """Return a confidential client, as the documentation makes one."""
    merged = {
        "secret_key": SECRET,
        "public_url": URL,
        "client_name": "Notes",
        "client_keys": [ClientKey(generate_private_key())],
        "network": network.network,
        **options,
    }
    return ATProtoOAuthMiddleware(Starlette(), **merged)


@contextmanager
def deployed(folder: Path) -> Iterator[Deployment]:
    """Give a deployment in a network of its own."""
    with AtprotoNetwork() as network:
        yield Deployment(network, folder)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """One network for all tests of a module: starting it takes longest."""
    with deployed(tmp_path_factory.mktemp("deployment")) as found:
        yield found


@pytest.fixture
def deployment(world: Deployment) -> Deployment:
    """A network as new."""
    world.network.reset()
    return world
