"""What the parts of the web floor share: built once for each middleware."""

from __future__ import annotations

import logging
import re

from starlette.datastructures import Headers
from starlette.requests import Request

from atproto_oauth_asgi.client import OAuthClient
from atproto_oauth_asgi.config import OAuthConfig
from atproto_oauth_asgi.scopes import find_scope_warnings
from atproto_oauth_asgi.sessions.cookies import cookie_name, split_value
from atproto_oauth_asgi.sessions.held import HeldSessions, build_held_sessions
from atproto_oauth_asgi.stores.base import RecordStore
from atproto_oauth_asgi.web.hooks import Hooks
from atproto_oauth_asgi.web.limits import LoginGate
from atproto_oauth_asgi.web.place import Place
from atproto_oauth_asgi.web.stores import open_stores
from atproto_oauth_asgi.web.words import Look, Looks

_log = logging.getLogger("atproto_oauth_asgi")

_LONGEST_PORT = 65535
_LOOPBACK_HOST = re.compile(
    r"(?P<name>localhost|127\.0\.0\.1|\[::1\])(?::(?P<port>\d{1,5}))?"
)


class Site:
    """The configuration, and the services made from it."""

    def __init__(self, config: OAuthConfig) -> None:
        self.config = config
        if not config.is_loopback and config.network.unsafe_private_hosts:
            _log.warning(
                "unsafe_private_hosts is set: private addresses are reached for %s",
                ", ".join(config.network.unsafe_private_hosts),
            )
        for warning in find_scope_warnings(config.scope):
            _log.warning("scope: %s", warning)
        self.store: RecordStore
        self.logins: RecordStore
        self.store, self.logins = open_stores(config)
        self.client: OAuthClient = OAuthClient.from_config(
            config, session_store=self.store
        )
        self.hooks: Hooks = Hooks(config)
        self._has_warned = False
        self._looks = Looks(config.pages, client_name=config.client_name)
        self.gate: LoginGate = LoginGate(config.limits, clock=config.clock)
        self.sessions: HeldSessions = build_held_sessions(
            self.client.sessions,
            self.store,
            config=config,
            context=f"{self.session_cookie(None)} {config.client_id}",
            check_size=self._check_size,
        )

    def look(self, headers: Headers) -> Look:
        """Return how pages look to this browser."""
        return self._looks.choose(headers.get("accept-language"))

    async def aclose(self) -> None:
        """Close the connections, those of the store as well."""
        await self.client.aclose()
        close = getattr(self.store, "aclose", None)
        if close is not None:
            await close()

    def session_cookie(self, port: int | None) -> str:
        """Return the name of the session cookie.

        Cookies are shared over ports, so that a loopback one carries the port.
        """
        return cookie_name(
            self.config.client_id,
            secure=not self.config.is_loopback,
            port=port,
            override=self.config.cookie_name,
        )

    def login_cookie(self, port: int | None) -> str:
        """Return how the names of the cookies of pending logins begin."""
        return cookie_name(
            self.config.client_id,
            purpose="login",
            secure=not self.config.is_loopback,
            port=port,
            override=self.config.cookie_name,
        )

    def _check_size(self, value: str) -> None:
        split_value(self.session_cookie(_LONGEST_PORT), value)

    def own_origin(self, host: str) -> str:
        """Return the origin of this site; ``host`` counts on loopback only."""
        if self.config.is_loopback:
            return f"http://{host}"
        scheme, _, rest = (self.config.public_url or "").partition("://")
        return f"{scheme}://{rest.partition('/')[0]}".lower()

    def redirect_uri(self, host: str) -> str:
        """Return the redirect URI of a login that begins on this host."""
        if not self.config.is_loopback:
            return self.config.redirect_uris[0]
        path = self.config.base_path + self.config.callback_path
        return f"http://{host}{path}"

    def place(self, root_path: str) -> Place:
        """Return where browsers find the application, for one ``root_path``."""
        place = Place(self.config, root_path=root_path)
        if place.prefix != self.config.base_path:
            self._warn_of_mount(place.prefix)
        return place

    def place_of(self, request: Request) -> Place:
        """Return where a browser has found the application."""
        return self.place(request.scope.get("root_path", ""))

    def _warn_of_mount(self, prefix: str) -> None:
        if self._has_warned:
            return
        self._has_warned = True
        _log.warning(
            "public_url lacks the path of the mount: mount=%s redirect_uri=%s",
            prefix,
            self.config.redirect_uris[0],
        )


def host_of(headers: Headers) -> str:
    """Return the ``Host`` field, in lower case; empty if there is not exactly one."""
    hosts = headers.getlist("host")
    return hosts[0].lower() if len(hosts) == 1 else ""


def loopback_name(host: str) -> str | None:
    """Return ``localhost``, ``127.0.0.1`` or ``[::1]`` if the host is one of them."""
    match = _LOOPBACK_HOST.fullmatch(host)
    return match["name"] if match else None


def port_of(host: str) -> int | None:
    """Return the port in a loopback ``Host`` field, 80 where none is written."""
    match = _LOOPBACK_HOST.fullmatch(host)
    if match is None:
        return None
    return int(match["port"] or 80)
