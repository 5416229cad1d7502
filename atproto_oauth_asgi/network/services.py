"""The parts of the network floor, put together for one client."""

from __future__ import annotations

from dataclasses import dataclass

from atproto_oauth_asgi.dpop import Clock, NonceCache
from atproto_oauth_asgi.models import OAuthSession
from atproto_oauth_asgi.network.account import AccountLocator
from atproto_oauth_asgi.network.auth_server import AuthServerClient
from atproto_oauth_asgi.network.client_identity import ClientIdentity
from atproto_oauth_asgi.network.discovery import Discovery
from atproto_oauth_asgi.network.fetch import Fetcher
from atproto_oauth_asgi.network.identity import IdentityResolver
from atproto_oauth_asgi.network.pds import SessionTokens, SessionTransport
from atproto_oauth_asgi.network.transport import GuardedTransport
from atproto_oauth_asgi.network_options import Network


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkServices:
    """What a client needs of the network; all of it goes through one transport."""

    transport: GuardedTransport
    nonces: NonceCache
    accounts: AccountLocator
    server: AuthServerClient

    def session_transport(
        self, session: OAuthSession, tokens: SessionTokens, *, clock: Clock
    ) -> SessionTransport:
        """Return the way to a session's PDS, over the shared connections."""
        return SessionTransport(
            tokens,
            pds_url=session.pds_url,
            inner=self.transport,
            nonces=self.nonces,
            clock=clock,
        )


def build_services(
    network: Network, identity: ClientIdentity, *, clock: Clock
) -> NetworkServices:
    """Return the services of one client; nothing is opened yet."""
    transport, nonces = GuardedTransport(network), NonceCache()
    fetcher = Fetcher(transport, network)
    return NetworkServices(
        transport=transport,
        nonces=nonces,
        accounts=AccountLocator(
            IdentityResolver(fetcher, network, clock=clock),
            Discovery(fetcher, network, clock=clock),
        ),
        server=AuthServerClient(
            fetcher,
            identity=identity,
            nonces=nonces,
            clock=clock,
            allow_missing_nonce=network.unsafe_allow_missing_nonce,
        ),
    )
