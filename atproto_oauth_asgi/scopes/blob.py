"""``blob``: uploading files.

Spec: atproto "Permissions", "blob".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

from typing_extensions import override

from atproto_oauth_asgi.scopes.atoms import TRANSITION_GENERIC, Atom
from atproto_oauth_asgi.scopes.syntax import (
    Parameters,
    build_scope,
    check_names,
    refuse,
)

_ANY_TYPE = "*/*"
# RFC 6838 section 4.2
_NAME = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
_ACCEPT = re.compile(rf"\*/\*|{_NAME}/(?:\*|{_NAME})")


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobPermission:
    """To upload files of some media types.

    Attributes:
        accept: media types without parameters, ``image/*`` or ``*/*``. Letters are
            compared as they stand.

    Raises:
        ConfigurationError: one is not such a type.

    Spec: atproto "Permissions", "blob".
    """

    accept: tuple[str, ...]

    def __post_init__(self) -> None:
        found = set(self.accept)
        if not found or not all(_ACCEPT.fullmatch(each) for each in found):
            raise refuse("accept", "a media type such as image/png, image/* or */*")
        kept = (each for each in found if found.isdisjoint(_wider(each)))
        object.__setattr__(self, "accept", tuple(sorted(kept)))

    @classmethod
    def build(cls, parameters: Parameters) -> Self:
        """Return the permission with these parameters.

        Raises:
            ConfigurationError: they are not those of such a permission.
        """
        check_names(parameters, known=("accept",))
        return cls(accept=parameters.get("accept", ()))

    @override
    def __str__(self) -> str:
        return build_scope("blob", ("accept", self.accept))

    def atoms(self) -> Iterator[Atom]:
        """Give each media type that is permitted."""
        for accept in self.accept:
            yield "blob", accept


def wider_blob(atom: Atom) -> Iterator[Atom]:
    """Give the other atoms that are enough to have this one."""
    for accept in _wider(atom[1]):
        yield "blob", accept
    yield TRANSITION_GENERIC


def join_blob(atoms: Iterable[Atom]) -> Iterator[BlobPermission]:
    """Give the one permission that has these atoms."""
    yield BlobPermission(accept=tuple(accept for _, accept in atoms))


def _wider(accept: str) -> set[str]:
    """Return the patterns that match what this one matches, and more."""
    return {f"{accept.partition('/')[0]}/*", _ANY_TYPE} - {accept}
