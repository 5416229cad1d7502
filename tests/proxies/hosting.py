"""An application behind a proxy of the documentation, with TLS in front.

The authorization server fetches metadata and keys through the proxy, and the browser's
requests go through it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

from atproto_oauth_asgi import ATProtoOAuthMiddleware, ClientKey
from atproto_oauth_asgi.crypto.keys import generate_private_key
from tests.documentation import DOCS, blocks
from tests.notes_app import COLLECTION, SECRET, post_note, who
from tests.proxies.servers import Caddy, Nginx, Proxy, changed
from tests.reference_network.process import ReferenceNetwork
from tests.reference_network.tls import APP_HOST
from tests.services.process import ServiceNotInstalledError
from tests.serving import served_in_thread

PAGE = DOCS / "how-to/behind-a-proxy.md"
ORIGIN = f"https://{APP_HOST}"
BROWSER = {"Origin": ORIGIN, "Sec-Fetch-Site": "same-origin"}
FORGED = {
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "http",
    "X-Real-IP": "203.0.113.9",
    "Forwarded": "for=203.0.113.9;host=evil.example;proto=http",
}
NGINX, SEVERAL, STRIPPED, KEPT, LIMIT_ZONE, LIMIT = (
    text for _, text in blocks(PAGE, "nginx")
)
CADDY, CADDY_STRIPPED, CADDY_KEPT = (text for _, text in blocks(PAGE, "caddyfile"))
ROOT_LOCATION = "    location / {\n        proxy_pass http://notes;\n    }\n"


def first_upstream(configuration: str) -> str:
    return configuration[: configuration.index("}\n") + 2]


# --- The application -----------------------------------------------------------------


async def seen(request: Request) -> Response:
    """Tell which headers arrived."""
    return JSONResponse(dict(request.headers))


async def large(request: Request) -> Response:
    """Set the two largest cookies that a session may need."""
    answer = Response("large")
    for name in ("one", "two"):
        answer.set_cookie(name, "x" * 3900, secure=True)
    return answer


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text(await websocket.receive_text())
    await websocket.close()


_ROUTES = [
    Route("/", who),
    Route("/notes", post_note, methods=["POST"]),
    Route("/seen", seen),
    Route("/large", large),
    WebSocketRoute("/echo", echo),
]
_KEYS = (ClientKey(generate_private_key()),)


def make_app(reference: ReferenceNetwork, path: str, **options: Any) -> Any:
    routes = [Mount("/notes", routes=_ROUTES), *_ROUTES]
    return ATProtoOAuthMiddleware(
        Starlette(routes=routes),
        secret_key=SECRET,
        public_url=f"{ORIGIN}{path}",
        scope=f"atproto repo:{COLLECTION}",
        client_keys=_KEYS,
        network=reference.network,
        **options,
    )


# --- The proxy in front of it --------------------------------------------------------


def by_nginx(text: str, upstreams: list[str], **options: Any) -> Proxy:
    servers = "".join(f"    server {upstream};\n" for upstream in upstreams)
    keys = {line for line in text.splitlines() if line.startswith("    server 127")}
    text = changed(text, {"app.example.com;": f"{APP_HOST};"})
    for line in sorted(keys)[1:]:
        text = text.replace(f"{line}\n", "")
    text = changed(text, {f"{min(keys)}\n": servers})
    return Nginx(text, **options)


def by_caddy(text: str, upstreams: list[str], **options: Any) -> Proxy:
    changes = {"app.example.com {": f"{APP_HOST} {{", "127.0.0.1:8000": upstreams[0]}
    return Caddy(changed(text, changes), **options)


@contextmanager
def proxied(
    reference: ReferenceNetwork,
    make: Callable[..., Proxy],
    *apps: Any,
) -> Iterator[Proxy]:
    """Serve the applications behind one proxy, and let the network find it."""
    with ExitStack() as stack:
        served = [stack.enter_context(served_in_thread(app)) for app in apps]
        upstreams = [urlsplit(origin).netloc for origin in served]
        try:
            proxy = make(upstreams, certificate=reference.certificate)
            stack.callback(proxy.remove)
            proxy.start()
        except ServiceNotInstalledError as error:
            pytest.skip(str(error))
        reference.route(APP_HOST, port=proxy.port, by_tls=True)
        stack.callback(reference.route, APP_HOST, port=None)
        reference.forget_clients()
        yield proxy


def below(location: str) -> str:
    return changed(NGINX, {ROOT_LOCATION: location})


WAYS = {
    "nginx": (partial(by_nginx, NGINX), ""),
    "nginx-strips-the-path": (partial(by_nginx, below(STRIPPED)), "/notes"),
    "nginx-keeps-the-path": (partial(by_nginx, below(KEPT)), "/notes"),
    "caddy": (partial(by_caddy, CADDY), ""),
    "caddy-strips-the-path": (partial(by_caddy, CADDY_STRIPPED), "/notes"),
    "caddy-keeps-the-path": (partial(by_caddy, CADDY_KEPT), "/notes"),
}
AT_THE_ROOT = ("nginx", "caddy")
