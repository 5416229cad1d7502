"""Log in with your AT Protocol account, for any ASGI application.

The names below are imported when they are first asked for: an application pays at its
start for what it uses. Type checkers and editors read ``__init__.pyi``.
"""

from importlib import import_module as _import_module

_HOMES = {
    "client": ("OAuthClient",),
    "client_keys": ("ClientKey",),
    "config": ("OAuthConfig",),
    "exceptions": (
        "AccountMoved",
        "AmbiguousHandle",
        "AuthorizationServerError",
        "Blocked",
        "CallbackError",
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
        "NotAuthenticatedError",
        "OAuthError",
        "OAuthStateError",
        "OAuthTokenError",
        "RefreshInterrupted",
        "RefreshUnavailable",
        "ScopeMissingError",
        "SessionError",
        "SessionExpired",
        "SessionRevoked",
        "StoreError",
        "SubjectMismatch",
        "TimedOut",
        "TooLarge",
        "TooManyLogins",
        "TransportError",
        "Unreachable",
        "UnsupportedAuthServerError",
        "WrongBrowser",
    ),
    "login_limits": ("LoginLimits",),
    "middleware": ("ATProtoOAuthMiddleware",),
    "models": (
        "AuthServerMetadata",
        "OAuthSession",
        "OAuthState",
        "TokenResponse",
    ),
    "network.pds": (
        "PDSClient",
        "raise_for_xrpc",
    ),
    "network_options": ("Network",),
    "pages": (
        "Page",
        "Pages",
    ),
    "stores.base": (
        "RecordStore",
        "SessionStore",
        "StateStore",
    ),
    "stores.memory": (
        "MemorySessionStore",
        "MemoryStateStore",
        "MemoryStore",
    ),
    "stores.postgres": ("PostgresStore",),
    "stores.redis": ("RedisStore",),
    "stores.sqlite": ("SQLiteStore",),
    "web.auth": (
        "ATProtoAuth",
        "current_auth",
    ),
}

_home_of = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_home_of)  # noqa: PLE0605 - made of what stands above


def __getattr__(name: str) -> object:
    """Import a public name from where it lives."""
    if name not in _home_of:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    value: object = getattr(_import_module(f"{__name__}.{_home_of[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names."""
    return list(__all__)
