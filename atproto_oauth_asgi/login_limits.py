"""How many logins may begin: the limits of the middleware's login route."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from starlette.requests import Request

from atproto_oauth_asgi.exceptions import ConfigurationError

_NUMBERS = ("concurrent", "per_target_host_per_minute", "per_client_per_minute")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginLimits:
    """How many logins one process begins; those beyond are refused with a 429.

    They are counted in the memory of the process. For every number None means: no
    limit.

    Attributes:
        concurrent: logins that are being begun at once, from the form to the
            hand-over.
        per_target_host_per_minute: logins in any minute that may lead to one host: that
            of the handle, of a ``did:web``, of the account's server, of its
            authorization server.
        per_client_per_minute: logins in any minute that one client may begin. Off by
            default: behind a proxy, everybody seems to be one client.
        client_key: tells clients apart: the same text for requests of the same
            client. None takes the address of the connection, and for IPv6 its /64
            network.

    Raises:
        ConfigurationError: with every problem that was found.
    """

    concurrent: int | None = 32
    per_target_host_per_minute: int | None = 60
    per_client_per_minute: int | None = None
    client_key: Callable[[Request], str] | None = None

    def __post_init__(self) -> None:
        problems = list(_find_problems(self))
        if problems:
            raise ConfigurationError(problems)


def _find_problems(limits: LoginLimits) -> Iterator[str]:
    for name in _NUMBERS:
        value: object = getattr(limits, name)
        if value is not None and not _is_count(value):
            yield f"limits.{name}: a whole number above 0, or None for no limit"
    client_key: object = limits.client_key
    if client_key is not None and not callable(client_key):
        yield "limits.client_key: a function that gives a text for a request"
    if client_key is not None and limits.per_client_per_minute is None:
        yield "limits.client_key: it needs limits.per_client_per_minute"


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
