"""Configuration: built once, checked once, shared by middleware and workers."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, get_args
from urllib.parse import SplitResult, urlsplit

from atproto_oauth_asgi.client_keys import (
    ClientKey,
    KeyMaterial,
    find_key_problems,
    load_client_keys,
)
from atproto_oauth_asgi.config_options import OAuthOptions, SecretKey, SessionMode
from atproto_oauth_asgi.crypto.keys import public_jwk
from atproto_oauth_asgi.crypto.secret_keys import load_secrets
from atproto_oauth_asgi.exceptions import ConfigurationError
from atproto_oauth_asgi.login_limits import LoginLimits
from atproto_oauth_asgi.network_options import Network
from atproto_oauth_asgi.protocol.client_metadata import (
    build_client_metadata,
    build_loopback_client_id,
    build_loopback_metadata,
    find_client_id_problems,
    find_redirect_problems,
)
from atproto_oauth_asgi.scopes import ScopesSet
from atproto_oauth_asgi.stores.base import RecordStore

__all__ = ["LOOPBACK_HOSTS", "OAuthConfig", "OAuthOptions", "SecretKey", "SessionMode"]

# A development login can return to these, and not to localhost.
LOOPBACK_HOSTS = ("127.0.0.1", "[::1]")

_MAX_AGE_S = 14 * 24 * 3600
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+(?: [\x21\x23-\x5b\x5d-\x7e]+)*")
_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._~-]+)+")
_COOKIE_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_HOST = r"(?:[a-z0-9-]+(?:\.[a-z0-9-]+)*|\[[0-9a-f:]+\])"
_ORIGIN = re.compile(rf"https?://{_HOST}(?::[1-9][0-9]{{0,4}})?")
_PUBLIC_URL = re.compile(rf"{_ORIGIN.pattern}(?:{_PATH.pattern})?/?")
_HERE = re.compile(r"/(?!/)[\x21-\x5b\x5d-\x7e]*")


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
        return _split(self.public_url or "").path.rstrip("/")

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
        names = ("client_name", "client_uri", "logo_uri", "tos_uri", "policy_uri")
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


def _check(config: OAuthConfig) -> Iterator[str]:
    yield from _check_public_url(config)
    yield from _check_scopes(config)
    yield from _check_keys(config)
    yield from _check_presentation(config)
    yield from _check_paths(config)
    yield from _check_other_addresses(config)
    if config.network.is_development and not config.is_loopback:
        yield "network: Network.development() does not go with an https public_url"
    limits: object = config.limits
    if not isinstance(limits, LoginLimits):
        yield "limits: it is a LoginLimits"
    yield from _check_sessions(config)
    if config.cookie_name is not None and not _COOKIE_NAME.fullmatch(
        config.cookie_name
    ):
        yield "cookie_name: letters, digits, - and _ only; the prefix is ours"


def _check_sessions(config: OAuthConfig) -> Iterator[str]:
    if config.max_age_s <= 0:
        yield "max_age_s: it is a number of seconds above 0"
    if config.idle_timeout_s is not None and config.idle_timeout_s <= 0:
        yield "idle_timeout_s: it is a number of seconds above 0, or None"
    if config.session_mode not in get_args(SessionMode):
        yield f"session: one of {', '.join(get_args(SessionMode))}"
    if config.session_mode == "server" and config.store is None:
        yield "session: 'server' needs a store, such as SQLiteStore(path)"


def _check_other_addresses(config: OAuthConfig) -> Iterator[str]:
    for uri in config.extra_redirect_uris:
        for problem in find_redirect_problems(uri, is_loopback=config.is_loopback):
            yield f"extra_redirect_uris: {uri!r}: {problem}"
    for origin in config.trusted_origins:
        if not _ORIGIN.fullmatch(origin):
            yield f"trusted_origins: {origin!r} is not a bare origin in lower case"


def _check_keys(config: OAuthConfig) -> Iterator[str]:
    try:
        keys = load_client_keys(config.client_keys)
    except ConfigurationError as error:
        yield from error.problems
        return
    object.__setattr__(config, "client_keys", keys)
    yield from find_key_problems(keys, client_id=config.client_id)


def _check_public_url(config: OAuthConfig) -> Iterator[str]:
    if config.public_url is None:
        return
    parts = _split(config.public_url)
    if parts.scheme == "http" and parts.hostname not in {"127.0.0.1", "::1"}:
        hint = " (use 127.0.0.1)" if parts.hostname == "localhost" else ""
        yield f"public_url: http is for loopback addresses only{hint}; else https"
    if parts.scheme == "https":
        for problem in find_client_id_problems(config.public_url):
            yield f"public_url: {problem}"
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        yield "public_url: it is an absolute https URL"
    if parts.query or parts.fragment:
        yield "public_url: it has no query and no fragment"
    elif not _PUBLIC_URL.fullmatch(config.public_url):
        yield "public_url: a plain URL in lower case, such as https://app.example.com"


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def _check_scopes(config: OAuthConfig) -> Iterator[str]:
    if not _SCOPE.fullmatch(config.scope):
        yield "scope: values of printable ASCII, one blank between them"
    scopes = config.scope.split(" ")
    if "atproto" not in scopes:
        yield "scope: it must hold 'atproto'"
    if len(set(scopes)) != len(scopes):
        yield "scope: a value is there twice"
    wanted = scopes if config.login_scope is None else config.login_scope.split(" ")
    is_part = {"atproto"} <= set(wanted) <= set(scopes)
    if config.login_scope is not None and not (
        is_part and len(set(wanted)) == len(wanted)
    ):
        yield "login_scope: it must hold 'atproto' and nothing that scope lacks"
    try:
        verdict = ScopesSet(wanted).check(config.required_scopes)
    except ConfigurationError as error:
        yield f"required_scopes: {error}"
    else:
        if verdict == "no":
            yield "required_scopes: a plain login does not ask for all of it"


def _check_presentation(config: OAuthConfig) -> Iterator[str]:
    for name in ("client_uri", "logo_uri", "tos_uri", "policy_uri"):
        value = getattr(config, name)
        if value is not None and not (
            _split(value).scheme == "https" and _split(value).hostname
        ):
            yield f"{name}: it is an https URL"
    # The reference server wants the origin and a parent path of the client id.
    home = (config.client_uri or config.client_id).removesuffix("/")
    if not (config.is_loopback or f"{config.client_id}/".startswith(f"{home}/")):
        yield "client_uri: it is public_url, or a parent of it on the same host"


def _check_paths(config: OAuthConfig) -> Iterator[str]:
    for name, path in zip(_path_options(), config.route_paths, strict=True):
        if not _PATH.fullmatch(path):
            yield f"{name}: a path such as /oauth/login, no slash at its end"
    if len(set(config.route_paths)) != len(config.route_paths):
        yield "paths: two routes have the same path"
    if not _HERE.fullmatch(config.return_to):
        yield "return_to: it is a path on this site"
