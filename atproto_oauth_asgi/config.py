"""Configuration: built once, checked once, shared by middleware and workers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from atproto_oauth_asgi.client_keys import (
    ClientKey,
    KeyMaterial,
    find_key_problems,
    load_client_keys,
)
from atproto_oauth_asgi.config_checks import (
    find_address_problems,
    find_cookie_problems,
    find_path_problems,
    find_presentation_problems,
    find_public_url_problems,
    find_scope_problems,
    find_session_problems,
    split_url,
)
from atproto_oauth_asgi.config_options import OAuthOptions, SecretKey, SessionMode
from atproto_oauth_asgi.crypto.keys import public_jwk
from atproto_oauth_asgi.crypto.secret_keys import load_secrets
from atproto_oauth_asgi.exceptions import ConfigurationError
from atproto_oauth_asgi.hooks import OnLogin, OnLogout, OnRefresh, OnSessionLost
from atproto_oauth_asgi.login_limits import LoginLimits
from atproto_oauth_asgi.network_options import Network
from atproto_oauth_asgi.pages import Pages
from atproto_oauth_asgi.protocol.client_metadata import (
    build_client_metadata,
    build_loopback_client_id,
    build_loopback_metadata,
)
from atproto_oauth_asgi.stores.base import RecordStore

__all__ = ["LOOPBACK_HOSTS", "OAuthConfig", "OAuthOptions", "SecretKey", "SessionMode"]

# A development login can return to these, and not to localhost.
LOOPBACK_HOSTS = ("127.0.0.1", "[::1]")

_MAX_AGE_S = 14 * 24 * 3600
_LINKS = ("client_uri", "logo_uri", "tos_uri", "policy_uri")


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuthConfig:
    """Everything an application decides, checked at once.

    Attributes:
        secret_key: at least 32 bytes; or several, newest first. Seals and signs.
        public_url: https URL of the application as browsers see it; None (or a
            loopback URL) makes a localhost development client.
        scope: everything that may ever be asked for.
        login_scope: what a plain login asks for; ``scope`` unless given.
        required_scopes: a login that was granted less is refused.
        client_keys: make the client a confidential one; a bare one signs.
        client_name, client_uri, logo_uri, tos_uri, policy_uri: what authorization
            servers show to people.
        extra_redirect_uris: where other logins than those of the middleware may end.
        trusted_origins: further origins whose pages may start a login or log out.
        session: ``cookie`` keeps it in the browser, ``server`` in the store,
            ``identity`` only who it is; ``server`` where a store is given.
        store: what the processes of an application share; None is a file of this host.
        max_age_s: seconds after which a person has to log in again.
        idle_timeout_s: seconds after which they have to if they stay away.
        return_to: where a login ends. cookie_name: without prefix.
        scope_key: the key in the ASGI scope.
        pages: how our pages look, and what they say.
        on_login: hears of a new session; may refuse it, or choose where to go.
        on_logout, on_refresh, on_session_lost: hear of what has become of one.
        limits: how many logins may begin.
        network: how other hosts are reached.
        clock: gives Unix seconds.

    Raises:
        ConfigurationError: with every problem that was found.
    """

    secret_key: SecretKey = field(repr=False)
    public_url: str | None = None
    scope: str = "atproto"
    login_scope: str | None = None
    required_scopes: str | Sequence[str] = ()
    client_keys: Sequence[ClientKey | KeyMaterial] = ()
    client_name: str | None = None
    client_uri: str | None = None
    logo_uri: str | None = None
    tos_uri: str | None = None
    policy_uri: str | None = None
    extra_redirect_uris: Sequence[str] = ()
    trusted_origins: Sequence[str] = ()
    session: SessionMode | None = None
    store: RecordStore | None = None
    max_age_s: int = _MAX_AGE_S
    idle_timeout_s: int | None = None
    return_to: str = "/"
    cookie_name: str | None = None
    scope_key: str = "atproto"
    metadata_path: str = "/oauth-client-metadata.json"
    jwks_path: str = "/oauth/jwks.json"
    login_path: str = "/oauth/login"
    callback_path: str = "/oauth/callback"
    logout_path: str = "/oauth/logout"
    session_path: str = "/oauth/session"
    pages: Pages = field(default_factory=Pages)
    on_login: OnLogin | None = field(default=None, repr=False)
    on_logout: OnLogout | None = field(default=None, repr=False)
    on_refresh: OnRefresh | None = field(default=None, repr=False)
    on_session_lost: OnSessionLost | None = field(default=None, repr=False)
    limits: LoginLimits = field(default_factory=LoginLimits)
    network: Network = field(default_factory=Network)
    clock: Callable[[], float] = time.time  # noqa: TID251 - the one real clock

    def __post_init__(self) -> None:
        problems = [*_check_secret(self), *_check(self)]
        if problems:
            raise ConfigurationError(problems)

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """The secrets that seal and sign, newest first."""
        return load_secrets(self.secret_key).reveal()

    @property
    def session_mode(self) -> SessionMode:
        """Where sessions are."""
        return self.session or ("cookie" if self.store is None else "server")

    @property
    def is_loopback(self) -> bool:
        """Whether this is a development client on this machine."""
        return self.public_url is None or self.public_url.startswith("http://")

    @property
    def base_path(self) -> str:
        """The path of ``public_url``, without a slash at its end."""
        return split_url(self.public_url or "").path.rstrip("/")

    @property
    def client_id(self) -> str:
        """The client id: the URL of the metadata, or the loopback one."""
        if self.is_loopback:
            return build_loopback_client_id(self.redirect_uris, self.scope)
        return self.url_of(self.metadata_path)

    @property
    def redirect_uris(self) -> tuple[str, ...]:
        """The registered ones. Without a port, a loopback one matches any."""
        if not self.is_loopback:
            return (self.url_of(self.callback_path), *self.extra_redirect_uris)
        path = self.base_path + self.callback_path
        ours = (f"http://{host}{path}" for host in LOOPBACK_HOSTS)
        return (*ours, *self.extra_redirect_uris)

    @property
    def route_paths(self) -> tuple[str, ...]:
        """The paths of all routes, as they are configured."""
        return tuple(getattr(self, name) for name in _path_options())

    def url_of(self, path: str) -> str:
        """Return the public URL of one of our paths (hosted clients only)."""
        return f"{(self.public_url or '').rstrip('/')}{path}"

    @property
    def client_options(self) -> dict[str, Any]:
        """What this says of the client, as arguments of ``OAuthClient``."""
        first, *others = self.redirect_uris
        return {
            "client_id": self.client_id,
            "redirect_uri": first,
            "scope": self.scope,
            "client_keys": self.client_keys,
            "secret_key": self.secret_key,
            "redirect_uris": others,
            "login_scope": self.login_scope,
            "required_scopes": self.required_scopes,
            "network": self.network,
            "clock": self.clock,
        }

    @property
    def client_metadata(self) -> dict[str, Any]:
        """The client metadata document."""
        if self.is_loopback:
            return build_loopback_metadata(
                client_id=self.client_id,
                redirect_uris=self.redirect_uris,
                scope=self.scope,
            )
        names = ("client_name", *_LINKS)
        return build_client_metadata(
            client_id=self.client_id,
            redirect_uris=self.redirect_uris,
            scope=self.scope,
            jwks_uri=self.url_of(self.jwks_path) if self.client_keys else None,
            extra={name: getattr(self, name) for name in names},
        )

    @property
    def jwks(self) -> dict[str, Any]:
        """The public halves of the client keys. Spec: RFC 7517 section 5."""
        return {
            "keys": [
                {
                    **public_jwk(item.private_key),
                    "kid": item.kid,
                    "alg": "ES256",
                    "use": "sig",
                }
                for item in load_client_keys(self.client_keys)
                if item.use != "retired"
            ]
        }


def _path_options() -> list[str]:
    return [item.name for item in fields(OAuthConfig) if item.name.endswith("_path")]


def _check_secret(config: OAuthConfig) -> Iterator[str]:
    try:
        object.__setattr__(config, "secret_key", load_secrets(config.secret_key))
    except ConfigurationError as error:
        yield from error.problems


def _check_keys(config: OAuthConfig) -> Iterator[str]:
    try:
        keys = load_client_keys(config.client_keys)
    except ConfigurationError as error:
        yield from error.problems
        return
    object.__setattr__(config, "client_keys", keys)
    yield from find_key_problems(keys, client_id=config.client_id)


def _check(config: OAuthConfig) -> Iterator[str]:
    yield from find_public_url_problems(config.public_url)
    yield from find_scope_problems(
        config.scope,
        login_scope=config.login_scope,
        required_scopes=config.required_scopes,
    )
    yield from _check_keys(config)
    yield from find_presentation_problems(
        {name: getattr(config, name) for name in _LINKS},
        client_id=config.client_id,
        is_loopback=config.is_loopback,
    )
    yield from find_path_problems(
        {name: getattr(config, name) for name in _path_options()},
        return_to=config.return_to,
    )
    yield from find_address_problems(
        config.extra_redirect_uris,
        trusted_origins=config.trusted_origins,
        is_loopback=config.is_loopback,
    )
    yield from find_session_problems(
        config.session_mode,
        has_store=config.store is not None,
        max_age_s=config.max_age_s,
        idle_timeout_s=config.idle_timeout_s,
    )
    yield from find_cookie_problems(config.cookie_name)
    yield from _check_parts(config)


def _check_parts(config: OAuthConfig) -> Iterator[str]:
    if config.network.is_development and not config.is_loopback:
        yield "network: Network.development() does not go with an https public_url"
    for name, kind in (("limits", LoginLimits), ("pages", Pages)):
        if not isinstance(getattr(config, name), kind):
            yield f"{name}: it is a {kind.__name__}"
    for name in ("on_login", "on_logout", "on_refresh", "on_session_lost"):
        hook: object = getattr(config, name)
        if hook is not None and not callable(hook):
            yield f"{name}: a function, or None"
