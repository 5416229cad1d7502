"""The atproto SDK over the guarded transport, on both networks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from atproto import AsyncClient, AtUri, Client, models
from atproto.exceptions import RequestException
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from atproto_oauth_asgi import (
    ATProtoOAuthMiddleware,
    Blocked,
    ConfigurationError,
    MemorySessionStore,
    MemoryStateStore,
    NotAuthenticatedError,
    OAuthClient,
    OAuthSession,
    current_auth,
    sync,
)
from atproto_oauth_asgi.network_options import Network
from atproto_oauth_asgi.sdk import oauth_login, sdk_client
from atproto_oauth_asgi.testing import AtprotoNetwork, approve, behaviours, login_as
from tests.reference_network import sign_in
from tests.reference_network.process import ReferenceNetwork
from tests.sessions.making import make_session

# The SDK passes bytes to httpx in a way that httpx would rather not see.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

HANDLE = "alice.test"
REDIRECT_URI = "http://127.0.0.1:5000/callback"
SCOPE = "atproto transition:generic"
POSTS = "app.bsky.feed.post"
CREATE = "/xrpc/com.atproto.repo.createRecord"


@dataclass(frozen=True)
class Place:
    """A network, how somebody says yes there, and what lies on the PDS."""

    network: Network
    did: str
    approve: Callable[[str], str]
    records: Callable[[str, str], list[Any]]


@pytest.fixture(
    params=["in-process", pytest.param("reference", marks=pytest.mark.network)]
)
def place(request: pytest.FixtureRequest) -> Place:
    if request.param == "in-process":
        net: AtprotoNetwork = request.getfixturevalue("atproto_network")
        return at(net)
    official: ReferenceNetwork = request.getfixturevalue("fresh_network")
    account = official.accounts[HANDLE]
    return Place(
        official.network,
        account.did,
        lambda url: sign_in.approve(url, account),
        official.list_records,
    )


def at(net: AtprotoNetwork) -> Place:
    did = net.accounts[HANDLE].did
    return Place(net.network, did, lambda url: approve(url, HANDLE), net.list_records)


@pytest.fixture
async def oauth(place: Place) -> AsyncIterator[OAuthClient]:
    client = OAuthClient(
        "http://localhost",
        REDIRECT_URI,
        SCOPE,
        MemoryStateStore(),
        MemorySessionStore(),
        network=place.network,
    )
    yield client
    await client.aclose()


async def log_in(place: Place, oauth: OAuthClient) -> OAuthSession:
    auth_url, _ = await oauth.start_authorization(HANDLE)
    answer = dict(parse_qsl(urlsplit(place.approve(auth_url)).query))
    return await oauth.handle_callback(**answer)


# --- the asynchronous SDK ----------------------------------------------------------

# The SDK knows asyncio only.
on_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio"], scope="module")


@pytest.mark.anyio
@on_asyncio
async def test_post_when_sent_then_is_on_the_pds(
    place: Place, oauth: OAuthClient
) -> None:
    """Nobody says whose post it is: ``client.me`` does."""
    client = oauth_login(AsyncClient(), await log_in(place, oauth), oauth=oauth)
    post = await client.send_post("hello")
    assert AtUri.from_str(post.uri).host == place.did
    record = place.records(place.did, POSTS)[0]
    assert record["value"]["text"] == "hello"
    assert (client.me.did, client.me.handle) == (place.did, HANDLE)


@pytest.mark.anyio
@on_asyncio
async def test_blob_when_uploaded_then_is_whole(
    place: Place, oauth: OAuthClient
) -> None:
    """Bytes go along as they are."""
    client = oauth_login(AsyncClient(), await log_in(place, oauth), oauth=oauth)
    uploaded = await client.upload_blob(b"x" * 5000)
    assert uploaded.blob.size == 5000


@pytest.mark.anyio
@on_asyncio
async def test_typed_call_when_made_then_gives_a_model(
    place: Place, oauth: OAuthClient
) -> None:
    """The namespaces of the SDK work, queries and procedures."""
    client = oauth_login(AsyncClient(), await log_in(place, oauth), oauth=oauth)
    described = await client.com.atproto.server.get_session()
    assert isinstance(described, models.ComAtprotoServerGetSession.Response)
    assert described.did == place.did


@pytest.mark.anyio
@on_asyncio
async def test_session_when_token_has_ended_then_is_renewed_underneath(
    place: Place, oauth: OAuthClient
) -> None:
    """The SDK does not notice, and the store has the new tokens."""
    session = await log_in(place, oauth)
    past = datetime.now(UTC) - timedelta(seconds=1)
    client = oauth_login(AsyncClient(), session.replace(expires_at=past), oauth=oauth)
    await client.send_post("later")
    assert (await oauth.restore(place.did)).access_token != session.access_token


@pytest.mark.anyio
@on_asyncio
async def test_clone_when_it_is_proxied_then_passes_the_same_guard(
    atproto_network: AtprotoNetwork,
) -> None:
    """The chat clone names its service, is signed, and may be closed."""
    async with opened(atproto_network) as oauth:
        session = await log_in(at(atproto_network), oauth)
        client = oauth_login(AsyncClient(), session, oauth=oauth)
        chat = client.with_bsky_chat_proxy()
        await chat.com.atproto.server.get_session()
        await chat.request.close()
        await client.com.atproto.server.get_session()
    first, second = atproto_network.traffic[-2:]
    assert first.headers["atproto-proxy"] == "did:web:api.bsky.chat#bsky_chat"
    assert first.headers["authorization"].startswith("DPoP ")
    assert "atproto-proxy" not in second.headers


@pytest.mark.anyio
@on_asyncio
@pytest.mark.covers("RES-04", "DPO-14")
@pytest.mark.parametrize("url", ["https://bob.test/", "https://pds.test/elsewhere"])
async def test_redirect_when_answered_then_is_an_error(
    atproto_network: AtprotoNetwork, url: str
) -> None:
    """The SDK follows redirects by itself; here there is nothing to follow."""
    async with opened(atproto_network) as oauth:
        session = await log_in(at(atproto_network), oauth)
        client = oauth_login(AsyncClient(), session, oauth=oauth)
        atproto_network.on("pds.test", CREATE, behaviours.redirect(url, code=307))
        atproto_network.clear_traffic()
        with pytest.raises(RequestException):
            await client.send_post("hello")
    assert {each.path for each in atproto_network.traffic} == {CREATE}


@pytest.mark.anyio
@on_asyncio
@pytest.mark.covers("RES-02", "DPO-13")
async def test_client_when_pointed_elsewhere_then_is_blocked(
    atproto_network: AtprotoNetwork,
) -> None:
    """Changing the base URL leads nowhere."""
    async with opened(atproto_network) as oauth:
        session = await log_in(at(atproto_network), oauth)
        client = oauth_login(AsyncClient(), session, oauth=oauth)
        client.update_base_url("https://evil.example")
        with pytest.raises(Blocked):
            await client.send_post("hello")


@pytest.mark.anyio
@on_asyncio
async def test_login_when_headers_were_set_then_they_stay(
    atproto_network: AtprotoNetwork,
) -> None:
    """What an application has prepared is not thrown away."""
    async with opened(atproto_network) as oauth:
        session = await log_in(at(atproto_network), oauth)
        client = AsyncClient()
        client.request.add_additional_header("x-mine", "1")
        await oauth_login(client, session, oauth=oauth).send_post("hello")
    sent = [each for each in atproto_network.traffic if each.path == CREATE]
    assert sent[-1].headers["x-mine"] == "1"
    assert "python sdk" in sent[-1].headers["user-agent"].lower()


@pytest.mark.anyio
@on_asyncio
async def test_login_when_clients_do_not_fit_then_is_refused(
    place: Place, oauth: OAuthClient
) -> None:
    """An error that says which one is needed, before anything is replaced."""
    session = await log_in(place, oauth)
    with pytest.raises(ConfigurationError, match="AsyncClient needs"):
        oauth_login(Client(), session, oauth=oauth)  # type: ignore[arg-type, unused-ignore]


@pytest.mark.anyio
@on_asyncio
async def test_login_when_somebody_is_logged_in_then_is_refused(
    place: Place, oauth: OAuthClient
) -> None:
    """One client is one person: nobody posts as somebody else by accident."""
    session = await log_in(place, oauth)
    client = oauth_login(AsyncClient(), session, oauth=oauth)
    with pytest.raises(ConfigurationError, match="logged in"):
        oauth_login(client, session, oauth=oauth)


@pytest.mark.network
@pytest.mark.anyio
@on_asyncio
async def test_login_when_logged_in_by_password_then_is_refused(
    fresh_network: ReferenceNetwork,
) -> None:
    """Its own tokens would be renewed beside ours."""
    alice = fresh_network.accounts[HANDLE]
    client = AsyncClient(fresh_network.pds_url)
    await client.login(HANDLE, alice.password, fetch_bsky_profile=False)
    oauth = OAuthClient("http://localhost", REDIRECT_URI, SCOPE)
    session = make_session(did=alice.did)
    with pytest.raises(ConfigurationError, match="logged in"):
        oauth_login(client, session, oauth=oauth)
    await client.request.close()


def test_me_when_the_handle_is_not_verified_then_says_so() -> None:
    """The SDK wants one; nobody's is the honest answer."""
    oauth = OAuthClient("http://localhost", REDIRECT_URI, SCOPE)
    client = oauth_login(AsyncClient(), make_session(handle=None), oauth=oauth)
    assert client.me.handle == "handle.invalid"


