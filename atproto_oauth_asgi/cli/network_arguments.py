"""How other hosts are reached: the options that several commands share."""

from __future__ import annotations

import argparse
import ipaddress
import ssl
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import anyio
from anyio.abc import ByteStream

from atproto_oauth_asgi.exceptions import ConfigurationError
from atproto_oauth_asgi.network_options import Network

_LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")
_MAX_PORT = 65535


def add_reaching_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what decides how a host is connected to."""
    group = parser.add_argument_group("reaching hosts")
    group.add_argument(
        "--private",
        action="append",
        default=[],
        metavar="HOST",
        help="this host, or all below .SUFFIX, may have a private address (repeatable)",
    )
    group.add_argument(
        "--connect",
        type=_parse_address,
        metavar="ADDRESS:PORT",
        help="connect there, whatever host and port a URL names; certificates are"
        " still those of the names",
    )
    group.add_argument(
        "--ca", metavar="FILE", help="trust the authorities in this PEM file, only"
    )
    group.add_argument(
        "--timeout",
        type=float,
        default=10.0,
        metavar="SECONDS",
        help="for each request (default: %(default)s)",
    )


def add_directory_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what decides who is asked about accounts."""
    group = parser.add_argument_group("another network than the public one")
    group.add_argument(
        "--plc-url", default=Network().plc_url, help="default: %(default)s"
    )
    group.add_argument(
        "--handle-resolver-url",
        help="a service to ask for handles instead of DNS and HTTPS",
    )
    group.add_argument(
        "--dns-server",
        action="append",
        metavar="IP[:PORT]",
        help="ask these for TXT records (repeatable)",
    )
    group.add_argument(
        "--development",
        action="store_true",
        help="this machine by plain http, on any port, and --test-handles",
    )
    group.add_argument(
        "--test-handles", action="store_true", help="names below .test are handles"
    )


def build_network(options: argparse.Namespace) -> Network:
    """Return the network that the arguments describe.

    Raises:
        ConfigurationError: one of them is of no use.
    """
    servers: Sequence[str] | None = getattr(options, "dns_server", None)
    network = Network(
        dns_servers=None if servers is None else tuple(servers),
        ssl_context=_trusting(options.ca),
        timeout_s=options.timeout,
        unsafe_private_hosts=tuple(options.private),
    )
    if options.connect is not None:
        address, port = options.connect
        network = replace(
            network,
            resolver=partial(_resolve, address),
            connector=partial(_connect, port),
        )
    return _with_directories(network, options) if "plc_url" in options else network


def _with_directories(network: Network, options: argparse.Namespace) -> Network:
    local = _LOOPBACK_HOSTS if options.development else ()
    return replace(
        network,
        plc_url=options.plc_url,
        handle_resolver_url=options.handle_resolver_url,
        unsafe_private_hosts=(*network.unsafe_private_hosts, *local),
        unsafe_http_hosts=local,
        unsafe_test_handles=options.development or options.test_handles,
    )


def _trusting(path: str | None) -> ssl.SSLContext | None:
    if path is None:
        return None
    try:
        return ssl.create_default_context(cafile=path)
    except ssl.SSLError as error:
        message = f"--ca: {path} holds no certificates in PEM"
        raise ConfigurationError(message) from error


def _parse_address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    try:
        address = str(ipaddress.ip_address(host.strip("[]")))
    except ValueError as error:
        message = "an IP address and a port, such as 127.0.0.1:8443"
        raise argparse.ArgumentTypeError(message) from error
    if not port.isdecimal() or not 0 < int(port) <= _MAX_PORT:
        message = "a port from 1 to 65535"
        raise argparse.ArgumentTypeError(message)
    return address, int(port)


async def _resolve(address: str, _: str, /) -> Sequence[str]:
    return [address]


async def _connect(port: int, address: str, _: int, /) -> ByteStream:
    return await anyio.connect_tcp(address, port)
