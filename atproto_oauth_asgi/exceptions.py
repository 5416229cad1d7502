"""Everything this package raises on purpose, one tree.

    OAuthError
    ├── ConfigurationError (also ValueError)
    ├── IdentityError (also ValueError)
    │   ├── InvalidIdentifier   not a handle, a DID or a host
    │   ├── HandleNotFound      nothing answers for this handle
    │   ├── HandleMismatch      the account does not claim this handle
    │   ├── AmbiguousHandle     the handle names several accounts
    │   └── DidNotResolved      no usable DID document
    ├── DiscoveryError (also ValueError)
    │   └── UnsupportedAuthServerError
    ├── TransportError
    │   ├── Blocked             the address or URL is not one we connect to
    │   ├── TimedOut
    │   ├── TooLarge
    │   └── Unreachable
    ├── AuthorizationServerError (error, error_description)
    │   └── OAuthTokenError
    ├── CallbackError
    │   ├── OAuthStateError     the login is unknown, expired or used
    │   ├── WrongBrowser        it began in another browser
    │   ├── LoginDenied         the person, or their server, said no
    │   ├── IssuerMismatch      another server answered than was asked
    │   └── SubjectMismatch     another account signed in than was asked
    ├── SessionError
    │   ├── SessionExpired
    │   ├── SessionRevoked
    │   │   ├── LoggedOut
    │   │   └── RefreshInterrupted
    │   ├── AccountMoved
    │   ├── ClientKeyRetired
    │   ├── RefreshUnavailable  not now; the session lives
    │   └── CookieTooLarge
    ├── NotAuthenticatedError
    ├── ScopeMissingError
    ├── TooManyLogins           more than the limits of the application allow
    └── StoreError

Each has a stable ``code``, a message that may be shown to anybody, and a fitting status.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal


class OAuthError(Exception):
    """The root. It is never raised itself.

    Attributes:
        code: stable, lower-case, documented; what programs should look at.
        status_hint: the HTTP status a web application would answer with.
        app_state: what was passed to ``start_authorization``, where that is known.
        did, issuer: whom and which server it is about, where that is known.
    """

    code: str = "oauth_error"
    status_hint: int = 500
    app_state: str | None = None
    did: str | None = None
    issuer: str | None = None


class ConfigurationError(OAuthError, ValueError):
    """The options contradict each other or a rule; all problems at once."""

    code = "configuration"

    def __init__(self, problems: str | Sequence[str]) -> None:
        problems = (problems,) if isinstance(problems, str) else problems
        self.problems: tuple[str, ...] = tuple(problems)
        super().__init__("; ".join(self.problems))


class IdentityError(OAuthError, ValueError):
    """A handle or DID could not be turned into a verified account."""

    code = "identity"
    status_hint = 400


class InvalidIdentifier(IdentityError):
    """The text is neither a handle, nor a DID, nor a host.

    Attributes:
        meant: what it was probably to be, ``"account"`` or ``"server"``.
    """

    code = "invalid_identifier"

    def __init__(
        self, message: str, *, meant: Literal["account", "server"] = "account"
    ) -> None:
        super().__init__(message)
        self.meant = meant


class HandleNotFound(IdentityError):
    """No DID is published for this handle."""

    code = "handle_not_found"


class HandleMismatch(IdentityError):
    """The account that the handle names does not claim the handle."""

    code = "handle_mismatch"


class AmbiguousHandle(IdentityError):
    """The handle names more than one account."""

    code = "ambiguous_handle"


class DidNotResolved(IdentityError):
    """There is no DID document, or none that names a usable PDS."""

    code = "did_not_resolved"


class DiscoveryError(OAuthError, ValueError):
    """The account's host does not say where its authorization server is."""

    code = "discovery"
    status_hint = 502


class UnsupportedAuthServerError(DiscoveryError):
    """The authorization server does not support the atproto profile of OAuth."""

    code = "unsupported_auth_server"


class TransportError(OAuthError):
    """An outbound request did not bring an answer."""

    code = "transport"
    status_hint = 502


class Blocked(TransportError):
    """The URL or the address behind it is not one this client connects to."""

    code = "blocked"
    status_hint = 400


