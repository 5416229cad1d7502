"""The end of a login: a code for a session, if the account is the right one."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from atproto_oauth_asgi.dpop import ProofSigner
from atproto_oauth_asgi.exceptions import ScopeMissingError, SubjectMismatch
from atproto_oauth_asgi.models import OAuthSession, OAuthState, TokenResponse
from atproto_oauth_asgi.network.account import AccountLocator
from atproto_oauth_asgi.network.auth_server import (
    AuthServerClient,
    SessionKeys,
    TokenServer,
)
from atproto_oauth_asgi.network.beside import Outcome, run_beside
from atproto_oauth_asgi.network.identity import Identity
from atproto_oauth_asgi.protocol.identifiers import Did
from atproto_oauth_asgi.protocol.token import build_code_form
from atproto_oauth_asgi.scopes import ScopesSet
from atproto_oauth_asgi.sessions.pending import read_extra
from atproto_oauth_asgi.sessions.tokens import expiry, to_revoke


class CodeExchange:
    """Redeems codes, and looks the account up anew at the same time."""

    def __init__(
        self,
        accounts: AccountLocator,
        server: AuthServerClient,
        *,
        required_scopes: str | Sequence[str],
        clock: Callable[[], float],
    ) -> None:
        self._accounts = accounts
        self._server = server
        self._required_scopes = required_scopes
        self._clock = clock

    async def redeem(self, pending: OAuthState, *, code: str) -> OAuthSession:
        """Return the session that a code stands for; the code is sent once.

        Raises:
            SubjectMismatch: another account signed in.
            AccountMoved: the account lives behind another server now.
            ScopeMissingError: what is required was not granted.
            OAuthTokenError, IdentityError, DiscoveryError, TransportError: a step
                failed. Tokens that were given by then have been revoked.

        Spec: RFC 6749 section 4.1.3, atproto OAuth "Identity Authentication".
        """
        began_at = self._clock()
        tokens, identity = await self._redeem_and_verify(pending, code)
        return OAuthSession(
            did=tokens.sub,
            handle=identity.handle,
            pds_url=identity.pds_url,
            authserver_iss=pending.authserver_iss,
            access_token=tokens.access_token,
            refresh_token=tokens.refresh_token,
            dpop_private_key=pending.dpop_private_key,
            scope=tokens.scope,
            expires_at=expiry(tokens, began_at),
            created_at=datetime.fromtimestamp(self._clock(), UTC),
            session_id=secrets.token_urlsafe(32),
            kid=read_extra(pending).kid,
            verified_at=datetime.fromtimestamp(began_at, UTC),
        )

    async def _redeem_and_verify(
        self, pending: OAuthState, code: str
    ) -> tuple[TokenResponse, Identity]:
        extra = read_extra(pending)
        # It is not known if an older version of this library began the login.
        server: TokenServer = extra.server or await self._accounts.server(
            pending.authserver_iss
        )
        self._server.recall_nonce(server, pending.dpop_authserver_nonce)
        keys = SessionKeys(ProofSigner(pending.dpop_private_key), extra.kid)
        form = build_code_form(
            code=code,
            redirect_uri=pending.redirect_uri,
            code_verifier=pending.pkce_verifier,
        )
        tokens, verified = await run_beside(
            lambda: self._server.redeem(server, form, keys, nonce_required=True),
            lambda: self._verify(pending),
        )
        try:
            self._check_granted(tokens.scope)
            return tokens, await self._check_account(tokens, verified, pending)
        except Exception:
            await self._server.revoke_quietly(server, to_revoke(tokens), keys)
            raise

    async def _verify(self, pending: OAuthState) -> Identity | None:
        """Look the account anew up, if the login was begun for one."""
        if read_extra(pending).is_for_anyone:
            return None
        document = await self._accounts.verify(
            Did(pending.did or ""),
            pds_url=pending.pds_url or "",
            issuer=pending.authserver_iss,
        )
        is_still_named = document.claimed_handle == pending.handle
        return Identity(
            did=document.did,
            handle=document.claimed_handle if is_still_named else None,
            pds_url=document.pds_url,
        )

    def _check_granted(self, scope: str) -> None:
        granted = ScopesSet(scope)
        # What a permission set brings is not known here, and no reason to refuse.
        if granted.check(self._required_scopes) == "no":
            missing = granted.missing(self._required_scopes)
            message = f"what is needed was not granted: {' '.join(missing)}"
            raise ScopeMissingError(message, missing=missing)

    async def _check_account(
        self,
        tokens: TokenResponse,
        verified: Outcome[Identity | None],
        pending: OAuthState,
    ) -> Identity:
        """Return the account, if it is one that this login may end with."""
        is_for_anyone = read_extra(pending).is_for_anyone
        if tokens.sub != pending.did and not is_for_anyone:
            message = "another account signed in than the one that was asked for"
            raise SubjectMismatch(message)
        identity = verified.unwrap()
        if identity is not None:
            return identity
        did, issuer = Did(tokens.sub), pending.authserver_iss
        return await self._accounts.find_signed_in(did, issuer=issuer)
