"""What a client sent, taken apart and verified."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from joserfc import jws, jwt
from joserfc.jwk import ECKey

from atproto_oauth_asgi.testing import Received


@dataclass
class Seen:
    """One request, taken apart; ``keys`` are the client's, by name."""

    received: Received
    keys: Mapping[str, ECKey] = field(repr=False)

    @property
    def path(self) -> str:
        return self.received.path

    @property
    def origin(self) -> str:
        return f"https://{self.received.host}"

    @property
    def url(self) -> str:
        return self.origin + self.path

    @property
    def is_taken(self) -> bool:
        """Whether the answer says yes: no refusal, no challenge, no silence."""
        status = self.received.status
        return status is not None and status < HTTPStatus.MULTIPLE_CHOICES

    @property
    def headers(self) -> dict[str, str]:
        return self.received.headers

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.received.body.decode()))

    @property
    def proof(self) -> dict[str, Any]:
        """What the DPoP proof says; verified."""
        return dict(jwt.decode(self._dpop, self._dpop_key, algorithms=["ES256"]).claims)

    @property
    def thumbprint(self) -> str:
        return self._dpop_key.thumbprint()

    @property
    def kid(self) -> str | None:
        """The name of the key that the client proved itself with."""
        if "client_assertion" not in self.form:
            return None
        text = self.form["client_assertion"].encode()
        kid: str = jws.extract_compact(text).headers()["kid"]
        return kid

    @property
    def assertion(self) -> dict[str, Any]:
        """What the client assertion says; verified."""
        key = self.keys[self.kid or ""]
        text = self.form["client_assertion"]
        return dict(jwt.decode(text, key, algorithms=["ES256"]).claims)

    @property
    def _dpop(self) -> str:
        return self.headers["dpop"]

    @cached_property
    def _dpop_key(self) -> ECKey:
        header = jws.extract_compact(self._dpop.encode()).headers()
        assert header.keys() == {"typ", "alg", "jwk"}
        assert header["typ"] == "dpop+jwt"
        assert header["jwk"].keys() == {"kty", "crv", "x", "y"}
        return ECKey.import_key(header["jwk"])
