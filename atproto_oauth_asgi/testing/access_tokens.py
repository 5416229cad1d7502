"""Access tokens of the shape and size that a PDS gives out. Clients cannot read them."""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Mapping
from typing import Any

from atproto_oauth_asgi.crypto.encoding import b64url


class TokenMint:
    """Signs access tokens with a secret of its own."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)

    def sign(self, claims: Mapping[str, Any]) -> str:
        """Return a new token. Spec: RFC 9068 section 2."""
        made = {**claims, "jti": f"tok-{secrets.token_hex(16)}"}
        parts = ({"typ": "at+jwt", "alg": "HS256"}, made)
        signed = ".".join(b64url(json.dumps(part).encode()) for part in parts)
        mac = hmac.digest(self._secret, signed.encode("ascii"), "sha256")
        return f"{signed}.{b64url(mac)}"
