"""Rules of sessions, cookies, caches and errors that show from outside only."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from typing_extensions import override

from atproto_oauth_asgi import (
    ATProtoOAuthMiddleware,
    LoginLimits,
    MemoryStateStore,
    MemoryStore,
    OAuthClient,
    OAuthError,
    OAuthSession,
    StoreError,
)
from atproto_oauth_asgi.dpop import NonceCache
from atproto_oauth_asgi.network.cache import SharedCache
from atproto_oauth_asgi.stores.locks import unix_now
from atproto_oauth_asgi.testing import AtprotoNetwork, approve, login_as
from tests.sessions.making import HOUR_S, Clock
from tests.testing.test_login_as import ORIGIN, SECRET, make_app

REDIRECT_URI = "http://127.0.0.1:5000/callback"
SELF = "/xrpc/com.atproto.server.getSession"
LIMITATIONS = Path(__file__).parents[1] / "docs/explanation/limitations.md"


def make_client(net: AtprotoNetwork, store: Any = None, **options: Any) -> OAuthClient:
    scope = options.pop("scope", "atproto")
    return OAuthClient(
        "http://localhost",
        REDIRECT_URI,
        scope,
        MemoryStateStore(),
        store,
        network=net.network,
        secret_key=SECRET,
        **options,
    )


async def log_in(client: OAuthClient, handle: str = "alice.test") -> OAuthSession:
    auth_url, _ = await client.start_authorization(handle)
    back = dict(parse_qsl(urlsplit(approve(auth_url, handle)).query))
    return await client.handle_callback(**back)


# --- sessions ------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.covers("SESS-01")
async def test_session_id_when_logged_in_then_is_256_bits_of_the_system(
    atproto_network: AtprotoNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes out of the system's random numbers as it is, and says nothing else."""
    drawn: list[tuple[str, int | None]] = []
    draw = secrets.token_urlsafe

    def draw_and_note(nbytes: int | None = None) -> str:
        drawn.append((draw(nbytes), nbytes))
        return drawn[-1][0]

    monkeypatch.setattr(secrets, "token_urlsafe", draw_and_note)
    client = make_client(atproto_network)
    sessions = [await log_in(client) for _ in range(3)]
    await client.aclose()
    ids = [session.session_id for session in sessions]
    assert len(set(ids)) == 3
    for session_id in ids:
        assert drawn.count((session_id, 32)) == 1
        assert re.fullmatch(r"[A-Za-z0-9_-]{43}", session_id)


async def rows(store: MemoryStore) -> dict[str, Any]:
    """The sessions in a store by key."""
    found = [key for kind, key in dict(store._rows.items()) if kind == "session"]
    return {key: await store.load("session", key) for key in found}


async def put(store: MemoryStore, key: str, value: bytes) -> None:
    await store.save("session", key, value, expires_at=unix_now() + HOUR_S)


@pytest.mark.anyio
async def test_record_when_edited_or_exchanged_then_is_refused(
    atproto_network: AtprotoNetwork,
) -> None:
    """A row is of one account and one session; no byte of it can be changed."""
    store = MemoryStore()
    client = make_client(atproto_network, store)
    alice, bob = await log_in(client), await log_in(client, "bob.test")
    (key, hers), (_, his) = (await rows(store)).items()
    assert (await client.restore(alice.did)).session_id == alice.session_id
    edited = hers.value[:-1] + (b"A" if hers.value[-1:] != b"A" else b"B")
    for value in (his.value, edited, hers.value + b"=", b""):
        await put(store, key, value)
        with pytest.raises(StoreError):
            await client.restore(alice.did, alice.session_id)
    assert (await client.restore(bob.did)).did == bob.did
    await put(store, key, hers.value)
    assert (await client.restore(alice.did, alice.session_id)).did == alice.did
    await client.aclose()


@pytest.mark.anyio
async def test_record_when_the_client_id_changes_then_is_refused(
    atproto_network: AtprotoNetwork,
) -> None:
    """In development the scope is part of it: other scopes, other sessions."""
    store = MemoryStore()
    client = make_client(atproto_network, store)
    alice = await log_in(client)
    other = make_client(atproto_network, store, scope="atproto transition:generic")
    with pytest.raises(StoreError):
        await other.restore(alice.did, alice.session_id)
    assert (await client.restore(alice.did)).did == alice.did
    await client.aclose()
    await other.aclose()


@pytest.mark.covers("COOKIE-04")
def test_cookie_when_the_client_id_changes_then_anonymous(
    atproto_network: AtprotoNetwork,
) -> None:
    """Even under the name that the changed application looks for."""
    app = make_app(atproto_network)
    changed = make_app(atproto_network, scope="atproto")
    with TestClient(app, base_url=ORIGIN) as browser:
        login_as(browser, "alice.test")
        [value] = browser.cookies.values()
        assert browser.get("/").json()["handle"] == "alice.test"
    old, new = (each._site.session_cookie(8000) for each in (app, changed))
    assert old != new
    with TestClient(changed, base_url=ORIGIN) as browser:
        for name in (old, new):
            answer = browser.get("/", headers={"Cookie": f"{name}={value}"})
            assert answer.json()["did"] is None


