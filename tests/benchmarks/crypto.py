"""Proofs and sealed cookies, beside a bare signature and starlette's sessions."""

from __future__ import annotations

import json
import os
import secrets
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator

import itsdangerous

from atproto_oauth_asgi.crypto.encoding import b64url
from atproto_oauth_asgi.crypto.keys import (
    export_private_key,
    generate_private_key,
    import_private_key,
)
from atproto_oauth_asgi.crypto.sealing import Sealer
from atproto_oauth_asgi.dpop import ProofSigner
from atproto_oauth_asgi.sessions.cookies import cookie_name
from tests.benchmarks.harness import Case, Figure
from tests.benchmarks.signature import bare_signature

_MAX_AGE_S = 14 * 86400
_NAME = cookie_name("https://app.example/oauth-client-metadata.json", secure=True)
_encode = json.JSONEncoder(separators=(",", ":")).encode


def build_session() -> dict[str, object]:
    """Return about 1.6 KB of session, with a 700 character access token."""
    return {
        "did": "did:plc:ewvi7nxzyoun6zhxrhs64oiz",
        "handle": "alice.example-handle.com",
        "pds_url": "https://puffball.us-east.host.example.network",
        "authserver_iss": "https://auth.example.social",
        "access_token": b64url(os.urandom(525)),
        "refresh_token": "ref-" + os.urandom(38).hex(),
        "dpop_private_key": export_private_key(generate_private_key()),
        "scope": "atproto transition:generic transition:chat.bsky "
        + " ".join(
            f"repo:com.example.app.{name}?action=create&action=update"
            for name in ("post", "like", "follow", "profile")
        ),
        "expires_at": int(time.monotonic()) + 3600,
        "session_id": b64url(os.urandom(32)),
        "kid": b64url(os.urandom(32)),
        "app_state": b64url(os.urandom(72)),
    }


def cases() -> Iterator[Case]:
    """Give what is measured in time."""
    yield from _proofs()
    yield from _cookies()


def counts() -> Iterator[Figure]:
    """Give what is counted, not measured."""
    text = _encode(build_session())
    sealer = Sealer([os.urandom(32)], purpose="session")
    sealed = sealer.seal(text.encode(), context=_NAME, now=0.0)
    yield Figure(
        name="cookie size, to plaintext",
        ratio=len(sealed) / len(text),
        target=1.40,
        detail=f"{len(sealed)} characters; {len(text)} bytes",
    )


def _proofs() -> Iterator[Case]:
    key = generate_private_key()
    exported = export_private_key(key)
    signer = ProofSigner(key)
    access_token = b64url(os.urandom(525))
    dpop_nonce = b64url(os.urandom(32))

    def prove(signer: ProofSigner) -> str:
        return signer.sign(
            "POST",
            "https://pds.example.com/xrpc/com.atproto.repo.createRecord",
            now=time.monotonic(),
            nonce=dpop_nonce,
            access_token=access_token,
        )

    base_name, base = bare_signature(key)
    yield Case(
        name="DPoP proof, key warm",
        base_name=base_name,
        base=base,
        work=lambda: prove(signer),
        target=1.35,
    )
    yield Case(
        name="DPoP proof, key from the session",
        base_name=base_name,
        base=base,
        work=lambda: prove(ProofSigner(import_private_key(exported))),
        target=2.5,
    )


def _cookies() -> Iterator[Case]:
    session = build_session()
    now = time.monotonic()
    sealer = Sealer([os.urandom(32)], purpose="session")
    # As in starlette.middleware.sessions, which signs and does not encrypt.
    signer = itsdangerous.TimestampSigner(secrets.token_hex(32))

    def sign_plain() -> bytes:
        return signer.sign(b64encode(json.dumps(session).encode()))

    def seal() -> str:
        return sealer.seal(_encode(session).encode(), context=_NAME, now=now)

    signed, sealed = sign_plain().decode(), seal()

    def unsign_plain() -> object:
        data = signer.unsign(signed.encode(), max_age=_MAX_AGE_S)
        return json.loads(b64decode(data))

    def unseal() -> object:
        plaintext = sealer.unseal(sealed, context=_NAME, now=now, max_age_s=_MAX_AGE_S)
        return json.loads(plaintext or b"")

    base_name = "starlette's SessionMiddleware"
    yield Case(
        name="cookie seal, 1.6 KB",
        base_name=base_name,
        base=sign_plain,
        work=seal,
        target=1.2,
    )
    yield Case(
        name="cookie unseal, 1.6 KB",
        base_name=base_name,
        base=unsign_plain,
        work=unseal,
        target=1.3,
    )
