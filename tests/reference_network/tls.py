"""The reference network by https: its certificates, and the way to its host names.

No name of it exists outside, and none leads to port 443 of this machine: clients are
brought to the front's port instead, and still check the certificate of the name.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import httpx
import trustme
from anyio.abc import ByteStream
from typing_extensions import override

from atproto_oauth_asgi import Network

APP_HOST = "notes.internal"
"""Where an application of the tests is; the PDS takes no `.test` name for one."""

# OpenSSL wants more than one label behind a wildcard, so handles are listed.
CERTIFIED_HOSTS = (
    "pds.test",
    "plc.test",
    "as.test",
    "alice.test",
    "bob.test",
    "carol.test",
    APP_HOST,
)
# The guard wants a public address for a name; the connector gives it its place.
_PUBLIC_ADDRESS = "93.184.216.34"


class TlsSide:
    """What makes a reference network speak TLS, and lets its clients find it."""

    def __init__(self, folder: Path, *, as_host: str | None) -> None:
        """Write what Node reads into `folder`."""
        authority = trustme.CA()
        server = authority.issue_cert(*CERTIFIED_HOSTS)
        authority.cert_pem.write_to_path(folder / "authority.pem")
        self.certificate = folder / "server.pem"
        server.private_key_and_cert_chain_pem.write_to_path(self.certificate)
        self.arguments = ["--tls", str(self.certificate)]
        if as_host is not None:
            self.arguments += ["--as-host", as_host]
        self.environment = {"NODE_EXTRA_CA_CERTS": str(folder / "authority.pem")}
        self.client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        authority.configure_trust(self.client_context)

    def network(self, ready: Mapping[str, Any]) -> Network:
        """Return the options that reach the network by its names, guard and all."""
        port: int = ready["frontPort"]
        return Network(
            plc_url=ready["plc"],
            dns_servers=(f"127.0.0.1:{ready['nameServerPort']}",),
            ssl_context=self.client_context,
            resolver=_resolve,
            connector=lambda address, wanted: _connect(address, wanted, front=port),
            unsafe_test_handles=True,
        )

    def transport(self, ready: Mapping[str, Any]) -> httpx.BaseTransport:
        """Return the same way for a browser, which has no guard."""
        return _FrontTransport(self.client_context, port=ready["frontPort"])


async def _resolve(host: str, /) -> Sequence[str]:
    if host not in CERTIFIED_HOSTS:
        raise OSError(f"{host} has no address")
    return [_PUBLIC_ADDRESS]


async def _connect(address: str, port: int, *, front: int) -> ByteStream:
    if (address, port) != (_PUBLIC_ADDRESS, 443):
        raise OSError(f"nobody listens on {address}, port {port}")
    return await anyio.connect_tcp("127.0.0.1", front)


class _FrontTransport(httpx.HTTPTransport):
    """Sends https requests to the front, under the names that their URLs have."""

    def __init__(self, context: ssl.SSLContext, *, port: int) -> None:
        super().__init__(verify=context, trust_env=False)
        self._port = port

    @override
    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a copy with another address; `Host` and the checked name stay."""
        there = request.url.copy_with(host="127.0.0.1", port=self._port)
        name = {"sni_hostname": request.url.host}
        return super().handle_request(
            httpx.Request(
                request.method,
                there,
                headers=request.headers,
                stream=request.stream,
                extensions={**request.extensions, **name},
            )
        )