def opened(net: AtprotoNetwork) -> Opened:
    return Opened(net)


class Opened:
    """A client of the in-process network, closed at the end."""

    def __init__(self, net: AtprotoNetwork) -> None:
        self._client = OAuthClient(
            "http://localhost",
            REDIRECT_URI,
            SCOPE,
            MemoryStateStore(),
            network=net.network,
        )

    async def __aenter__(self) -> OAuthClient:
        return self._client

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()


# --- the synchronous one -----------------------------------------------------------


def test_sync_client_when_logged_in_then_posts_uploads_and_clones(
    place: Place,
) -> None:
    """The same, without a word of ``await``."""
    store = MemoryStateStore()
    with sync.OAuthClient(
        "http://localhost", REDIRECT_URI, SCOPE, store, network=place.network
    ) as oauth:
        auth_url, _ = oauth.start_authorization(HANDLE)
        answer = dict(parse_qsl(urlsplit(place.approve(auth_url)).query))
        session = oauth.handle_callback(**answer)
        client = oauth_login(Client(), session, oauth=oauth)
        client.send_post("hello")
        assert client.upload_blob(b"x" * 5000).blob.size == 5000
        chat = client.with_bsky_chat_proxy()
        assert chat.request.get_headers()["atproto-proxy"]
        chat.request.close()
        assert client.com.atproto.server.get_session().did == session.did
    record = place.records(place.did, POSTS)[0]
    assert record["value"]["text"] == "hello"


