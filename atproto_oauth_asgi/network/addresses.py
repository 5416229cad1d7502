"""IANA special-purpose registries: the addresses that are never connected to.

The tables are our own. ``ipaddress.is_global`` calls many of these public: NAT64,
6to4, site-local and IPv4-compatible addresses, multicast and more.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

from atproto_oauth_asgi.exceptions import Blocked, ConfigurationError

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_NOT_PUBLIC = tuple(
    map(
        ipaddress.ip_network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",
            # The control plane of a large cloud, at an address that looks public.
            "168.63.129.16/32",
            # Holds Teredo (2001::/32), which embeds IPv4 addresses.
            "2001::/23",
            "2001:db8::/32",
            # 6to4, which embeds IPv4 addresses.
            "2002::/16",
            "3fff::/20",
        ),
    )
)
# Everything else in IPv6 is refused, so also what embeds an IPv4 address: mapped
# (::ffff:0:0/96), compatible (::/96) and NAT64 (64:ff9b::/96, 64:ff9b:1::/48).
_IPV6_UNICAST = ipaddress.IPv6Network("2000::/3")

# What a host on `unsafe_private_hosts` may have besides. Link-local addresses are
# not among them: that is where clouds keep the credentials of their machines.
_PRIVATE = tuple(
    map(
        ipaddress.ip_network,
        (
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "::1/128",
            "fc00::/7",
        ),
    )
)


def parse_networks(texts: Iterable[str]) -> tuple[IPNetwork, ...]:
    """Return networks from their CIDR notation.

    Raises:
        ConfigurationError: one is not in CIDR notation.
    """
    try:
        return tuple(map(ipaddress.ip_network, texts))
    except ValueError as error:
        message = "denied_networks: each must be a network such as 198.51.100.0/24"
        raise ConfigurationError(message) from error


def check_address(
    address: str, *, denied: Sequence[IPNetwork] = (), allow_private: bool = False
) -> None:
    """Return nothing if an IP address may be connected to.

    ``denied`` always holds. ``allow_private`` adds loopback and private networks.

    Raises:
        Blocked: it is not a public address, or in a denied network.
    """
    # No address in the message: it would tell a stranger about names inside.
    message = "the host's address is not one we connect to"
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError as error:
        raise Blocked(message) from error
    is_good = _is_public(parsed) or (allow_private and _is_in(parsed, _PRIVATE))
    if not is_good or _is_in(parsed, denied):
        raise Blocked(message)


def _is_public(address: IPAddress) -> bool:
    if isinstance(address, ipaddress.IPv6Address) and (
        address.scope_id is not None or address not in _IPV6_UNICAST
    ):
        return False
    return not _is_in(address, _NOT_PUBLIC)


def _is_in(address: IPAddress, networks: Sequence[IPNetwork]) -> bool:
    # A network of the other family holds no address of this one.
    return any(address in network for network in networks)
