"""What the middleware adds to a request of somebody, beside starlette's sessions.

The application is called as a server would, without one; what it takes by itself is
subtracted on both sides.
"""

from __future__ import annotations

import json
import os
import secrets
from base64 import b64encode
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import itsdangerous
from starlette.middleware.sessions import SessionMiddleware
from typing_extensions import override

from atproto_oauth_asgi import ATProtoOAuthMiddleware, MemoryStore, OAuthSession
from atproto_oauth_asgi.crypto.encoding import b64url
from atproto_oauth_asgi.crypto.keys import generate_private_key
from atproto_oauth_asgi.sessions.cookies import set_cookie_lines
from atproto_oauth_asgi.stores import Record
from tests.benchmarks.crypto import build_session
from tests.benchmarks.harness import Case, Figure, Loop

_REQUESTS = 500
_HEADERS = [
    (b"host", b"app.example.com"),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Firefox/140.0"),
    (b"accept", b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    (b"accept-language", b"en-US,en;q=0.5"),
    (b"accept-encoding", b"gzip, deflate, br, zstd"),
]
_ANSWER = [(b"content-type", b"text/plain"), (b"content-length", b"2")]

Request = Callable[[], Awaitable[None]]


def cases(loop: Loop) -> Iterator[Case]:
    """Give what is measured in time."""
    site = _Site()
    loop.portal.call(site.begin_to_live)
    cookie = site.cookie
    signed = _request(SessionMiddleware(_read_signed, _SIGNING_KEY), _signed_cookie())
    for name, work, target in (
        ("session not read", _request(site.app, cookie), 0.40),
        ("session read, opened before", _request(site.reader, cookie), 0.40),
        ("session read, the first time", site.first_time(cookie), 3.5),
    ):
        yield Case(
            name=f"{name}: added",
            base_name="starlette's SessionMiddleware",
            floor=_request(_bare, cookie),
            base=signed,
            work=work,
            target=target,
            timer=loop.cpu_time,
        )


def counts(loop: Loop) -> Iterator[Figure]:
    """Give what is counted, not measured."""
    site = _Site(mode="server")
    cookie = loop.portal.call(site.keep)
    request = _request(site.reader, cookie)

    async def many() -> None:
        for _ in range(_REQUESTS):
            await request()

    site.store.asked.clear()
    loop.portal.call(many)
    yield Figure(
        name="store reads of a request in server mode",
        ratio=site.store.asked["load"] / _REQUESTS,
        target=1,
        detail=f"{_REQUESTS} requests; writes: {site.store.asked['save']}",
        sense="=",
    )


class CountingStore(MemoryStore):
    """A store that knows how often it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = Counter[str]()

    @override
    async def load(self, kind: str, key: str) -> Record | None:
        self.asked["load"] += 1
        return await super().load(kind, key)

    @override
    async def save(self, *args: Any, **options: Any) -> int | None:
        self.asked["save"] += 1
        return await super().save(*args, **options)


class _Site:
    """An application with the middleware, and somebody who is logged in there."""

    def __init__(self, mode: Any = "cookie") -> None:
        self.store = CountingStore()
        self.app = ATProtoOAuthMiddleware(
            _bare,
            secret_key=os.urandom(32),
            public_url="https://app.example.com",
            scope="atproto",
            session=mode,
            store=self.store,
        )
        self.reader = ATProtoOAuthMiddleware(_read_did, config=self.app.config)
        # One store, one cache of what was opened.
        self.reader._site = self.app._site
        self.reader._visits = self.app._visits
        self._sessions = self.app._site.sessions

    async def begin_to_live(self) -> None:
        """Be in this event loop, as from the start of a lifespan to its end."""
        self._life = self.app._visits.loops.remembered()
        self._life.__enter__()

    @property
    def cookie(self) -> bytes:
        """The cookie of a session that it holds."""
        return self._cookie(self._sessions.sealed.seal(example_session()).value)

    async def keep(self) -> bytes:
        """Put a session into the store; return the cookie that refers to it."""
        return self._cookie(await self._sessions.begin(example_session()))

    def first_time(self, cookie: bytes) -> Request:
        """Return a request whose cookie no request before has brought along."""
        request = _request(self.reader, cookie)

        async def send() -> None:
            self._sessions.sealed._opened.clear()
            await request()

        return send

    def _cookie(self, value: str) -> bytes:
        name = self.app._site.session_cookie(None)
        (line,) = set_cookie_lines(name, value, present=(), max_age_s=3600, now=0.0)
        return line.partition(b";")[0]


def example_session() -> OAuthSession:
    """Return a session with the data of ``build_session``, for an hour."""
    data: dict[str, Any] = build_session()
    expires_at = datetime.now(UTC) + timedelta(hours=1)
    key = generate_private_key()
    return OAuthSession(
        **{**data, "dpop_private_key": key, "expires_at": expires_at},
    ).replace(session_id=b64url(os.urandom(32)))


async def _bare(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": _ANSWER})
    await send({"type": "http.response.body", "body": b"ok"})


async def _read_did(scope: Any, receive: Any, send: Any) -> None:
    if scope["atproto"].session.did:
        await _bare(scope, receive, send)


async def _read_signed(scope: Any, receive: Any, send: Any) -> None:
    if scope["session"]["did"]:
        await _bare(scope, receive, send)


_SIGNING_KEY = secrets.token_hex(32)


def _signed_cookie() -> bytes:
    signer = itsdangerous.TimestampSigner(_SIGNING_KEY)
    data = json.dumps(build_session()).encode()
    return b"session=" + signer.sign(b64encode(data))


def _request(app: Any, cookie: bytes) -> Request:
    headers = [*_HEADERS, (b"cookie", cookie)]
    scope = {
        "type": "http",
        "method": "GET",
        "scheme": "https",
        "path": "/notes",
        "raw_path": b"/notes",
        "root_path": "",
        "query_string": b"",
        "headers": headers,
        "server": ("app.example.com", 443),
        "client": ("192.0.2.1", 50000),
    }

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        pass

    async def request() -> None:
        await app(dict(scope), receive, send)

    return request
