"""What an application finds in its scope says who is there, and spills nothing."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from atproto_oauth_asgi import ATProtoAuth, NotAuthenticatedError, PDSClient
from tests.sessions.making import ALICE, PDS, make_session
from tests.web.desk import HELLO, LATER, Desk
from tests.web.driving import PUBLIC_URL

pytestmark = pytest.mark.anyio


async def auth_of(*, handle: str | None = None, **options: Any) -> ATProtoAuth:
    """What an application finds; somebody is there if a handle is given."""
    found: list[ATProtoAuth] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.append(scope["atproto"])

    desk = Desk(app, **options)
    session = make_session(handle=handle, expires_at=LATER, access_token="a-secret")
    await desk.get("/", *([desk.cookie(session)] if handle else []))
    return found[0]


@pytest.mark.covers("SESS-09", "LOG-01")
async def test_auth_when_it_is_printed_or_copied_then_no_token_gets_out() -> None:
    """A token is reachable by its name, and in no other way."""
    auth = await auth_of(handle="alice.test")
    assert repr(auth) == f"<ATProtoAuth {ALICE}>"
    assert "a-secret" not in f"{auth!r} {auth!s} {auth.session!r}"
    for spill in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            spill(auth)
    assert auth.session.access_token == "a-secret"


async def test_auth_when_somebody_is_there_then_all_is_told() -> None:
    """DID, handle and a client of the person's own, made once."""
    auth = await auth_of(handle="alice.test")
    assert (auth.did, auth.handle, auth.require()) == (ALICE, "alice.test", ALICE)
    assert auth.is_authenticated
    assert auth.reason is None
    assert isinstance(auth.client, PDSClient)
    assert auth.client is auth.client
    assert str(auth.client.base_url) == PDS


async def test_auth_when_nobody_is_there_then_none_or_an_error() -> None:
    """What needs a person raises one error, which says so."""
    auth = await auth_of()
    assert (auth.did, auth.handle, auth.reason) == (None, None, None)
    assert not auth.is_authenticated
    assert repr(auth) == "<ATProtoAuth anonymous>"
    for need in (
        lambda: auth.session,
        lambda: auth.client,
        auth.require,
        lambda: auth.wait(auth.logout),
    ):
        with pytest.raises(NotAuthenticatedError):
            need()
    await auth.logout()


async def test_client_when_the_person_has_logged_out_since_then_sends_nothing() -> None:
    """An application that goes on with a client from before is told."""
    errors: list[Exception] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        auth = scope["atproto"]
        client = auth.client
        await auth.logout()
        try:
            await client.get("/xrpc/com.atproto.server.getSession")
        except NotAuthenticatedError as error:
            errors.append(error)
        await HELLO(scope, receive, send)

    desk = Desk(app)
    assert (await desk.get("/", desk.cookie())).body == b"nobody"
    assert len(errors) == 1


async def test_scope_when_its_key_holds_something_else_then_it_is_replaced() -> None:
    """What another program has left there is nobody who is logged in."""
    desk = Desk()
    sent = await desk.get("/", desk.cookie(), atproto={"did": "did:web:evil.test"})
    assert sent.body == ALICE.encode()
    assert (await desk.get("/", atproto=ALICE)).body == b"nobody"


@pytest.mark.parametrize(
    ("public_url", "given", "url"),
    [
        (PUBLIC_URL, {}, "/oauth/login"),
        (f"{PUBLIC_URL}/app", {}, "/app/oauth/login"),
        (
            PUBLIC_URL,
            {"return_to": "/a?b=c&d", "scope": "atproto x", "identifier": "ä&b"},
            "/oauth/login?return_to=%2Fa%3Fb%3Dc%26d&scope=atproto+x&identifier=%C3%A4%26b",
        ),
    ],
)
async def test_login_url_when_asked_for_then_the_path_with_what_it_holds(
    public_url: str, given: dict[str, str], url: str
) -> None:
    """Everything is encoded, so that one parameter stays one."""
    auth = await auth_of(public_url=public_url)
    assert auth.login_url(**given) == url
