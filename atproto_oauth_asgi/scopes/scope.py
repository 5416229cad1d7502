"""One scope of any kind: from text, and what it takes to have it.

Spec: atproto "Permissions".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache

from atproto_oauth_asgi.exceptions import ConfigurationError
from atproto_oauth_asgi.scopes.account import (
    AccountPermission,
    join_account,
    wider_account,
)
from atproto_oauth_asgi.scopes.atoms import Atom
from atproto_oauth_asgi.scopes.blob import BlobPermission, join_blob, wider_blob
from atproto_oauth_asgi.scopes.identity import (
    IdentityPermission,
    join_identity,
    wider_identity,
)
from atproto_oauth_asgi.scopes.include import IncludeScope, join_include
from atproto_oauth_asgi.scopes.repo import RepoPermission, join_repo, wider_repo
from atproto_oauth_asgi.scopes.rpc import RpcPermission, join_rpc, wider_rpc
from atproto_oauth_asgi.scopes.static import StaticScope, join_static
from atproto_oauth_asgi.scopes.syntax import Parameters, parse_parameters, resource_of

Permission = (
    RepoPermission
    | RpcPermission
    | BlobPermission
    | AccountPermission
    | IdentityPermission
)
Scope = Permission | IncludeScope | StaticScope

# The positional parameter, and what makes a value of all parameters.
_BUILDERS: dict[str, tuple[str, Callable[[Parameters], Scope]]] = {
    "account": ("attr", AccountPermission.build),
    "blob": ("accept", BlobPermission.build),
    "identity": ("attr", IdentityPermission.build),
    "include": ("nsid", IncludeScope.build),
    "repo": ("collection", RepoPermission.build),
    "rpc": ("lxm", RpcPermission.build),
}
_WIDER: dict[str, Callable[[Atom], Iterator[Atom]]] = {
    "account": wider_account,
    "blob": wider_blob,
    "identity": wider_identity,
    "repo": wider_repo,
    "rpc": wider_rpc,
}
_JOINS: dict[str, Callable[[Iterable[Atom]], Iterator[Scope]]] = {
    "account": join_account,
    "blob": join_blob,
    "identity": join_identity,
    "include": join_include,
    "repo": join_repo,
    "rpc": join_rpc,
    "static": join_static,
}

_SHOWN = 200


def parse_scope(text: str) -> Scope:
    """Return one scope, such as ``repo:com.example.post?action=create``.

    It is for what a developer writes: anything that is not fully understood is an
    error. ``str()`` of the result is the canonical spelling: what is the default is
    left out, values are sorted, none stands twice.

    Raises:
        ConfigurationError: it is not a scope of the specification.

    Spec: atproto "Permissions", "Scope String Syntax".
    """
    try:
        return _parse(text)
    except ConfigurationError as error:
        message = f"scope {text[:_SHOWN]!a}: {error}"
        raise ConfigurationError(message) from error


def _parse(text: str) -> Scope:
    resource = resource_of(text)
    if resource not in _BUILDERS:
        return StaticScope(name=text)
    positional, build = _BUILDERS[resource]
    return build(parse_parameters(text, positional=positional))


def find_scope(text: str) -> Scope | None:
    """Return one scope that somebody else wrote, or None if it is not understood."""
    try:
        return parse_scope(text)
    except ConfigurationError:
        return None


@lru_cache(maxsize=512)
def requirements(text: str) -> tuple[tuple[Atom, frozenset[Atom]], ...]:
    """Return the atoms of a scope, each with those that cover it.

    Kept for the next time: an application asks for few scopes, and often.

    Raises:
        ConfigurationError: it is not a scope of the specification.
    """
    return tuple((atom, covering(atom)) for atom in parse_scope(text).atoms())


def covering(atom: Atom) -> frozenset[Atom]:
    """Return the atoms each of which is enough to have this one."""
    wider = _WIDER.get(atom[0])
    return frozenset((atom, *wider(atom)) if wider else (atom,))


def join(atoms: Iterable[Atom]) -> tuple[str, ...]:
    """Return the fewest scopes that have exactly these atoms, as sorted text."""
    by_resource = defaultdict[str, list[Atom]](list)
    for atom in dict.fromkeys(atoms):
        by_resource[atom[0]].append(atom)
    return tuple(
        sorted(
            str(scope)
            for resource, group in by_resource.items()
            for scope in _JOINS[resource](group)
        )
    )
