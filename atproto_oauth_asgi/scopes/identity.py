"""``identity``: the handle and the DID document.

Spec: atproto "Permissions", "identity".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

from typing_extensions import override

from atproto_oauth_asgi.scopes.atoms import Atom
from atproto_oauth_asgi.scopes.syntax import (
    Parameters,
    build_scope,
    check_names,
    refuse,
    single,
)

_ATTRIBUTES = ("handle", "*")


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityPermission:
    """To change the person's identity in the network.

    Attributes:
        attr: ``handle``, or ``*`` for all of the DID document too.

    Raises:
        ConfigurationError: it is neither.

    Spec: atproto "Permissions", "identity".
    """

    attr: str

    def __post_init__(self) -> None:
        if self.attr not in _ATTRIBUTES:
            raise refuse("attr", f"one of {', '.join(_ATTRIBUTES)}")

    @classmethod
    def build(cls, parameters: Parameters) -> Self:
        """Return the permission with these parameters.

        Raises:
            ConfigurationError: they are not those of such a permission.
        """
        check_names(parameters, known=("attr",))
        return cls(attr=single(parameters, "attr"))

    @override
    def __str__(self) -> str:
        return build_scope("identity", ("attr", (self.attr,)))

    def atoms(self) -> Iterator[Atom]:
        """Give the one thing that is permitted."""
        yield "identity", self.attr


def wider_identity(atom: Atom) -> Iterator[Atom]:
    """Give the other atoms that are enough to have this one."""
    resource, _ = atom
    yield resource, "*"


def join_identity(atoms: Iterable[Atom]) -> Iterator[IdentityPermission]:
    """Give the permissions that have these atoms."""
    for _, attr in atoms:
        yield IdentityPermission(attr=attr)
