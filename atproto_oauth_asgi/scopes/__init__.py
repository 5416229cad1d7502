"""Permissions: what scopes mean, what was granted, what to ask for.

    granted = ScopesSet("atproto repo:com.example.post blob:image/*")
    granted.allows("repo:com.example.post?action=create")  # True

Spec: atproto "Permissions".
"""

from atproto_oauth_asgi.exceptions import ScopeMissingError
from atproto_oauth_asgi.scopes.account import AccountPermission
from atproto_oauth_asgi.scopes.asking import find_scope_warnings
from atproto_oauth_asgi.scopes.blob import BlobPermission
from atproto_oauth_asgi.scopes.identity import IdentityPermission
from atproto_oauth_asgi.scopes.include import IncludeScope
from atproto_oauth_asgi.scopes.permission_set import expand_include
from atproto_oauth_asgi.scopes.repo import RepoPermission
from atproto_oauth_asgi.scopes.rpc import RpcPermission
from atproto_oauth_asgi.scopes.scope import Permission, Scope, parse_scope
from atproto_oauth_asgi.scopes.scopes_set import ScopesSet, Verdict
from atproto_oauth_asgi.scopes.static import StaticScope

__all__ = [
    "AccountPermission",
    "BlobPermission",
    "IdentityPermission",
    "IncludeScope",
    "Permission",
    "RepoPermission",
    "RpcPermission",
    "Scope",
    "ScopeMissingError",
    "ScopesSet",
    "StaticScope",
    "Verdict",
    "expand_include",
    "find_scope_warnings",
    "parse_scope",
]
