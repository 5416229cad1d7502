"""Proofs and sealed cookies, beside a bare signature and starlette's sessions."""

from __future__ import annotations

import json
import os
import secrets
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator

import itsdangerous
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from atproto_oauth_asgi.crypto.encoding import b64url
from atproto_oauth_asgi.crypto.keys import (
    JwtSigner,
    export_private_key,
    generate_private_key,
    public_jwk,
)
from atproto_oauth_asgi.crypto.sealing import Sealer
from atproto_oauth_asgi.sessions.cookies import cookie_name
from tests.benchmarks.harness import Case, Figure

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
    yield _proof()
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


def _proof() -> Case:
    key = generate_private_key()
    algorithm = ec.ECDSA(hashes.SHA256())
    signer = JwtSigner(key, {"typ": "dpop+jwt", "jwk": public_jwk(key)})
    ath = b64url(os.urandom(32))
    dpop_nonce = b64url(os.urandom(32))
    signing_input = os.urandom(430)

    def sign() -> str:
        return signer.sign(
            {
                "jti": secrets.token_urlsafe(16),
                "htm": "POST",
                "htu": "https://pds.example.com/xrpc/com.atproto.repo.createRecord",
                "iat": int(time.monotonic()),
                "ath": ath,
                "nonce": dpop_nonce,
            }
        )

    return Case(
        name="DPoP proof, key warm",
        base_name="bare P-256 signature",
        base=lambda: key.sign(signing_input, algorithm),
        work=sign,
        target=1.35,
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
