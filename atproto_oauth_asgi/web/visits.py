"""From a request's cookies to its session."""

from __future__ import annotations

import logging
from collections.abc import Iterable, MutableMapping
from typing import Any

from starlette.datastructures import Headers

from atproto_oauth_asgi.exceptions import LoggedOut
from atproto_oauth_asgi.sessions.cookies import join_chunks, parse_cookie_header
from atproto_oauth_asgi.web.event_loop import EventLoops
from atproto_oauth_asgi.web.site import Site, host_of, port_of
from atproto_oauth_asgi.web.visit import Visit

_log = logging.getLogger("atproto_oauth_asgi")


class Visits:
    """Opens the session that a request brings along."""

    def __init__(self, site: Site) -> None:
        self.loops: EventLoops = EventLoops()
        self._site = site
        self._is_loopback = site.config.is_loopback
        self._name = site.session_cookie(None)
        self._needle = self._name.encode("ascii")

    def may_bring_a_session(self, scope: MutableMapping[str, Any]) -> bool:
        """Return whether a request has a cookie that may be a session's."""
        for key, line in scope["headers"]:
            if key == b"cookie" and self._needle in line:
                return True
        return False

    async def open(self, scope: MutableMapping[str, Any]) -> Visit:
        """Return the request's visit: anonymous unless its cookie opens.

        Raises:
            StoreError: the store does not answer.
        """
        headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
        visit, value = self._arrive(headers)
        # Now, as routers change it in place on the way to a mount.
        visit.root_path = scope.get("root_path", "")
        if not value:
            return visit
        if scope["type"] == "websocket" and self._is_from_elsewhere(headers):
            _log.info("session not opened: WebSocket of another origin")
            return visit
        visit.loop = self.loops.current()
        if (known := self._site.sessions.recall(value)) is not None:
            visit.enter(known, value=value)
        else:
            await self._open(visit, value)
        return visit

    async def _open(self, visit: Visit, value: str) -> None:
        try:
            found = await self._site.sessions.open(value)
        except LoggedOut as error:
            visit.leave(error)
            return
        if found is None:
            _log.debug("session cookie not readable")
        visit.enter(found, value=value)

    def nobody(self) -> Visit:
        """Return a visit that knows of no cookie."""
        return Visit(self._site, cookie=self._name)

    def anonymous(self, headers: Iterable[tuple[bytes, bytes]]) -> Visit:
        """Return a visit that knows the browser's cookies but opens none."""
        return self._arrive(headers)[0]

    def _arrive(
        self, headers: Iterable[tuple[bytes, bytes]]
    ) -> tuple[Visit, str | None]:
        """Return a visit that has opened nothing yet, and the value of its cookie."""
        name = self._cookie_name(headers)
        cookies = parse_cookie_header(headers, name)
        visit = Visit(self._site, cookie=name, present=cookies)
        return visit, join_chunks(cookies, name)

    def _is_from_elsewhere(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Return whether a page of another origin opens a WebSocket here.

        Pages may connect to any origin, and read what comes back.
        """
        found = Headers(raw=list(headers))
        origin = found.get("origin")
        if origin is None or origin in self._site.config.trusted_origins:
            return False
        return origin != self._site.own_origin(host_of(found))

    def _cookie_name(self, headers: Iterable[tuple[bytes, bytes]]) -> str:
        if not self._is_loopback:
            return self._name
        hosts = [value for key, value in headers if key == b"host"]
        port = port_of(hosts[0].decode("latin-1").lower()) if len(hosts) == 1 else None
        return self._site.session_cookie(port)
