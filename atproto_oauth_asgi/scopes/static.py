"""Scopes that are a word: ``atproto`` and the transitional ones.

Spec: atproto "OAuth", "Authorization Scopes".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from typing_extensions import override

from atproto_oauth_asgi.scopes.atoms import (
    TRANSITION_CHAT,
    TRANSITION_EMAIL,
    TRANSITION_GENERIC,
    Atom,
)
from atproto_oauth_asgi.scopes.syntax import refuse

STATIC_SCOPES = (
    "atproto",
    *(name for _, name in (TRANSITION_GENERIC, TRANSITION_EMAIL, TRANSITION_CHAT)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticScope:
    """A scope without parameters.

    Attributes:
        name: ``atproto``, ``transition:generic``, ``transition:email`` or
            ``transition:chat.bsky``.

    Raises:
        ConfigurationError: it is none of these.

    Spec: atproto "OAuth", "Authorization Scopes".
    """

    name: str

    def __post_init__(self) -> None:
        if self.name not in STATIC_SCOPES:
            raise refuse("resource", "one of the specification, or atproto")

    @override
    def __str__(self) -> str:
        return self.name

    def atoms(self) -> Iterator[Atom]:
        """Give the scope itself."""
        yield "static", self.name


def join_static(atoms: Iterable[Atom]) -> Iterator[StaticScope]:
    """Give the scopes that have these atoms."""
    for _, name in atoms:
        yield StaticScope(name=name)
