"""The configurations of `behind-a-proxy.md`, run as they stand, with TLS in front.

The authorization server fetches metadata and keys through the proxy, and the browser's
requests go through it.
"""

from __future__ import annotations

import json
import socket
import ssl
from functools import partial
from typing import Any

import pytest
from websockets.sync.client import connect

from atproto_oauth_asgi import RedisStore
from tests.documentation import DOCS, quoted
from tests.proxies.hosting import (
    AT_THE_ROOT,
    BROWSER,
    FORGED,
    LIMIT,
    LIMIT_ZONE,
    NGINX,
    ORIGIN,
    ROOT_LOCATION,
    SEVERAL,
    WAYS,
    by_nginx,
    first_upstream,
    make_app,
    proxied,
)
from tests.proxies.servers import Nginx, changed
from tests.reference_network.process import ReferenceNetwork
from tests.reference_network.sign_in import Browser, approve
from tests.reference_network.tls import APP_HOST
from tests.services.servers import RedisService

pytestmark = pytest.mark.network


@pytest.mark.parametrize("way", WAYS)
def test_login_when_a_proxy_is_in_front_then_lives_until_logout(
    way: str, tls_network: ReferenceNetwork
) -> None:
    """Documents, login, call and logout pass, whatever strangers write into headers."""
    make, path = WAYS[way]
    alice = tls_network.accounts["alice.test"]
    with (
        proxied(tls_network, make, make_app(tls_network, path)),
        tls_network.open_http(
            base_url=f"{ORIGIN}{path}", headers={**BROWSER, **FORGED}
        ) as http,
        Browser(tls_network.open_http()) as browser,
    ):
        document = http.get("/oauth-client-metadata.json").json()
        assert document["client_id"] == f"{ORIGIN}{path}/oauth-client-metadata.json"
        answer = http.post("/oauth/login", data={"identifier": "alice.test"})
        auth_url = answer.headers["refresh"].partition("url=")[2]
        back = approve(auth_url, alice, browser=browser)
        assert back.startswith(f"{ORIGIN}{path}/oauth/callback?")
        assert http.get(back).status_code == 303
        assert http.get("/").json()["did"] == alice.did
        assert http.post("/notes", params={"text": way}).status_code == 200
        [session] = tls_network.sessions()
        assert session["clientAuthMethod"] == "private_key_jwt"
        assert http.post("/oauth/logout").status_code == 303
        assert http.get("/").json()["did"] is None
        assert tls_network.sessions() == []


@pytest.mark.parametrize("way", AT_THE_ROOT)
def test_headers_when_a_proxy_is_in_front_then_forged_addresses_are_gone(
    way: str, tls_network: ReferenceNetwork
) -> None:
    """What the page says may be trusted as a client's address was not sent by it."""
    make, path = WAYS[way]
    with (
        proxied(tls_network, make, make_app(tls_network, path)),
        tls_network.open_http(headers=FORGED) as http,
    ):
        answer = http.get(f"{ORIGIN}/seen")
    arrived = answer.json()
    assert answer.headers["strict-transport-security"] == "max-age=31536000"
    assert arrived["x-real-ip"] == "127.0.0.1"
    assert "203.0.113.9" not in arrived["x-forwarded-for"]
    assert arrived["x-forwarded-proto"] == "https"


@pytest.mark.parametrize("way", AT_THE_ROOT)
def test_cookies_when_large_then_pass_in_both_directions(
    way: str, tls_network: ReferenceNetwork
) -> None:
    """Two lines of 4 KiB go out, one of 8 KiB comes in."""
    make, path = WAYS[way]
    with (
        proxied(tls_network, make, make_app(tls_network, path)),
        tls_network.open_http() as http,
    ):
        answer = http.get(f"{ORIGIN}/large")
        assert (answer.status_code, len(answer.cookies)) == (200, 2)
        assert len(http.get(f"{ORIGIN}/seen").json()["cookie"]) > 7800


def test_cookies_when_nginx_has_no_room_for_them_then_502(
    tls_network: ReferenceNetwork,
) -> None:
    """The three lines about buffers are needed, as the page says."""
    lines = "    proxy_buffer_size 16k;\n    proxy_buffers 8 16k;\n"
    make = partial(by_nginx, changed(NGINX, {lines: ""}))
    with (
        proxied(tls_network, make, make_app(tls_network, "")),
        tls_network.open_http() as http,
    ):
        answer = http.get(f"{ORIGIN}/large")
    assert answer.status_code == 502
    troubles = quoted(DOCS / "troubleshooting.md")
    for line in troubles["nginx answers 502 after a login"]:
        assert line in answer.text


@pytest.mark.parametrize("way", AT_THE_ROOT)
def test_websocket_when_a_proxy_is_in_front_then_passes(
    way: str, tls_network: ReferenceNetwork
) -> None:
    """An upgrade is passed on."""
    make, path = WAYS[way]
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with proxied(tls_network, make, make_app(tls_network, path)) as proxy:
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
        proxied(
            tls_network, partial(by_nginx, NGINX), make_app(tls_network, "")
        ) as proxy,
        tls_network.open_http() as http,
    ):
        http.get(f"{ORIGIN}/oauth/callback", params={"code": "secret-code"})
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
    configuration = changed(NGINX, {first_upstream(NGINX): SEVERAL})
    served: list[str] = []

    def worker(name: str) -> Any:
        app = make_app(tls_network, "", store=RedisStore(redis_service.url))

        async def named(scope: Any, receive: Any, send: Any) -> None:
            served.append(f"{name} {scope.get('path')}")
            await app(scope, receive, send)

        return named

    with (
        proxied(
            tls_network, partial(by_nginx, configuration), worker("a"), worker("b")
        ),
        tls_network.open_http(base_url=ORIGIN, headers=BROWSER) as http,
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
    limited = changed(LIMIT_ZONE + NGINX, {ROOT_LOCATION: f"{LIMIT}{ROOT_LOCATION}"})
    with (
        proxied(tls_network, partial(by_nginx, limited), make_app(tls_network, "")),
        tls_network.open_http(base_url=ORIGIN, headers=BROWSER) as http,
    ):
        sent = [http.post("/oauth/login", data={}).status_code for _ in range(10)]
        looked = [http.get("/oauth/login").status_code for _ in range(10)]
    assert sent == [400] * 6 + [429] * 4
    assert looked == [200] * 10
