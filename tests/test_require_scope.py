"""Permissions in an application: asked for when they are needed, and not before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from typing import Annotated, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from fastapi import Depends, FastAPI, WebSocket
from playwright.sync_api import expect
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from typing_extensions import override

from atproto_oauth_asgi import ATProtoOAuthMiddleware, ConfigurationError, fastapi
from atproto_oauth_asgi import starlette as for_starlette
from atproto_oauth_asgi.testing import AtprotoNetwork, approve, deny, login_as
from tests.browser.fixtures import BrowserPage
from tests.browser.pds_pages import deny as deny_in_browser
from tests.browser.pds_pages import sign_in_and_authorize, sign_in_as
from tests.notes_app import development
from tests.reference_network.process import ReferenceNetwork
from tests.serving import served_in_thread

ORIGIN = "http://127.0.0.1:8000"
POST = "repo:com.example.post"
LIKE = "repo:com.example.like"
SCOPE = f"atproto {POST} {LIKE} blob:image/*"
NAVIGATION = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "same-origin"}
COMING_BACK = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "cross-site"}


GRANTED = fastapi.require_scope(f"{POST}?action=create")


def make_fastapi() -> FastAPI:
    inner = FastAPI()
    inner.add_api_route("/write", write_by_fastapi, methods=["GET", "POST"])
    inner.add_api_route("/plain", plain_by_fastapi)
    inner.add_api_websocket_route("/ws", ws_by_fastapi)
    app = FastAPI()
    app.include_router(inner.router)
    app.mount("/inside", inner)
    return app


async def write_by_fastapi(did: Annotated[str, Depends(GRANTED)]) -> Response:
    return PlainTextResponse(did)


def plain_by_fastapi(did: Annotated[str, Depends(GRANTED)]) -> Response:
    return PlainTextResponse(did)


async def ws_by_fastapi(
    websocket: WebSocket, did: Annotated[str, Depends(GRANTED)]
) -> None:
    await websocket.accept()
    await websocket.send_text(did)


@for_starlette.require_scope(f"{POST}?action=create")
async def write(request: Request) -> Response:
    return PlainTextResponse(request.scope["atproto"].require())


@for_starlette.require_scope(f"{POST}?action=create")
def plain(request: Request) -> Response:
    return PlainTextResponse(request.scope["atproto"].require())


@for_starlette.require_scope(f"{POST}?action=create")
async def ws(websocket: Any) -> None:
    await websocket.accept()
    await websocket.send_text(websocket.scope["atproto"].require())


def make_starlette() -> Starlette:
    routes = [
        Route("/write", write, methods=["GET", "POST"]),
        Route("/plain", plain),
        WebSocketRoute("/ws", ws),
    ]
    return Starlette(routes=[*routes, Mount("/inside", routes=routes)])


class Reader(HTMLParser):
    """The hidden fields and links of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self.links: list[str] = []
        self.feed(html)

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "input":
            self.fields[given["name"]] = given["value"]
        if tag == "a":
            self.links.append(given["href"])


@pytest.fixture(params=[make_fastapi, make_starlette], ids=["fastapi", "starlette"])
def browser(
    request: pytest.FixtureRequest, atproto_network: AtprotoNetwork
) -> TestClient:
    """A browser at an application that asks for little at first."""
    return browser_at(request.param, atproto_network)


def browser_at(make: Callable[[], Any], network: AtprotoNetwork) -> TestClient:
    app = make()
    app.add_middleware(
        ATProtoOAuthMiddleware,
        secret_key="a-secret-of-the-tests-of-32-bytes",
        scope=SCOPE,
        login_scope=f"atproto {LIKE}",
        client_name="Notes",
        network=network.network,
    )
    headers = {"Origin": ORIGIN}
    return TestClient(app, base_url=ORIGIN, follow_redirects=False, headers=headers)


