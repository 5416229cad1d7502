from atproto_oauth_asgi.client import (
    OAuthClient,
)
from atproto_oauth_asgi.client_keys import (
    ClientKey,
)
from atproto_oauth_asgi.config import (
    OAuthConfig,
)
from atproto_oauth_asgi.exceptions import (
    AccountMoved,
    AmbiguousHandle,
    AuthorizationServerError,
    Blocked,
    CallbackError,
    ClientKeyRetired,
    ConfigurationError,
    CookieTooLarge,
    DidNotResolved,
    DiscoveryError,
    HandleMismatch,
    HandleNotFound,
    IdentityError,
    InvalidIdentifier,
    IssuerMismatch,
    LoggedOut,
    LoginDenied,
    NotAuthenticatedError,
    OAuthError,
    OAuthStateError,
    OAuthTokenError,
    RefreshInterrupted,
    RefreshUnavailable,
    ScopeMissingError,
    SessionError,
    SessionExpired,
    SessionRevoked,
    StoreError,
    SubjectMismatch,
    TimedOut,
    TooLarge,
    TooManyLogins,
    TransportError,
    Unreachable,
    UnsupportedAuthServerError,
    WrongBrowser,
)
from atproto_oauth_asgi.login_limits import (
    LoginLimits,
)
from atproto_oauth_asgi.middleware import (
    ATProtoOAuthMiddleware,
)
from atproto_oauth_asgi.models import (
    AuthServerMetadata,
    OAuthSession,
    OAuthState,
    TokenResponse,
)
from atproto_oauth_asgi.network.pds import (
    PDSClient,
    raise_for_xrpc,
)
from atproto_oauth_asgi.network_options import (
    Network,
)
from atproto_oauth_asgi.pages import Page, Pages
from atproto_oauth_asgi.stores.base import (
    RecordStore,
    SessionStore,
    StateStore,
)
from atproto_oauth_asgi.stores.memory import (
    MemorySessionStore,
    MemoryStateStore,
    MemoryStore,
)
from atproto_oauth_asgi.stores.postgres import (
    PostgresStore,
)
from atproto_oauth_asgi.stores.redis import (
    RedisStore,
)
from atproto_oauth_asgi.stores.sqlite import (
    SQLiteStore,
)
from atproto_oauth_asgi.web.auth import (
    ATProtoAuth,
    current_auth,
)

__all__ = [
    "ATProtoAuth",
    "ATProtoOAuthMiddleware",
    "AccountMoved",
    "AmbiguousHandle",
    "AuthServerMetadata",
    "AuthorizationServerError",
    "Blocked",
    "CallbackError",
    "ClientKey",
    "ClientKeyRetired",
    "ConfigurationError",
    "CookieTooLarge",
    "DidNotResolved",
    "DiscoveryError",
    "HandleMismatch",
    "HandleNotFound",
    "IdentityError",
    "InvalidIdentifier",
    "IssuerMismatch",
    "LoggedOut",
    "LoginDenied",
    "LoginLimits",
    "MemorySessionStore",
    "MemoryStateStore",
    "MemoryStore",
    "Network",
    "NotAuthenticatedError",
    "OAuthClient",
    "OAuthConfig",
    "OAuthError",
    "OAuthSession",
    "OAuthState",
    "OAuthStateError",
    "OAuthTokenError",
    "PDSClient",
    "Page",
    "Pages",
    "PostgresStore",
    "RecordStore",
    "RedisStore",
    "RefreshInterrupted",
    "RefreshUnavailable",
    "SQLiteStore",
    "ScopeMissingError",
    "SessionError",
    "SessionExpired",
    "SessionRevoked",
    "SessionStore",
    "StateStore",
    "StoreError",
    "SubjectMismatch",
    "TimedOut",
    "TokenResponse",
    "TooLarge",
    "TooManyLogins",
    "TransportError",
    "Unreachable",
    "UnsupportedAuthServerError",
    "WrongBrowser",
    "current_auth",
    "raise_for_xrpc",
]
