"""Whom an error is about, for the log and for those who catch it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from atproto_oauth_asgi.exceptions import OAuthError


@contextmanager
def concerning(
    *, did: str | None, issuer: str | None = None, app_state: str | None = None
) -> Iterator[None]:
    """Note on an error that comes from inside whose login or session it is about."""
    try:
        yield
    except OAuthError as error:
        error.did, error.issuer = error.did or did, error.issuer or issuer
        error.app_state = error.app_state or app_state
        raise
