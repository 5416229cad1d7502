"""What a published permission set holds.

Spec: atproto "Permissions", "Permission Sets".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from atproto_oauth_asgi.exceptions import ConfigurationError
from atproto_oauth_asgi.scopes.include import IncludeScope
from atproto_oauth_asgi.scopes.nsid import ANY
from atproto_oauth_asgi.scopes.repo import RepoPermission
from atproto_oauth_asgi.scopes.rpc import RpcPermission
from atproto_oauth_asgi.scopes.syntax import Parameters, refuse

_NO_PARAMETERS = {"type", "resource"}


def expand_include(
    scope: IncludeScope, lexicon: Mapping[str, Any]
) -> tuple[RepoPermission | RpcPermission, ...]:
    """Return the permissions that a set gives to whoever was granted ``scope``.

    Entries that the set may not hold, or that are not fully understood, are left out.

    Args:
        scope: what was granted.
        lexicon: the published schema of the set, as JSON gives it.

    Raises:
        ConfigurationError: it is not the schema of a permission set of this name.

    Spec: atproto "Permissions", "Permission Sets", "Namespace Authority".
    """
    found = (_expand(scope, entry) for entry in _entries(scope, lexicon))
    return tuple(permission for permission in found if permission is not None)


def _entries(scope: IncludeScope, lexicon: Mapping[str, Any]) -> list[object]:
    definitions = lexicon.get("defs")
    main = definitions.get("main") if isinstance(definitions, Mapping) else None
    entries = main.get("permissions") if isinstance(main, Mapping) else None
    if (
        lexicon.get("id") != scope.nsid
        or not isinstance(entries, list)
        or not isinstance(main, Mapping)
        or main.get("type") != "permission-set"
    ):
        raise refuse(scope.nsid, "not the schema of the permission set of this name")
    return entries


def _expand(
    scope: IncludeScope, entry: object
) -> RepoPermission | RpcPermission | None:
    if not isinstance(entry, Mapping) or entry.get("type") != "permission":
        return None
    fields = {name: entry[name] for name in entry if name not in _NO_PARAMETERS}
    try:
        permission = _build(scope, entry.get("resource"), fields)
    except ConfigurationError:
        return None
    if permission and all(map(scope.may_grant, permission.atoms())):
        return permission
    return None


def _build(
    scope: IncludeScope, resource: object, fields: Mapping[str, object]
) -> RepoPermission | RpcPermission | None:
    if resource == "repo":
        return RepoPermission.build(_lists(fields))
    aud = _audience(scope, fields) if resource == "rpc" else None
    if aud is None:
        return None
    # With an `aud` of its own, `inheritAud` stays, and is refused.
    decided = "aud" if "aud" in fields else "inheritAud"
    others = {name: fields[name] for name in fields if name != decided}
    return RpcPermission.build({**_lists(others), "aud": (aud,)})


def _audience(scope: IncludeScope, fields: Mapping[str, object]) -> str | None:
    """Return the service of an entry; a set itself can name none but all."""
    if "aud" in fields:
        return ANY if fields["aud"] == ANY else None
    return scope.aud if fields.get("inheritAud") is True else None


def _lists(fields: Mapping[str, object]) -> Parameters:
    """Return the parameters of an entry, all of which are lists.

    Raises:
        ConfigurationError: one is not a list of text.
    """
    parameters: dict[str, tuple[str, ...]] = {}
    for name, value in fields.items():
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            raise refuse("permission set", "its parameters are lists of text")
        parameters[name] = tuple(value)
    return parameters
