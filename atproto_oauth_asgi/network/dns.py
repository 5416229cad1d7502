"""RFC 1035: the TXT question, asked without search lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import anyio.to_thread

from atproto_oauth_asgi.exceptions import TimedOut, Unreachable
from atproto_oauth_asgi.network_options import parse_dns_server

if TYPE_CHECKING:
    from dns.asyncresolver import Resolver
    from dns.nameserver import Nameserver
    from dns.resolver import Answer

_MAX_RECORDS = 100


async def query_txt(
    name: str, *, servers: Sequence[str] | None, timeout_s: float
) -> list[str]:
    """Return the TXT records of a name, the strings of each one joined.

    The list is empty if the name, or such a record, does not exist. ``servers`` are
    ``"ip"`` or ``"ip:port"``; None means the system's.

    Raises:
        TimedOut: the name servers took too long.
        Unreachable: they did not answer, or not usably.
    """
    # Importing dnspython takes longer than an event loop should stand still.
    resolver = await anyio.to_thread.run_sync(_build_resolver, servers)
    return await _ask(resolver, name, timeout_s)


async def _ask(resolver: Resolver, name: str, timeout_s: float) -> list[str]:
    import dns.asyncbackend
    import dns.exception
    import dns.name
    import dns.resolver

    try:
        answer = await resolver.resolve(
            dns.name.from_text(name, origin=dns.name.root),
            "TXT",
            search=False,
            lifetime=timeout_s,
            raise_on_no_answer=False,
            # By itself dnspython keeps to the first event loop that it sees.
            backend=dns.asyncbackend.get_backend(dns.asyncbackend.sniff()),
        )
    except dns.resolver.NXDOMAIN:
        return []
    except dns.exception.Timeout as error:
        message = "the name servers took too long"
        raise TimedOut(message) from error
    except (dns.exception.DNSException, OSError, ValueError) as error:
        message = "the name servers did not answer"
        raise Unreachable(message) from error
    return _texts(answer)


def _texts(answer: Answer) -> list[str]:
    records = answer.rrset or ()
    if len(records) > _MAX_RECORDS:
        message = "the name has too many TXT records"
        raise Unreachable(message)
    # What is not UTF-8 is no DID either; it must not stop the others.
    return [b"".join(record.strings).decode("utf-8", "replace") for record in records]


def _build_resolver(servers: Sequence[str] | None) -> Resolver:
    import dns.asyncresolver
    import dns.exception

    try:
        resolver = dns.asyncresolver.Resolver(configure=servers is None)
    except dns.exception.DNSException as error:
        message = "this system knows no name servers"
        raise Unreachable(message) from error
    if servers is not None:
        resolver.nameservers = [_nameserver(text) for text in servers]
    return resolver


def _nameserver(text: str) -> Nameserver:
    from dns.nameserver import Do53Nameserver

    address, port = parse_dns_server(text)
    return Do53Nameserver(address, port)
