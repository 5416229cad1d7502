"""What the authorization server remembers: requests, codes and sessions."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from atproto_oauth_asgi.crypto.encoding import b64url
from atproto_oauth_asgi.testing.refusals import Refusal, bad_grant, bad_token

TOKEN_LIFETIME_S = 3600.0
_REQUEST_S, _CODE_S = 300, 300
_PREFIX = "urn:ietf:params:oauth:request_uri:"


@dataclass(slots=True, kw_only=True)
class Pushed:
    """An authorization request. ``code`` is set once somebody has said yes."""

    request_uri: str
    client_id: str
    kid: str | None
    thumbprint: str | None
    form: Mapping[str, str] = field(repr=False)
    expires_at: float
    is_answered: bool = False
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
    kid: str | None
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
            "clientAuthMethod": "private_key_jwt" if self.kid else "none",
        }


class Ledger:
    """Gives out codes and tokens, and takes each of them once."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.lifetime_s = TOKEN_LIFETIME_S
        self.pushed: dict[str, Pushed] = {}
        self.codes: dict[str, Code] = {}
        self.grants: list[Grant] = []
        self._challenges: set[str] = set()

    def push(
        self, form: Mapping[str, str], *, kid: str | None, thumbprint: str | None
    ) -> Pushed:
        """Keep an authorization request. Spec: RFC 9126."""
        made = Pushed(
            request_uri=_PREFIX + secrets.token_hex(16),
            client_id=form["client_id"],
            kid=kid,
            thumbprint=thumbprint,
            form=form,
            expires_at=self._clock() + _REQUEST_S,
        )
        self.pushed[made.request_uri] = made
        return made

    def find_request(self, request_uri: str, client_id: str) -> Pushed | None:
        """Return a request that is still open to this client."""
        found = self.pushed.get(request_uri)
        if found is None or found.client_id != client_id:
            return None
        return found if found.expires_at > self._clock() else None

    def approve(self, pushed: Pushed, *, did: str, scope: str) -> str:
        """Return a code for what somebody said yes to."""
        code = f"cod-{secrets.token_hex(32)}"
        expires_at = self._clock() + _CODE_S
        self.codes[code] = Code(
            did=did, scope=scope, pushed=pushed, expires_at=expires_at
        )
        pushed.is_answered, pushed.code = True, code
        return code

    def cancel(self, pushed: Pushed) -> None:
        """Take back the code of a request that was opened again."""
        self.codes.pop(pushed.code or "", None)

    def redeem(
        self, form: Mapping[str, str], *, kid: str | None, thumbprint: str
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
        pushed = code.pushed
        self.pushed.pop(pushed.request_uri, None)
        self._check_code(code, form, kid=kid, thumbprint=thumbprint)
        grant = Grant(
            did=code.did,
            client_id=pushed.client_id,
            scope=code.scope,
            kid=kid,
            thumbprint=thumbprint,
            code=form["code"],
            created_at=self._clock(),
        )
        self.grants.append(grant)
        return self._renew(grant)

    def _check_code(
        self, code: Code, form: Mapping[str, str], *, kid: str | None, thumbprint: str
    ) -> None:
        pushed = code.pushed
        challenge = pushed.form["code_challenge"]
        is_right = (
            code.expires_at > self._clock()
            and form.get("client_id") == pushed.client_id
            and form.get("redirect_uri") == pushed.form["redirect_uri"]
            and kid == pushed.kid
            and pushed.thumbprint in {None, thumbprint}
        )
        if not is_right:
            raise bad_grant("This code was issued to another client, key or address")
        if _challenge_of(form["code_verifier"]) != challenge:
            raise bad_grant("Invalid code_verifier")
        if challenge in self._challenges:
            raise bad_grant("Code challenge already used")
        self._challenges.add(challenge)

    def refresh(
        self, form: Mapping[str, str], *, kid: str | None, thumbprint: str
    ) -> Grant:
        """Trade a refresh token for new tokens; a wrong try ends the session.

        Raises:
            Refusal: the token does not count, or not any more.
        """
        grant = self._by_refresh_token(form["refresh_token"])
        if grant is None:
            raise bad_grant("Invalid refresh token")
        owner = (grant.client_id, grant.kid, grant.thumbprint)
        if form["refresh_token"] in grant.spent:
            self.grants.remove(grant)
            raise bad_grant("Refresh token replayed")
        if owner != (form.get("client_id"), kid, thumbprint):
            self.grants.remove(grant)
            raise bad_grant("Refresh token was issued to another client or key")
        return self._renew(grant)

    def revoke(self, token: str, *, client_id: str, thumbprint: str | None) -> None:
        """End the session of a token, if it is this client's and this key's."""
        grant = self._by_refresh_token(token) or self._by_access_token(token)
        if grant is None or grant.client_id != client_id:
            return
        if grant.thumbprint == thumbprint:
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

    def _renew(self, grant: Grant) -> Grant:
        if grant.refresh_token:
            grant.spent.add(grant.refresh_token)
        grant.access_token = f"acc-{secrets.token_hex(32)}"
        grant.refresh_token = f"ref-{secrets.token_hex(32)}"
        grant.updated_at = self._clock()
        grant.expires_at = grant.updated_at + self.lifetime_s
        return grant

    def _by_refresh_token(self, token: str) -> Grant | None:
        return next(
            (g for g in self.grants if token == g.refresh_token or token in g.spent),
            None,
        )

    def _by_access_token(self, token: str) -> Grant | None:
        return next((g for g in self.grants if token == g.access_token), None)


def tokens_of(grant: Grant, *, lifetime_s: float) -> dict[str, Any]:
    """Return a token answer. Spec: RFC 6749 section 5.1, atproto OAuth."""
    return {
        "access_token": grant.access_token,
        "token_type": "DPoP",
        "refresh_token": grant.refresh_token,
        "scope": grant.scope,
        "sub": grant.did,
        "expires_in": int(lifetime_s),
    }


def require(form: Mapping[str, str], *names: str) -> None:
    """Refuse a form that lacks a field.

    Raises:
        Refusal: it does.
    """
    for name in names:
        if not form.get(name):
            raise Refusal("invalid_request", f"{name}: it is missing")


def _challenge_of(verifier: str) -> str:
    return b64url(hashlib.sha256(verifier.encode()).digest())
