"""A stranger's tests: whole logins, each in a few lines."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Annotated, Any, Unpack

import httpx
import pytest
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from atproto_oauth_asgi import ATProtoOAuthMiddleware, ClientKey, ConfigurationError
from atproto_oauth_asgi.config import OAuthOptions
from atproto_oauth_asgi.crypto.keys import generate_private_key
from atproto_oauth_asgi.fastapi import current_user
from atproto_oauth_asgi.testing import (
    AtprotoNetwork,
    Browser,
    SignInError,
    approve,
    behaviours,
    deny,
    login_as,
)
from atproto_oauth_asgi.testing.store_locks import ManualClock

SECRET = "a secret of the tests, 32 bytes or more"
ORIGIN = "http://127.0.0.1:8000"
HOSTED = "https://app.notes.internal"
SCOPE = "atproto repo:com.example.note"


async def who(request: Request) -> Response:
    auth = request.scope["atproto"]
    return JSONResponse({"did": auth.did, "handle": auth.handle})


async def post(request: Request) -> Response:
    auth = request.scope["atproto"]
    body = {"repo": auth.did, "collection": "com.example.note", "record": {"n": 1}}
    answer = await auth.client.procedure("com.atproto.repo.createRecord", json=body)
    return JSONResponse(answer.json(), answer.status_code)


def make_app(
    net: AtprotoNetwork, **options: Unpack[OAuthOptions]
) -> ATProtoOAuthMiddleware:
    routes = [Route("/", who), Route("/post", post, methods=["POST"])]
    merged: OAuthOptions = {
        "secret_key": SECRET,
        "scope": SCOPE,
        "network": net.network,
        **options,
    }
    return ATProtoOAuthMiddleware(Starlette(routes=routes), **merged)


def test_fastapi_app_when_logged_in_by_one_line_then_knows_the_person(
    atproto_network: AtprotoNetwork,
) -> None:
    """A FastAPI application and its first test, as a stranger would write it."""
    app = FastAPI()
    app.add_middleware(
        ATProtoOAuthMiddleware, secret_key=SECRET, network=atproto_network.network
    )

    @app.get("/")
    def home(did: Annotated[str, Depends(current_user)]) -> str:
        return did

    with TestClient(app, base_url=ORIGIN) as client:
        assert client.get("/").status_code == 401
        login_as(client, "alice.test")
        assert client.get("/").json() == atproto_network.accounts["alice.test"].did


def test_login_as_when_fields_are_given_then_the_form_has_them(
    atproto_network: AtprotoNetwork,
) -> None:
    """Further fields go into the form; the answer is the way back into the app."""
    with TestClient(make_app(atproto_network), base_url=ORIGIN) as client:
        answer = login_as(client, "alice.test", return_to="/?page=2")
        assert answer.headers["location"] == "/?page=2"


def test_login_as_when_account_is_given_then_that_one_is_logged_in(
    atproto_network: AtprotoNetwork,
) -> None:
    """Accounts made by a test can log in, a ``did:web`` among them."""
    carol = atproto_network.create_account(
        "carol.test", "carol-pass", did="did:web:carols.test"
    )
    with TestClient(make_app(atproto_network), base_url=ORIGIN) as client:
        login_as(client, carol)
        expected = {"did": "did:web:carols.test", "handle": "carol.test"}
        assert client.get("/").json() == expected


@pytest.mark.anyio
async def test_login_as_when_client_is_async_then_is_awaited(
    atproto_network: AtprotoNetwork,
) -> None:
    """The same in one line for asynchronous tests, on asyncio and trio."""
    app = make_app(atproto_network)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as client:
        await login_as(client, "bob.test")
        found = (await client.get("/")).json()
        assert found["handle"] == "bob.test"
        assert (await client.post("/post")).status_code == 200
        await app._site.client.aclose()
    assert len(atproto_network.list_records(found["did"], "com.example.note")) == 1


@pytest.mark.parametrize("as_host", [None, "as.test"])
def test_login_as_when_client_is_confidential_then_its_key_is_checked(
    as_host: str | None,
) -> None:
    """A hosted application with a key logs in; the server reads its documents."""
    with AtprotoNetwork(as_host=as_host) as net:
        key = ClientKey(generate_private_key())
        app = make_app(net, public_url=HOSTED, client_keys=[key])
        net.serve_client("app.notes.internal", app)
        with TestClient(app, base_url=HOSTED) as client:
            login_as(client, "alice.test")
            assert client.post("/post").status_code == 200
            (session,) = net.sessions()
            assert session["clientAuthMethod"] == "private_key_jwt"
            client.post("/oauth/logout", headers={"Origin": HOSTED})
            assert net.sessions() == []
        hosts = {each.host for each in net.traffic if each.path == "/oauth/token"}
        assert hosts == {as_host or "pds.test"}


def test_login_as_when_documents_stand_in_for_the_client_then_they_count(
    atproto_network: AtprotoNetwork,
) -> None:
    """A client that serves no pages of its own gives its documents by path."""
    app = make_app(atproto_network, public_url=HOSTED)
    document = app._site.config.client_metadata
    atproto_network.serve_client(
        "app.notes.internal", {"/oauth-client-metadata.json": document}
    )
    with TestClient(app, base_url=HOSTED) as client:
        login_as(client, "alice.test")
        assert client.get("/").json()["handle"] == "alice.test"


def test_login_as_when_client_is_unknown_then_server_refuses(
    atproto_network: AtprotoNetwork,
) -> None:
    """A hosted client that cannot be found is refused, as on the real network."""
    app = make_app(atproto_network, public_url=HOSTED)
    with (
        TestClient(app, base_url=HOSTED) as client,
        pytest.raises(SignInError, match="the login form was answered by"),
    ):
        login_as(client, "alice.test")


def test_login_as_when_app_is_served_then_httpx_client_logs_in(
    atproto_network: AtprotoNetwork,
) -> None:
    """Several applications and threads use one network at the same time."""
    app = make_app(atproto_network)
    found: dict[str, Any] = {}

    def visit(handle: str) -> None:
        with TestClient(app, base_url=ORIGIN) as client:
            login_as(client, handle)
            found[handle] = client.get("/").json()["handle"]

    threads = [
        threading.Thread(target=visit, args=[name]) for name in atproto_network.accounts
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {"alice.test": "alice.test", "bob.test": "bob.test"}


def test_login_as_when_scope_is_narrowed_then_app_may_do_less(
    atproto_network: AtprotoNetwork,
) -> None:
    """A person may grant less; what is missing is refused by the PDS."""
    with TestClient(make_app(atproto_network), base_url=ORIGIN) as client:
        login_as(client, "alice.test", scope="atproto")
        answer = client.post("/post")
        assert (answer.status_code, answer.json()["error"]) == (
            403,
            "ScopeMissingError",
        )


def test_login_as_when_client_has_no_address_then_says_what_to_write(
    atproto_network: AtprotoNetwork,
) -> None:
    """The usual mistake is told together with its remedy."""
    with (
        TestClient(make_app(atproto_network)) as client,
        pytest.raises(SignInError, match=r'base_url="http://127\.0\.0\.1:8000"'),
    ):
        login_as(client, "alice.test")


def test_login_as_when_handle_is_unknown_then_tells_what_the_app_said(
    atproto_network: AtprotoNetwork,
) -> None:
    """A failure shows status and text of the application's answer."""
    with (
        TestClient(make_app(atproto_network), base_url=ORIGIN) as client,
        pytest.raises(SignInError, match="handle_not_found"),
    ):
        login_as(client, "nobody.test")


