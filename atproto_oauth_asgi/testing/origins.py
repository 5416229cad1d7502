"""Where the servers of a network are: at names with https, or at http://localhost."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass

from atproto_oauth_asgi.exceptions import ConfigurationError
from atproto_oauth_asgi.network_options import Network
from atproto_oauth_asgi.testing.certificates import authority
from atproto_oauth_asgi.testing.internet import LOOPBACK, Internet

PLC, PDS = "plc.test", "pds.test"

_MAX_PORT, _UNNAMED_PORT = 65535, 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Origins:
    """The origins of a network's servers.

    Attributes:
        as_host: host of the authorization server.
        port: of the one listener that speaks plain http, for browsers; None means
            https, behind names that only the network itself resolves.
    """

    as_host: str = PDS
    port: int | None = None

    @property
    def plc_url(self) -> str:
        """Origin of the PLC directory."""
        # A host of its own behind the same port: no page of the PDS shares cookies
        # with it, and none is needed there.
        return (
            f"https://{PLC}" if self.port is None else f"http://{LOOPBACK}:{self.port}"
        )

    @property
    def pds_url(self) -> str:
        """Origin of the PDS."""
        return (
            f"https://{PDS}" if self.port is None else f"http://localhost:{self.port}"
        )

    @property
    def issuer(self) -> str:
        """Issuer of the authorization server."""
        return f"https://{self.as_host}" if self.port is None else self.pds_url

    @property
    def http_names(self) -> Mapping[str, str]:
        """What stands in ``Host`` fields of plain http, to the names of the hosts."""
        if self.port is None:
            return {}
        return {f"localhost:{self.port}": PDS, f"{LOOPBACK}:{self.port}": PLC}

    def options(self, internet: Internet) -> Network:
        """Return the options by which a client gets to the hosts of an internet."""
        if self.port is not None:
            return Network.development(
                plc_url=self.plc_url, handle_resolver_url=self.pds_url
            )
        return Network(
            plc_url=self.plc_url,
            dns_servers=(internet.name_server,),
            ssl_context=authority().client_context(),
            resolver=internet.resolve,
            connector=internet.connect,
            unsafe_test_handles=True,
        )

    def need_https(self, what: str) -> None:
        """Refuse what cannot be had from plain http on localhost.

        Raises:
            ConfigurationError: it is asked for all the same.
        """
        if self.port is not None:
            problem = f"{what}: it needs https and a name; leave out localhost_port"
            raise ConfigurationError([f"AtprotoNetwork: {problem}"])

    def unavailable(self, error: OSError) -> ConfigurationError:
        """Return what to raise when nobody can listen there."""
        option = "" if self.port is None else f"localhost_port: {self.port}: "
        reason = error.strerror or "nobody can listen there"
        return ConfigurationError([f"AtprotoNetwork: {option}{reason}"])


def choose_origins(*, as_host: str | None, localhost_port: int | None) -> Origins:
    """Return where the servers will be; port 0 means a free one.

    Raises:
        ConfigurationError: the two exclude each other, or there is no such port.
    """
    if localhost_port is None:
        return Origins(as_host=as_host or PDS)
    if localhost_port == _UNNAMED_PORT or not 0 <= localhost_port <= _MAX_PORT:
        problem = "localhost_port: 0 to 65535, but not 80, which URLs do not name"
        raise ConfigurationError([f"AtprotoNetwork: {problem}"])
    origins = Origins(port=localhost_port or _find_free_port())
    if as_host is not None:
        origins.need_https("as_host")
    return origins


def _find_free_port() -> int:
    with socket.socket() as candidate:
        candidate.bind((LOOPBACK, 0))
        port: int = candidate.getsockname()[1]
        return port
