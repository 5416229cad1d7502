"""RFC 8446: the certificate that a host shows, for whoever wants to look at it."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

import anyio.to_thread
import httpcore

from atproto_oauth_asgi.exceptions import TimedOut, Unreachable
from atproto_oauth_asgi.network.backend import GuardedBackend
from atproto_oauth_asgi.network.transport import default_context
from atproto_oauth_asgi.network_options import Network
from atproto_oauth_asgi.protocol.urls import check_url


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What a host showed, after it was found good.

    Attributes:
        starts_at: Unix seconds.
        ends_at: Unix seconds.
        tls_version: such as ``TLSv1.3``.
    """

    starts_at: float
    ends_at: float
    tls_version: str


async def fetch_certificate(url: str, network: Network) -> Certificate:
    """Return the certificate of the host of an https URL; nothing is sent to it.

    Raises:
        Blocked: the URL, or an address of its host, is not one we connect to.
        TimedOut: the host took too long.
        Unreachable: there is no connection, or its certificate is refused.
    """
    host = check_url(url, network.url_policy, what="URL")
    context = network.ssl_context
    if context is None:
        context = await anyio.to_thread.run_sync(default_context)
    name = host.host.strip("[]")
    backend = GuardedBackend(network)
    try:
        plain = await backend.connect_tcp(name, host.port, network.timeout_s)
        stream = await plain.start_tls(context, name, network.timeout_s)
    except httpcore.TimeoutException as error:
        raise TimedOut(f"{host.host} took too long to answer") from error
    except httpcore.NetworkError as error:
        raise Unreachable(_reason(host.host, error.__cause__)) from error
    try:
        return _describe(stream.get_extra_info("ssl_object"))
    finally:
        await stream.aclose()


def _reason(host: str, cause: BaseException | None) -> str:
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"the certificate of {host} is refused: {cause.verify_message}"
    if isinstance(cause, ssl.SSLError):
        return f"{host} speaks no TLS that we understand"
    return f"{host} could not be reached"


def _describe(connection: ssl.SSLObject) -> Certificate:
    # It was verified, so it is there, with its dates.
    found = connection.getpeercert() or {}
    starts_at, ends_at = (
        ssl.cert_time_to_seconds(str(found[name])) for name in ("notBefore", "notAfter")
    )
    return Certificate(
        starts_at=starts_at,
        ends_at=ends_at,
        tls_version=connection.version() or "TLS",
    )
