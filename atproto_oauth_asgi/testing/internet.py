"""Names, addresses and hosts of one process: everything that can be connected to."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from weakref import WeakKeyDictionary

import anyio
from anyio.abc import ByteStream, SocketAttribute, SocketStream, TaskStatus
from anyio.streams.tls import TLSAttribute, TLSStream
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from atproto_oauth_asgi.testing.behaviours import ORIGINAL
from atproto_oauth_asgi.testing.certificates import TlsFault, authority, server_context
from atproto_oauth_asgi.testing.names import serve_names
from atproto_oauth_asgi.testing.wire import BROKEN, HangUp, serve_stream

_log = logging.getLogger("atproto_oauth_asgi")

LOOPBACK = "127.0.0.1"
"""The one address of this machine that is listened on."""

_HTTPS = 443
_ADDRESSES = "93.184.216."
_OTHER_ADDRESSES = "93.184.217."
_FULL = 250


@dataclass(slots=True, kw_only=True)
class Received:
    """One request that a host received.

    Attributes:
        host: by its name in the network, such as ``pds.test``; otherwise as the
            ``Host`` field says.
        method: such as ``GET``.
        path: without the query.
        status: of the answer; None as long as, or if, there is none.
        query: the query, not shown by ``repr``.
        headers: by lower-case name, not shown by ``repr``.
        body: as far as it was read, not shown by ``repr``.
    """

    host: str
    method: str
    path: str
    status: int | None = None
    query: str = field(default="", repr=False)
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)


@dataclass(slots=True)
class _Knob:
    program: ASGIApp
    times: int | None


class Internet:
    """An ASGI program that is every host, and the two ways to get to it.

    Args:
        port: to listen on; 0 takes a free one.
        http_names: what stands in ``Host`` fields, to names of hosts. If there are
            any, these hosts speak plain http on that port, and nothing speaks https.

    Attributes:
        sites: host name to program.
        addresses: host name to the addresses that a resolver gives.
        texts: full name, without a dot at its end, to its TXT records.
        traffic: every request, in the order in which they came.
        resolved: every name whose addresses were asked for.
        connected: every address and port that was connected to.
        name_server: ``ip:port`` of the one that answers TXT questions.
    """

    def __init__(self, *, port: int = 0, http_names: Mapping[str, str]) -> None:
        self._names: WeakKeyDictionary[object, str] = WeakKeyDictionary()
        self._wanted_port = port
        self._http_names = http_names
        self._port = 0
        self.name_server: str = ""
        self.reset()

    def reset(self) -> None:
        """Forget every host, every knob, and what was seen."""
        self.sites: dict[str, ASGIApp] = {}
        self.addresses: dict[str, list[str]] = {}
        self.texts: dict[str, list[str]] = {}
        self._host_at: dict[str, str] = {}
        self._faults: dict[str, TlsFault] = {}
        self._knobs: dict[tuple[str, str | None], _Knob] = {}
        self.clear()

    def clear(self) -> None:
        """Forget what was seen."""
        self.traffic: list[Received] = []
        self.resolved: list[str] = []
        self.connected: list[tuple[str, int]] = []

    def add(self, host: str, site: ASGIApp) -> None:
        """Put a program behind a name, at a public-looking address of its own."""
        self.sites[host] = site
        if host not in self.addresses:
            count = len(self._host_at)
            block = _ADDRESSES if count < _FULL else _OTHER_ADDRESSES
            address = f"{block}{count % _FULL + 1}"
            self._host_at[address] = host
            self.addresses[host] = [address]

    def on(
        self, host: str, path: str | None, program: ASGIApp, *, times: int | None = None
    ) -> None:
        """Let a program answer in place of a host, on one path or on all."""
        self._knobs[host, path] = _Knob(program, times)

    def off(self, host: str, path: str | None = None) -> None:
        """Take back what ``on`` did."""
        self._knobs.pop((host, path), None)

    def break_tls(self, host: str, fault: TlsFault) -> None:
        """Show a certificate that must be refused, from the next connection on."""
        self._faults[host] = fault

    async def resolve(self, host: str, /) -> Sequence[str]:
        """Return the addresses of a name.

        Raises:
            OSError: it has none.
        """
        self.resolved.append(host)
        if host not in self.addresses:
            raise OSError("no such name in the test network")
        return self.addresses[host]

    async def connect(self, address: str, port: int, /) -> ByteStream:
        """Open a connection to the host at an address.

        Raises:
            OSError: nobody listens there.
        """
        self.connected.append((address, port))
        if address not in self._host_at or port != _HTTPS:
            raise ConnectionRefusedError("nobody listens there in the test network")
        return await anyio.connect_tcp(LOOPBACK, self._port)

    async def serve(self, *, task_status: TaskStatus[None]) -> None:
        """Listen on two ports of this machine until cancelled.

        Raises:
            OSError: the port cannot be had.
        """
        # Before anybody asks for the authority: two threads would make two of them.
        context = self._context()
        async with AsyncExitStack() as stack:
            listener = await anyio.create_tcp_listener(
                local_host=LOOPBACK, local_port=self._wanted_port
            )
            await stack.enter_async_context(listener)
            self._port = listener.extra(SocketAttribute.local_port)  # noqa: S610 - no database here
            udp = await anyio.create_udp_socket(local_host=LOOPBACK)
            await stack.enter_async_context(udp)
            port: int = udp.extra(SocketAttribute.local_port)  # noqa: S610 - the same
            self.name_server = f"{LOOPBACK}:{port}"
            group = await stack.enter_async_context(anyio.create_task_group())
            group.start_soon(serve_names, udp, self)
            task_status.started()
            await listener.serve(partial(self._converse, context))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the host that was asked for, and note it."""
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1")
            for name, value in scope["headers"]
        }
        asked = headers.get("host", "")
        received = Received(
            host=self._http_names.get(asked, asked),
            method=scope["method"],
            path=scope["path"],
            query=scope["query_string"].decode("latin-1"),
            headers=headers,
        )
        self.traffic.append(received)
        program = self._program(scope, received)
        await program(scope, _noting(receive, received), _watching(send, received))

    def _program(self, scope: Scope, received: Received) -> ASGIApp:
        host, path = received.host, received.path
        if host not in self.sites or not self._leads_to(scope, received):
            return PlainTextResponse("no such host here", 421)
        site = self.sites[host]
        for key in ((host, path), (host, None)):
            if (knob := self._knobs.get(key)) is None or knob.times == 0:
                continue
            if knob.times is not None:
                knob.times -= 1
            scope.setdefault("extensions", {})[ORIGINAL] = {"program": site}
            return knob.program
        return site

    def _leads_to(self, scope: Scope, received: Received) -> bool:
        """Return whether the host asked for is one that the connection may mean.

        With plain http this is what keeps a web page out that has let a name of its
        own lead to this machine.
        """
        if self._http_names:
            return received.headers.get("host") in self._http_names
        name: str = scope["server"][0]
        return name == received.host

    def _context(self) -> ssl.SSLContext | None:
        if self._http_names:
            return None
        # One of its own: the callback belongs to this network alone.
        context = authority().server_context("unnamed.test")
        _choose_by_name(context, self._choose)
        return context

    def _choose(self, connection: object, name: str) -> ssl.SSLContext:
        self._names[connection] = name
        return server_context(name, self._faults.get(name))

    async def _converse(
        self, context: ssl.SSLContext | None, stream: SocketStream
    ) -> None:
        async with stream:
            with suppress(HangUp, *BROKEN):
                if context is None:
                    await self._serve(stream, None)
                    return
                tls = await TLSStream.wrap(
                    stream,
                    server_side=True,
                    ssl_context=context,
                    standard_compatible=False,
                )
                connection = tls.extra(TLSAttribute.ssl_object)  # noqa: S610 - the same
                await self._serve(tls, self._names.get(connection, ""))

    async def _serve(self, stream: ByteStream, name: str | None) -> None:
        try:
            await serve_stream(stream, self, server_name=name)
        except (HangUp, *BROKEN):
            raise
        except Exception:  # noqa: BLE001 - it is logged
            # A site may be any program of a test; one that fails must not take the
            # other hosts with it.
            _log.exception("the program of %s failed in the test network", name)


def _choose_by_name(
    context: ssl.SSLContext, choose: Callable[[object, str], ssl.SSLContext]
) -> None:
    def choose_context(
        connection: ssl.SSLSocket | ssl.SSLObject, name: str, _: ssl.SSLContext
    ) -> None:
        if name:
            connection.context = choose(connection, name)

    context.sni_callback = choose_context


def _noting(receive: Receive, received: Received) -> Receive:
    async def noting() -> Message:
        message = await receive()
        received.body += message.get("body", b"")
        return message

    return noting


def _watching(send: Send, received: Received) -> Send:
    async def watching(message: Message) -> None:
        if message["type"] == "http.response.start":
            received.status = message["status"]
        await send(message)

    return watching
