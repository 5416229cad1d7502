"""What an application finds in its scope: who is there, and their PDS."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, MutableMapping
from contextvars import ContextVar
from functools import lru_cache, partial
from typing import Any, NoReturn, TypeVar

from anyio import from_thread
from typing_extensions import override

from atproto_oauth_asgi.config import OAuthConfig
from atproto_oauth_asgi.exceptions import ConfigurationError, NotAuthenticatedError
from atproto_oauth_asgi.models import OAuthSession
from atproto_oauth_asgi.network.pds import PDSClient
from atproto_oauth_asgi.scopes import ScopesSet
from atproto_oauth_asgi.web.nesting import WRAPPED_TWICE, is_same_client
from atproto_oauth_asgi.web.visit import Visit

_R = TypeVar("_R")

# Reading a long scope costs more than a request should.
_granted = lru_cache(maxsize=1024)(ScopesSet)

current: ContextVar[ATProtoAuth] = ContextVar("atproto_oauth_asgi.auth")


class ATProtoAuth:
    """Who makes this request. Always there; anonymous until somebody logs in."""

    __slots__ = ("_client", "_visit")

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._client: PDSClient | None = None

    @override
    def __repr__(self) -> str:
        """Show the DID and nothing that must stay here."""
        return f"<ATProtoAuth {self.did or 'anonymous'}>"

    @override
    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled: it belongs to one request."""
        message = "ATProtoAuth belongs to one request and cannot be pickled"
        raise TypeError(message)

    @property
    def did(self) -> str | None:
        """The DID of the person, None for nobody. Use this to know people by."""
        session = self._visit.session
        return session.did if session else None

    @property
    def handle(self) -> str | None:
        """The handle, for display; None if it was not verified."""
        session = self._visit.session
        return session.handle if session else None

    @property
    def is_authenticated(self) -> bool:
        """Whether somebody is logged in."""
        return self._visit.session is not None

    @property
    def reason(self) -> str | None:
        """Why the session that was here is gone.

        One of ``expired``, ``revoked``, ``moved``, ``key_retired``,
        ``refresh_interrupted``; None where there was no session or it is still there.
        """
        return self._visit.reason

    @property
    def login_hint(self) -> str | None:
        """Who was here until their session ended: a handle or DID, for the next login.

        None where nobody was, where somebody is, and after a log-out.
        """
        return self._visit.login_hint

    @property
    def session(self) -> OAuthSession:
        """The session, tokens included.

        Raises:
            NotAuthenticatedError: nobody is logged in.
        """
        session = self._visit.session
        if session is None:
            raise NotAuthenticatedError("nobody is logged in")
        return session

    @property
    def client(self) -> PDSClient:
        """A client that speaks to the person's PDS, as them; made on first use.

        Raises:
            NotAuthenticatedError: nobody is logged in.
            ConfigurationError: ``session="identity"`` keeps no tokens.
        """
        if not self.session.access_token:
            message = "session='identity' keeps no tokens: there is nothing to ask with"
            raise ConfigurationError(message)
        if self._client is None or self._client.is_closed:
            self._client = self._visit.site.client.pds_client(
                self.session, tokens=self._visit
            )
        return self._client

    @property
    def granted(self) -> ScopesSet:
        """What the person has granted; nothing, for nobody."""
        session = self._visit.session
        return _granted(session.scope if session else "")

    def allows(self, required: str | Iterable[str]) -> bool:
        """Return whether all of this was surely granted: ``repo:com.example.post``.

        Raises:
            ConfigurationError: it is not a scope of the specification.
        """
        return self.granted.allows(required)

    def require(self) -> str:
        """Return the DID.

        Raises:
            NotAuthenticatedError: nobody is logged in.
        """
        return self.session.did

    def login_url(
        self,
        *,
        return_to: str | None = None,
        scope: str | None = None,
        identifier: str | None = None,
    ) -> str:
        """Return the path of the login page, with what it should hold.

        Where a session has ended, the page says why, and ``identifier`` is who was here
        last.
        """
        hint = self.login_hint
        # Why somebody's session has ended is no news for somebody else.
        reason = self.reason if identifier in {None, hint} else None
        return self._visit.place.login_path(
            {
                "return_to": return_to,
                "scope": scope,
                "identifier": identifier or hint,
                "reason": reason,
            }
        )

    def wait(
        self,
        function: Callable[..., Coroutine[Any, Any, _R]],
        *arguments: Any,
        **named: Any,
    ) -> _R:
        """Call an async function from a plain one, and return what it returns.

        For views that frameworks run in threads: it runs in the server's event loop,
        where the connections are.

        Raises:
            NotAuthenticatedError: nobody is logged in.
        """
        if self._visit.loop is None:
            raise NotAuthenticatedError("nobody is logged in")
        call = partial(function, *arguments, **named)
        return from_thread.run(call, token=self._visit.loop)

    async def logout(self, *, everywhere: bool = False) -> None:
        """End the session: in this browser, and at the authorization server.

        Args:
            everywhere: end all sessions that this person has with the application.

        Raises:
            RefreshUnavailable: the response has begun.
            StoreError: the store does not answer.
        """
        await self._visit.end(everywhere=everywhere)


def current_auth() -> ATProtoAuth:
    """Return who makes the request that is being handled, in any framework.

    Raises:
        ConfigurationError: no request passes through ATProtoOAuthMiddleware here.
    """
    try:
        return current.get()
    except LookupError as error:
        message = "no request passes through ATProtoOAuthMiddleware here"
        raise ConfigurationError(message) from error


def visit_of(auth: ATProtoAuth) -> Visit:
    """Return what our own code needs to know of a request, and applications do not."""
    return auth._visit  # noqa: SLF001 - of this module


def own_path(auth: ATProtoAuth, scope: MutableMapping[str, Any]) -> str:
    """Return path and query of a request as its browser has them, to come back to."""
    place = visit_of(auth).place
    query = scope["query_string"].decode("latin-1")
    path = place.outside(scope["path"])
    return f"{path}?{query}" if query else path


def check_not_inside(outer: object, *, config: OAuthConfig) -> None:
    """Refuse to serve a request that a middleware of the same client has opened.

    Raises:
        ConfigurationError: it has.
    """
    if not isinstance(outer, ATProtoAuth):
        return
    visit = visit_of(outer)
    if is_same_client(visit.site.config, config):
        raise ConfigurationError(WRAPPED_TWICE)
