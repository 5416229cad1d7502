"""Where browsers find the application: at the root of a site, or below a path."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, unquote, urlencode

from atproto_oauth_asgi.config import OAuthConfig
from atproto_oauth_asgi.web.return_to import safe_return_to, stays_here

# As browsers write them; everything else in a path is encoded.
_IN_PATHS = "/:@!$&'()*+,;=-._~"


class Place:
    """The application at the path at which a browser has found it.

    The path of ``public_url`` says where that is. Where it has none, ``root_path``
    does, in which servers and mounts tell what they have taken away.

    Args:
        config: of the middleware.
        root_path: of the request's scope.
    """

    def __init__(self, config: OAuthConfig, *, root_path: str) -> None:
        self._config = config
        self._root_path = root_path.rstrip("/")
        self.prefix: str = config.base_path or _safe_prefix(self._root_path)

    def outside(self, path: str) -> str:
        """Return the path of a request as it stands in the browser, encoded."""
        own = path_below(self._root_path or self._config.base_path, path)
        return self.path(quote(own, safe=_IN_PATHS))

    def path(self, path: str) -> str:
        """Return one of the application's paths as browsers see it."""
        return self.prefix + path

    @property
    def home(self) -> str:
        """Where people go if nobody said where: the option ``return_to``."""
        return self.path(self._config.return_to)

    @property
    def login_action(self) -> str:
        """Where the login form is posted to."""
        return self.path(self._config.login_path)

    def login_path(self, parameters: Mapping[str, str | None]) -> str:
        """Return where the login page is, with what it should hold."""
        given = {name: value for name, value in parameters.items() if value is not None}
        query = f"?{urlencode(given)}" if given else ""
        return self.login_action + query

    def return_to(self, text: str | None) -> str:
        """Return where a browser goes, of what was asked for, by anybody."""
        own = (unquote(self.path(path)) for path in self._config.route_paths)
        return safe_return_to(text, default=self.home, own_paths=frozenset(own))


def path_below(prefix: str, path: str) -> str:
    """Return the path of a request as the application's own one.

    Servers and mounts disagree on whether ``path`` holds ``root_path``; where there is
    none, the path of ``public_url`` may stand in front.
    """
    if prefix and path.startswith(f"{prefix}/"):
        return path[len(prefix) :]
    return path


def _safe_prefix(root_path: str) -> str:
    """Return it as links hold it.

    The path of a mount may hold parameters, which are whatever somebody has written.
    """
    return quote(root_path) if stays_here(root_path) else ""
