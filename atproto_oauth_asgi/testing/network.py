"""The in-process network: a PLC directory, a PDS with its authorization server, people.

Every server is an ASGI program in one background thread, behind real TLS and HTTP on
loopback. Only the resolver and the connector of ``Network`` are special, so the guard,
the DNS question and the HTTP stack of the code under test are the real ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Self

import httpx
from starlette.routing import Route, Router
from starlette.types import ASGIApp

from atproto_oauth_asgi.network_options import Network
from atproto_oauth_asgi.testing.accounts import (
    Account,
    Directory,
    account_site,
    build_did_document,
    new_did,
)
from atproto_oauth_asgi.testing.asking import ask, client_site
from atproto_oauth_asgi.testing.auth_server import AuthServer
from atproto_oauth_asgi.testing.certificates import TlsFault
from atproto_oauth_asgi.testing.client_documents import check_client_host
from atproto_oauth_asgi.testing.clients import Clients
from atproto_oauth_asgi.testing.consent import ConsentPage
from atproto_oauth_asgi.testing.devices import Devices
from atproto_oauth_asgi.testing.grants import TOKEN_LIFETIME_S, Ledger
from atproto_oauth_asgi.testing.internet import Internet, Received
from atproto_oauth_asgi.testing.origins import PDS, PLC, choose_origins
from atproto_oauth_asgi.testing.pds import Pds
from atproto_oauth_asgi.testing.proofs import Nonces, Verifier
from atproto_oauth_asgi.testing.records import Records
from atproto_oauth_asgi.testing.thread import ServerThread

FIRST_ACCOUNTS: Mapping[str, str] = {
    "alice.test": "alice-pass",
    "bob.test": "bob-pass",
}
"""The accounts that a network has unless told otherwise: handle to password."""

running: list[AtprotoNetwork] = []
"""Networks that are started, newest last."""


class AtprotoNetwork:
    """A whole atproto network for tests. It needs no Internet, and no event loop.

    Args:
        accounts: handles, below ``.test``, and passwords.
        clock: gives Unix seconds; decides about tokens, codes, proofs and nonces.
        as_host: host of the authorization server, such as ``as.test``; None puts it
            on the PDS's host.
        localhost_port: serve plain http on this port of ``localhost``, where browsers
            and other processes can reach it; 0 takes a free one, None means https
            behind names that only this process knows.

    Raises:
        ConfigurationError: the options exclude each other.
    """

    accounts: dict[str, Account]
    """The accounts, by handle."""

    def __init__(
        self,
        *,
        accounts: Mapping[str, str] = FIRST_ACCOUNTS,
        clock: Callable[[], float] = time.time,  # noqa: TID251 - as in OAuthConfig
        as_host: str | None = None,
        localhost_port: int | None = None,
    ) -> None:
        self._first_accounts = dict(accounts)
        self._clock = clock
        self._at = choose_origins(as_host=as_host, localhost_port=localhost_port)
        self.internet: Internet = Internet(
            port=self._at.port or 0, http_names=self._at.http_names
        )
        self._thread = ServerThread(self.internet.serve)
        self._build()

    # --- life ------------------------------------------------------------------

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop."""
        self.stop()

    def start(self) -> None:
        """Start the servers in a thread of their own; twice does nothing more.

        Raises:
            ConfigurationError: the port cannot be had.
        """
        if self._thread.is_running:
            return
        try:
            self._thread.start()
        except OSError as error:
            raise self._at.unavailable(error) from error
        running.append(self)

    def stop(self) -> None:
        """Stop the servers."""
        if self._thread.is_running:
            running.remove(self)
            self._thread.stop()

    def reset(self) -> None:
        """Be as new: first accounts, no sessions, no records, no knobs, no traffic.

        ``network`` stays good, so applications that were given it need no change.
        """
        self.internet.reset()
        self._build()

    def _build(self) -> None:
        self.accounts = {}
        self.nonces: Nonces = Nonces(self._clock)
        self.ledger: Ledger = Ledger(self._clock)
        self.directory: Directory = Directory()
        self.records: Records = Records()
        self._verifier = Verifier(self._clock, self.nonces)
        self._clients = Clients(self.internet, self._verifier, clock=self._clock)
        self._devices = Devices(self._clock)
        self.internet.add(PLC, self.directory.site)
        self._pds = Pds(
            accounts=self.accounts,
            ledger=self.ledger,
            nonces=self.nonces,
            verifier=self._verifier,
            records=self.records,
        )
        self.internet.add(self._at.as_host, Router(self._issuer_routes()))
        self._serve_pds(PDS, self.pds_url)
        for handle, password in self._first_accounts.items():
            self.create_account(handle, password)

    def _issuer_routes(self) -> list[Route]:
        server = AuthServer(
            self.issuer,
            clients=self._clients,
            ledger=self.ledger,
            nonces=self.nonces,
            verifier=self._verifier,
        )
        page = ConsentPage(
            self.issuer,
            accounts=self.accounts,
            clients=self._clients,
            ledger=self.ledger,
            devices=self._devices,
        )
        return [*server.routes(), *page.routes()]

    # --- where things are ------------------------------------------------------

    @property
    def network(self) -> Network:
        """The options that lead here: ``network=`` of applications and clients.

        Raises:
            ConfigurationError: the network was not started.
        """
        self._thread.check_running()
        return self._at.options(self.internet)

    @property
    def plc_url(self) -> str:
        """Origin of the PLC directory."""
        return self._at.plc_url

    @property
    def pds_url(self) -> str:
        """Origin of the PDS."""
        return self._at.pds_url

    @property
    def issuer(self) -> str:
        """Issuer of the authorization server."""
        return self._at.issuer

    @property
    def traffic(self) -> list[Received]:
        """Every request that a host received."""
        return self.internet.traffic

    # --- people ----------------------------------------------------------------

    def create_account(
        self, handle: str, password: str, *, did: str | None = None
    ) -> Account:
        """Create an account; ``did`` may be a ``did:web`` of a host below ``.test``.

        Raises:
            ConfigurationError: a ``did:web``, but plain http.
        """
        if did is not None and did.startswith("did:web:"):
            self._at.need_https("an account with a did:web")
        account = Account(did=did or new_did(), handle=handle, password=password)
        self.accounts[handle] = account
        self.directory.documents[account.did] = build_did_document(
            account.did, handle=handle, pds_url=self.pds_url
        )
        site = account_site(account.did, self.directory.documents)
        self.internet.add(handle, site)
        self.internet.texts[f"_atproto.{handle}"] = [f"did={account.did}"]
        if account.did.startswith("did:web:"):
            self.internet.add(account.did.removeprefix("did:web:"), site)
        return account

    def move(self, did: str, pds_url: str) -> None:
        """Let an account's document name another PDS; see ``add_pds``."""
        (service,) = self.directory.documents[did]["service"]
        service["serviceEndpoint"] = pds_url

    def sessions(self, did: str | None = None) -> list[dict[str, Any]]:
        """Return the OAuth sessions that the server holds, of one account or all."""
        return [g.describe() for g in self.ledger.grants if did in {None, g.did}]

    def revoke(self, did: str | None = None) -> int:
        """Delete the OAuth sessions of one account or all; return how many."""
        kept = [g for g in self.ledger.grants if did not in {None, g.did}]
        deleted = len(self.ledger.grants) - len(kept)
        self.ledger.grants = kept
        return deleted

    def get_record(self, did: str, collection: str, *, rkey: str) -> Any | None:
        """Return a record (``uri``, ``cid``, ``value``), or None if it is not there."""
        return self.records.get(did, collection, rkey=rkey)

    def list_records(self, did: str, collection: str) -> list[Any]:
        """Return the records of one collection, newest first."""
        return self.records.newest(did, collection)

    # --- knobs -----------------------------------------------------------------

    def set_token_lifetime(self, lifetime_s: float) -> None:
        """Let access tokens issued from now on live so many seconds."""
        self.ledger.lifetime_s = lifetime_s

    def reset_token_lifetime(self) -> None:
        """Go back to an hour."""
        self.ledger.lifetime_s = TOKEN_LIFETIME_S

    def rotate_nonces(self) -> None:
        """Make every DPoP nonce handed out so far invalid."""
        self.nonces.rotate()

    def on(
        self,
        host: str,
        path: str | None,
        behaviour: ASGIApp,
        *,
        times: int | None = None,
    ) -> None:
        """Let an ASGI program answer in place of a host; see ``behaviours``.

        Args:
            host: such as ``pds.test``; it is called so on localhost, too.
            path: the one that it answers; None means all.
            behaviour: what answers. A starlette response is such a program.
            times: how often; afterwards the host answers itself again.
        """
        self.internet.on(host, path, behaviour, times=times)

    def off(self, host: str, path: str | None = None) -> None:
        """Take back what ``on`` did."""
        self.internet.off(host, path)

    def add_host(self, host: str, site: ASGIApp) -> None:
        """Put an ASGI program behind a name, with https and an address of its own."""
        self._at.need_https("add_host")
        self.internet.add(host, site)

    def add_pds(self, host: str) -> str:
        """Run one more PDS with the same authorization server; return its origin."""
        self._at.need_https("add_pds")
        return self._serve_pds(host, f"https://{host}")

    def _serve_pds(self, host: str, origin: str) -> str:
        routes = self._pds.routes(origin, issuer=self.issuer)
        if host == self._at.as_host:
            routes = [*self._issuer_routes(), *routes]
        self.internet.add(host, Router(routes))
        return origin

    def serve_client(self, host: str, client: ASGIApp | Mapping[str, Any]) -> None:
        """Let the authorization server find a client that has an https client id.

        Args:
            host: of the client's ``public_url``.
            client: the application itself, or JSON documents by path.

        Raises:
            ConfigurationError: no official server would take a client at this host.
        """
        self._at.need_https("serve_client")
        check_client_host(host)
        self.internet.add(host, client_site(client))

    def forget_clients(self) -> None:
        """Fetch clients' documents and keys anew; they are kept for ten minutes."""
        self._clients.forget()

    def break_tls(self, host: str, fault: TlsFault) -> None:
        """Let a host show a certificate that must be refused."""
        self._at.need_https("break_tls")
        self.internet.break_tls(host, fault)

    def clear_traffic(self) -> None:
        """Forget the traffic so far."""
        self.internet.clear()

    def request(self, method: str, url: str, **options: Any) -> httpx.Response:
        """Send a request to a host of the network from outside any application.

        It blocks, and works inside an event loop as well: the answer comes from
        another thread. Redirects are not followed.

        Raises:
            ConfigurationError: the network was not started.
        """
        asking = partial(ask, self.internet, method, url=url, options=options)
        response: httpx.Response = self._thread.call(asking)
        return response
