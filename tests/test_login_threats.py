"""Attacks on a login that a real server has to be there for, on both networks."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from atproto_oauth_asgi import (
    ATProtoOAuthMiddleware,
    MemoryStateStore,
    NotAuthenticatedError,
    OAuthClient,
    OAuthTokenError,
    PDSClient,
    RefreshUnavailable,
    current_auth,
)
from atproto_oauth_asgi.config import OAuthConfig
from atproto_oauth_asgi.crypto.keys import export_private_key
from atproto_oauth_asgi.crypto.sealing import Sealer
from atproto_oauth_asgi.dpop import DPoPManager
from atproto_oauth_asgi.network_options import Network
from atproto_oauth_asgi.pkce import PKCEManager
from atproto_oauth_asgi.testing import AtprotoNetwork, approve, login_as
from tests.reference_network import sign_in
from tests.reference_network.process import ReferenceNetwork

REDIRECT_URI = "http://127.0.0.1:5000/callback"
SECRET = "a secret of the tests, of 32 bytes or more"
SELF = "/xrpc/com.atproto.server.getSession"


@dataclass(frozen=True)
class Place:
    """A network, and how somebody says yes there."""

    network: Network
    approve: Callable[[str, str], str]


@pytest.fixture(
    params=["in-process", pytest.param("reference", marks=pytest.mark.network)]
)
def place(request: pytest.FixtureRequest) -> Place:
    if request.param == "in-process":
        net: AtprotoNetwork = request.getfixturevalue("atproto_network")
        return Place(net.network, approve)
    official: ReferenceNetwork = request.getfixturevalue("fresh_network")
    return Place(
        official.network,
        lambda url, handle: sign_in.approve(url, official.accounts[handle]),
    )


@pytest.fixture
async def oauth(place: Place) -> AsyncIterator[OAuthClient]:
    client = OAuthClient(
        "http://localhost",
        REDIRECT_URI,
        "atproto",
        MemoryStateStore(),
        network=place.network,
    )
    yield client
    await client.aclose()


@pytest.mark.anyio
@pytest.mark.covers("LGN-03", "PAR-08")
async def test_code_when_stolen_for_another_login_then_is_worth_nothing(
    place: Place, oauth: OAuthClient
) -> None:
    """A code belongs to the verifier that it was asked for with."""
    theirs, _ = await oauth.start_authorization("alice.test")
    stolen = dict(parse_qsl(urlsplit(place.approve(theirs, "alice.test")).query))
    _, mine = await oauth.start_authorization("alice.test")
    with pytest.raises(OAuthTokenError) as raised:
        await oauth.handle_callback(stolen["code"], mine, stolen["iss"])
    assert raised.value.error == "invalid_grant"


# --- clients that are kept longer than they should be --------------------------------


class Shop:
    """An application that keeps the first client that it gets, as nobody should."""

    def __init__(self, net: AtprotoNetwork) -> None:
        self.kept: list[PDSClient] = []
        self.app = Starlette(
            routes=[Route("/", self.home), Route("/kept", self.use_kept)],
            middleware=[
                Middleware(
                    ATProtoOAuthMiddleware, secret_key=SECRET, network=net.network
                )
            ],
        )

    async def home(self, request: Request) -> JSONResponse:
        del request
        auth = current_auth()
        try:
            client = auth.client
        except NotAuthenticatedError as error:
            return JSONResponse({"code": error.code}, status_code=401)
        self.kept.append(client)
        return JSONResponse((await client.get(SELF)).json())

    async def use_kept(self, request: Request) -> JSONResponse:
        del request
        try:
            return JSONResponse((await self.kept[0].get(SELF)).json())
        except RefreshUnavailable as error:
            return JSONResponse({"code": error.code}, status_code=503)


def browser(shop: Shop) -> TestClient:
    return TestClient(shop.app, base_url="http://127.0.0.1:8000")


@pytest.mark.covers("RES-14")
def test_client_when_nobody_is_logged_in_then_there_is_none(
    atproto_network: AtprotoNetwork,
) -> None:
    """An error that says so; nothing is sent anywhere."""
    shop = Shop(atproto_network)
    with browser(shop) as somebody:
        answer = somebody.get("/")
    assert (answer.status_code, answer.json()) == (401, {"code": "not_authenticated"})
    assert atproto_network.traffic == []


@pytest.mark.covers("RES-13", "ASG-06")
def test_client_when_kept_globally_then_stays_the_first_persons(
    atproto_network: AtprotoNetwork,
) -> None:
    """It never speaks for whoever makes the next request, and it cannot renew."""
    shop = Shop(atproto_network)
    with browser(shop) as alice:
        login_as(alice, "alice.test")
        assert alice.get("/").json()["handle"] == "alice.test"
        alice.cookies.clear()
        login_as(alice, "bob.test")
        assert alice.get("/").json()["handle"] == "bob.test"
        assert alice.get("/kept").json()["handle"] == "alice.test"
        used = [each for each in atproto_network.traffic if each.path == SELF]
        tokens = [each.headers["authorization"] for each in used]
        # Alice's, Bob's, Alice's again.
        assert tokens[0] == tokens[2] != tokens[1]
        did = atproto_network.accounts["alice.test"].did
        atproto_network.revoke(did)
        answer = alice.get("/kept")
    assert (answer.status_code, answer.json()) == (503, {"code": "refresh_unavailable"})


# --- processes that fork -------------------------------------------------------------


@pytest.mark.covers("CRYPT-08")
def test_secrets_when_process_forks_then_each_child_has_its_own() -> None:
    """As a server does that loads the application before it forks."""
    config = OAuthConfig(secret_key=SECRET)
    OAuthClient.from_config(config)
    sealer = Sealer(config.secrets, purpose="test")

    def draw() -> str:
        key = DPoPManager.generate_keypair()
        sealed = sealer.seal(b"text", context="here", now=0.0)
        proof = DPoPManager.create_proof("GET", "https://pds.test/", key)
        made = (
            secrets.token_urlsafe(16),
            PKCEManager.generate_verifier(),
            export_private_key(key),
            sealed,
            proof,
        )
        return "\n".join(made)

    drawn = [_in_child(draw).split("\n") for _ in range(3)]
    drawn.append(draw().split("\n"))
    for kind in zip(*drawn, strict=True):
        assert len(set(kind)) == len(drawn)


def _in_child(draw: Callable[[], str]) -> str:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, draw().encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    return text
