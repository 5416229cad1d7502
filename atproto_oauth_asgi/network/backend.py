"""Connections for httpcore: names to checked addresses, byte streams, TLS."""

from __future__ import annotations

import ipaddress
import logging
import select
import socket
import ssl
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import anyio
import httpcore
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSAttribute, TLSStream
from typing_extensions import override

from atproto_oauth_asgi.exceptions import Blocked
from atproto_oauth_asgi.network.addresses import check_address, parse_networks
from atproto_oauth_asgi.network_options import Network
from atproto_oauth_asgi.protocol.urls import matches_host

_log = logging.getLogger("atproto_oauth_asgi")

# More than any honest host has; all of them are checked.
_MAX_ADDRESSES = 64
# How long one address is tried while there is another one.
_PATIENCE_S = 2.0


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Opens connections to checked addresses only."""

    def __init__(self, network: Network) -> None:
        self._resolver = network.resolver
        self._connector = network.connector or _connect
        self._private_hosts = network.unsafe_private_hosts
        self._denied = parse_networks(network.denied_networks)

    @override
    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first checked address of a host that answers.

        Raises:
            Blocked: one of the host's addresses is not one we connect to.
            httpcore.ConnectTimeout: it took too long.
            httpcore.ConnectError: there is no address, or none answers.
        """
        with (
            _httpcore_errors(httpcore.ConnectTimeout, httpcore.ConnectError),
            anyio.fail_after(timeout),
        ):
            addresses = await self._checked_addresses(host)
            return _NetworkStream(await self._connect_to_one(addresses, port))

    async def _checked_addresses(self, host: str) -> Sequence[str]:
        name = f"[{host}]" if ":" in host else host
        is_private = matches_host(name, self._private_hosts)
        addresses = [host] if _is_address(host) else await self._resolve(host)
        if not 0 < len(addresses) <= _MAX_ADDRESSES:
            message = "the name has no address, or too many"
            raise OSError(message)
        for address in addresses:
            try:
                check_address(address, denied=self._denied, allow_private=is_private)
            except Blocked:
                # Callers may take it for "no such server", so it is told here.
                _log.warning("address refused: host=%s address=%r", host, address)
                raise
        return addresses

    async def _resolve(self, host: str) -> Sequence[str]:
        if self._resolver is not None:
            return await self._resolver(host)
        # The dot keeps search lists out: without it, a name that does not exist could
        # become another one below the operator's own domain. Names of the operator's
        # own network may need those lists, and /etc/hosts.
        is_local = matches_host(host, self._private_hosts)
        return await _system_addresses(host if is_local else f"{host}.")

    async def _connect_to_one(self, addresses: Sequence[str], port: int) -> ByteStream:
        for address in addresses[:-1]:
            with suppress(OSError), anyio.move_on_after(_PATIENCE_S):
                return await self._connector(address, port)
        return await self._connector(addresses[-1], port)


class _NetworkStream(httpcore.AsyncNetworkStream):
    """An anyio stream as httpcore wants it."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream

    @override
    async def read(
        self,
        max_bytes: int,
        timeout: float | None = None,
    ) -> bytes:
        with (
            _httpcore_errors(httpcore.ReadTimeout, httpcore.ReadError),
            anyio.fail_after(timeout),
        ):
            try:
                return await self._stream.receive(max_bytes)
            except anyio.EndOfStream:
                return b""

    @override
    async def write(
        self,
        buffer: bytes,
        timeout: float | None = None,
    ) -> None:
        # The end of a request is often no bytes; sending them is a turn of the loop.
        if not buffer:
            return
        with (
            _httpcore_errors(httpcore.WriteTimeout, httpcore.WriteError),
            anyio.fail_after(timeout),
        ):
            await self._stream.send(buffer)

    @override
    async def aclose(self) -> None:
        with suppress(OSError, anyio.BrokenResourceError):
            await self._stream.aclose()

    @override
    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            return await self._wrap(ssl_context, server_hostname, timeout)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self.aclose()
            raise

    async def _wrap(
        self, context: ssl.SSLContext, name: str | None, timeout_s: float | None
    ) -> httpcore.AsyncNetworkStream:
        with (
            _httpcore_errors(httpcore.ConnectTimeout, httpcore.ConnectError),
            anyio.fail_after(timeout_s),
        ):
            stream = await TLSStream.wrap(
                self._stream,
                server_side=False,
                hostname=name,
                ssl_context=context,
                standard_compatible=False,
            )
        return _NetworkStream(stream)

    @override
    def get_extra_info(self, info: str) -> Any:
        if info == "ssl_object":
            return self._extra(TLSAttribute.ssl_object)
        if info == "is_readable":
            return _is_readable(self._extra(SocketAttribute.raw_socket))
        return None

    def _extra(self, attribute: Any) -> Any:
        return self._stream.extra(attribute, None)  # noqa: S610 - no database here


@contextmanager
def _httpcore_errors(
    timed_out: type[httpcore.TimeoutException], failed: type[httpcore.NetworkError]
) -> Iterator[None]:
    # The pool cuts the chain of causes, so the text of the first one is kept.
    try:
        yield
    except TimeoutError as error:
        raise timed_out(str(error)) from error
    except (
        OSError,
        # Not all errors of certificates and host names are among OSError.
        ValueError,
        anyio.BrokenResourceError,
        anyio.ClosedResourceError,
        anyio.EndOfStream,
    ) as error:
        raise failed(str(error)) from error


async def _connect(address: str, port: int) -> ByteStream:
    return await anyio.connect_tcp(address, port)


async def _system_addresses(host: str) -> list[str]:
    found = await anyio.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(sockaddr[0] for *_, sockaddr in found))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_readable(raw: Any) -> bool:
    """Whether an idle connection has something to say: that the server left."""
    if raw is None or raw.fileno() < 0:
        return True
    if not hasattr(select, "poll"):  # pragma: no cover - only Windows has none
        return bool(select.select([raw], [], [], 0)[0])
    poll = select.poll()
    poll.register(raw.fileno(), select.POLLIN)
    return bool(poll.poll(0))
