"""Our routes: found by exact path and method, the same whatever headers say."""

from __future__ import annotations

import re
from importlib.metadata import version
from typing import Any

import pytest

from atproto_oauth_asgi.client_keys import ClientKey
from atproto_oauth_asgi.crypto.keys import generate_private_key
from tests.sessions.making import make_session
from tests.web.desk import Desk
from tests.web.driving import (
    PUBLIC_URL,
    ask,
    http_scope,
)

pytestmark = pytest.mark.anyio


ROUTES = ["/oauth-client-metadata.json", "/oauth/jwks.json", "/oauth/login"]


@pytest.mark.covers("ASGI-12", "ASG-08", "HTTP-07")
@pytest.mark.parametrize(
    ("path", "scope", "options"),
    [
        ("/oauth/login", {}, {}),
        ("/oauth/login", {"root_path": "/app"}, {}),
        ("/app/oauth/login", {"root_path": "/app"}, {}),
        ("/app/oauth/login", {"root_path": "/app/"}, {}),
        ("/oauth/login", {"root_path": "/"}, {}),
        ("/app/oauth/login", {}, {"public_url": f"{PUBLIC_URL}/app"}),
        ("/oauth/login", {}, {"public_url": f"{PUBLIC_URL}/app/"}),
        ("/x/oauth/login", {"root_path": "/x"}, {"public_url": f"{PUBLIC_URL}/app"}),
    ],
)
async def test_route_when_mounted_then_found_once(
    path: str, scope: Any, options: Any
) -> None:
    """Servers and mounts disagree on what the path holds; all of them are right."""
    sent = await Desk(**options).get(path, **scope)
    assert b"<form" in sent.body
    base = "/app" if options or scope.get("root_path", "/") != "/" else ""
    assert f'action="{base}/oauth/login"'.encode() in sent.body


@pytest.mark.covers("HTTP-01", "HTTP-07", "WEB-08", "RET-14")
@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/oauth/login/",
        "//oauth/login",
        "/oauth//login",
        "/oauth/./login",
        "/oauth/Login",
        "/oauth/login;x",
        "/oauth/login\n",
        "/oauth%2flogin",
        "/app/oauth/login",
        "//evil.test/oauth/login",
        "",
    ],
)
async def test_route_when_the_path_is_not_exactly_ours_then_the_app_s(
    path: str,
) -> None:
    """What merely looks like one of our paths goes to the application."""
    assert (await Desk().get(path)).body == b"nobody"


HOSTILE = [
    ("host", "evil.test"),
    ("x-forwarded-host", "evil.test"),
    ("x-forwarded-proto", "http"),
    ("x-forwarded-prefix", "/evil"),
    ("x-forwarded-port", "1"),
    ("forwarded", "host=evil.test;proto=http"),
    ("x-original-url", "/evil"),
]


@pytest.mark.covers(
    *("HTTP-10", "META-01", "META-02", "META-03", "META-05", "WEB-01", "WEB-02"),
    *("HTTP-13", "WEB-11", "META-21"),
)
@pytest.mark.parametrize("path", ROUTES[:2])
async def test_document_when_headers_are_hostile_then_the_bytes_are_the_same(
    path: str,
) -> None:
    """What we publish follows from the configuration alone."""
    desk = Desk()
    plain = await desk.get(path)
    assert plain.status == 200
    assert plain.header("content-type") == ["application/json"]
    scopes = [
        http_scope(path, headers=[*HOSTILE, desk.cookie(make_session())]),
        http_scope(path, headers=[("accept", "text/html")], scheme="http"),
        {**http_scope(path), "headers": [], "http_version": "1.0"},
        http_scope(path, root_path="/evil", query_string=b"x=1"),
    ]
    for scope in scopes:
        sent = await ask(desk.app, scope)
        assert sent.body == plain.body
        assert sent.start["headers"] == plain.start["headers"]
    assert b"evil" not in plain.body
    assert desk.server.sent == []


@pytest.mark.covers("META-22", "WEB-13")
@pytest.mark.parametrize("path", ROUTES[:2])
@pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}'])
async def test_document_when_it_is_known_then_is_not_sent_again(
    path: str, form: str
) -> None:
    """Who has this very document gets 304; who has another one gets this one."""
    desk = Desk()
    (etag,) = (await desk.get(path)).header("etag")
    again = await desk.get(path, ("if-none-match", form.format(etag)))
    assert (again.status, again.body) == (304, b"")
    assert again.header("etag") == [etag]
    assert again.header("cache-control") == ["public, max-age=600"]
    other = await desk.get(path, ("if-none-match", '"other"'))
    assert other.status == 200