def step_up(browser: TestClient, page: str) -> str:
    """Use the button of the page that asks; return where the browser is sent."""
    answer = browser.post("/oauth/login", data=Reader(page).fields, headers=NAVIGATION)
    assert answer.status_code == 200, answer.text
    return answer.headers["refresh"].partition("url=")[2]


def open_interstitial(browser: TestClient, path: str = "/write?draft=1") -> str:
    sent = browser.get(path, headers=NAVIGATION)
    assert sent.status_code == 303
    page = browser.get(sent.headers["location"], headers=NAVIGATION)
    assert page.status_code == 200
    return page.text


@pytest.mark.parametrize("path", ["/write", "/plain", "/inside/write"])
def test_page_when_a_permission_is_missing_then_asked_for_and_back(
    browser: TestClient, atproto_network: AtprotoNetwork, path: str
) -> None:
    """By a page, a button and a consent, to the very page with its query."""
    login_as(browser, "alice.test")
    html = open_interstitial(browser, f"{path}?draft=1")
    assert "One more permission" in html
    alice = atproto_network.accounts["alice.test"]
    assert "@alice.test" in html
    assert Reader(html).fields["identifier"] == alice.did
    back = browser.get(
        approve(step_up(browser, html), "alice.test"), headers=COMING_BACK
    )
    assert (back.status_code, back.headers["location"]) == (303, f"{path}?draft=1")
    answer = browser.get(back.headers["location"], headers=NAVIGATION)
    assert answer.text == alice.did
    granted = browser.get("/oauth/session").json()["scope"].split()
    assert sorted(granted) == sorted(["atproto", POST, LIKE])


def test_page_when_the_handle_is_somebody_elses_by_now_then_the_same_account_is_asked(
    browser: TestClient, atproto_network: AtprotoNetwork
) -> None:
    """Names move; who is logged in is who gets the further permission."""
    login_as(browser, "alice.test")
    alice = atproto_network.accounts["alice.test"]
    html = open_interstitial(browser)
    atproto_network.create_account("alice.test", "another password")
    renamed = replace(alice, handle="renamed.test")
    atproto_network.accounts[renamed.handle] = renamed
    back = browser.get(approve(step_up(browser, html), renamed), headers=COMING_BACK)
    assert back.status_code == 303
    [*_, pushed] = [x for x in atproto_network.traffic if x.path == "/oauth/par"]
    assert parse_qs(pushed.body.decode())["login_hint"] == [alice.did]
    assert browser.get("/oauth/session").json()["did"] == alice.did
    assert POST in browser.get("/oauth/session").json()["scope"]


def test_page_when_opened_then_nothing_is_begun(
    browser: TestClient, atproto_network: AtprotoNetwork
) -> None:
    """Two GETs make no login: no cookie, and nothing at the server."""
    login_as(browser, "alice.test")
    atproto_network.clear_traffic()
    sent = browser.get("/write", headers=NAVIGATION)
    page = browser.get(sent.headers["location"], headers=NAVIGATION)
    assert "set-cookie" not in page.headers
    assert "/oauth/par" not in {seen.path for seen in atproto_network.traffic}
    assert "form-action 'self'" in page.headers["content-security-policy"]
    assert page.headers["cache-control"] == "no-store"


@pytest.mark.covers("LOGIN-03", "SCOPE-09")
@pytest.mark.parametrize(
    "return_to",
    ["//evil.example", "https://evil.example/", "/\\evil.example", "\t//evil.example"],
)
def test_page_when_the_way_back_leads_elsewhere_then_ends_at_the_start(
    browser: TestClient, return_to: str
) -> None:
    """Neither the link to the page nor its form sends anybody to another site."""
    login_as(browser, "alice.test")
    query = {"scope": f"atproto {LIKE} {POST}", "reason": "scope"}
    page = browser.get("/oauth/login", params={**query, "return_to": return_to})
    fields = Reader(page.text).fields
    assert fields["return_to"] == "/"
    answer = browser.post("/oauth/login", data={**fields, "return_to": return_to})
    url = answer.headers["refresh"].partition("url=")[2]
    back = browser.get(approve(url, "alice.test"), headers=COMING_BACK)
    assert (back.status_code, back.headers["location"]) == (303, "/")


