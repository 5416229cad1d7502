"""Programs of ``atproto_oauth`` run with the import name changed."""

from __future__ import annotations

import ast
import pkgutil
import re
import textwrap
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial
from inspect import CO_COROUTINE, isawaitable
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, Optional
from urllib.parse import parse_qsl, urlsplit

import pytest
from starlette.responses import Response
from starlette.types import ASGIApp

import atproto_oauth_asgi.client
import atproto_oauth_asgi.metadata
from atproto_oauth_asgi import (
    AuthServerMetadata,
    MemoryStateStore,
    OAuthClient,
    OAuthSession,
    OAuthState,
)
from atproto_oauth_asgi.models import (
    deserialize_oauth_session,
    serialize_oauth_session,
)
from atproto_oauth_asgi.testing import AtprotoNetwork, approve

pytestmark = pytest.mark.anyio

_PAGE = Path(__file__).parents[1] / "docs/how-to/move-from-atproto-oauth.md"
_KEPT = re.findall(r"^\| `([\w.]+)` \|", _PAGE.read_text("utf-8"), re.MULTILINE)
HANDLE = "user.bsky.social"


@pytest.fixture
async def network(
    atproto_network: AtprotoNetwork,
    monkeypatch: pytest.MonkeyPatch,
    closed_clients: None,
) -> AtprotoNetwork:
    """The in-process network in place of the public one, and a person there."""
    del closed_clients
    atproto_network.create_account(HANDLE, "password")
    options = atproto_network.network
    for module in (atproto_oauth_asgi.client, atproto_oauth_asgi.metadata):
        monkeypatch.setattr(module, "Network", lambda: options)
    return atproto_network


