"""Who is there may be nobody, until ``require`` has said otherwise."""

from datetime import datetime
from typing import assert_type

import httpx

from atproto_oauth_asgi import ATProtoAuth, OAuthSession, PDSClient, current_auth
from atproto_oauth_asgi.scopes import ScopesSet


def greet(did: str) -> None: ...


def anybody() -> None:
    auth = current_auth()
    assert_type(auth, ATProtoAuth)
    assert_type(auth.did, str | None)
    assert_type(auth.handle, str | None)
    assert_type(auth.is_authenticated, bool)
    assert_type(auth.reason, str | None)
    assert_type(auth.granted, ScopesSet)
    assert_type(auth.allows("repo:com.example.post"), bool)
    assert_type(auth.login_url(return_to="/", scope="atproto"), str)
    greet(auth.did)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def somebody(auth: ATProtoAuth) -> None:
    assert_type(auth.require(), str)
    greet(auth.require())
    assert_type(auth.session, OAuthSession)
    assert_type(auth.session.expires_at, datetime | None)
    if auth.did is not None:
        greet(auth.did)


async def their_server(auth: ATProtoAuth) -> None:
    assert_type(auth.client, PDSClient)
    answer = await auth.client.query("com.example.list", {"limit": 10})
    assert_type(answer, httpx.Response)
    assert_type(auth.client.proxied("did:web:api.example.com#feed"), PDSClient)
    await auth.client.procedure("com.example.post", json={"text": "hello"})
    await auth.client.procedure("com.example.post", {"text": "hello"})  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def only_read(auth: ATProtoAuth, session: OAuthSession) -> None:
    auth.did = "did:plc:somebody"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    session.access_token = "another"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    auth.login_url("/")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    str(auth.logout().did)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownArgumentType, reportUnknownMemberType]
    await auth.logout()
