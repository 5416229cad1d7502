"""A login between its beginning and its end: what is remembered, and by whom."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from atproto_oauth_asgi.crypto.keys import generate_private_key
from atproto_oauth_asgi.exceptions import OAuthStateError, StoreError, WrongBrowser
from atproto_oauth_asgi.models import AuthServerMetadata, OAuthState
from atproto_oauth_asgi.network.identity import Identity
from atproto_oauth_asgi.pkce import PKCEManager
from atproto_oauth_asgi.sessions.wish import LoginWish

LOGIN_LIFETIME_S = 600.0
UNKNOWN_LOGIN = "Invalid or expired state parameter"


class AuthorizationRequest(tuple[str, str]):  # noqa: SLOT001 - see below
    """``(auth_url, state)``: where to send the browser, and the login's name.

    Attributes:
        browser_binding: a secret to keep in the browser (a cookie) and to pass to
            ``handle_callback``, so that the login ends where it began.
    """

    # No slots: a tuple cannot have any that are not empty.
    browser_binding: str

    def __new__(cls, auth_url: str, state: str, browser_binding: str) -> Self:
        """Make the pair."""
        pair = super().__new__(cls, (auth_url, state))
        pair.browser_binding = browser_binding
        return pair


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownServer:
    """What a login remembers of its server, so that no other process has to ask."""

    issuer: str
    token_endpoint: str
    revocation_endpoint: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingExtra:
    """What ``OAuthState.extra`` holds.

    ``is_for_anyone`` says that the login was begun with a server. A store that has
    lost ``OAuthState.did`` must not turn any other login into such a one.
    """

    binding_hash: str = field(repr=False)
    is_for_anyone: bool = False
    kid: str | None = None
    app_state: str | None = field(default=None, repr=False)
    server: KnownServer | None = None


def new_pending(
    wish: LoginWish, *, identity: Identity | None, issuer: str, now: float
) -> OAuthState:
    """Return a new pending login with its own state, verifier and key.

    Without an identity it is bound to the issuer alone.
    """
    extra = {
        "binding": _hash(wish.binding),
        "anyone": identity is None,
        "kid": wish.kid,
        "app_state": wish.app_state,
    }
    return OAuthState(
        state=secrets.token_urlsafe(32),
        pkce_verifier=PKCEManager.generate_verifier(),
        redirect_uri=wish.redirect_uri,
        scope=wish.scope,
        authserver_iss=issuer,
        dpop_private_key=generate_private_key(),
        did=identity.did if identity else None,
        handle=identity.handle if identity else None,
        pds_url=identity.pds_url if identity else None,
        created_at=datetime.fromtimestamp(now, UTC),
        extra=json.dumps(extra),
    )


def with_server(
    pending: OAuthState, server: AuthServerMetadata, *, dpop_nonce: str | None
) -> OAuthState:
    """Return the login with all that its end needs to know of the server."""
    known = {"token": server.token_endpoint, "revoke": server.revocation_endpoint}
    extra = {**json.loads(pending.extra), "server": known}
    return pending.replace(extra=json.dumps(extra), dpop_authserver_nonce=dpop_nonce)


def read_extra(pending: OAuthState) -> PendingExtra:
    """Return what is ours in a pending login.

    Raises:
        StoreError: the store did not give ``extra`` back.
    """
    try:
        members: dict[str, Any] = json.loads(pending.extra)
        return PendingExtra(
            binding_hash=_text(members["binding"]),
            is_for_anyone=members.get("anyone") is True,
            kid=_optional_text(members["kid"]),
            app_state=_optional_text(members["app_state"]),
            server=_read_server(members.get("server"), pending.authserver_iss),
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        message = "the state store did not give back OAuthState.extra unchanged"
        raise StoreError(message) from None


def check_binding(pending: OAuthState | None, binding: str) -> None:
    """Check that the browser that answers is the one the login began in.

    Raises:
        OAuthStateError: there is no such login.
        WrongBrowser: it is another one.
    """
    if pending is None:
        raise OAuthStateError(UNKNOWN_LOGIN)
    expected = read_extra(pending).binding_hash
    if not hmac.compare_digest(_hash(binding).encode(), _encode(expected)):
        raise WrongBrowser("the login began in another browser")


def check_age(pending: OAuthState, *, now: float) -> None:
    """Check that a login did not begin too long ago.

    Raises:
        OAuthStateError: it did.
    """
    if now - pending.created_at.timestamp() > LOGIN_LIFETIME_S:
        raise OAuthStateError(UNKNOWN_LOGIN)


def _read_server(members: dict[str, Any] | None, issuer: str) -> KnownServer | None:
    if members is None:
        return None
    return KnownServer(
        issuer=issuer,
        token_endpoint=_text(members["token"]),
        revocation_endpoint=_optional_text(members["revoke"]),
    )


def _hash(binding: str) -> str:
    return hashlib.sha256(_encode(binding)).hexdigest()


def _encode(text: str) -> bytes:
    # What a cookie or a store brings can be any text at all.
    return text.encode("utf-8", "surrogatepass")


def _text(value: object) -> str:
    if not isinstance(value, str):
        message = "not a string"
        raise TypeError(message)
    return value


def _optional_text(value: object) -> str | None:
    return None if value is None else _text(value)
