"""From an account to its authorization server, and whether that is still so."""

from __future__ import annotations

from dataclasses import dataclass

from atproto_oauth_asgi.exceptions import (
    AccountMoved,
    DiscoveryError,
    SubjectMismatch,
    TransportError,
)
from atproto_oauth_asgi.models import AuthServerMetadata
from atproto_oauth_asgi.network.beside import run_beside
from atproto_oauth_asgi.network.concerning import concerning
from atproto_oauth_asgi.network.discovery import Discovery
from atproto_oauth_asgi.network.identity import Identity, IdentityResolver
from atproto_oauth_asgi.protocol.did_document import DidDocument
from atproto_oauth_asgi.protocol.identifiers import Did, Handle, HostUrl


@dataclass(frozen=True, slots=True)
class Account:
    """An account and the server that signs it in.

    There is no identity while only the server is known: it will say who it was.
    """

    identity: Identity | None
    server: AuthServerMetadata


class AccountLocator:
    """Follows handle → DID → PDS → authorization server.

    Spec: atproto OAuth, "Identity Authentication".
    """

    def __init__(self, resolver: IdentityResolver, discovery: Discovery) -> None:
        self._resolver = resolver
        self._discovery = discovery

    async def find(self, identifier: Handle | Did | HostUrl) -> Account:
        """Return the account of a handle or DID, or what a server is to all of its own.

        Raises:
            IdentityError, DiscoveryError, TransportError: a step failed.
        """
        if isinstance(identifier, HostUrl):
            return Account(None, await self._server_of_host(identifier.origin))
        identity = await self._resolver.resolve(identifier)
        with concerning(did=identity.did):
            server = await self._discovery.server_of(identity.pds_url)
        return Account(identity, server)

    async def find_signed_in(self, did: Did, *, issuer: str) -> Identity:
        """Return, past every cache, the account that a server says has signed in.

        The server was asked for nobody in particular, so that its word alone means
        nothing: the account itself must lead to it.

        Raises:
            SubjectMismatch: the account leads to another server.
            IdentityError, DiscoveryError, TransportError: it cannot be told.

        Spec: atproto OAuth, "Identity Authentication".
        """
        identity = await self._resolver.resolve(did, fresh=True)
        found = await self._discovery.issuer_of(identity.pds_url, fresh=True)
        if found != issuer:
            message = "the account that signed in lives behind another server"
            raise SubjectMismatch(message)
        await self._discovery.server_metadata(issuer, pds_url=identity.pds_url)
        return identity

    async def _server_of_host(self, origin: str) -> AuthServerMetadata:
        """Take the host for a PDS, and if it says that it is none, for a server."""
        try:
            issuer = await self._discovery.issuer_of(origin)
        except DiscoveryError:
            return await self._discovery.server_metadata(origin)
        return await self._discovery.server_metadata(issuer, pds_url=origin)

    async def server(self, issuer: str) -> AuthServerMetadata:
        """Return what an authorization server says of itself."""
        return await self._discovery.server_metadata(issuer)

    async def verify(self, did: Did, *, pds_url: str, issuer: str) -> DidDocument:
        """Check, past every cache, that a DID still leads to this server.

        The PDS that was known is asked at the same time as the DID document, so
        that it is one round trip when nothing has changed.

        Returns:
            The DID document; its PDS may be another one than before.

        Raises:
            AccountMoved: the DID leads to another server.
            IdentityError, DiscoveryError: it cannot be told, and what was known is
                in doubt.
            TransportError: it cannot be told, as a host did not answer.
        """
        document, known = await run_beside(
            lambda: self._resolver.document(did, fresh=True),
            lambda: self._discovery.issuer_of(pds_url, fresh=True),
        )
        if document.pds_url == pds_url:
            found = known.unwrap()
        else:
            found = await self._issuer_of_new_home(document.pds_url)
        if found != issuer:
            raise AccountMoved("the account lives behind another server now")
        return document

    async def _issuer_of_new_home(self, pds_url: str) -> str:
        try:
            return await self._discovery.issuer_of(pds_url, fresh=True)
        except TransportError as error:
            # What was known is contradicted, so this is no mere outage.
            message = "the account has moved to a host that cannot be asked now"
            raise DiscoveryError(message) from error
