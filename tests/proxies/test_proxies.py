"""The configurations of `behind-a-proxy.md`, run as they stand, with TLS in front.

The authorization server fetches metadata and keys through the proxy, and the browser's
requests go through it.
"""

from __future__ import annotations

import json
import socket
import ssl
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
from websockets.sync.client import connect

from atproto_oauth_asgi import ATProtoOAuthMiddleware, ClientKey, RedisStore
from atproto_oauth_asgi.crypto.keys import generate_private_key
from tests.documentation import DOCS, blocks, quoted
from tests.notes_app import COLLECTION, SECRET, post_note, who
from tests.proxies.servers import Caddy, Nginx, Proxy, changed
from tests.reference_network.process import ReferenceNetwork
from tests.reference_network.sign_in import Browser, approve
from tests.reference_network.tls import APP_HOST
from tests.services.process import ServiceNotInstalledError
from tests.services.servers import RedisService
from tests.serving import served_in_thread

pytestmark = pytest.mark.network

_PAGE = DOCS / "how-to/behind-a-proxy.md"
_ORIGIN = f"https://{APP_HOST}"
_BROWSER = {"Origin": _ORIGIN, "Sec-Fetch-Site": "same-origin"}
_FORGED = {
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "http",
    "X-Real-IP": "203.0.113.9",
    "Forwarded": "for=203.0.113.9;host=evil.example;proto=http",
}
_NGINX, _SEVERAL, _STRIPPED, _KEPT, _LIMIT_ZONE, _LIMIT = (
    text for _, text in blocks(_PAGE, "nginx")
)
_CADDY, _CADDY_STRIPPED, _CADDY_KEPT = (text for _, text in blocks(_PAGE, "caddyfile"))
_ROOT_LOCATION = "    location / {\n        proxy_pass http://notes;\n    }\n"


def _first_upstream(configuration: str) -> str:
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


def _app(reference: ReferenceNetwork, path: str, **options: Any) -> Any:
    routes = [Mount("/notes", routes=_ROUTES), *_ROUTES]
    return ATProtoOAuthMiddleware(
        Starlette(routes=routes),
        secret_key=SECRET,
        public_url=f"{_ORIGIN}{path}",
        scope=f"atproto repo:{COLLECTION}",
        client_keys=_KEYS,
        network=reference.network,
        **options,
    )


# --- The proxy in front of it --------------------------------------------------------


def _nginx(text: str, upstreams: list[str], **options: Any) -> Proxy:
    servers = "".join(f"    server {upstream};\n" for upstream in upstreams)
    keys = {line for line in text.splitlines() if line.startswith("    server 127")}
    text = changed(text, {"app.example.com;": f"{APP_HOST};"})
    for line in sorted(keys)[1:]:
        text = text.replace(f"{line}\n", "")
    text = changed(text, {f"{min(keys)}\n": servers})
    return Nginx(text, **options)


def _caddy(text: str, upstreams: list[str], **options: Any) -> Proxy:
    changes = {"app.example.com {": f"{APP_HOST} {{", "127.0.0.1:8000": upstreams[0]}
    return Caddy(changed(text, changes), **options)


