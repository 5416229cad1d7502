"""Who asks: loopback client ids, and documents fetched from https ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from starlette.types import ASGIApp

from atproto_oauth_asgi.testing.asking import fetch_document
from atproto_oauth_asgi.testing.proofs import Verifier
from atproto_oauth_asgi.testing.refusals import Refusal

_LOOPBACK_IDS = ("http://localhost", "http://localhost/")
_LOOPBACK_REDIRECTS = ("http://127.0.0.1/", "http://[::1]/")
_LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """An application, as the authorization server knows it.

    Attributes:
        client_id: its id.
        name: what the consent page calls it.
        redirect_uris: the registered ones.
        scopes: all that it may ask for.
        keys: public JWKs; empty for a public client.
        is_public: whether it authenticates with nothing.
    """

    client_id: str
    name: str
    redirect_uris: tuple[str, ...]
    scopes: frozenset[str]
    keys: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    is_public: bool = True

    def allows_redirect(self, uri: str) -> bool:
        """Return whether a login may lead back to this URI."""
        return any(_matches(uri, registered) for registered in self.redirect_uris)


class Clients:
    """Finds and authenticates clients. Documents are fetched anew every time."""

    def __init__(self, internet: ASGIApp, verifier: Verifier, *, issuer: str) -> None:
        self._internet = internet
        self._verifier = verifier
        self._issuer = issuer

    async def find(self, client_id: str) -> Client:
        """Return what a client says of itself.

        Raises:
            Refusal: it is not a client that an atproto server accepts.

        Spec: atproto OAuth, "Clients".
        """
        if client_id.startswith("http://"):
            return _parse_loopback(client_id)
        if not client_id.startswith("https://") or not urlsplit(client_id).path[1:]:
            raise Refusal("invalid_client_metadata", "Invalid client ID")
        return await self._parse(
            client_id, await fetch_document(self._internet, client_id)
        )

    async def authenticate(self, form: Mapping[str, str]) -> tuple[Client, str | None]:
        """Return the client that sent a form, and the name of the key it used.

        Raises:
            Refusal: it is not who it says it is.
        """
        client = await self.find(form.get("client_id", ""))
        if client.is_public:
            if "client_assertion" in form:
                raise Refusal("invalid_client", "a public client has no assertion")
            return client, None
        kid = self._verifier.check_assertion(
            form, client_id=client.client_id, issuer=self._issuer, keys=client.keys
        )
        return client, kid

    async def _parse(self, client_id: str, members: Any) -> Client:
        problem = _find_problem(client_id, members)
        if problem:
            raise Refusal("invalid_client_metadata", problem)
        method = members.get("token_endpoint_auth_method")
        return Client(
            client_id=client_id,
            name=str(members.get("client_name", client_id)),
            redirect_uris=tuple(members["redirect_uris"]),
            scopes=frozenset(members["scope"].split(" ")),
            keys=() if method == "none" else await self._keys(members),
            is_public=method == "none",
        )

    async def _keys(self, members: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
        found = members.get("jwks")
        if found is None:
            url = str(members.get("jwks_uri"))
            found = await fetch_document(self._internet, url)
        keys = found.get("keys", ()) if isinstance(found, dict) else ()
        usable = tuple(key for key in keys if key.get("kid") and "d" not in key)
        if not usable:
            message = "private_key_jwt requires at least one public key with a kid"
            raise Refusal("invalid_client_metadata", message)
        return usable


def _find_problem(client_id: str, members: Any) -> str | None:
    if not isinstance(members, dict) or members.get("client_id") != client_id:
        return "client_id: the document is another client's"
    uris = members.get("redirect_uris")
    rules = {
        "scope: it must hold atproto": "atproto"
        not in str(members.get("scope", "")).split(" "),
        "dpop_bound_access_tokens: it must be true": members.get(
            "dpop_bound_access_tokens"
        )
        is not True,
        "redirect_uris: at least one": not isinstance(uris, list) or not uris,
        "response_types: it must hold code": "code"
        not in members.get("response_types", ()),
        "grant_types: it must hold authorization_code": "authorization_code"
        not in members.get("grant_types", ()),
        "token_endpoint_auth_method: none or private_key_jwt": members.get(
            "token_endpoint_auth_method"
        )
        not in {"none", "private_key_jwt"},
    }
    return next((rule for rule, is_broken in rules.items() if is_broken), None)


def _parse_loopback(client_id: str) -> Client:
    """Spec: atproto OAuth, "Localhost Client Development"."""
    base, _, query = client_id.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    names = [name for name, _ in pairs]
    is_known = set(names) <= {"scope", "redirect_uri"} and names.count("scope") <= 1
    if base not in _LOOPBACK_IDS or "#" in client_id or not is_known:
        raise Refusal("invalid_client_metadata", "Invalid client ID")
    uris = tuple(value for name, value in pairs if name == "redirect_uri")
    if any(urlsplit(uri).hostname not in _LOOPBACK_HOSTS for uri in uris):
        raise Refusal("invalid_client_metadata", "Invalid client ID")
    return Client(
        client_id=client_id,
        name="An application on this computer",
        redirect_uris=uris or _LOOPBACK_REDIRECTS,
        scopes=frozenset(dict(pairs).get("scope", "atproto").split(" ")),
    )


def _matches(uri: str, registered: str) -> bool:
    if uri == registered:
        return True
    # RFC 8252 section 7.3: a loopback URI without a port matches any.
    asked, known = urlsplit(uri), urlsplit(registered)
    if known.hostname not in _LOOPBACK_HOSTS or known.scheme != "http":
        return False
    host = f"[{known.hostname}]" if ":" in known.hostname else known.hostname
    return asked._replace(netloc=host) == known and asked.hostname == known.hostname
