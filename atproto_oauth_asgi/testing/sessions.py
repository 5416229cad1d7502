"""What the authorization server remembers: requests, codes and sessions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from atproto_oauth_asgi.testing.clients import Client


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Who sends a form: the client, how it authenticated, and its DPoP key.

    Attributes:
        client: as its document describes it.
        client_key: of a confidential client: which key it proved to have.
        thumbprint: of the DPoP key; None if there was no proof.
    """

    client: Client
    client_key: str | None = None
    thumbprint: str | None = None


@dataclass(slots=True, kw_only=True)
class Pushed:
    """An authorization request. ``code`` is set once somebody has said yes."""

    request_uri: str
    client_id: str
    client_key: str | None
    thumbprint: str | None
    form: Mapping[str, str] = field(repr=False)
    expires_at: float
    device_id: str | None = field(default=None, repr=False)
    code: str | None = field(default=None, repr=False)


@dataclass(slots=True, kw_only=True)
class Code:
    """A code that was not redeemed yet."""

    did: str
    scope: str
    pushed: Pushed
    expires_at: float


@dataclass(slots=True, kw_only=True)
class Grant:
    """One OAuth session: who, for whom, how much, and its newest tokens."""

    did: str
    client_id: str
    scope: str
    client_key: str | None
    thumbprint: str
    code: str = field(repr=False)
    created_at: float
    updated_at: float = 0.0
    expires_at: float = 0.0
    access_token: str = field(default="", repr=False)
    refresh_token: str = field(default="", repr=False)
    spent: set[str] = field(default_factory=set, repr=False)

    def describe(self) -> dict[str, Any]:
        """Return what may be shown of it."""
        return {
            "did": self.did,
            "clientId": self.client_id,
            "scope": self.scope,
            "createdAt": self.created_at,
            "updatedAt": self.updated_at,
            "expiresAt": self.expires_at,
            "clientAuthMethod": "private_key_jwt" if self.client_key else "none",
        }


def tokens_of(grant: Grant) -> dict[str, Any]:
    """Return a token answer. Spec: RFC 6749 section 5.1, atproto OAuth."""
    members = {
        "access_token": grant.access_token,
        "token_type": "DPoP",
        "refresh_token": grant.refresh_token,
        "scope": grant.scope,
        "sub": grant.did,
        "expires_in": int(grant.expires_at - grant.updated_at),
    }
    # Only a client that may refresh is given something to refresh with.
    return {name: value for name, value in members.items() if value != ""}
