"""What `troubleshooting.md` quotes is what one sees: each case is brought about."""

from __future__ import annotations

import html
import json
import logging
import re
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import anyio
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import (
    JSONResponse,
    PlainTextResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from atproto_oauth_asgi import (
    ATProtoAuth,
    ATProtoOAuthMiddleware,
    ClientKey,
    LoginLimits,
    MemoryStateStore,
    OAuthClient,
    OAuthConfig,
    OAuthError,
    RedisStore,
    SQLiteStore,
    current_auth,
    raise_for_xrpc,
)
from atproto_oauth_asgi.crypto.keys import generate_private_key
from atproto_oauth_asgi.testing import (
    AtprotoNetwork,
    approve,
    behaviours,
    deny,
    login_as,
)
from tests.documentation import DOCS, ORIGIN, SECRET
from tests.documentation import quoted as quoted_in

_PAGE = DOCS / "troubleshooting.md"
_PUBLIC = "https://app.notes.internal"
_RESOURCE = "/.well-known/oauth-protected-resource"
_SERVER = "/.well-known/oauth-authorization-server"
_NOTE = {"collection": "com.example.note", "record": {"text": "x"}}
_PROXY_CASE = "nginx answers 502 after a login"


class Scene:
    """An application, a network, and what somebody sees of them."""

    def __init__(self, net: AtprotoNetwork, folder: Path) -> None:
        self.net = net
        self.folder = folder
        self.seen: list[str] = []
        self._open = ExitStack()

    def close(self) -> None:
        self._open.close()

    def browser(self, *, base_url: str = ORIGIN, **options: Any) -> TestClient:
        """A browser at an application with these options."""
        merged = {"secret_key": SECRET, "network": self.net.network, **options}
        routes = [
            Route("/", who),
            Route("/note", note),
            Route("/call", call),
            Route("/stream", stream),
            WebSocketRoute("/socket", socket),
        ]
        app = ATProtoOAuthMiddleware(Starlette(routes=routes), **merged)
        client = TestClient(app, base_url=base_url, follow_redirects=False)
        client.headers.update({"Origin": base_url, "Sec-Fetch-Site": "same-origin"})
        return self._open.enter_context(client)

    def look(self, answer: Any) -> None:
        """See what a page, or a program, is told."""
        text = re.sub(r"<style>.*?</style>|<[^>]+>", "", answer.text, flags=re.DOTALL)
        self.seen.append(html.unescape(text))

    def begin(self, browser: TestClient, identifier: str, **fields: str) -> Any:
        """Begin a login as a program would, which sees what people would, too."""
        form = {"identifier": identifier, **fields}
        self.look(answer := browser.post("/oauth/login", data=form))
        return answer

    def fail(self, work: Callable[[], Any]) -> None:
        """Do what raises, and see how it would end a traceback."""
        with pytest.raises(Exception) as raised:  # noqa: PT011 - the page says which
            work()
        self.seen.append(f"{raised.type.__name__}: {raised.value}")
        if isinstance(raised.value, OAuthError):
            self.seen.append(raised.value.code)


def auth_url_of(answer: Any) -> str:
    url: str = answer.headers["refresh"].partition("url=")[2]
    return html.unescape(url)


async def who(request: Request) -> Response:
    auth: ATProtoAuth = request.scope["atproto"]
    return PlainTextResponse(
        f"auth.did={auth.did} auth.handle={auth.handle} auth.reason={auth.reason}"
    )


async def note(request: Request) -> Response:
    """Write a record, which the session may not be allowed to."""
    auth: ATProtoAuth = request.scope["atproto"]
    body = {"repo": auth.did, **_NOTE}
    return await told(
        lambda: auth.client.procedure("com.atproto.repo.createRecord", json=body)
    )


async def call(request: Request) -> Response:
    """Call some address with the person's client."""
    auth: ATProtoAuth = request.scope["atproto"]
    return await told(lambda: auth.client.get(request.query_params["url"]))


async def stream(request: Request) -> Response:
    """Begin to answer, and call the person's server only then."""
    auth: ATProtoAuth = request.scope["atproto"]

    async def parts() -> AsyncIterator[bytes]:
        yield b"begun "
        yield bytes(
            (
                await told(
                    lambda: auth.client.get("/xrpc/com.atproto.server.getSession")
                )
            ).body
        )

    return StreamingResponse(parts())


async def socket(websocket: WebSocket) -> None:
    await websocket.accept()
    auth: ATProtoAuth = websocket.scope["atproto"]
    await websocket.send_text(f"auth.did={auth.did}")
    await websocket.close()


async def told(work: Callable[[], Any]) -> Response:
    try:
        raise_for_xrpc(await work())
    except OAuthError as error:
        said = f"{type(error).__name__}: {error} {error.code}"
        return PlainTextResponse(said, error.status_hint)
    return PlainTextResponse("done")


@pytest.fixture
def scene(
    atproto_network: AtprotoNetwork,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> Iterator[Scene]:
    caplog.set_level(logging.INFO, "atproto_oauth_asgi")
    scene = Scene(atproto_network, tmp_path)
    yield scene
    scene.close()


Case = Callable[[Scene], None]
CASES: dict[str, Case] = {}


def case(heading: str) -> Callable[[Case], Case]:
    """The function brings about what stands below a heading."""

    def register(function: Case) -> Case:
        CASES[heading] = function
        return function

    return register


# --- At your desk --------------------------------------------------------------------


@case("The options are wrong")
def wrong_options(scene: Scene) -> None:
    scene.fail(lambda: OAuthConfig(secret_key="secret", scope="repo:com.example.note"))


@case("A client key, but no public address")
def key_on_loopback(scene: Scene) -> None:
    keys = [ClientKey(generate_private_key())]
    scene.fail(lambda: OAuthConfig(secret_key=SECRET, client_keys=keys))


@case("KeyError: 'atproto'")
def no_middleware(scene: Scene) -> None:
    scope: dict[str, Any] = {"type": "http"}
    scene.fail(lambda: scope["atproto"])
    scene.fail(current_auth)


@case("A package is missing")
def no_driver(scene: Scene) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name in list(sys.modules):
            if name.partition(".")[0] == "redis" or name.endswith("redis_server"):
                patch.delitem(sys.modules, name)
        patch.setitem(sys.modules, "redis", None)
        scene.fail(lambda: RedisStore("redis://localhost"))


@case("“Please use another address”")
def wrong_host(scene: Scene) -> None:
    browser = scene.browser(base_url="http://myapp.example:8000")
    scene.look(browser.get("/oauth/login"))
    scene.look(browser.get("/oauth/login", headers={"Accept": "application/json"}))


@case("Everybody is logged out after a restart")
def other_secret(scene: Scene) -> None:
    before = scene.browser()
    login_as(before, "alice.test")
    after = scene.browser(secret_key="another one, which is as long as it has to be")
    after.cookies.update(before.cookies)
    scene.look(after.get("/"))


# --- Who somebody is -----------------------------------------------------------------


@case("“That does not look like a handle”")
def not_a_handle(scene: Scene) -> None:
    for typed in ("alice", "alice@example.com"):
        scene.begin(scene.browser(), typed)


@case("“We could not find that handle”")
def unknown_handle(scene: Scene) -> None:
    scene.begin(scene.browser(), "nobody.test")


@case("“That handle is not confirmed”")
def mismatch(scene: Scene) -> None:
    did = scene.net.accounts["alice.test"].did
    scene.net.directory.documents[did]["alsoKnownAs"] = ["at://other.test"]
    scene.begin(scene.browser(), "alice.test")


@case("“That handle leads to more than one account”")
def ambiguous(scene: Scene) -> None:
    bob = scene.net.accounts["bob.test"]
    alice = scene.net.accounts["alice.test"]
    records = [f"did={bob.did}", f"did={alice.did}"]
    scene.net.internet.texts["_atproto.alice.test"] = records
    scene.begin(scene.browser(), "alice.test")


@case("The handle is `None`")
def unverified(scene: Scene) -> None:
    did = scene.net.accounts["alice.test"].did
    scene.net.directory.documents[did]["alsoKnownAs"] = ["at://other.test"]
    browser = scene.browser()
    answer = scene.begin(browser, did)
    back = approve(auth_url_of(answer), "alice.test")
    assert browser.get(back).status_code == 303
    scene.look(browser.get("/"))


# --- The person's server -------------------------------------------------------------


@case("“Your account's host did not say where to log in”")
def no_oauth(scene: Scene) -> None:
    scene.net.on("pds.test", _RESOURCE, behaviours.status(404))
    scene.begin(scene.browser(), "alice.test")


@case("“Your account's host does not support this login”")
def unsupported(scene: Scene) -> None:
    without = ["pushed_authorization_request_endpoint"]
    scene.net.on("pds.test", _SERVER, behaviours.altered(without=without))
    scene.begin(scene.browser(), "alice.test")


@case("“Your account's host cannot be reached”")
def unreachable(scene: Scene) -> None:
    scene.net.break_tls("pds.test", "unknown authority")
    scene.begin(scene.browser(), "alice.test")


@case("“Your account's host is not answering”")
def timed_out(scene: Scene) -> None:
    scene.net.on("pds.test", _RESOURCE, behaviours.hang())
    network = replace(scene.net.network, timeout_s=0.3)
    scene.begin(scene.browser(network=network), "alice.test")


@case("A host on your own network is refused")
def private(scene: Scene) -> None:
    scene.net.internet.addresses["pds.test"] = ["10.0.0.1"]
    scene.begin(scene.browser(), "alice.test")


@case("A server answers 403, but only to the application")
def user_agent(scene: Scene) -> None:
    async def picky(scope: Scope, receive: Receive, send: Send) -> None:
        named = b"notes" in dict(scope["headers"])[b"user-agent"]
        answer = original(scope) if named else _FORBIDDEN
        await answer(scope, receive, send)

    scene.net.on("pds.test", None, picky)
    scene.begin(scene.browser(), "alice.test")
    named = replace(scene.net.network, user_agent="notes/1.0")
    assert scene.begin(scene.browser(network=named), "alice.test").status_code == 200


_FORBIDDEN = PlainTextResponse("no robots", 403)


def original(scope: Scope) -> ASGIApp:
    """What would have answered."""
    program: ASGIApp = scope["extensions"][behaviours.ORIGINAL]["program"]
    return program


# --- The login -----------------------------------------------------------------------


def hosted(scene: Scene, **options: Any) -> TestClient:
    """A browser at an application with a public address, which nobody serves."""
    keys = [ClientKey(generate_private_key())]
    return scene.browser(
        base_url=_PUBLIC, public_url=_PUBLIC, client_keys=keys, **options
    )


@case("“This app is not set up correctly”")
def no_metadata(scene: Scene) -> None:
    scene.net.serve_client("app.notes.internal", {})
    scene.begin(hosted(scene), "alice.test")


@case("The clock is wrong")
def wrong_clock(scene: Scene) -> None:
    scene.net.on("pds.test", "/oauth/par", dated)
    browser = scene.browser(clock=lambda: time.time() + 7200)  # noqa: TID251
    scene.begin(browser, "alice.test")


async def dated(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer as ever, and tell the time, as real servers do."""

    async def send_dated(message: Message) -> None:
        if message["type"] == "http.response.start":
            date = formatdate(usegmt=True).encode()
            message = {**message, "headers": [*message["headers"], (b"date", date)]}
        await send(message)

    await original(scope)(scope, receive, send_dated)


@case("`use_dpop_nonce`")
def nonce(scene: Scene) -> None:
    answer = behaviours.document(
        {"error": "use_dpop_nonce"}, code=400, headers={"DPoP-Nonce": "always-another"}
    )
    scene.net.on("pds.test", "/oauth/par", answer)
    scene.begin(scene.browser(), "alice.test")


@case("“Your account's host does not grant what was asked for”")
def unknown_scope(scene: Scene) -> None:
    answer = behaviours.document({"error": "invalid_scope"}, code=400)
    scene.net.on("pds.test", "/oauth/par", answer)
    scene.begin(scene.browser(), "alice.test")


@case("An answer has no `DPoP-Nonce`")
def no_nonce(scene: Scene) -> None:
    scene.net.on("pds.test", "/oauth/par", without_nonce)
    scene.begin(scene.browser(), "alice.test")


async def without_nonce(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer as ever, but leave the header out of what is no refusal."""

    async def send_less(message: Message) -> None:
        if message.get("status", 400) < 400:
            kept = [each for each in message["headers"] if each[0] != b"dpop-nonce"]
            message = {**message, "headers": kept}
        await send(message)

    await original(scope)(scope, receive, send_less)


@case("“We did not accept that request”")
def csrf(scene: Scene) -> None:
    browser = scene.browser()
    foreign = {"Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site"}
    scene.look(browser.post("/oauth/login", data={}, headers=foreign))


@case("“We cannot tell where that request comes from”")
def no_headers(scene: Scene) -> None:
    browser = scene.browser()
    for name in ("Origin", "Sec-Fetch-Site"):
        del browser.headers[name]
    scene.look(browser.post("/oauth/login", data={}))


@case("“Too many logins at once”")
def too_many(scene: Scene) -> None:
    browser = scene.browser(limits=LoginLimits(per_target_host_per_minute=1))
    scene.begin(browser, "alice.test")
    scene.begin(browser, "alice.test")


# --- The way back --------------------------------------------------------------------


@case("“This login began somewhere else”")
def wrong_browser(scene: Scene) -> None:
    answer = scene.begin(scene.browser(), "alice.test")
    back = approve(auth_url_of(answer), "alice.test")
    scene.look(scene.browser().get(back))


@case("“This login is no longer valid”")
def too_late(scene: Scene) -> None:
    ahead_s = [0.0]
    browser = scene.browser(clock=lambda: time.time() + ahead_s[0])  # noqa: TID251
    answer = scene.begin(browser, "alice.test")
    back = approve(auth_url_of(answer), "alice.test")
    ahead_s[0] = 660
    scene.look(browser.get(back))


@case("“That was another account”")
def other_account(scene: Scene) -> None:
    browser = scene.browser()
    answer = scene.begin(browser, "alice.test")
    scene.look(browser.get(approve(auth_url_of(answer), "bob.test")))


@case("“The answer came from the wrong server”")
def other_server(scene: Scene) -> None:
    browser = scene.browser()
    answer = scene.begin(browser, "alice.test")
    url = urlsplit(approve(auth_url_of(answer), "alice.test"))
    query = {**dict(parse_qsl(url.query)), "iss": "https://other.example"}
    scene.look(browser.get(f"{url.path}?{urlencode(query)}"))


@case("“You declined”")
def declined(scene: Scene) -> None:
    browser = scene.browser()
    answer = scene.begin(browser, "alice.test")
    scene.look(browser.get(deny(auth_url_of(answer))))


@case("“Your login does not fit”")
def too_large(scene: Scene) -> None:
    browser = scene.browser()
    answer = scene.begin(browser, "alice.test")
    back = approve(auth_url_of(answer), "alice.test")
    members = {"access_token": "".join(f"{i:x}" for i in range(100, 3000))}
    scene.net.on("pds.test", "/oauth/token", behaviours.altered(members))
    scene.look(browser.get(back))


# --- Sessions ------------------------------------------------------------------------


@case("People are logged out, and nobody did it")
def used_twice(scene: Scene) -> None:
    config = OAuthConfig(secret_key=SECRET, network=scene.net.network)

    async def work() -> None:
        one, two = (
            OAuthClient.from_config(config, state_store=MemoryStateStore())
            for _ in range(2)
        )
        auth_url, _ = await one.start_authorization(
            "alice.test", redirect_uri="http://127.0.0.1/oauth/callback"
        )
        back = await anyio.to_thread.run_sync(approve, auth_url, "alice.test")
        query = {
            name: values[0] for name, values in parse_qs(urlsplit(back).query).items()
        }
        session = await one.handle_callback(**query)
        await one.refresh_session(session)
        await two.refresh_session(session)

    scene.fail(lambda: anyio.run(work))


@case("`refresh_unavailable`")
def outage(scene: Scene) -> None:
    scene.net.set_token_lifetime(0)
    browser = scene.browser()
    login_as(browser, "alice.test")
    scene.net.on("pds.test", "/oauth/token", behaviours.status(503))
    scene.look(browser.get("/note"))
    scene.look(browser.get("/"))


@case("The response has begun")
def streaming(scene: Scene) -> None:
    scene.net.set_token_lifetime(0)
    browser = scene.browser()
    login_as(browser, "alice.test")
    scene.look(browser.get("/stream"))


@case("A session was ended elsewhere, and is still there")
def ended_elsewhere(scene: Scene) -> None:
    browser = scene.browser()
    login_as(browser, "alice.test")
    scene.net.revoke()
    scene.look(browser.get("/"))


@case("A WebSocket knows nobody")
def websocket(scene: Scene) -> None:
    browser = scene.browser()
    login_as(browser, "alice.test")
    elsewhere = {"Origin": "https://www.example.com"}
    address = ORIGIN.replace("http", "ws") + "/socket"
    with browser.websocket_connect(address, headers=elsewhere) as talk:
        scene.seen.append(talk.receive_text())


@case("`client_key_retired`")
def key_retired(scene: Scene) -> None:
    scene.net.set_token_lifetime(0)
    old, new = ClientKey(generate_private_key()), ClientKey(generate_private_key())

    def open_browser(*keys: ClientKey) -> TestClient:
        browser = scene.browser(
            base_url=_PUBLIC, public_url=_PUBLIC, client_keys=list(keys)
        )
        scene.net.serve_client("app.notes.internal", browser.app)
        return browser

    before = open_browser(old)
    login_as(before, "alice.test")
    after = open_browser(new)
    after.cookies.update(before.cookies)
    scene.look(after.get("/note"))


@case("`account_moved`")
def moved(scene: Scene) -> None:
    scene.net.set_token_lifetime(0)
    browser = scene.browser()
    login_as(browser, "alice.test")
    scene.net.add_host("pds2.test", pointing_at("https://as2.test"))
    scene.net.add_host("as2.test", other_issuer(scene.net))
    did = scene.net.accounts["alice.test"].did
    scene.net.move(did, "https://pds2.test")
    scene.look(browser.get("/note"))


def pointing_at(issuer: str) -> Starlette:
    """A PDS with another authorization server."""

    async def answer(_: Request) -> Response:
        members = {"resource": "https://pds2.test", "authorization_servers": [issuer]}
        return JSONResponse(members)

    return Starlette(routes=[Route(_RESOURCE, answer)])


def other_issuer(net: AtprotoNetwork) -> Starlette:
    """Says of itself what the network's server does, under its own name."""
    text = json.dumps(net.request("GET", f"https://pds.test{_SERVER}").json())
    members = json.loads(text.replace("https://pds.test", "https://as2.test"))
    members.pop("protected_resources", None)

    async def answer(_: Request) -> Response:
        return JSONResponse(members)

    return Starlette(routes=[Route(_SERVER, answer)])


@case("A call is refused with `scope_missing`")
def no_permission(scene: Scene) -> None:
    browser = scene.browser(scope="atproto repo:com.example.note")
    login_as(browser, "alice.test", scope="atproto")
    scene.look(browser.get("/note"))


@case("A call raises `Blocked`")
def elsewhere(scene: Scene) -> None:
    browser = scene.browser()
    login_as(browser, "alice.test")
    url = "https://public.api.example.com/xrpc/com.example.get"
    scene.look(browser.get("/call", params={"url": url}))


@case("“This app cannot remember you right now”")
def store_is_open(scene: Scene) -> None:
    path = scene.folder / "records.sqlite"
    path.touch()
    path.chmod(0o666)
    browser = scene.browser(store=SQLiteStore(path))
    answer = scene.begin(browser, "alice.test")
    if "refresh" in answer.headers:
        scene.look(browser.get(approve(auth_url_of(answer), "alice.test")))


# --- The page ------------------------------------------------------------------------

QUOTED = quoted_in(_PAGE)


def test_cases_when_compared_then_are_those_of_the_page() -> None:
    """Every heading that quotes something is brought about here, and no other."""
    assert set(QUOTED) == {*CASES, _PROXY_CASE}


@pytest.mark.parametrize("heading", CASES)
def test_case_when_brought_about_then_shows_what_the_page_quotes(
    heading: str, scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """Each quoted line is in what a browser, a program or the log shows."""
    CASES[heading](scene)
    seen = "\n".join([*scene.seen, *caplog.messages])
    assert [line for line in QUOTED[heading] if line not in seen] == [], seen