@pytest.mark.covers("SCOPE-09")
def test_page_when_the_person_cancels_then_the_session_is_as_it_was(
    browser: TestClient, atproto_network: AtprotoNetwork
) -> None:
    """They stay logged in, and are told that nothing was lost."""
    login_as(browser, "alice.test")
    before = browser.get("/oauth/session").json()
    html = open_interstitial(browser)
    back = browser.get(deny(step_up(browser, html)), headers=COMING_BACK)
    assert back.status_code == 400
    assert "You are logged in as @alice.test" in back.text
    assert browser.get("/oauth/session").json() == before
    assert len(atproto_network.sessions()) == 1


def test_page_when_the_grant_still_lacks_it_then_told_and_no_loop(
    browser: TestClient,
) -> None:
    """The same page again, with a text that says so; nothing goes on by itself."""
    login_as(browser, "alice.test")
    url = step_up(browser, open_interstitial(browser))
    lesser = approve(url, "alice.test", scope=f"atproto {LIKE}")
    back = browser.get(lesser, headers=COMING_BACK)
    html = open_interstitial(browser, back.headers["location"])
    assert "this permission did not come with it" in html
    assert "refresh" not in html.lower()


def test_page_when_nobody_is_there_then_logs_in_with_the_permission_at_once(
    browser: TestClient,
) -> None:
    """One consent, not two."""
    sent = browser.get("/write?draft=1", headers=NAVIGATION)
    query = parse_qs(urlsplit(sent.headers["location"]).query)
    assert query["return_to"] == ["/write?draft=1"]
    assert set(query["scope"][0].split()) == {"atproto", LIKE, POST}
    form = Reader(browser.get(sent.headers["location"]).text).fields
    fields = {**form, "identifier": "alice.test"}
    del fields["host"]
    answer = browser.post("/oauth/login", data=fields)
    url = answer.headers["refresh"].partition("url=")[2]
    back = browser.get(approve(url, "alice.test"), headers=COMING_BACK)
    assert back.headers["location"] == "/write?draft=1"
    assert browser.get("/write").status_code == 200


def test_api_when_a_permission_is_missing_then_403_says_which(
    browser: TestClient,
) -> None:
    """A problem document, with what is missing and what to ask for."""
    login_as(browser, "alice.test")
    for path in ("/write", "/plain", "/inside/write"):
        answer = browser.get(path, headers={"Sec-Fetch-Mode": "cors"})
        assert answer.status_code == 403
        assert answer.headers["content-type"] == "application/problem+json"
        told = answer.json()
        assert told["code"] == "scope_missing"
        assert told["missing"] == [f"{POST}?action=create"]
        assert set(told["ask_for"].split()) == {"atproto", LIKE, POST}


def test_api_when_nobody_is_there_then_401(browser: TestClient) -> None:
    """A program is not sent anywhere."""
    answer = browser.get("/write")
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Cookie")


def test_form_when_a_permission_is_missing_then_a_page_says_so(
    browser: TestClient,
) -> None:
    """What a page's form sends is answered by a page, with the way to the permission."""
    login_as(browser, "alice.test")
    answer = browser.post("/write", headers=NAVIGATION)
    assert answer.status_code == 403
    [way] = [each for each in Reader(answer.text).links if "reason=scope" in each]
    assert "One more permission" in browser.get(way, headers=NAVIGATION).text


