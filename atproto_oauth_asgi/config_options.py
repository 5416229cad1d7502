"""What the options of a configuration are, for signatures that pass them on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, TypedDict

from atproto_oauth_asgi.client_keys import ClientKey, KeyMaterial
from atproto_oauth_asgi.crypto.secret_keys import SecretKeys
from atproto_oauth_asgi.hooks import OnLogin, OnLogout, OnRefresh, OnSessionLost
from atproto_oauth_asgi.login_limits import LoginLimits
from atproto_oauth_asgi.network_options import Network
from atproto_oauth_asgi.pages import Pages
from atproto_oauth_asgi.stores.base import RecordStore

SecretKey = str | bytes | Sequence[str | bytes] | SecretKeys

SessionMode = Literal["cookie", "server", "identity"]
"""Where sessions are: in the browser, in the store; or only who somebody is."""


class OAuthOptions(TypedDict, total=False):
    """The options of ``OAuthConfig``, for signatures that pass them on."""

    secret_key: SecretKey
    public_url: str | None
    scope: str
    login_scope: str | None
    required_scopes: str | Sequence[str]
    client_keys: Sequence[ClientKey | KeyMaterial]
    client_name: str | None
    client_uri: str | None
    logo_uri: str | None
    tos_uri: str | None
    policy_uri: str | None
    extra_redirect_uris: Sequence[str]
    trusted_origins: Sequence[str]
    session: SessionMode | None
    store: RecordStore | None
    max_age_s: int
    idle_timeout_s: int | None
    return_to: str
    cookie_name: str | None
    scope_key: str
    metadata_path: str
    jwks_path: str
    login_path: str
    callback_path: str
    logout_path: str
    session_path: str
    pages: Pages
    on_login: OnLogin | None
    on_logout: OnLogout | None
    on_refresh: OnRefresh | None
    on_session_lost: OnSessionLost | None
    limits: LoginLimits
    network: Network
    clock: Callable[[], float]
