"""What the authorization server does with requests, codes and sessions, and when not."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping
from typing import Any

import anyio

from atproto_oauth_asgi.crypto.encoding import b64url
from atproto_oauth_asgi.testing.access_tokens import TokenMint
from atproto_oauth_asgi.testing.refusals import (
    Refusal,
    SentBack,
    bad_grant,
    bad_token,
    server_error,
)
from atproto_oauth_asgi.testing.sessions import Code, Grant, Pushed, Sender

TOKEN_LIFETIME_S = 3600.0
_REQUEST_S, _CODE_S = 300, 300
_CHALLENGE_S = 86400
_PREFIX = "urn:ietf:params:oauth:request_uri:req-"
_SHORTEST_VERIFIER = 43
# As long as a database takes: requests that overlap see the state before each other.
_WRITE_S = 0.005


class Ledger:
    """Gives out codes and tokens, and takes each of them once."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._mint = TokenMint()
        self.lifetime_s = TOKEN_LIFETIME_S
        self.pushed: dict[str, Pushed] = {}
        self.codes: dict[str, Code] = {}
        self.grants: list[Grant] = []
        self._challenges: dict[str, float] = {}

    # --- authorization requests --------------------------------------------------

    def push(self, form: Mapping[str, str], sender: Sender) -> Pushed:
        """Keep an authorization request. Spec: RFC 9126."""
        made = Pushed(
            request_uri=_PREFIX + secrets.token_hex(16),
            client_id=sender.client.client_id,
            client_key=sender.client_key,
            thumbprint=form.get("dpop_jkt", sender.thumbprint),
            form=form,
            expires_at=self._clock() + _REQUEST_S,
        )
        self.pushed[made.request_uri] = made
        return made

    def open(self, request_uri: str, *, client_id: str, device_id: str) -> Pushed:
        """Return a request, from now on bound to this browser.

        Raises:
            Refusal: there is no such request.
            SentBack: it is not open to this client or browser, or not any more; what
                was opened wrongly may be in the wrong hands, so nobody gets a code.
        """
        found = self.pushed.get(request_uri)
        if found is None:
            raise Refusal("invalid_request", "Unknown request_uri")
        problem = self._find_problem(found, client_id=client_id, device_id=device_id)
        if problem:
            self.drop(found)
            raise SentBack(found.form, "access_denied", description=problem)
        found.device_id = device_id
        found.expires_at = self._clock() + _REQUEST_S
        return found

    def _find_problem(
        self, pushed: Pushed, *, client_id: str, device_id: str
    ) -> str | None:
        if pushed.code is not None:
            return "This request was already authorized"
        if pushed.expires_at < self._clock():
            return "This request has expired"
        if pushed.client_id != client_id:
            return "This request was initiated for another client"
        if pushed.device_id not in {None, device_id}:
            return "This request was initiated from another device"
        return None

    def approve(self, pushed: Pushed, *, did: str, scope: str) -> str:
        """Return a code for what somebody said yes to."""
        code = f"cod-{secrets.token_hex(32)}"
        expires_at = self._clock() + _CODE_S
        self.codes[code] = Code(
            did=did, scope=scope, pushed=pushed, expires_at=expires_at
        )
        pushed.code = code
        return code

    def drop(self, pushed: Pushed) -> None:
        """Forget a request, and the code that it led to."""
        self.pushed.pop(pushed.request_uri, None)
        self.codes.pop(pushed.code or "", None)

    # --- sessions ----------------------------------------------------------------

    async def redeem(
        self, form: Mapping[str, str], sender: Sender, *, issuer: str
    ) -> Grant:
        """Trade a code for a session; whatever goes wrong, the code is gone.

        Raises:
            Refusal: the code does not count, or not here.
        """
        code = self.codes.pop(form["code"], None)
        if code is None:
            # RFC 6749 section 4.1.2: a code that comes twice has been stolen.
            self.grants = [each for each in self.grants if each.code != form["code"]]
            raise bad_grant("Invalid code")
        self.pushed.pop(code.pushed.request_uri, None)
        thumbprint = self._check_code(code, form, sender=sender)
        await anyio.sleep(_WRITE_S)
        grant = Grant(
            did=code.did,
            client_id=sender.client.client_id,
            scope=code.scope,
            client_key=sender.client_key,
            thumbprint=thumbprint,
            code=form["code"],
            created_at=self._clock(),
        )
        self.grants.append(grant)
        return self._renew(grant, sender, issuer=issuer)

    def _check_code(
        self, code: Code, form: Mapping[str, str], *, sender: Sender
    ) -> str:
        """Return the thumbprint that the session is bound to."""
        pushed = code.pushed
        if code.expires_at < self._clock():
            raise bad_grant("This code has expired")
        owner = (pushed.client_id, pushed.client_key, pushed.thumbprint)
        _check_owner(owner, sender)
        if form.get("redirect_uri") != pushed.form["redirect_uri"]:
            raise bad_grant("The redirect_uri must be the one that was asked for")
        self._check_verifier(form, pushed.form["code_challenge"])
        return sender.thumbprint or ""

    def _check_verifier(self, form: Mapping[str, str], challenge: str) -> None:
        """Spec: RFC 7636 section 4.6."""
        verifier = form.get("code_verifier", "")
        if not verifier:
            raise bad_grant("code_verifier is required")
        is_right = _challenge_of(verifier) == challenge
        if not is_right or len(verifier) < _SHORTEST_VERIFIER:
            raise bad_grant("Invalid code_verifier")
        if self._challenges.get(challenge, 0) > self._clock():
            raise bad_grant("Code challenge already used")
        self._challenges[challenge] = self._clock() + _CHALLENGE_S

    async def refresh(
        self, form: Mapping[str, str], sender: Sender, *, issuer: str
    ) -> Grant:
        """Trade a refresh token for new tokens; a wrong try ends the session.

        Raises:
            Refusal: the token does not count, or not any more; 500 if another request
                used it, or ended the session, at the same time.
        """
        token = form["refresh_token"]
        grant = self._by_refresh_token(token)
        if grant is None:
            raise bad_grant("Invalid refresh token")
        if not sender.client.may_refresh:
            raise bad_grant("Refresh token grant not allowed")
        try:
            self._check_refresh(grant, token, sender=sender)
        except Refusal:
            self.grants.remove(grant)
            raise
        await anyio.sleep(_WRITE_S)
        if grant.refresh_token != token or grant not in self.grants:
            raise server_error()
        return self._renew(grant, sender, issuer=issuer)

    def _check_refresh(self, grant: Grant, token: str, *, sender: Sender) -> None:
        if token in grant.spent:
            raise bad_grant("Refresh token replayed")
        _check_owner((grant.client_id, grant.client_key, grant.thumbprint), sender)
        now = self._clock()
        if now - grant.created_at > sender.client.session_lifetime_s:
            raise bad_grant("Session expired")
        if now - grant.updated_at > sender.client.refresh_lifetime_s:
            raise bad_grant("Refresh token expired")

    def revoke(self, token: str, sender: Sender) -> None:
        """End the session of a token, if it is this client's and these keys'.

        Raises:
            Refusal: it is not.
        """
        grant = self._by_refresh_token(token) or self._by_access_token(token)
        if grant is not None:
            owner = (grant.client_id, grant.client_key, grant.thumbprint)
            _check_owner(owner, sender)
            self.grants.remove(grant)

    def check_access(self, token: str) -> Grant:
        """Return the session of an access token that counts.

        Raises:
            Refusal: it does not.
        """
        grant = self._by_access_token(token)
        if grant is None:
            raise bad_token("Invalid token")
        if grant.expires_at <= self._clock():
            raise bad_token('"exp" claim timestamp check failed')
        return grant

    def _renew(self, grant: Grant, sender: Sender, *, issuer: str) -> Grant:
        now = self._clock()
        left_s = grant.created_at + sender.client.session_lifetime_s - now
        if grant.refresh_token:
            grant.spent.add(grant.refresh_token)
        # A public client may become a confidential one, and is that from then on.
        grant.client_key = sender.client_key
        grant.updated_at = now
        grant.expires_at = now + min(self.lifetime_s, left_s)
        if sender.client.may_refresh:
            grant.refresh_token = f"ref-{secrets.token_hex(32)}"
        grant.access_token = self._mint.sign(_claims_of(grant, issuer))
        return grant

    def _by_refresh_token(self, token: str) -> Grant | None:
        return next(
            (
                each
                for each in self.grants
                if token and (token == each.refresh_token or token in each.spent)
            ),
            None,
        )

    def _by_access_token(self, token: str) -> Grant | None:
        return next((g for g in self.grants if token == g.access_token), None)


def _claims_of(grant: Grant, issuer: str) -> dict[str, Any]:
    # The client id makes the token long; a loopback client's holds every scope.
    return {
        "iss": issuer,
        "sub": grant.did,
        "aud": f"did:web:{issuer.partition('://')[2]}",
        "client_id": grant.client_id,
        "cnf": {"jkt": grant.thumbprint},
        "iat": int(grant.updated_at),
        "exp": int(grant.expires_at),
    }


def _check_owner(owner: tuple[str, str | None, str | None], sender: Sender) -> None:
    client_id, client_key, thumbprint = owner
    if client_id != sender.client.client_id:
        raise bad_grant("Token was not issued to this client")
    if thumbprint not in {None, sender.thumbprint}:
        raise bad_grant("DPoP proof does not match the expected JKT")
    if client_key not in {None, sender.client_key}:
        raise bad_grant("The session was initiated with a different client key")


def _challenge_of(verifier: str) -> str:
    return b64url(hashlib.sha256(verifier.encode()).digest())
