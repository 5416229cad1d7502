"""From an account to its authorization server, and whether that is still so."""

from __future__ import annotations

from dataclasses import dataclass

from atproto_oauth_asgi.exceptions import (
    AccountMoved,
    DiscoveryError,
    TransportError,
)
from atproto_oauth_asgi.models import AuthServerMetadata
from atproto_oauth_asgi.network.beside import run_beside
from atproto_oauth_asgi.network.discovery import Discovery
from atproto_oauth_asgi.network.identity import Identity, IdentityResolver
from atproto_oauth_asgi.protocol.did_document import DidDocument
from atproto_oauth_asgi.protocol.identifiers import Did, Handle


@dataclass(frozen=True, slots=True)
class Account:
    """An account and the server that signs it in."""

    identity: Identity
    server: AuthServerMetadata


class AccountLocator:
    """Follows handle → DID → PDS → authorization server.

    Spec: atproto OAuth, "Identity Authentication".
    """

    def __init__(self, resolver: IdentityResolver, discovery: Discovery) -> None:
        self._resolver = resolver
        self._discovery = discovery

    async def find(self, identifier: Handle | Did) -> Account:
        """Return the account of a handle or DID.

        Raises:
            IdentityError, DiscoveryError, TransportError: a step failed.
        """
        identity = await self._resolver.resolve(identifier)
        issuer = await self._discovery.issuer_of(identity.pds_url)
        server = await self._discovery.server_metadata(issuer, pds_url=identity.pds_url)
        return Account(identity, server)

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
