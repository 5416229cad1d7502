"""``repo``: writing records.

Spec: atproto "Permissions", "repo".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

from typing_extensions import override

from atproto_oauth_asgi.scopes.atoms import TRANSITION_GENERIC, Atom
from atproto_oauth_asgi.scopes.nsid import ANY, canonical_names
from atproto_oauth_asgi.scopes.syntax import (
    Parameters,
    build_scope,
    check_names,
    refuse,
)

REPO_ACTIONS = ("create", "update", "delete")


@dataclass(frozen=True, slots=True, kw_only=True)
class RepoPermission:
    """To write records of some types into the person's public repository.

    Attributes:
        collection: NSIDs of record types; ``("*",)`` is all of them.
        action: out of ``create``, ``update``, ``delete``; all three unless given.

    Raises:
        ConfigurationError: a value is not one that the parameter can have.

    Spec: atproto "Permissions", "repo".
    """

    collection: tuple[str, ...]
    action: tuple[str, ...] = REPO_ACTIONS

    def __post_init__(self) -> None:
        collection = canonical_names(self.collection, parameter="collection")
        action = tuple(each for each in REPO_ACTIONS if each in self.action)
        if not action or not set(self.action) <= set(REPO_ACTIONS):
            raise refuse("action", f"out of {', '.join(REPO_ACTIONS)}")
        object.__setattr__(self, "collection", collection)
        object.__setattr__(self, "action", action)

    @classmethod
    def build(cls, parameters: Parameters) -> Self:
        """Return the permission with these parameters.

        Raises:
            ConfigurationError: they are not those of such a permission.
        """
        check_names(parameters, known=("collection", "action"))
        return cls(
            collection=parameters.get("collection", ()),
            action=parameters.get("action", REPO_ACTIONS),
        )

    @override
    def __str__(self) -> str:
        action = () if self.action == REPO_ACTIONS else self.action
        return build_scope("repo", ("collection", self.collection), action=action)

    def atoms(self) -> Iterator[Atom]:
        """Give a pair of collection and action for each that is permitted."""
        for collection in self.collection:
            for action in self.action:
                yield "repo", collection, action


def wider_repo(atom: Atom) -> Iterator[Atom]:
    """Give the other atoms that are enough to have this one."""
    _, _, action = atom
    yield "repo", ANY, action
    yield TRANSITION_GENERIC


def join_repo(atoms: Iterable[Atom]) -> Iterator[RepoPermission]:
    """Give the fewest permissions that have exactly these atoms."""
    actions = defaultdict[str, list[str]](list)
    for _, collection, action in atoms:
        actions[collection].append(action)
    collections = defaultdict[tuple[str, ...], list[str]](list)
    for collection, some in actions.items():
        collections[tuple(sorted(some))].append(collection)
    for group, names in collections.items():
        yield RepoPermission(collection=tuple(names), action=group)