def test_login_as_when_callback_fails_then_tells_what_the_app_said(
    atproto_network: AtprotoNetwork,
) -> None:
    """A login that somebody else answers ends at the callback, with the app's text."""
    bob = atproto_network.accounts["bob.test"]
    with TestClient(make_app(atproto_network), base_url=ORIGIN) as client:
        auth_url = begin(client, "alice.test")
        back = approve(auth_url, bob)
        answer = client.get(back, follow_redirects=False)
        assert answer.status_code >= 400
        assert atproto_network.sessions() == []
        broken = behaviours.status(500)
        atproto_network.on("pds.test", "/oauth/token", broken)
        with pytest.raises(SignInError, match="callback was answered by 502"):
            login_as(client, "alice.test")


def begin(client: TestClient, handle: str) -> str:
    answer = client.post(
        "/oauth/login", json={"identifier": handle}, headers={"Origin": ORIGIN}
    )
    url: str = answer.json()["authorization_url"]
    return url


def test_approve_when_password_is_wrong_then_request_stays_usable(
    atproto_network: AtprotoNetwork,
) -> None:
    """A slip at the password is no end, in the same browser."""
    with TestClient(make_app(atproto_network), base_url=ORIGIN) as client:
        auth_url = begin(client, "alice.test")
        browser = Browser()
        with pytest.raises(SignInError, match="Invalid identifier or password"):
            approve(auth_url, "alice.test", password="wrong", browser=browser)
        back = approve(auth_url, "alice.test", browser=browser)
        assert client.get(back, follow_redirects=False).status_code == 303


