"""``account``: how the account is hosted.

Spec: atproto "Permissions", "account".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

from typing_extensions import override

from atproto_oauth_asgi.scopes.atoms import TRANSITION_EMAIL, Atom
from atproto_oauth_asgi.scopes.syntax import (
    Parameters,
    build_scope,
    check_names,
    refuse,
    single,
)

# `status` (deactivating the account) is not in the specification, but PDSs ask for it.
_ATTRIBUTES = ("email", "repo", "status")
_ACTIONS = ("read", "manage")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountPermission:
    """To read or change a part of the account.

    Attributes:
        attr: ``email``, ``repo`` (import of a whole repository) or ``status``.
        action: ``read``, or ``manage``, which includes reading.

    Raises:
        ConfigurationError: a value is not one that the parameter can have.

    Spec: atproto "Permissions", "account".
    """

    attr: str
    action: str = "read"

    def __post_init__(self) -> None:
        if self.attr not in _ATTRIBUTES:
            raise refuse("attr", f"one of {', '.join(_ATTRIBUTES)}")
        if self.action not in _ACTIONS:
            raise refuse("action", f"one of {', '.join(_ACTIONS)}")

    @classmethod
    def build(cls, parameters: Parameters) -> Self:
        """Return the permission with these parameters.

        Raises:
            ConfigurationError: they are not those of such a permission.
        """
        check_names(parameters, known=("attr", "action"))
        attr = single(parameters, "attr")
        if "action" not in parameters:
            return cls(attr=attr)
        return cls(attr=attr, action=single(parameters, "action"))

    @override
    def __str__(self) -> str:
        action = () if self.action == "read" else (self.action,)
        return build_scope("account", ("attr", (self.attr,)), action=action)

    def atoms(self) -> Iterator[Atom]:
        """Give the one thing that is permitted."""
        yield "account", self.attr, self.action


def wider_account(atom: Atom) -> Iterator[Atom]:
    """Give the other atoms that are enough to have this one."""
    _, attr, action = atom
    yield "account", attr, "manage"
    if (attr, action) == ("email", "read"):
        yield TRANSITION_EMAIL


def join_account(atoms: Iterable[Atom]) -> Iterator[AccountPermission]:
    """Give the permissions that have these atoms."""
    for _, attr, action in atoms:
        yield AccountPermission(attr=attr, action=action)
