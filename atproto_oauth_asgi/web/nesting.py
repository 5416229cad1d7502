"""Several middlewares in one application: what two of them must not share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from atproto_oauth_asgi.config import OAuthConfig
from atproto_oauth_asgi.exceptions import ConfigurationError

WRAPPED_TWICE = "ATProtoOAuthMiddleware is around this application twice"

_DEEPEST = 64


def check_apart(outer: OAuthConfig, app: object) -> None:
    """Refuse to stand around a middleware of ours with the same names.

    Raises:
        ConfigurationError: with everything that is there twice.
    """
    for inner in _configs_inside(app):
        if is_same_client(outer, inner):
            raise ConfigurationError(WRAPPED_TWICE)
        problems = list(_find_shared(outer, inner))
        if problems:
            raise ConfigurationError(problems)


def is_same_client(one: OAuthConfig, other: OAuthConfig) -> bool:
    """Return whether the two would read each other's cookies."""
    names = [each.cookie_name or each.client_id for each in (one, other)]
    return names[0] == names[1]


def _find_shared(outer: OAuthConfig, inner: OAuthConfig) -> Iterator[str]:
    where = "of two ATProtoOAuthMiddleware around one application"
    if outer.scope_key == inner.scope_key:
        yield f"scope_key: both {where} have {outer.scope_key!r}"
    shared = set(_paths(outer)) & set(_paths(inner))
    if shared:
        yield f"paths: both {where} have {', '.join(sorted(shared))}"


def _paths(config: OAuthConfig) -> list[str]:
    return [config.base_path + path for path in config.route_paths]


def _configs_inside(app: Any) -> Iterator[OAuthConfig]:
    """Yield those of our middlewares in a chain of middlewares.

    Each keeps what it stands around as ``app``, by custom; where one does not, the
    first request tells.
    """
    for _ in range(_DEEPEST):
        config = getattr(app, "config", None)
        if isinstance(config, OAuthConfig):
            yield config
        app = getattr(app, "app", None)
        if app is None:
            return