def test_deny_when_followed_then_app_has_no_session(
    atproto_network: AtprotoNetwork,
) -> None:
    """A no leads back to the application, which stays without a person."""
    with TestClient(make_app(atproto_network), base_url=ORIGIN) as client:
        back = deny(begin(client, "alice.test"))
        assert "error=access_denied" in back
        assert client.get(back, follow_redirects=False).status_code >= 400
        assert client.get("/").json()["did"] is None


def test_deny_when_the_request_is_over_then_leads_back_or_says_so() -> None:
    """One that has expired leads back with the reason; one that was answered nowhere."""
    clock = ManualClock()
    with (
        AtprotoNetwork(clock=clock) as net,
        TestClient(make_app(net, clock=clock), base_url=ORIGIN) as client,
    ):
        answered, expired = begin(client, "alice.test"), begin(client, "alice.test")
        deny(answered)
        with pytest.raises(SignInError, match="no running AtprotoNetwork"):
            deny(answered)
        net.on("pds.test", "/oauth/authorize", behaviours.status(503), times=1)
        with pytest.raises(SignInError, match="authorization page: 503"):
            deny(expired)
        clock.now += 301
        assert "expired" in deny(expired)


@pytest.mark.parametrize("answer", [deny, lambda url: approve(url, "alice.test")])
def test_approve_when_no_network_knows_the_request_then_says_so(
    atproto_network: AtprotoNetwork, answer: Callable[[str], str]
) -> None:
    """A URL of another network is not answered."""
    auth_url = f"{atproto_network.issuer}/oauth/authorize?request_uri=urn:x"
    with pytest.raises(SignInError, match="no running AtprotoNetwork"):
        answer(auth_url)


def test_network_when_not_started_then_cannot_be_used() -> None:
    """Options that lead nowhere are not given out."""
    net = AtprotoNetwork()
    with pytest.raises(ConfigurationError, match="start it"):
        _ = net.network
    with pytest.raises(ConfigurationError, match="start it"):
        net.request("GET", net.pds_url)


@pytest.mark.usefixtures("atproto_network")
def test_networks_when_two_run_then_each_answers_its_own_logins() -> None:
    """Two networks do not know each other's people."""
    with AtprotoNetwork(accounts={"dora.test": "dora-pass"}) as other:
        other.start()
        with TestClient(make_app(other), base_url=ORIGIN) as client:
            login_as(client, "dora.test")
            assert client.get("/").json()["handle"] == "dora.test"
        other.stop()
    other.stop()
