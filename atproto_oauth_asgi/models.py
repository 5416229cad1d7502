"""The values that travel: sessions, pending logins, server metadata, tokens.

All are frozen; a change gives a new one (``session.replace(...)``). Values that hold
secrets keep them out of ``repr``, ``dataclasses.asdict`` and ``pickle``; the
``serialize_...`` functions are the way out, on purpose.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, NoReturn, Self, TypeVar, dataclass_transform

from typing_extensions import override

from atproto_oauth_asgi.crypto.keys import (
    PrivateKey,
    export_private_key,
    import_private_key,
)
from atproto_oauth_asgi.exceptions import StoreError

_T = TypeVar("_T")

_FORMAT_VERSION = 1


@dataclass_transform(
    frozen_default=True, kw_only_default=True, field_specifiers=(field,)
)
def _secretive(cls: type[_T]) -> type[_T]:
    """Make a frozen dataclass that cannot be spilled field by field.

    ``dataclasses.asdict`` and friends work on anything that carries the list of
    dataclass fields, so that list is taken away after the class is built.
    """
    made = dataclass(frozen=True, slots=True, kw_only=True)(cls)
    names = tuple(item.name for item in fields(made))  # type: ignore[arg-type]
    del made.__dataclass_fields__  # type: ignore[attr-defined]
    made._names = names  # type: ignore[attr-defined]  # noqa: SLF001 - our own class
    return made


class _Value:
    """What every secretive value can do."""

    __slots__ = ()
    _names: tuple[str, ...]

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed."""
        return type(self)(
            **{name: getattr(self, name) for name in self._names} | changes
        )

    @override
    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        message = f"{type(self).__name__} holds secrets; use its serialize_ function"
        raise TypeError(message)


@_secretive
class OAuthSession(_Value):
    """A signed-in account: who it is and the tokens that speak for it.

    Attributes:
        did: the account's DID, the one stable name of a person.
        handle: the handle, only if it was verified in both directions.
        pds_url: origin of the account's PDS.
        authserver_iss: issuer URL of the authorization server.
        access_token: opaque, bound to ``dpop_private_key``.
        refresh_token: opaque, single use; None if the server gave none.
        dpop_private_key: the P-256 key of this session.
        dpop_authserver_nonce: kept for compatibility; nonces live per origin.
        dpop_pds_nonce: kept for compatibility; nonces live per origin.
        scope: what was granted, separated by spaces.
        expires_at: when the access token ends, aware, or None if unknown.
        created_at: when the person logged in, aware.
        session_id: public reference of this session; no secret.
        kid: the client key that this session is bound to, or None.
        app_state: what the application passed to ``start_authorization``.
        verified_at: when the DID was last seen to lead to this server, aware.
        renewals: how often the tokens were renewed.
    """

    did: str
    handle: str | None = None
    pds_url: str
    authserver_iss: str
    access_token: str = field(repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    dpop_private_key: PrivateKey = field(repr=False)
    dpop_authserver_nonce: str | None = field(default=None, repr=False)
    dpop_pds_nonce: str | None = field(default=None, repr=False)
    scope: str
    expires_at: datetime | None = None
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    session_id: str = ""
    kid: str | None = None
    app_state: str | None = field(default=None, repr=False)
    verified_at: datetime | None = None
    renewals: int = 0


@_secretive
class OAuthState(_Value):
    """A login that has begun: what has to be remembered until the callback.

    ``extra`` holds what is this library's own business (JSON text). A store must
    give it back unchanged.
    """

    state: str = field(repr=False)
    pkce_verifier: str = field(repr=False)
    redirect_uri: str
    scope: str
    authserver_iss: str
    dpop_private_key: PrivateKey = field(repr=False)
    dpop_authserver_nonce: str | None = field(default=None, repr=False)
    did: str | None = None
    handle: str | None = None
    pds_url: str | None = None
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    extra: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthServerMetadata:
    """What an authorization server says of itself, checked.

    Spec: RFC 8414 and the atproto OAuth profile, "Authorization Servers".
    """

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    pushed_authorization_request_endpoint: str
    revocation_endpoint: str | None = None
    scopes_supported: tuple[str, ...] = ()
    token_endpoint_auth_methods_supported: tuple[str, ...] = ()
    token_endpoint_auth_signing_alg_values_supported: tuple[str, ...] = ()
    dpop_signing_alg_values_supported: tuple[str, ...] = ()
    prompt_values_supported: tuple[str, ...] = ()
    protected_resources: tuple[str, ...] | None = None


@_secretive
class TokenResponse(_Value):
    """A checked answer of the token endpoint. Spec: RFC 6749 section 5.1.

    ``expires_in`` is in seconds, or None if the server did not say.
    """

    access_token: str = field(repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    sub: str
    scope: str
    expires_in: int | None = None


def serialize_oauth_session(session: OAuthSession) -> str:
    """Return the session as JSON text, secrets included: encrypt it at rest."""
    return _serialize(session, "session")


def deserialize_oauth_session(text: str) -> OAuthSession:
    """Return the session that ``serialize_oauth_session`` wrote.

    Raises:
        StoreError: the text is not a session, or of an unknown version.
    """
    return _deserialize(text, "session", OAuthSession)


def serialize_oauth_state(state: OAuthState) -> str:
    """Return the pending login as JSON text, secrets included."""
    return _serialize(state, "state")


def deserialize_oauth_state(text: str) -> OAuthState:
    """Return the pending login that ``serialize_oauth_state`` wrote.

    Raises:
        StoreError: the text is not a pending login, or of an unknown version.
    """
    return _deserialize(text, "state", OAuthState)


_TIMES = frozenset({"expires_at", "created_at", "verified_at"})
_OTHERS = _TIMES | {"renewals"}
_UNREADABLE = (
    ValueError,
    TypeError,
    KeyError,
    RecursionError,
    OverflowError,
    OSError,  # a time that this platform cannot express
)
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def _serialize(value: _Value, kind: str) -> str:
    members = {name: getattr(value, name) for name in value._names}  # noqa: SLF001
    for name, item in members.items():
        if isinstance(item, datetime):
            members[name] = item.timestamp()
    members["dpop_private_key"] = export_private_key(members["dpop_private_key"])
    present = {name: item for name, item in members.items() if item is not None}
    return _encode({"v": _FORMAT_VERSION, "kind": kind, **present})


def _deserialize(text: str, kind: str, make: Callable[..., _T]) -> _T:
    made = None
    with suppress(*_UNREADABLE):
        members = json.loads(text)
        _check_header(members, kind)
        made = make(**_revive(members))
    if made is None:
        # Without the cause: a JSON error holds the whole text, secrets included.
        message = f"this is not a stored {kind} of a version that is known here"
        raise StoreError(message)
    return made


def _check_header(members: Mapping[str, Any], kind: str) -> None:
    if (members["v"], members["kind"]) != (_FORMAT_VERSION, kind):
        message = "unknown version or kind"
        raise ValueError(message)


def _revive(members: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _revive_item(name, item)
        for name, item in members.items()
        if name not in {"v", "kind"}
    }


def _revive_item(name: str, item: object) -> object:
    if name == "dpop_private_key" and isinstance(item, str):
        return import_private_key(item)
    if name in _TIMES and isinstance(item, int | float):
        return datetime.fromtimestamp(item, UTC)
    if name == "renewals" and type(item) is int and item >= 0:
        return item
    if name in _OTHERS or not isinstance(item, str):
        message = f"{name} is of the wrong type"
        raise TypeError(message)
    return item