@pytest.mark.covers("META-22", "WEB-13")
async def test_keys_when_one_is_removed_then_the_etag_is_another() -> None:
    """A cache that asks again hears of it."""
    first = ClientKey(generate_private_key())
    second = ClientKey(generate_private_key(), use="publish")
    before, after = Desk(client_keys=[first, second]), Desk(client_keys=[first])
    old = (await before.get("/oauth/jwks.json")).header("etag")
    sent = await after.get("/oauth/jwks.json", ("if-none-match", old[0]))
    assert sent.status == 200
    assert sent.header("etag") != old


@pytest.mark.covers("HTTP-10", "HTTP-11", "WEB-01")
async def test_login_form_when_headers_are_hostile_then_the_bytes_are_the_same() -> (
    None
):
    """The form leads to the configured path, whoever the request was sent to."""
    desk = Desk()
    plain = await desk.get("/oauth/login")
    sent = await desk.get("/oauth/login", *HOSTILE)
    assert sent.body == plain.body
    assert b"evil" not in sent.body


@pytest.mark.covers("HTTP-02", "META-23", "HTTP-03", "WEB-03")
@pytest.mark.parametrize("path", ROUTES[:2])
async def test_document_when_asked_otherwise_then_head_and_preflight_answer(
    path: str,
) -> None:
    """Anybody's page may read what we publish, without credentials."""
    desk = Desk()
    get = await desk.get(path, ("origin", "https://evil.test"))
    head = await desk.get(path, method="HEAD")
    preflight = await desk.get(path, method="OPTIONS")
    assert head.start["headers"] == get.start["headers"]
    assert head.body == b""
    assert preflight.status == 204
    for sent in (get, head, preflight):
        assert sent.header("access-control-allow-origin") == ["*"]
        assert sent.header("access-control-allow-credentials") == []
        assert sent.header("set-cookie") == []


@pytest.mark.covers("HTTP-01", "HTTP-02", "HTTP-03", "CB-01", "LGN-10", "WEB-07")
@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/oauth-client-metadata.json", "GET, HEAD, OPTIONS"),
        ("/oauth/jwks.json", "GET, HEAD, OPTIONS"),
        ("/oauth/login", "GET, POST"),
        ("/oauth/callback", "GET"),
        ("/oauth/logout", "GET, POST"),
    ],
)
async def test_route_when_the_method_is_another_then_405(
    path: str, allowed: str
) -> None:
    """Each route says what it takes; an override in a header changes nothing."""
    desk = Desk()
    every = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "X"}
    for method in every - set(allowed.split(", ")):
        override = ("x-http-method-override", "GET")
        sent = await desk.get(path, override, ("origin", PUBLIC_URL), method=method)
        assert sent.status == 405
        assert sent.header("allow") == [allowed]
        assert sent.header("cache-control") == ["no-store"]
        assert sent.header("access-control-allow-origin") == []


@pytest.mark.anyio
@pytest.mark.covers("ERR-03", "ERR-04")
@pytest.mark.parametrize("accept", ["text/html", "application/json"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/oauth/login"),
        ("GET", "/oauth/logout"),
        ("POST", "/oauth/logout"),
        ("GET", "/oauth/session"),
    ],
)
async def test_route_when_a_defect_shows_then_only_an_incident_is_told(
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    path: str,
    accept: str,
) -> None:
    """No text of the exception, no file, no version; what finds it stands in the log."""

    async def broken(*_: object) -> None:
        raise RuntimeError("connect to db.internal failed in /srv/app/store.py")

    desk = Desk()
    monkeypatch.setattr(desk.app._visits, "open", broken)
    headers = [("accept", accept), ("sec-fetch-site", "same-origin")]
    sent = await desk.get(path, *headers, method=method)
    body = sent.body.decode()
    assert sent.status == 500
    for told in (
        "db.internal",
        "/srv",
        "RuntimeError",
        "Traceback",
        version("atproto-oauth-asgi"),
    ):
        assert told not in body
    [incident] = re.findall(r"\b[0-9a-f]{8}\b", body)
    assert f"incident={incident}" in caplog.text
    assert "db.internal" in caplog.text