def test_websocket_when_a_permission_is_missing_then_denied(
    browser: TestClient, atproto_network: AtprotoNetwork
) -> None:
    """The handshake is refused; with the permission it is not."""
    login_as(browser, "alice.test")
    with pytest.raises(WebSocketDenialResponse) as refused:
        browser.websocket_connect("ws://127.0.0.1:8000/ws").__enter__()
    assert refused.value.status_code == 403
    url = step_up(browser, open_interstitial(browser))
    browser.get(approve(url, "alice.test"), headers=COMING_BACK)
    with browser.websocket_connect("ws://127.0.0.1:8000/ws") as socket:
        alice = atproto_network.accounts["alice.test"]
        assert socket.receive_text() == alice.did


@pytest.mark.covers("SCOPE-02")
@pytest.mark.parametrize(
    "scope", ["atproto repo:com.example.other", "atproto transition:generic", "x"]
)
def test_interstitial_when_a_link_asks_for_more_than_declared_then_refused(
    browser: TestClient, scope: str
) -> None:
    """Nobody's link puts words of its own on the page."""
    login_as(browser, "alice.test")
    query = {"scope": scope, "reason": "scope"}
    answer = browser.get("/oauth/login", params=query)
    assert answer.status_code == 400
    assert "One more permission" not in answer.text


def test_interstitial_when_all_is_granted_then_the_usual_login_page(
    browser: TestClient,
) -> None:
    """Back button or old link: it says who is logged in, and leads on."""
    login_as(browser, "alice.test")
    query = {"scope": f"atproto {LIKE}", "reason": "scope", "return_to": "/write"}
    answer = browser.get("/oauth/login", params=query)
    assert "You are logged in as @alice.test" in answer.text
    assert "One more permission" not in answer.text


@pytest.mark.parametrize(
    "require_scope", [fastapi.require_scope, for_starlette.require_scope]
)
def test_require_scope_when_it_is_no_scope_then_an_error_at_the_start(
    require_scope: Callable[..., Any],
) -> None:
    """A slip of the pen is found when the application is imported."""
    with pytest.raises(ConfigurationError):
        require_scope("repo:no such thing")


def test_require_scope_when_undeclared_then_the_developer_is_told(
    atproto_network: AtprotoNetwork,
) -> None:
    """What can never be asked for is a mistake, not a question to the person."""
    app = FastAPI()

    @app.get("/", dependencies=[Depends(fastapi.require_scope("identity:*"))])
    async def never() -> None: ...

    browser = browser_at(lambda: app, atproto_network)
    with pytest.raises(ConfigurationError, match="identity"):
        browser.get("/")


@pytest.mark.browser
@pytest.mark.network
def test_permission_when_given_at_the_official_pds_then_the_page_opens(
    fresh_network: ReferenceNetwork, browser_page: BrowserPage
) -> None:
    """First refused, which changes nothing; then given, on the very same page."""
    alice, page = fresh_network.accounts["alice.test"], browser_page.page
    app = make_fastapi()
    app.add_middleware(
        ATProtoOAuthMiddleware,
        secret_key="a-secret-of-the-tests-of-32-bytes",
        scope=SCOPE,
        login_scope=f"atproto {LIKE}",
        client_name="Notes",
        network=development(fresh_network),
    )
    with served_in_thread(app) as origin:
        page.goto(f"{origin}/oauth/login?return_to=/write%3Fdraft=1")
        page.get_by_label("Your handle").fill("alice.test")
        page.get_by_role("button", name="Continue", exact=True).click()
        sign_in_and_authorize(page, alice)
        go_on = page.get_by_role("button", name="Continue to your host")
        go_on.click()
        sign_in_as(page, alice.handle, password=alice.password)
        deny_in_browser(page)
        expect(page.get_by_text("You are logged in as @alice.test")).to_be_visible()
        page.goto(f"{origin}/write?draft=1")
        go_on.click()
        sign_in_and_authorize(page, alice)
        page.wait_for_url(f"{origin}/write?draft=1")
        expect(page.locator("body")).to_have_text(alice.did)
    assert len(fresh_network.sessions(alice.did)) == 1
