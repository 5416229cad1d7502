"""How other hosts may be reached: the options of the network."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from anyio.abc import ByteStream

from atproto_oauth_asgi.exceptions import Blocked, ConfigurationError
from atproto_oauth_asgi.protocol.urls import UrlPolicy, parse_origin

_DNS_PORT = 53
_LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")


class Resolver(Protocol):
    """Name to addresses. The guard checks every address that comes back."""

    def __call__(self, host: str, /) -> Awaitable[Sequence[str]]:
        """Return the IP addresses of a host name, as text.

        Raises:
            OSError: the name has no address.
        """


class Connector(Protocol):
    """A checked address and a port to a byte stream; TLS is put on top."""

    def __call__(self, address: str, port: int, /) -> Awaitable[ByteStream]:
        """Open a connection.

        Raises:
            OSError: no connection can be made.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """How this process may reach other hosts.

    Attributes:
        plc_url: origin of the PLC directory.
        handle_resolver_url: origin of a service that answers
            ``com.atproto.identity.resolveHandle``; asked instead of DNS and HTTPS.
        dns_servers: ``"ip"`` or ``"ip:port"``, for the TXT question; None means the
            system's.
        allowed_ports: ports of https URLs.
        denied_networks: further networks, in CIDR notation, that are never reached.
        allowed_endpoint_origins: origins, other than the issuer's own, that an
            authorization server may name for its endpoints.
        ssl_context: for servers with a private certificate authority.
        user_agent: what outbound requests call themselves.
        timeout_s: seconds for one protocol step, from waiting for a turn to the last
            byte.
        login_budget_s: seconds for all steps of starting a login.
        resolver: see ``Resolver``; None means the system's.
        connector: see ``Connector``; None means TCP.
        unsafe_private_hosts: names, exact or ``.suffix``, that may have private
            addresses.
        unsafe_http_hosts: names that may be reached by plain http, on any port.
        unsafe_test_handles: ``.test`` names may be handles and servers.
        unsafe_proxy_url: a proxy that resolves names itself, past the guard.
        unsafe_allow_missing_nonce: accept answers without ``DPoP-Nonce``.
        is_development: set by ``development``.

    Raises:
        ConfigurationError: with every problem that was found.
    """

    plc_url: str = "https://plc.directory"
    handle_resolver_url: str | None = None
    dns_servers: tuple[str, ...] | None = None
    allowed_ports: tuple[int, ...] = (443,)
    denied_networks: tuple[str, ...] = ()
    allowed_endpoint_origins: tuple[str, ...] = ()
    ssl_context: ssl.SSLContext | None = None
    user_agent: str | None = None
    timeout_s: float = 10.0
    login_budget_s: float = 20.0
    resolver: Resolver | None = None
    connector: Connector | None = None
    unsafe_private_hosts: tuple[str, ...] = ()
    unsafe_http_hosts: tuple[str, ...] = ()
    unsafe_test_handles: bool = False
    unsafe_proxy_url: str | None = None
    unsafe_allow_missing_nonce: bool = False
    is_development: bool = False

    def __post_init__(self) -> None:
        problems = list(_find_problems(self))
        if problems:
            raise ConfigurationError(problems)

    @classmethod
    def development(
        cls, *, plc_url: str, handle_resolver_url: str | None = None
    ) -> Network:
        """Return a network of servers on this machine.

        Loopback hosts are reached by http on any port, and ``.test`` names are
        handles. It is refused together with an https ``public_url``.
        """
        return cls(
            plc_url=plc_url,
            handle_resolver_url=handle_resolver_url,
            unsafe_private_hosts=_LOOPBACK_HOSTS,
            unsafe_http_hosts=_LOOPBACK_HOSTS,
            unsafe_test_handles=True,
            is_development=True,
        )

    @property
    def url_policy(self) -> UrlPolicy:
        """The URLs that may be asked for, before any name is resolved."""
        return UrlPolicy(
            allowed_ports=self.allowed_ports,
            http_hosts=self.unsafe_http_hosts,
            private_hosts=self.unsafe_private_hosts,
            test_names=self.unsafe_test_handles,
        )


def parse_dns_server(text: str) -> tuple[str, int]:
    """Return address and port of ``"ip"`` or ``"ip:port"``.

    Raises:
        ValueError: it is neither.
    """
    host, _, port = text.rpartition(":")
    try:
        return str(ipaddress.ip_address(text)), _DNS_PORT
    except ValueError:
        return str(ipaddress.ip_address(host.strip("[]"))), int(port)


def _find_problems(network: Network) -> Iterator[str]:
    for name in ("plc_url", "handle_resolver_url"):
        url = getattr(network, name)
        if url is not None and not _is_origin(url, network.url_policy):
            yield f"{name}: an https origin on an allowed port, no slash at its end"
    for server in network.dns_servers or ():
        if not _succeeds(parse_dns_server, server):
            yield f"dns_servers: {server!r} is neither an IP address nor ip:port"
    for text in network.denied_networks:
        if not _succeeds(ipaddress.ip_network, text):
            yield f"denied_networks: {text!r} is not a network in CIDR notation"
    if network.timeout_s <= 0 or network.login_budget_s <= 0:
        yield "timeout_s, login_budget_s: numbers of seconds above 0"


def _is_origin(url: str, policy: UrlPolicy) -> bool:
    try:
        parse_origin(url, policy, what="URL")
    except Blocked:
        return False
    return True


def _succeeds(parse: Callable[[str], object], text: str) -> bool:
    try:
        parse(text)
    except ValueError:
        return False
    return True
