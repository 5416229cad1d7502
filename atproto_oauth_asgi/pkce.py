"""RFC 7636: proof that the one who ends a login is the one who began it."""

from __future__ import annotations

import hashlib
import secrets

from atproto_oauth_asgi.crypto.encoding import b64url

_VERIFIER_BYTES = 48  # 64 characters, between the 43 and 128 of RFC 7636 section 4.1


class PKCEManager:
    """Makes code verifiers and their S256 challenges."""

    @staticmethod
    def generate_pair() -> tuple[str, str]:
        """Return a new verifier and its challenge.

        Spec: RFC 7636 section 4.
        """
        verifier = PKCEManager.generate_verifier()
        return verifier, PKCEManager.generate_challenge(verifier)

    @staticmethod
    def generate_verifier() -> str:
        """Return a new verifier of 64 unreserved characters (384 random bits)."""
        return secrets.token_urlsafe(_VERIFIER_BYTES)

    @staticmethod
    def generate_challenge(verifier: str) -> str:
        """Return the S256 challenge of a verifier.

        Spec: RFC 7636 section 4.2.
        """
        return b64url(hashlib.sha256(verifier.encode("ascii")).digest())
