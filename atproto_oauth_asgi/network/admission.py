"""Whether a login may lead to a host: asked before anything is asked of that host."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from urllib.parse import urlsplit

Admit = Callable[[str], None]
"""Takes a host name; raises, if a login may not lead there now."""

_admit: ContextVar[Admit | None] = ContextVar("atproto_oauth_asgi.admit", default=None)


@contextmanager
def admitting(admit: Admit) -> Iterator[None]:
    """Let ``admit`` decide about every host that somebody else names in here.

    Hosts that the configuration names, such as the PLC directory, are not asked about.
    """
    token = _admit.set(admit)
    try:
        yield
    finally:
        _admit.reset(token)


def check_admitted(host: str) -> None:
    """Check that the login that is being begun here, if one is, may lead to a host.

    Raises:
        TooManyLogins: not now.
    """
    admit = _admit.get()
    if admit is not None:
        admit(host)


def check_origin_admitted(origin: str) -> None:
    """Check, as ``check_admitted``, the host of an origin."""
    check_admitted(urlsplit(origin).hostname or "")
