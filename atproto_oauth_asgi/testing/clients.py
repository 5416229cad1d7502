"""Who asks: loopback client ids, and documents fetched from https ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from starlette.types import ASGIApp

from atproto_oauth_asgi.testing.asking import fetch_document
from atproto_oauth_asgi.testing.client_documents import (
    LOOPBACK_HOSTS,
    check_client_id,
    check_document,
    read_loopback_id,
    usable_keys,
)
from atproto_oauth_asgi.testing.proofs import Verifier

_CACHE_S = 600
_METHOD = "token_endpoint_auth_method"
_DAY_S = 86400.0
_YEAR_S = 365.25 * _DAY_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """An application, as the authorization server knows it.

    Attributes:
        client_id: its id.
        name: what the consent page calls it.
        redirect_uris: the registered ones.
        scopes: all that it may ask for.
        may_refresh: whether it gets refresh tokens.
        keys: public JWKs; empty for a public client.
        is_public: whether it authenticates with nothing.
    """

    client_id: str
    name: str
    redirect_uris: tuple[str, ...]
    scopes: frozenset[str]
    may_refresh: bool = True
    keys: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    is_public: bool = True

    @property
    def session_lifetime_s(self) -> float:
        """After how long a session ends, whatever happens."""
        return 14 * _DAY_S if self.is_public else 2 * _YEAR_S

    @property
    def refresh_lifetime_s(self) -> float:
        """After how long without a refresh a session ends."""
        return 14 * _DAY_S if self.is_public else _YEAR_S / 4

    def allows_redirect(self, uri: str) -> bool:
        """Return whether a login may lead back to this URI."""
        return any(_matches(uri, registered) for registered in self.redirect_uris)


class Clients:
    """Finds and authenticates clients; what it fetched counts for ten minutes."""

    def __init__(
        self, internet: ASGIApp, verifier: Verifier, *, clock: Callable[[], float]
    ) -> None:
        self._internet = internet
        self._verifier = verifier
        self._clock = clock
        self._fetched: dict[str, tuple[float, Any]] = {}

    def forget(self) -> None:
        """Fetch every document anew when it is wanted next."""
        self._fetched.clear()

    async def find(self, client_id: str) -> Client:
        """Return what a client says of itself.

        Raises:
            Refusal: it is not a client that an atproto server accepts.

        Spec: atproto OAuth, "Clients".
        """
        if client_id.startswith("http://"):
            uris, scope = read_loopback_id(client_id)
            return Client(
                client_id=client_id,
                name="An application on this computer",
                redirect_uris=uris,
                scopes=frozenset(scope.split(" ")),
            )
        check_client_id(client_id)
        members = await self._fetch(client_id, check=check_document)
        is_public = members[_METHOD] == "none"
        return Client(
            client_id=client_id,
            name=str(members.get("client_name", client_id)),
            redirect_uris=tuple(members["redirect_uris"]),
            scopes=frozenset(members["scope"].split(" ")),
            may_refresh="refresh_token" in members.get("grant_types", ()),
            keys=() if is_public else await self._keys(members),
            is_public=is_public,
        )

    async def authenticate(
        self, form: Mapping[str, str], *, issuer: str
    ) -> tuple[Client, str | None]:
        """Return the client that sent a form, and which key it proved to have.

        Raises:
            Refusal: it is not who it says it is.
        """
        client = await self.find(form.get("client_id", ""))
        if client.is_public:
            return client, None
        key = self._verifier.check_assertion(
            form, client_id=client.client_id, issuer=issuer, keys=client.keys
        )
        return client, key

    async def _keys(self, members: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
        if "jwks_uri" in members:
            return usable_keys(await self._fetch(members["jwks_uri"]))
        return usable_keys(members.get("jwks"))

    async def _fetch(
        self, url: str, *, check: Callable[[str, Any], None] | None = None
    ) -> Any:
        until, found = self._fetched.get(url, (0.0, None))
        if until > self._clock():
            return found
        found = await fetch_document(self._internet, url)
        if check is not None:
            check(url, found)
        # Only what is right is kept: a mistake in a document can be mended at once.
        self._fetched[url] = (self._clock() + _CACHE_S, found)
        return found


def _matches(uri: str, registered: str) -> bool:
    if uri == registered:
        return True
    # RFC 8252 section 7.3: a loopback URI without a port matches any.
    asked, known = urlsplit(uri), urlsplit(registered)
    if known.hostname not in LOOPBACK_HOSTS or known.scheme != "http":
        return False
    host = f"[{known.hostname}]" if ":" in known.hostname else known.hostname
    return asked._replace(netloc=host) == known and asked.hostname == known.hostname