@pytest.fixture
async def closed_clients(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Close what the programs leave open."""
    opened: list[OAuthClient] = []
    begin = OAuthClient.begin_login

    async def noted(client: OAuthClient, *args: Any, **options: Any) -> Any:
        opened.append(client)
        return await begin(client, *args, **options)

    monkeypatch.setattr(OAuthClient, "begin_login", noted)
    yield
    for client in opened:
        await client.aclose()


async def run(program: str, **names: Any) -> dict[str, Any]:
    """Run a piece of a program, with ``await`` outside of functions, as it stands."""
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    text = textwrap.dedent(program)
    code: CodeType = compile(text, "snippet", "exec", flags, dont_inherit=True)
    if code.co_flags & CO_COROUTINE:
        awaitable = FunctionType(code, names)()
        assert isawaitable(awaitable)
        await awaitable
    else:
        exec(code, names)  # noqa: S102 - our own text
    return names


def approved(auth_url: str) -> dict[str, str]:
    back = approve(auth_url, HANDLE, password="password")
    return dict(parse_qsl(urlsplit(back).query))


async def begun(network: AtprotoNetwork) -> tuple[OAuthClient, dict[str, str]]:
    del network
    client = OAuthClient(
        "http://localhost",
        "http://127.0.0.1:5000/callback",
        "atproto",
        MemoryStateStore(),
    )
    auth_url, _ = await client.start_authorization(HANDLE)
    return client, approved(auth_url)


@pytest.mark.parametrize("name", _KEPT)
def test_name_when_it_was_there_then_it_is_here(name: str) -> None:
    """Every name that the page promises can be imported, and says what it does."""
    found = pkgutil.resolve_name(f"atproto_oauth_asgi.{name}")
    assert found.__doc__


def test_names_when_counted_then_the_page_lists_all() -> None:
    """The table was read, and nothing stands in it twice."""
    assert len(_KEPT) == len(set(_KEPT)) > 30


async def test_quick_start_when_run_then_gives_a_session(
    network: AtprotoNetwork,
) -> None:
    """From the constructor to the session, keyword arguments and all."""
    before = await run("""
        from atproto_oauth_asgi import OAuthClient
        from atproto_oauth_asgi.stores import MemoryStateStore

        # create OAuth client
        oauth = OAuthClient(
            client_id='http://localhost',  # or your HTTPS URL for production
            redirect_uri='http://127.0.0.1:5000/callback',
            scope='atproto',
            state_store=MemoryStateStore(),
        )

        # start authorization flow
        auth_url, state = await oauth.start_authorization('user.bsky.social')
    """)
    answer = approved(before["auth_url"])
    assert answer["state"] == before["state"]
    lines: list[tuple[object, ...]] = []

    def shown(*values: object) -> None:
        lines.append(values)

    after = await run(
        """
        # handle callback - returns OAuthSession
        session = await oauth.handle_callback(
            code=authorization_code,
            state=state,
            iss=issuer_from_callback,
        )

        # access user info
        print(session.did, session.handle, session.pds_url)
        print(session.access_token, session.refresh_token)
        """,
        **before,
        authorization_code=answer["code"],
        issuer_from_callback=answer["iss"],
        print=shown,
    )
    session = after["session"]
    assert isinstance(session, OAuthSession)
    assert session.did == network.accounts[HANDLE].did
    assert session.handle == HANDLE
    assert lines[0] == (session.did, HANDLE, network.pds_url)
    assert lines[1] == (session.access_token, session.refresh_token)


async def test_state_store_when_written_as_there_then_a_login_works(
    network: AtprotoNetwork,
) -> None:
    """Three methods are enough; what they hold is the application's business."""
    names = await run(
        """
        from atproto_oauth_asgi.stores.base import StateStore

        class RedisStateStore(StateStore):
            async def save_state(self, state: OAuthState) -> None:
                # save to redis with TTL
                redis[state.state] = state

            async def get_state(self, state_key: str) -> Optional[OAuthState]:
                # retrieve from redis
                return redis.get(state_key)

            async def delete_state(self, state_key: str) -> None:
                # delete from redis
                redis.pop(state_key, None)
        """,
        OAuthState=OAuthState,
        Optional=Optional,
        redis={},
    )
    oauth = OAuthClient(
        "http://localhost",
        "http://127.0.0.1:5000/callback",
        "atproto",
        names["RedisStateStore"](),
    )
    auth_url, _ = await oauth.start_authorization(HANDLE)
    assert len(names["redis"]) == 1
    answer = approved(auth_url)
    session = await oauth.handle_callback(**answer)
    assert session.did == network.accounts[HANDLE].did
    assert names["redis"] == {}


async def test_session_when_persisted_by_oneself_then_comes_back(
    network: AtprotoNetwork,
) -> None:
    """Serialize, encrypt, keep; and the way back; to a session that works."""
    client, answer = await begun(network)

    class Database:
        rows: dict[str, str] = {}  # noqa: RUF012

        async def save_user_session(self, user_id: str, encrypted: str) -> None:
            self.rows[user_id] = encrypted

        async def get_user_session(self, user_id: str) -> str:
            return self.rows[user_id]

    names = await run(
        """
        # after OAuth callback
        session = await oauth.handle_callback(code, state, iss)

        # serialize and encrypt for storage
        session_data = serialize_oauth_session(session)
        encrypted = encrypt(session_data)
        await db.save_user_session(user_id, encrypted)

        # later, restore and use
        encrypted = await db.get_user_session(user_id)
        session_data = decrypt(encrypted)
        session = deserialize_oauth_session(session_data)
        """,
        oauth=client,
        serialize_oauth_session=serialize_oauth_session,
        deserialize_oauth_session=deserialize_oauth_session,
        encrypt=lambda text: text[::-1],
        decrypt=lambda text: text[::-1],
        db=Database(),
        user_id="1",
        **answer,
    )
    response = await client.make_authenticated_request(
        names["session"], "GET", "/xrpc/com.atproto.server.getSession"
    )
    assert response.json()["handle"] == HANDLE


async def test_errors_when_handled_as_there_then_are_told_apart(
    network: AtprotoNetwork,
) -> None:
    """A state that is used up; a code that is none; anything else."""
    program = """
        from atproto_oauth_asgi.exceptions import OAuthError, OAuthStateError, OAuthTokenError

        try:
            session = await client.handle_callback(code, state, iss)
        except OAuthStateError as e:
            # invalid/expired state - restart flow
            seen.append('state')
        except OAuthTokenError as e:
            # token exchange failed - show error
            seen.append('token')
        except OAuthError as e:
            # general OAuth error
            seen.append('general')
    """
    seen: list[str] = []
    client, answer = await begun(network)
    of = partial(run, program, client=client, seen=seen)
    await of(**{**answer, "code": "no code"})
    await of(**answer)
    client, answer = await begun(network)
    await of(client=client, **{**answer, "iss": "https://other.test"})
    assert seen == ["token", "state", "general"]


async def test_expiry_when_checked_as_there_then_session_is_renewed(
    network: AtprotoNetwork,
) -> None:
    """The times are aware, and what comes back is the newer session."""
    client, answer = await begun(network)
    session = await client.handle_callback(**answer)
    past = datetime.now(UTC) - timedelta(seconds=1)
    names = await run(
        """
        from datetime import datetime, timezone

        # check if token is expired
        if session.expires_at and datetime.now(timezone.utc) > session.expires_at:
            session = await client.refresh_session(session)
        """,
        client=client,
        session=session.replace(expires_at=past),
    )
    renewed = names["session"]
    assert renewed.refresh_token != session.refresh_token
    assert renewed.expires_at > datetime.now(UTC)


async def test_utilities_when_used_as_there_then_work(network: AtprotoNetwork) -> None:
    """PKCE, a key, and the metadata of a server; the key makes a client confidential."""
    network.add_host("bsky.social", _entryway(network))
    names = await run("""
        from atproto_oauth_asgi.pkce import PKCEManager
        from atproto_oauth_asgi.dpop import DPoPManager
        from atproto_oauth_asgi.metadata import fetch_authserver_metadata_async

        # generate PKCE pair
        verifier, challenge = PKCEManager.generate_pair()

        # generate DPoP keypair
        dpop_key = DPoPManager.generate_keypair()

        # discover authorization server
        metadata = await fetch_authserver_metadata_async('https://bsky.social')
    """)
    assert isinstance(names["metadata"], AuthServerMetadata)
    assert names["metadata"].issuer == "https://bsky.social"
    client = await run(
        """
        client = OAuthClient(
            client_secret_key=client_secret_key,
            **others,
        )
        """,
        OAuthClient=OAuthClient,
        client_secret_key=names["dpop_key"],
        others={
            "client_id": "https://yourapp.com/oauth-client-metadata.json",
            "redirect_uri": "https://yourapp.com/callback",
            "scope": "atproto",
        },
    )
    assert isinstance(client["client"], OAuthClient)


def _entryway(network: AtprotoNetwork) -> ASGIApp:
    """A host that says of itself what the network's server says of itself."""
    url = f"{network.issuer}/.well-known/oauth-authorization-server"
    text = network.request("GET", url).text
    body = text.replace(network.issuer, "https://bsky.social")
    return Response(body, media_type="application/json")
