"""The keys that make a client a confidential one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from atproto_oauth_asgi.crypto.keys import PrivateKey, load_client_key, thumbprint
from atproto_oauth_asgi.exceptions import ConfigurationError

_USES = ("sign", "publish", "retired")

KeyMaterial = PrivateKey | Mapping[str, Any] | str | bytes
"""A private key object, a JWK (mapping or JSON text), or PEM text."""


@dataclass(frozen=True, slots=True)
class ClientKey:
    """A P-256 key that makes the client a confidential one.

    Attributes:
        key: a private key object, a JWK (mapping or JSON text), or PEM text.
        use: ``sign`` signs new logins; ``publish`` stands in the JWKS and serves the
            sessions bound to it; ``retired`` is not published any more.
        kid: its name; unless given that of the JWK, or the RFC 7638 thumbprint.
    """

    key: KeyMaterial = field(repr=False)
    use: Literal["sign", "publish", "retired"] = "sign"
    kid: str = ""

    def __post_init__(self) -> None:
        loaded = load_client_key(self.key)
        kid = self.kid or _kid_of(self.key) or thumbprint(loaded)
        object.__setattr__(self, "key", loaded)
        object.__setattr__(self, "kid", kid)

    @property
    def private_key(self) -> PrivateKey:
        """The key object."""
        return load_client_key(self.key)


def _kid_of(key: KeyMaterial) -> str:
    """Return the name that a JWK has by itself, if it is one and has one."""
    if isinstance(key, str | bytes):
        with suppress(ValueError):
            key = json.loads(key)
    kid = key.get("kid") if isinstance(key, Mapping) else None
    return kid if isinstance(kid, str) else ""


def load_client_keys(
    keys: Sequence[ClientKey | KeyMaterial],
) -> tuple[ClientKey, ...]:
    """Return the keys; one that is not wrapped in a ``ClientKey`` signs.

    Raises:
        ConfigurationError: one of them is not a P-256 private key.
    """
    if isinstance(keys, str | bytes | Mapping) or not isinstance(keys, Sequence):
        raise ConfigurationError("client_keys: it is a sequence of keys")
    loaded: list[ClientKey] = []
    problems: list[str] = []
    for key in keys:
        try:
            loaded.append(key if isinstance(key, ClientKey) else ClientKey(key))
        except ConfigurationError as error:
            problems += [f"client_keys: {problem}" for problem in error.problems]
    if problems:
        raise ConfigurationError(problems)
    return tuple(loaded)


def find_key_problems(keys: Sequence[ClientKey], *, client_id: str) -> list[str]:
    """Return the rules that a client's keys break; a client without any is public."""
    if not keys:
        return []
    kids = [item.kid for item in keys]
    rules = {
        "a localhost development client is always public": client_id.startswith(
            "http://"
        ),
        f"use is one of {', '.join(_USES)}": any(k.use not in _USES for k in keys),
        "exactly one has use='sign'": sum(item.use == "sign" for item in keys) != 1,
        "two keys have the same kid": len(set(kids)) != len(kids),
    }
    return [f"client_keys: {rule}" for rule, is_broken in rules.items() if is_broken]
