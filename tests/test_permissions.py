"""What was granted: kept, asked about, and required, on both networks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any
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
    MemorySessionStore,
    MemoryStateStore,
    OAuthClient,
    OAuthSession,
    ScopeMissingError,
    current_auth,
)
from atproto_oauth_asgi.network_options import Network
from atproto_oauth_asgi.testing import AtprotoNetwork, approve, login_as
from tests.reference_network import sign_in
from tests.reference_network.process import ReferenceNetwork

HANDLE = "alice.test"
REDIRECT_URI = "http://127.0.0.1:5000/callback"
NOTES = "repo:com.example.note"
SCOPE = f"atproto {NOTES} blob:image/*"
SECRET = "a secret of the tests, of 32 bytes or more"


@dataclass(frozen=True)
class Place:
    """A network, how somebody grants a scope there, and which sessions it has."""

    network: Network
    grant: Callable[[str, str], str]
    sessions: Callable[[], list[Any]]


@pytest.fixture(
    params=["in-process", pytest.param("reference", marks=pytest.mark.network)]
)
def place(request: pytest.FixtureRequest) -> Place:
    if request.param == "in-process":
        net: AtprotoNetwork = request.getfixturevalue("atproto_network")
        return Place(
            net.network,
            lambda url, scope: approve(url, HANDLE, scope=scope),
            net.sessions,
        )
    official: ReferenceNetwork = request.getfixturevalue("fresh_network")
    alice = official.accounts[HANDLE]
    return Place(
        official.network,
        lambda url, scope: sign_in.approve(url, alice, scope=scope),
        lambda: official.sessions(alice.did),
    )


@pytest.fixture(params=["text", "list"])
async def oauth(
    place: Place, request: pytest.FixtureRequest
) -> AsyncIterator[OAuthClient]:
    required = f"{NOTES}?action=create"
    client = OAuthClient(
        "http://localhost",
        REDIRECT_URI,
        SCOPE,
        MemoryStateStore(),
        MemorySessionStore(),
        required_scopes=required if request.param == "text" else [required],
        network=place.network,
    )
    yield client
    await client.aclose()


async def log_in(place: Place, oauth: OAuthClient, *, granting: str) -> OAuthSession:
    auth_url, _ = await oauth.start_authorization(HANDLE, app_state="here")
    answer = dict(parse_qsl(urlsplit(place.grant(auth_url, granting)).query))
    return await oauth.handle_callback(**answer)


@pytest.mark.anyio
@pytest.mark.covers("TOK-10", "LGN-15")
async def test_login_when_less_is_granted_then_session_has_what_was_granted(
    place: Place, oauth: OAuthClient
) -> None:
    """What is not required may be left out."""
    session = await log_in(place, oauth, granting=f"atproto {NOTES}")
    assert set(session.scope.split(" ")) == {"atproto", NOTES}


@pytest.mark.anyio
@pytest.mark.covers("SCOPE-08", "TOK-14")
async def test_login_when_what_is_required_is_left_out_then_is_refused_and_revoked(
    place: Place, oauth: OAuthClient
) -> None:
    """No half login: nothing stays at the server, and what is missing is named."""
    with pytest.raises(ScopeMissingError) as raised:
        await log_in(place, oauth, granting="atproto blob:image/*")
    assert raised.value.missing == (f"{NOTES}?action=create",)
    assert raised.value.app_state == "here"
    assert place.sessions() == []


# --- in an application ---------------------------------------------------------------


async def home(request: Request) -> JSONResponse:
    del request
    auth = current_auth()
    return JSONResponse(
        {
            "granted": sorted(auth.granted),
            "notes": auth.allows(f"{NOTES}?action=create"),
            "images": auth.allows("blob:image/png"),
        }
    )


def browser(net: AtprotoNetwork, **options: Any) -> TestClient:
    given = {"secret_key": SECRET, "scope": SCOPE, "network": net.network, **options}
    app = Starlette(
        routes=[Route("/", home)],
        middleware=[Middleware(ATProtoOAuthMiddleware, **given)],
    )
    return TestClient(app, base_url="http://127.0.0.1:8000", follow_redirects=False)


@pytest.mark.covers("SCOPE-04")
def test_auth_when_asked_then_knows_what_was_granted(
    atproto_network: AtprotoNetwork,
) -> None:
    """Nobody has nothing; a person has what they have granted."""
    with browser(atproto_network) as somebody:
        nothing = {"granted": [], "notes": False, "images": False}
        assert somebody.get("/").json() == nothing
        login_as(somebody, HANDLE)
        answer = somebody.get("/").json()
    assert answer == {"granted": sorted(SCOPE.split()), "notes": True, "images": True}


@pytest.mark.covers("SCOPE-08", "SCOPE-09", "CB-19")
def test_app_when_required_scope_is_left_out_then_older_session_stays(
    atproto_network: AtprotoNetwork,
) -> None:
    """The page says that a permission is missing; who was logged in still is."""
    with browser(atproto_network, required_scopes=[NOTES]) as somebody:
        login_as(somebody, HANDLE)
        origin = {"Origin": "http://127.0.0.1:8000"}
        form = {"identifier": HANDLE}
        answer = somebody.post("/oauth/login", json=form, headers=origin)
        back = approve(answer.json()["authorization_url"], HANDLE, scope="atproto")
        refused = somebody.get(back)
        assert refused.status_code == 403
        assert "A permission is missing" in refused.text
        assert somebody.get("/").json()["notes"] is True
    assert len(atproto_network.sessions()) == 1


@pytest.mark.covers("SCOPE-09")
def test_app_when_more_is_asked_for_later_then_new_session_replaces_the_old_one(
    atproto_network: AtprotoNetwork,
) -> None:
    """An upgrade is a login: on success the former session is ended at its server."""
    with browser(atproto_network, login_scope="atproto") as somebody:
        login_as(somebody, HANDLE)
        assert somebody.get("/").json()["notes"] is False
        origin = {"Origin": "http://127.0.0.1:8000"}
        form = {"identifier": HANDLE, "scope": f"atproto {NOTES}"}
        answer = somebody.post("/oauth/login", json=form, headers=origin)
        assert somebody.get("/").json()["notes"] is False
        back = approve(answer.json()["authorization_url"], HANDLE)
        assert somebody.get(back).status_code == 303
        assert somebody.get("/").json()["notes"] is True
    assert len(atproto_network.sessions()) == 1


@pytest.mark.covers("SCOPE-07")
def test_app_when_scope_does_nothing_then_log_says_so(
    atproto_network: AtprotoNetwork, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, at the start: servers say nothing about it."""
    scope = "atproto transition:chat.bsky"
    with browser(atproto_network, scope=scope) as somebody:
        somebody.get("/")
    warnings = [each for each in caplog.messages if each.startswith("scope: ")]
    assert len(warnings) == 1
    assert "transition:chat.bsky" in warnings[0]