@contextmanager
def _proxied(
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


def _below(location: str) -> str:
    return changed(_NGINX, {_ROOT_LOCATION: location})


_WAYS = {
    "nginx": (partial(_nginx, _NGINX), ""),
    "nginx-strips-the-path": (partial(_nginx, _below(_STRIPPED)), "/notes"),
    "nginx-keeps-the-path": (partial(_nginx, _below(_KEPT)), "/notes"),
    "caddy": (partial(_caddy, _CADDY), ""),
    "caddy-strips-the-path": (partial(_caddy, _CADDY_STRIPPED), "/notes"),
    "caddy-keeps-the-path": (partial(_caddy, _CADDY_KEPT), "/notes"),
}
_AT_THE_ROOT = ("nginx", "caddy")


@pytest.mark.parametrize("way", _WAYS)
def test_login_when_a_proxy_is_in_front_then_lives_until_logout(
    way: str, tls_network: ReferenceNetwork
) -> None:
    """Documents, login, call and logout pass, whatever strangers write into headers."""
    make, path = _WAYS[way]
    alice = tls_network.accounts["alice.test"]
    with (
        _proxied(tls_network, make, _app(tls_network, path)),
        tls_network.open_http(
            base_url=f"{_ORIGIN}{path}", headers={**_BROWSER, **_FORGED}
        ) as http,
        Browser(tls_network.open_http()) as browser,
    ):
        document = http.get("/oauth-client-metadata.json").json()
        assert document["client_id"] == f"{_ORIGIN}{path}/oauth-client-metadata.json"
        answer = http.post("/oauth/login", data={"identifier": "alice.test"})
        auth_url = answer.headers["refresh"].partition("url=")[2]
        back = approve(auth_url, alice, browser=browser)
        assert back.startswith(f"{_ORIGIN}{path}/oauth/callback?")
        assert http.get(back).status_code == 303
        assert http.get("/").json()["did"] == alice.did
        assert http.post("/notes", params={"text": way}).status_code == 200
        [session] = tls_network.sessions()
        assert session["clientAuthMethod"] == "private_key_jwt"
        assert http.post("/oauth/logout").status_code == 303
        assert http.get("/").json()["did"] is None
        assert tls_network.sessions() == []


@pytest.mark.parametrize("way", _AT_THE_ROOT)
def test_headers_when_a_proxy_is_in_front_then_forged_addresses_are_gone(
    way: str, tls_network: ReferenceNetwork
) -> None:
    """What the page says may be trusted as a client's address was not sent by it."""
    make, path = _WAYS[way]
    with (
        _proxied(tls_network, make, _app(tls_network, path)),
        tls_network.open_http(headers=_FORGED) as http,
    ):
        arrived = http.get(f"{_ORIGIN}/seen").json()
    assert arrived["x-real-ip"] == "127.0.0.1"
    assert "203.0.113.9" not in arrived["x-forwarded-for"]
    assert arrived["x-forwarded-proto"] == "https"


@pytest.mark.parametrize("way", _AT_THE_ROOT)
def test_cookies_when_large_then_pass_in_both_directions(
    way: str, tls_network: ReferenceNetwork
) -> None:
    """Two lines of 4 KiB go out, one of 8 KiB comes in."""
    make, path = _WAYS[way]
    with (
        _proxied(tls_network, make, _app(tls_network, path)),
        tls_network.open_http() as http,
    ):
        answer = http.get(f"{_ORIGIN}/large")
        assert (answer.status_code, len(answer.cookies)) == (200, 2)
        assert len(http.get(f"{_ORIGIN}/seen").json()["cookie"]) > 7800


def test_cookies_when_nginx_has_no_room_for_them_then_502(
    tls_network: ReferenceNetwork,
) -> None:
    """The three lines about buffers are needed, as the page says."""
    lines = "    proxy_buffer_size 16k;\n    proxy_buffers 8 16k;\n"
    make = partial(_nginx, changed(_NGINX, {lines: ""}))
    with (
        _proxied(tls_network, make, _app(tls_network, "")),
        tls_network.open_http() as http,
    ):
        answer = http.get(f"{_ORIGIN}/large")
    assert answer.status_code == 502
    troubles = quoted(DOCS / "troubleshooting.md")
    for line in troubles["nginx answers 502 after a login"]:
        assert line in answer.text


@pytest.mark.parametrize("way", _AT_THE_ROOT)
def test_websocket_when_a_proxy_is_in_front_then_passes(
    way: str, tls_network: ReferenceNetwork
) -> None:
    """An upgrade is passed on."""
    make, path = _WAYS[way]
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with _proxied(tls_network, make, _app(tls_network, path)) as proxy:
        sock = socket.create_connection(("127.0.0.1", proxy.port))
        url = f"wss://{APP_HOST}:{proxy.port}/echo"
        with connect(url, sock=sock, ssl=context, proxy=None) as talk:
            talk.send("through the proxy")
            assert talk.recv() == "through the proxy"


def test_access_log_when_nginx_writes_it_then_holds_no_query(
    tls_network: ReferenceNetwork,
) -> None:
    """The code of a callback is in no log."""
    with (
        _proxied(tls_network, partial(_nginx, _NGINX), _app(tls_network, "")) as proxy,
        tls_network.open_http() as http,
    ):
        http.get(f"{_ORIGIN}/oauth/callback", params={"code": "secret-code"})
        assert isinstance(proxy, Nginx)
        proxy.stop()
        logged = proxy.access_log.read_text("utf-8")
    assert '"GET /oauth/callback" 400' in logged
    assert "secret-code" not in logged


def test_login_when_workers_take_turns_then_ends_at_another_one(
    tls_network: ReferenceNetwork, redis_service: RedisService
) -> None:
    """No request has to come back to the worker of the last one."""
    alice = tls_network.accounts["alice.test"]
    configuration = changed(_NGINX, {_first_upstream(_NGINX): _SEVERAL})
    served: list[str] = []

    def worker(name: str) -> Any:
        app = _app(tls_network, "", store=RedisStore(redis_service.url))

        async def named(scope: Any, receive: Any, send: Any) -> None:
            served.append(f"{name} {scope.get('path')}")
            await app(scope, receive, send)

        return named

    with (
        _proxied(tls_network, partial(_nginx, configuration), worker("a"), worker("b")),
        tls_network.open_http(base_url=_ORIGIN, headers=_BROWSER) as http,
        Browser(tls_network.open_http()) as browser,
    ):
        answer = http.post("/oauth/login", json={"identifier": "alice.test"})
        auth_url = json.loads(answer.text)["authorization_url"]
        back = approve(auth_url, alice, browser=browser)
        assert http.get(back).status_code == 303
        for _ in range(2):
            assert http.get("/").json()["did"] == alice.did
        http.post("/oauth/logout")
        for _ in range(2):
            assert http.get("/").json()["did"] is None
    assert {f"{name} /" for name in "ab"} <= set(served)


def test_logins_when_a_visitor_sends_many_then_nginx_says_429(
    tls_network: ReferenceNetwork,
) -> None:
    """Forms that are sent count; pages that are looked at do not."""
    limited = changed(
        _LIMIT_ZONE + _NGINX, {_ROOT_LOCATION: f"{_LIMIT}{_ROOT_LOCATION}"}
    )
    with (
        _proxied(tls_network, partial(_nginx, limited), _app(tls_network, "")),
        tls_network.open_http(base_url=_ORIGIN, headers=_BROWSER) as http,
    ):
        sent = [http.post("/oauth/login", data={}).status_code for _ in range(10)]
        looked = [http.get("/oauth/login").status_code for _ in range(10)]
    assert sent == [400] * 6 + [429] * 4
    assert looked == [200] * 10
