"""Who a client is, and how it proves it to authorization servers."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence

from atproto_oauth_asgi.client_keys import ClientKey, find_key_problems
from atproto_oauth_asgi.crypto.keys import JwtSigner
from atproto_oauth_asgi.exceptions import (
    ClientKeyRetired,
    ConfigurationError,
    UnsupportedAuthServerError,
)
from atproto_oauth_asgi.models import AuthServerMetadata
from atproto_oauth_asgi.protocol.client_auth import (
    build_assertion_claims,
    build_client_auth_form,
)


class ClientIdentity:
    """Who the client is, and how it proves it.

    Raises:
        ConfigurationError: the keys do not go together.
    """

    def __init__(
        self, client_id: str, keys: Sequence[ClientKey], *, clock: Callable[[], float]
    ) -> None:
        if problems := find_key_problems(keys, client_id=client_id):
            raise ConfigurationError(problems)
        self.client_id = client_id
        self._clock = clock
        self._signers = {
            item.kid: JwtSigner(item.private_key, {"alg": "ES256", "kid": item.kid})
            for item in keys
            if item.use != "retired"
        }
        self.signing_kid: str | None = next(
            (k.kid for k in keys if k.use == "sign"), None
        )

    def check_supported(self, server: AuthServerMetadata) -> None:
        """Check that the server takes the way this client proves itself.

        Raises:
            UnsupportedAuthServerError: it does not; there is no falling back.
        """
        method = "none" if self.signing_kid is None else "private_key_jwt"
        if method not in server.token_endpoint_auth_methods_supported:
            message = f"the authorization server does not support {method}"
            raise UnsupportedAuthServerError(message)

    def has_key(self, kid: str | None) -> bool:
        """Return whether a session can go on with the client keys that are there.

        One that began without a key cannot, once the client has some: servers want to
        see a proof, and the session was made without.
        """
        if kid is None:
            return not self._signers
        return kid in self._signers

    def check_key(self, kid: str | None) -> None:
        """Check that a session can go on with the client keys that are there.

        Raises:
            ClientKeyRetired: its own is not configured any more, or it has none.
        """
        if not self.has_key(kid):
            message = "the session is not bound to a client key that is configured"
            raise ClientKeyRetired(message)

    def form(
        self, issuer: str, kid: str | None, *, ahead_s: float = 0.0
    ) -> dict[str, str]:
        """Return the form fields that name the client, with a new assertion.

        ``ahead_s`` is how far the server's clock is ahead of ours.

        Raises:
            ClientKeyRetired: the key is not configured any more.
        """
        if kid is None:
            return build_client_auth_form(self.client_id, None)
        self.check_key(kid)
        claims = build_assertion_claims(
            client_id=self.client_id,
            issuer=issuer,
            now=self._clock() + ahead_s,
            jti=secrets.token_urlsafe(16),
        )
        assertion = self._signers[kid].sign(claims)
        return build_client_auth_form(self.client_id, assertion)