# --- old cookies ---------------------------------------------------------------------


async def tell(request: Request) -> JSONResponse:
    auth = request.scope["atproto"]
    return JSONResponse({"did": auth.did, "reason": auth.reason})


async def ask_pds(request: Request) -> JSONResponse:
    try:
        answer = await request.scope["atproto"].client.get(SELF)
    except OAuthError as error:
        return JSONResponse({"code": error.code}, error.status_hint or 500)
    return JSONResponse(answer.json(), answer.status_code)


def make_worker(net: AtprotoNetwork, clock: Clock) -> ATProtoOAuthMiddleware:
    """A worker that shares the configuration with others, and no store."""
    return ATProtoOAuthMiddleware(
        Starlette(routes=[Route("/", tell), Route("/pds", ask_pds)]),
        secret_key=SECRET,
        network=net.network,
        clock=clock,
        store=MemoryStore(clock=clock),
        session="cookie",
    )


class Jar:
    """A browser whose cookies are what somebody puts there."""

    def __init__(self, worker: ATProtoOAuthMiddleware) -> None:
        headers = {"Origin": ORIGIN, "Sec-Fetch-Site": "same-origin"}
        self.http = TestClient(worker, base_url=ORIGIN, headers=headers)

    def put_back(self, cookies: dict[str, str]) -> None:
        self.http.cookies.clear()
        for name, value in cookies.items():
            self.http.cookies.set(name, value, domain="127.0.0.1", path="/")

    @property
    def cookies(self) -> dict[str, str]:
        return dict(self.http.cookies)

    def who(self) -> Any:
        return self.http.get("/").json()["did"]


@pytest.fixture
def clock() -> Clock:
    return Clock(float(int(unix_now())))


@pytest.fixture
def net(clock: Clock) -> Iterator[AtprotoNetwork]:
    with AtprotoNetwork(clock=clock) as started:
        yield started


def refreshes(net: AtprotoNetwork) -> int:
    """How often any refresh token was sent, challenges for a nonce included."""
    return sum(b"grant_type=refresh_token" in seen.body for seen in net.traffic)


@pytest.mark.covers("COOKIE-19", "CKE-09", "LOGOUT-03")
def test_old_cookie_when_logged_out_then_calls_fail_and_the_session_is_cleared(
    net: AtprotoNetwork, clock: Clock
) -> None:
    """Where the logout is known it is nobody; elsewhere its tokens are worth nothing.

    That a worker which does not know of it still takes it for the person is the limit
    of cookies as sessions, which the documentation states.
    """
    here, elsewhere = Jar(make_worker(net, clock)), Jar(make_worker(net, clock))
    login_as(here.http, "alice.test")
    did = net.accounts["alice.test"].did
    old = here.cookies
    assert here.http.post("/oauth/logout", json={}).status_code == 200
    assert net.sessions(did) == []
    here.put_back(old)
    assert here.who() is None
    elsewhere.put_back(old)
    assert elsewhere.who() == did
    answer = elsewhere.http.get("/pds")
    assert (answer.status_code, answer.json()) == (401, {"code": "session_revoked"})
    # What is left says who it was, and no token.
    assert max(map(len, elsewhere.cookies.values())) < 500
    # The same answer once more, without another question to the server.
    asked = refreshes(net)
    elsewhere.put_back(old)
    assert elsewhere.http.get("/pds").json() == {"code": "session_revoked"}
    assert refreshes(net) == asked
    clock.now += HOUR_S
    elsewhere.put_back(old)
    assert elsewhere.who() is None
    stated = LIMITATIONS.read_text().partition("## Cookies as sessions")[2]
    assert (
        "A copy of a cookie"
        in stated.replace("\n", " ").replace("  ", " ").partition("\n## ")[0]
    )


@pytest.mark.covers("COOKIE-19", "CKE-08", "REF-14")
def test_old_cookie_when_tokens_were_renewed_then_one_clean_end_and_no_loop(
    net: AtprotoNetwork, clock: Clock
) -> None:
    """The old refresh token is sent once, and ends the session for good."""
    jar = Jar(make_worker(net, clock))
    login_as(jar.http, "alice.test")
    old = jar.cookies
    clock.now += HOUR_S
    assert jar.http.get("/pds").status_code == 200
    assert len(net.sessions()) == 1
    elsewhere = Jar(make_worker(net, clock))
    elsewhere.put_back(old)
    answer = elsewhere.http.get("/")
    assert answer.json() == {"did": None, "reason": "revoked"}
    assert max(map(len, elsewhere.cookies.values())) < 500
    assert net.sessions() == []
    asked = refreshes(net)
    for _ in range(3):
        elsewhere.put_back(old)
        assert elsewhere.who() is None
    assert refreshes(net) == asked


