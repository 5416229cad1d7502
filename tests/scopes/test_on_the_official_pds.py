"""What the official PDS allows is what `ScopesSet` says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from atproto_oauth_asgi import (
    MemorySessionStore,
    MemoryStateStore,
    OAuthClient,
    OAuthSession,
    PDSClient,
    ScopeMissingError,
    raise_for_xrpc,
)
from atproto_oauth_asgi.exceptions import AuthorizationServerError
from atproto_oauth_asgi.scopes import ScopesSet
from tests.notes_app import development
from tests.reference_network.process import ReferenceNetwork
from tests.reference_network.sign_in import approve

pytestmark = [pytest.mark.anyio, pytest.mark.network]

NOTE = "com.example.scopes.note"
LIKE = "com.example.scopes.like"
AUD = "did:web:api.example.com%23svc"
Request = Callable[[PDSClient, str], Awaitable[httpx.Response]]


def write(collection: str, *actions: str) -> Request:
    kinds = "com.atproto.repo.applyWrites#"
    common = {"collection": collection, "rkey": "self"}
    # In one request, so that it is answered before anything is looked up.
    writes = [
        {"$type": kinds + each, **common}
        | ({} if each == "delete" else {"value": {"text": "x"}})
        for each in actions
    ]

    async def send(pds: PDSClient, did: str) -> httpx.Response:
        body = {"repo": did, "writes": writes}
        return await pds.procedure("com.atproto.repo.applyWrites", json=body)

    return send


def upload(media_type: str) -> Request:
    async def send(pds: PDSClient, _did: str) -> httpx.Response:
        return await pds.procedure(
            "com.atproto.repo.uploadBlob",
            content=b"x",
            headers={"Content-Type": media_type},
        )

    return send


def service_token(lxm: str | None) -> Request:
    async def send(pds: PDSClient, _did: str) -> httpx.Response:
        params = {"aud": "did:web:api.example.com#svc"} | ({"lxm": lxm} if lxm else {})
        return await pds.query("com.atproto.server.getServiceAuth", params)

    return send


async def change_handle(pds: PDSClient, _did: str) -> httpx.Response:
    body = {"handle": "not.a.handle.of.this.host.example"}
    return await pds.procedure("com.atproto.identity.updateHandle", json=body)


async def import_repo(pds: PDSClient, _did: str) -> httpx.Response:
    return await pds.procedure(
        "com.atproto.repo.importRepo",
        content=b"no archive",
        headers={"Content-Type": "application/vnd.ipld.car"},
    )


async def confirm_email(pds: PDSClient, _did: str) -> httpx.Response:
    return await pds.procedure("com.atproto.server.requestEmailConfirmation")


# What is asked, and a request that takes just this permission.
REQUESTS: dict[str, Request] = {
    f"repo:{NOTE}?action=create": write(NOTE, "create"),
    f"repo:{NOTE}?action=update": write(NOTE, "update"),
    f"repo:{NOTE}?action=create&action=delete": write(NOTE, "create", "delete"),
    f"repo:{LIKE}?action=create": write(LIKE, "create"),
    "blob:image/png": upload("image/png"),
    "blob:text/plain": upload("text/plain"),
    f"rpc:com.example.getFeed?aud={AUD}": service_token("com.example.getFeed"),
    f"rpc:chat.bsky.convo.getLog?aud={AUD}": service_token("chat.bsky.convo.getLog"),
    f"rpc:*?aud={AUD}": service_token(None),
    "identity:handle": change_handle,
    "account:repo?action=manage": import_repo,
    "account:email?action=manage": confirm_email,
}

GRANTS = [
    "atproto",
    "atproto transition:generic",
    "atproto transition:generic transition:chat.bsky transition:email",
    f"atproto repo:{NOTE}?action=create blob:image/* identity:*",
    f"atproto repo?collection={NOTE}&collection={LIKE} rpc:com.example.getFeed?aud=*",
    f"atproto repo:*?action=create&action=delete rpc:*?aud={AUD} blob:text/plain",
    "atproto account:repo?action=manage account:email?action=manage blob:*/*",
]


async def log_in(
    client: OAuthClient, reference: ReferenceNetwork, scope: str
) -> OAuthSession:
    start = await client.start_authorization("alice.test", scope=scope)
    back = approve(start[0], reference.accounts["alice.test"])
    given = dict(parse_qsl(urlsplit(back).query))
    return await client.handle_callback(**given, browser_binding=start.browser_binding)


async def is_allowed(request: Request, pds: PDSClient, did: str) -> bool:
    try:
        raise_for_xrpc(await request(pds, did))
    except ScopeMissingError:
        return False
    except AuthorizationServerError:
        return True  # refused for another reason
    return True


@pytest.mark.covers("SCOPE-04")
@pytest.mark.parametrize("scope", GRANTS)
async def test_permission_when_used_then_the_official_pds_agrees(
    fresh_network: ReferenceNetwork, scope: str
) -> None:
    """Whatever is granted: the PDS does what is allowed, and nothing else."""
    client = OAuthClient(
        "http://localhost",
        "http://127.0.0.1:1/callback",
        scope,
        MemoryStateStore(),
        MemorySessionStore(),
        network=development(fresh_network),
    )
    session = await log_in(client, fresh_network, scope)
    granted = ScopesSet(session.scope)
    pds = client.pds_client(session)
    allowed = {
        asked: await is_allowed(request, pds, session.did)
        for asked, request in REQUESTS.items()
    }
    await client.aclose()
    assert granted == ScopesSet(scope)
    assert {asked: granted.allows(asked) for asked in REQUESTS} == allowed