class TimedOut(TransportError):
    """The other side took too long."""

    code = "timed_out"
    status_hint = 504


class TooLarge(TransportError):
    """The other side sent more than is sensible."""

    code = "too_large"


class Unreachable(TransportError):
    """No connection could be made, or it broke."""

    code = "unreachable"


class _ServersWords(Exception):
    """What an error keeps of a server's refusal."""

    def __init__(
        self,
        message: str,
        *,
        error: str = "unknown",
        error_description: str | None = None,
    ) -> None:
        super().__init__(message)
        self.error = error
        self.error_description = error_description


class AuthorizationServerError(_ServersWords, OAuthError):
    """The authorization server refused a request.

    Attributes:
        error: the ``error`` code of RFC 6749 section 5.2 (or of an extension).
        error_description: the server's own words: foreign text, to be escaped.
    """

    code = "authorization_server"
    status_hint = 502


class OAuthTokenError(AuthorizationServerError):
    """The token endpoint refused, or gave tokens that must not be used."""

    code = "token"


class CallbackError(OAuthError):
    """The answer to a login cannot be accepted."""

    code = "callback"
    status_hint = 400


class OAuthStateError(CallbackError):
    """The login is not known, has expired, or was finished already."""

    code = "login_expired"


class WrongBrowser(CallbackError):
    """The answer arrived in another browser than the one the login began in."""

    code = "wrong_browser"


class LoginDenied(_ServersWords, CallbackError):
    """The authorization server answered with an error instead of a code.

    Attributes:
        error: its ``error`` code, ``access_denied`` when the person declined.
        error_description: the server's own words; foreign text.
    """

    code = "login_denied"


class IssuerMismatch(CallbackError):
    """Another authorization server answered than the one that was asked."""

    code = "issuer_mismatch"


class SubjectMismatch(CallbackError):
    """Another account signed in than the one the login began with."""

    code = "subject_mismatch"


class SessionError(OAuthError):
    """The session cannot be used."""

    code = "session"
    status_hint = 401


class SessionExpired(SessionError):
    """The session is over."""

    code = "session_expired"


class SessionRevoked(SessionError):
    """The authorization server ended the session."""

    code = "session_revoked"


class LoggedOut(SessionRevoked):
    """Somebody has logged out: here, or everywhere."""

    code = "logged_out"


class RefreshInterrupted(SessionRevoked):
    """The session ended as new tokens got lost: a process died, or a connection."""

    code = "refresh_interrupted"


class AccountMoved(SessionError):
    """The account lives behind another authorization server now."""

    code = "account_moved"


class ClientKeyRetired(SessionError):
    """The client key that this session is bound to is not configured any more."""

    code = "client_key_retired"


class RefreshUnavailable(SessionError):
    """The tokens could not be renewed now; the session lives on."""

    code = "refresh_unavailable"
    status_hint = 503


class CookieTooLarge(SessionError):
    """The session does not fit into cookies; a ``store`` is needed."""

    code = "cookie_too_large"
    status_hint = 500


class NotAuthenticatedError(OAuthError):
    """Somebody has to be logged in for this."""

    code = "not_authenticated"
    status_hint = 401


class ScopeMissingError(OAuthError):
    """The session does not include a permission that is needed.

    Attributes:
        missing: the scopes that are missing, where they are known.
        ask_for: the scope for a login that would bring them, where it is known.
    """

    code = "scope_missing"
    status_hint = 403

    def __init__(
        self, message: str, *, missing: Sequence[str] = (), ask_for: str | None = None
    ) -> None:
        super().__init__(message)
        self.missing: tuple[str, ...] = tuple(missing)
        self.ask_for = ask_for


class TooManyLogins(OAuthError):
    """More logins are being begun than the limits of the application allow.

    Attributes:
        retry_after_s: seconds after which it makes sense to try again.
    """

    code = "too_many_logins"
    status_hint = 429

    def __init__(self, message: str, *, retry_after_s: int = 60) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class StoreError(OAuthError):
    """The store did not answer or gave back something unusable."""

    code = "store"
    status_hint = 503
