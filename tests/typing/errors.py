"""What an error says can be used without a look at its class."""

from collections.abc import Sequence
from typing import assert_type

import atproto_oauth_asgi
from atproto_oauth_asgi import (
    CallbackError,
    ConfigurationError,
    OAuthError,
    OAuthTokenError,
    ScopeMissingError,
    SessionError,
)


def told(error: OAuthError) -> None:
    assert_type(error.code, str)
    assert_type(error.status_hint, int)
    assert_type(error.did, str | None)
    str(error.reason)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownArgumentType, reportUnknownMemberType]


def told_more(
    wrong: ConfigurationError, missing: ScopeMissingError, refused: OAuthTokenError
) -> None:
    problems: Sequence[str] = wrong.problems
    assert_type(missing.missing, tuple[str, ...])
    assert_type(refused.error, str)
    str(problems)


def kept_apart(error: SessionError) -> CallbackError:
    return error  # type: ignore[return-value]  # pyright: ignore[reportReturnType]


def not_there() -> None:
    str(atproto_oauth_asgi.OAuthClientError)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownArgumentType, reportUnknownMemberType]