@pytest.mark.covers("RES-04")
def test_sync_redirect_when_answered_then_is_an_error(
    atproto_network: AtprotoNetwork,
) -> None:
    """The guard of the waiting client is the same one."""
    place = at(atproto_network)
    store = MemoryStateStore()
    with sync.OAuthClient(
        "http://localhost", REDIRECT_URI, SCOPE, store, network=place.network
    ) as oauth:
        auth_url, _ = oauth.start_authorization(HANDLE)
        answer = dict(parse_qsl(urlsplit(place.approve(auth_url)).query))
        client = oauth_login(Client(), oauth.handle_callback(**answer), oauth=oauth)
        behaviour = behaviours.redirect("https://pds.test/elsewhere", code=307)
        atproto_network.on("pds.test", CREATE, behaviour)
        with pytest.raises(RequestException):
            client.send_post("hello")
    assert atproto_network.traffic[-1].path == CREATE


# --- in an application -------------------------------------------------------------


def make_app(net: AtprotoNetwork, report: Callable[[], Awaitable[Any]]) -> Starlette:
    async def home(request: Request) -> JSONResponse:
        del request
        return JSONResponse(await report())

    middleware = Middleware(
        ATProtoOAuthMiddleware,
        secret_key="a secret of the tests, of 32 bytes or more",
        scope=SCOPE,
        network=net.network,
    )
    return Starlette(routes=[Route("/", home)], middleware=[middleware])


def test_app_when_somebody_is_logged_in_then_sdk_posts_for_them(
    atproto_network: AtprotoNetwork,
) -> None:
    """One line gives the typed client of the person who makes the request."""

    async def report() -> str:
        post = await sdk_client(current_auth()).send_post("from the app")
        return str(post.uri)

    app = make_app(atproto_network, report)
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:
        login_as(client, HANDLE)
        did = atproto_network.accounts[HANDLE].did
        assert AtUri.from_str(client.get("/").json()).host == did
    [record] = atproto_network.list_records(did, POSTS)
    assert record["value"]["text"] == "from the app"


def test_app_when_nobody_is_logged_in_then_there_is_no_sdk_client(
    atproto_network: AtprotoNetwork,
) -> None:
    """An error that says so, and no half-made client."""

    async def report() -> str:
        with pytest.raises(NotAuthenticatedError):
            sdk_client(current_auth())
        return "refused"

    app = make_app(atproto_network, report)
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:
        assert client.get("/").json() == "refused"


@pytest.mark.covers("SUP-05")
def test_import_when_sdk_is_missing_then_says_what_to_install() -> None:
    """No stack of somebody else's module names."""
    program = (
        "import sys; sys.modules['atproto'] = None\n"
        "try:\n    import atproto_oauth_asgi.sdk\n"
        "except ImportError as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "pip install 'atproto-oauth-asgi[sdk]'" in done.stdout
