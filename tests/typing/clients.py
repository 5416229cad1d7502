"""The client has one signature, with ``await`` and without."""

from collections.abc import Awaitable
from typing import assert_type

import httpx
from atproto import AsyncClient, Client

from atproto_oauth_asgi import (
    ATProtoAuth,
    AuthServerMetadata,
    MemoryStateStore,
    OAuthClient,
    OAuthConfig,
    OAuthSession,
    PDSClient,
    sync,
)
from atproto_oauth_asgi.dpop import DPoPAuth, DPoPManager
from atproto_oauth_asgi.metadata import (
    fetch_authserver_metadata,
    fetch_authserver_metadata_async,
)
from atproto_oauth_asgi.pkce import PKCEManager
from atproto_oauth_asgi.sdk import oauth_login, sdk_client

REDIRECT_URI = "http://127.0.0.1/callback"


async def with_await(client: OAuthClient) -> None:
    auth_url, state = await client.start_authorization("alice.test", prompt="login")
    assert_type((auth_url, state), tuple[str, str])
    session = await client.handle_callback("code", state, "https://pds.example.com")
    assert_type(session, OAuthSession)
    assert_type(await client.refresh_session(session), OAuthSession)
    assert_type(await client.restore(session.did), OAuthSession)
    assert_type(client.pds_client(session), PDSClient)
    answer = await client.make_authenticated_request(session, "GET", "/xrpc/a.b.c")
    assert_type(answer, httpx.Response)
    await client.revoke_session(session)
    await client.start_authorization()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await client.start_authorization("alice.test", promt="login")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await client.restore(session)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def without_await(client: sync.OAuthClient) -> None:
    auth_url, state = client.start_authorization("alice.test", prompt="login")
    assert_type((auth_url, state), tuple[str, str])
    session = client.handle_callback("code", state, "https://pds.example.com")
    assert_type(session, OAuthSession)
    assert_type(client.refresh_session(session), OAuthSession)
    assert_type(client.restore(session.did), OAuthSession)
    assert_type(client.pds_client(session), sync.PDSClient)
    answer = client.make_authenticated_request(session, "GET", "/xrpc/a.b.c")
    assert_type(answer, httpx.Response)
    client.revoke_session(session)
    client.start_authorization()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.start_authorization("alice.test", promt="login")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.restore(session)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def made(config: OAuthConfig) -> None:
    assert_type(OAuthClient.from_config(config), OAuthClient)
    assert_type(sync.OAuthClient.from_config(config), sync.OAuthClient)
    OAuthClient("http://localhost", REDIRECT_URI, "atproto", MemoryStateStore())
    sync.OAuthClient("http://localhost", REDIRECT_URI, "atproto", MemoryStateStore())
    OAuthClient("http://localhost", REDIRECT_URI, ["atproto"])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    sync.OAuthClient("http://localhost", REDIRECT_URI, ["atproto"])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    OAuthClient("http://localhost", REDIRECT_URI)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    sync.OAuthClient("http://localhost", REDIRECT_URI)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def metadata() -> None:
    url = "https://pds.example.com"
    later: Awaitable[AuthServerMetadata] = fetch_authserver_metadata_async(url)
    assert_type(await later, AuthServerMetadata)
    assert_type(fetch_authserver_metadata(url), AuthServerMetadata)


def proofs(session: OAuthSession) -> None:
    assert_type(PKCEManager.generate_pair(), tuple[str, str])
    key = DPoPManager.generate_keypair()
    assert_type(DPoPManager.create_proof("GET", "https://pds.example.com/", key), str)
    DPoPAuth(session.access_token, session.dpop_private_key)
    DPoPManager.create_proof("GET", "https://pds.example.com/", "key")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def of_the_sdk(
    auth: ATProtoAuth,
    session: OAuthSession,
    *,
    client: OAuthClient,
    blocking: sync.OAuthClient,
) -> None:
    assert_type(sdk_client(auth), AsyncClient)
    oauth_login(AsyncClient(), session, oauth=client)
    oauth_login(Client(), session, oauth=blocking)
    oauth_login(Client(), session, oauth=client)  # pyright: ignore[reportArgumentType, reportCallIssue]