@pytest.mark.covers("COOKIE-19")
def test_old_cookie_when_the_session_is_too_old_then_nobody_anywhere(
    net: AtprotoNetwork, clock: Clock
) -> None:
    """The cookie itself says when the login was, whatever was renewed since."""
    worker = make_worker(net, clock)
    here = Jar(worker)
    login_as(here.http, "alice.test")
    clock.now += HOUR_S
    assert here.http.get("/pds").status_code == 200
    renewed, asked = here.cookies, refreshes(net)
    clock.now += worker.config.max_age_s - HOUR_S + 1
    elsewhere = Jar(make_worker(net, clock))
    elsewhere.put_back(renewed)
    assert elsewhere.who() is None
    assert refreshes(net) == asked


# --- caches --------------------------------------------------------------------------


@pytest.mark.covers("STORE-13")
def test_login_when_every_cache_forgets_then_works(
    net: AtprotoNetwork, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Caches of metadata, identities and nonces spare requests, and nothing more."""
    asked: list[str] = []

    def forget(_: Any, key: Any) -> None:
        asked.append(str(key))

    monkeypatch.setattr(SharedCache, "_find", forget)
    monkeypatch.setattr(NonceCache, "get", forget)
    jar = Jar(make_worker(net, clock))
    login_as(jar.http, "alice.test")
    assert jar.http.get("/pds").json()["handle"] == "alice.test"
    clock.now += HOUR_S
    assert jar.http.get("/pds").json()["handle"] == "alice.test"
    assert refreshes(net) >= 1
    assert jar.http.post("/oauth/logout", json={}).status_code == 200
    assert net.sessions() == []
    assert len(set(asked)) > 3


# --- what errors tell ----------------------------------------------------------------

CANARY = "cache-7.db.internal:6379 (10.20.30.40) /srv/app/secrets.py SELECT token"
TELLTALES = (
    *CANARY.split(),
    "Traceback",
    ".py",
    "Error:",
    "Python/",
    "starlette",
    "httpx",
    version("atproto-oauth-asgi"),
    version("httpx"),
    version("starlette"),
)


class Broken(MemoryStore):
    """A store that fails with all that it knows about its server."""

    error: Exception = StoreError(CANARY)

    @override
    async def load(self, *_: Any, **__: Any) -> Any:
        raise self.error

    save = take = load


def fail_with(error: Exception) -> Any:
    def key(request: Request) -> str:
        del request
        raise error

    return LoginLimits(per_client_per_minute=1, client_key=key)


def check_told(answer: Any, caplog: pytest.LogCaptureFixture) -> str:
    """The answer tells nothing but the number that finds the failure in the log."""
    assert answer.status_code >= 500
    told = answer.text + "\n".join(f"{k}: {v}" for k, v in answer.headers.items())
    assert [each for each in TELLTALES if each.lower() in told.lower()] == []
    found = re.findall(r"incident=([0-9a-f]{8,})", caplog.text)
    assert found
    assert found[-1] in answer.text
    return str(found[-1])


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
@pytest.mark.parametrize(
    "error",
    [RuntimeError(CANARY), KeyError(CANARY), OSError(CANARY)],
    ids=lambda error: type(error).__name__,
)
def test_login_when_it_fails_inside_then_tells_only_an_incident(
    atproto_network: AtprotoNetwork,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    accept: str,
) -> None:
    """What went wrong is in the log, under a number that is another each time."""
    app = make_app(atproto_network, limits=fail_with(error))
    headers = {"Origin": ORIGIN, "Accept": accept}
    incidents = []
    with TestClient(app, base_url=ORIGIN, headers=headers) as browser:
        for _ in range(3):
            form = {"identifier": "alice.test"}
            answer = browser.post("/oauth/login", data=form)
            incidents.append(check_told(answer, caplog))
    assert len(set(incidents)) == 3
    assert CANARY in caplog.text


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
@pytest.mark.parametrize("path", ["/", "/oauth/logout", "/oauth/callback"])
def test_request_when_the_store_fails_then_tells_only_an_incident(
    atproto_network: AtprotoNetwork,
    caplog: pytest.LogCaptureFixture,
    path: str,
    accept: str,
) -> None:
    """Pages of the application, a logout, a callback: the same for all of them."""
    store = Broken()
    app = make_app(atproto_network, store=store)
    working = make_app(atproto_network)
    headers = {"Origin": ORIGIN, "Accept": accept}
    with TestClient(working, base_url=ORIGIN, headers=headers) as browser:
        answer = browser.post("/oauth/login", json={"identifier": "bob.test"})
        back = approve(answer.json()["authorization_url"], "bob.test")
        flow = dict(browser.cookies)
        login_as(browser, "alice.test")
        cookies = {**flow, **dict(browser.cookies)}
    jar = Jar(app)
    jar.put_back(cookies)
    with caplog.at_level(logging.WARNING):
        if path == "/oauth/logout":
            answer = jar.http.post(path, headers=headers)
        else:
            url = back if path == "/oauth/callback" else path
            answer = jar.http.get(url, headers=headers)
    check_told(answer, caplog)
