from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atproto_oauth_asgi.exceptions import ConfigurationError
from atproto_oauth_asgi.scopes import (
    AccountPermission,
    BlobPermission,
    IdentityPermission,
    IncludeScope,
    RepoPermission,
    RpcPermission,
    Scope,
    StaticScope,
    parse_scope,
)
from tests.scopes.strategies import any_scopes, relaxed

SERVICE = "did:web:api.example.com#svc_appview"
ESCAPED = "did:web:api.example.com%23svc_appview"
POST = "app.example.post"
PROFILE = "app.example.profile"

# One line for each way to write something: text, value, canonical text.
VALID: list[tuple[str, Scope, str]] = [
    ("atproto", StaticScope(name="atproto"), "atproto"),
    (
        "transition:chat.bsky",
        StaticScope(name="transition:chat.bsky"),
        "transition:chat.bsky",
    ),
    (f"repo:{POST}", RepoPermission(collection=(POST,)), f"repo:{POST}"),
    (f"repo:{POST}?", RepoPermission(collection=(POST,)), f"repo:{POST}"),
    (f"repo:{POST}?&&", RepoPermission(collection=(POST,)), f"repo:{POST}"),
    (f"repo?collection={POST}", RepoPermission(collection=(POST,)), f"repo:{POST}"),
    ("repo:app%2Eexample.post", RepoPermission(collection=(POST,)), f"repo:{POST}"),
    (
        f"repo:{POST}?action=delete&action=update&action=create",
        RepoPermission(collection=(POST,)),
        f"repo:{POST}",
    ),
    (
        f"repo:{POST}?action=update&action=create&action=update",
        RepoPermission(collection=(POST,), action=("create", "update")),
        f"repo:{POST}?action=create&action=update",
    ),
    (
        f"repo?collection={PROFILE}&collection={POST}&collection={POST}",
        RepoPermission(collection=(POST, PROFILE)),
        f"repo?collection={POST}&collection={PROFILE}",
    ),
    (
        f"repo?collection={POST}&collection=*",
        RepoPermission(collection=("*",)),
        "repo:*",
    ),
    (
        "repo:*?%61ction=delete",
        RepoPermission(collection=("*",), action=("delete",)),
        "repo:*?action=delete",
    ),
    (
        f"rpc:{POST}?aud=*",
        RpcPermission(lxm=(POST,), aud="*"),
        f"rpc:{POST}?aud=*",
    ),
    (
        f"rpc?lxm=*&aud={ESCAPED}",
        RpcPermission(lxm=("*",), aud=SERVICE),
        f"rpc:*?aud={ESCAPED}",
    ),
    (
        f"rpc?aud=did%3Aweb%3Aapi.example.com%23svc_appview&lxm={PROFILE}&lxm={POST}",
        RpcPermission(lxm=(POST, PROFILE), aud=SERVICE),
        f"rpc?lxm={POST}&lxm={PROFILE}&aud={ESCAPED}",
    ),
    (
        f"rpc:{POST}?aud={SERVICE}",
        RpcPermission(lxm=(POST,), aud=SERVICE),
        f"rpc:{POST}?aud={ESCAPED}",
    ),
    ("blob:*/*", BlobPermission(accept=("*/*",)), "blob:*/*"),
    (
        "blob?accept=video/*&accept=text/html",
        BlobPermission(accept=("text/html", "video/*")),
        "blob?accept=text/html&accept=video/*",
    ),
    (
        "blob?accept=video/*&accept=video/mp4&accept=video/*",
        BlobPermission(accept=("video/*",)),
        "blob:video/*",
    ),
    (
        "blob?accept=video/*&accept=*/*&accept=text/html",
        BlobPermission(accept=("*/*",)),
        "blob:*/*",
    ),
    (
        "blob:image/svg+xml",
        BlobPermission(accept=("image/svg+xml",)),
        "blob:image/svg+xml",
    ),
    (
        "blob?accept=image/svg%2Bxml&accept=image/png",
        BlobPermission(accept=("image/png", "image/svg+xml")),
        "blob?accept=image/png&accept=image/svg%2Bxml",
    ),
    ("blob:a/b%26c", BlobPermission(accept=("a/b&c",)), "blob:a/b%26c"),
    ("account:email", AccountPermission(attr="email"), "account:email"),
    ("account:email?action=read", AccountPermission(attr="email"), "account:email"),
    (
        "account?action=manage&attr=repo",
        AccountPermission(attr="repo", action="manage"),
        "account:repo?action=manage",
    ),
    ("account:status", AccountPermission(attr="status"), "account:status"),
    ("identity:handle", IdentityPermission(attr="handle"), "identity:handle"),
    ("identity:*?", IdentityPermission(attr="*"), "identity:*"),
    (
        "include:app.example.authFull",
        IncludeScope(nsid="app.example.authFull"),
        "include:app.example.authFull",
    ),
    (
        f"include?aud={ESCAPED}&nsid=app.example.authFull",
        IncludeScope(nsid="app.example.authFull", aud=SERVICE),
        f"include:app.example.authFull?aud={ESCAPED}",
    ),
]

# What is wrong, and the part that the error has to name.
INVALID = {
    # Of the specification: the syntax is right, the meaning is not.
    "resource": "resource",
    "resource:positional?key=val": "resource",
    "resource:positional&thing?key=val": "resource",
    "service:did:web:com.example#type?key=val": "resource",
    "resource:": "resource",
    "resource:?": "resource",
    "resource:&": "resource",
    "resource?": "resource",
    # Of the specification: not even the syntax is right.
    "resource:positional?key=qu\u00e9bec": "resource",
    "emoji:\u263a\ufe0f": "resource",
    "": "resource",
    " ": "resource",
    "Repo:app.example.post": "resource",
    "repository:app.example.post": "resource",
    "atprotox": "resource",
    "transition:": "resource",
    "transition:generic?": "resource",
    "atproto?": "resource",
    "repo:app.example.p\u00f6st": "scope",
    "repo:app.example.post\n": "scope",
    'repo:app.example.post"': "scope",
    "repo:app.example.post\\": "scope",
    "repo:app.example.post atproto": "scope",
    "repo:app.example.post?foo=1": "scope",
    "repo:app.example.post?foo": "scope",
    "repo:app.example.post?=": "scope",
    "repo:app.example.post??action=create": "scope",
    "repo:app.example.post?Action=create": "scope",
    "repo:app.example.post?aud=*": "scope",
    "repo:app.example.post%": "scope",
    "repo:app.example.post%2": "scope",
    "repo:app.example.post%zz": "scope",
    "repo:app.example.post%ff": "scope",
    "repo:app.example.post?action=create%": "scope",
    "repo:app.example.post?%=create": "scope",
    "repo": "collection",
    "repo:": "collection",
    "repo?": "collection",
    "repo?action=create": "collection",
    "repo:app.example": "collection",
    "repo:app.example.*": "collection",
    "repo:**": "collection",
    "repo:app.example.post,app.example.like": "collection",
    "repo:app.example.1st": "collection",
    "repo:1app.example.post": "collection",
    "repo:app.example.a-b": "collection",
    "repo:app.-example.post": "collection",
    "repo:app.example-.post": "collection",
    "repo:app..post": "collection",
    "repo:.app.example.post": "collection",
    f"repo:app.{'x' * 64}.post": "collection",
    f"repo:app.example.{'x' * 64}": "collection",
    "repo:app.example.post?collection=app.example.like": "collection",
    "repo:?collection=app.example.like": "collection",
    "repo?collection=app.example.post&collection=app.example": "collection",
    "repo:app.example.post?action": "action",
    "repo:app.example.post?action=": "action",
    "repo:app.example.post?action=read": "action",
    "repo:app.example.post?action=*": "action",
    "repo:app.example.post?action=Create": "action",
    "repo:app.example.post?action=create,update": "action",
    "repo:app.example.post?action=create&action=read": "action",
    "rpc:app.example.getFeed": "aud",
    f"rpc?aud={ESCAPED}": "lxm",
    "rpc:app.example.*?aud=*": "lxm",
    "rpc:*?aud=*": "aud",
    "rpc?lxm=app.example.getFeed&lxm=*&aud=*": "aud",
    f"rpc:app.example.getFeed?aud=*&aud={ESCAPED}": "aud",
    "rpc:app.example.getFeed?aud=": "aud",
    "rpc:app.example.getFeed?aud=did:web:api.example.com": "aud",
    "rpc:app.example.getFeed?aud=did:web:api.example.com%23": "aud",
    "rpc:app.example.getFeed?aud=did:web:api.example.com%23a%23b": "aud",
    "rpc:app.example.getFeed?aud=did:web:api.example.com%23a%25": "aud",
    "rpc:app.example.getFeed?aud=did:web:api.example.com%23a+b": "aud",
    "rpc:app.example.getFeed?aud=did:plc:short%23a": "aud",
    "rpc:app.example.getFeed?aud=did:key:zabc%23a": "aud",
    "rpc:app.example.getFeed?aud=did:web:api.example.com:path%23a": "aud",
    "rpc:app.example.getFeed?aud=api.example.com%23a": "aud",
    "rpc:app.example.getFeed?aud=*%23a": "aud",
    "blob": "accept",
    "blob:": "accept",
    "blob:*": "accept",
    "blob:image": "accept",
    "blob:image/": "accept",
    "blob:/png": "accept",
    "blob:*/png": "accept",
    "blob:image/p*": "accept",
    "blob:image/png/x": "accept",
    "blob:image/%20": "accept",
    "blob:text/html;charset=utf-8": "accept",
    "blob?accept=image/svg+xml": "accept",
    "blob?accept=image/png&accept=": "accept",
    "account": "attr",
    "account:": "attr",
    "account:*": "attr",
    "account:name": "attr",
    "account:email?attr=email": "attr",
    "account?attr=email&attr=repo": "attr",
    "account:email?action=create": "action",
    "account:email?action=": "action",
    "account:email?action=read&action=manage": "action",
    "account:email?foo=1": "scope",
    "identity": "attr",
    "identity:did": "attr",
    "identity:*?action=manage": "scope",
    "include": "nsid",
    "include:*": "nsid",
    "include:app.example": "nsid",
    "include?nsid=app.example.a&nsid=app.example.b": "nsid",
    "include:app.example.authFull?aud=*": "aud",
    "include:app.example.authFull?aud=": "aud",
    f"include:app.example.authFull?aud={ESCAPED}&aud={ESCAPED}": "aud",
    "include:app.example.authFull?action=create": "scope",
    "blob:image/png?action=create": "scope",
    "rpc:app.example.getFeed?aud=*&inheritAud=true": "scope",
}


@pytest.mark.covers("SCOPE-04")
@pytest.mark.parametrize(("text", "value", "canonical"), VALID)
def test_scope_when_parsed_then_means_and_prints_the_same(
    text: str, value: Scope, canonical: str
) -> None:
    """Every spelling of a scope is one value, and a value has one spelling."""
    scope = parse_scope(text)
    assert scope == value
    assert str(scope) == canonical
    assert parse_scope(canonical) == value


@pytest.mark.covers("SCOPE-03", "SCOPE-05")
@pytest.mark.parametrize(("text", "part"), INVALID.items())
def test_scope_when_not_understood_then_is_an_error_that_names_the_part(
    text: str, part: str
) -> None:
    """Nothing is taken for a scope that is not one; the developer reads why."""
    with pytest.raises(ConfigurationError) as caught:
        parse_scope(text)
    assert str(caught.value).startswith(f"scope {text!a}: {part}: ")
    assert str(caught.value).isascii()


@pytest.mark.parametrize(
    ("longest", "too_long"),
    [
        (f"app.{'x' * 63}.post", f"app.{'x' * 64}.post"),
        (f"app.example.{'x' * 63}", f"app.example.{'x' * 64}"),
        (f"a.{'a.' * 150}{'b' * 15}", f"a.{'a.' * 150}{'b' * 16}"),
    ],
)
def test_nsid_when_as_long_as_may_be_then_is_one(longest: str, too_long: str) -> None:
    """Labels have 63 characters at most, names 317."""
    assert parse_scope(f"repo:{longest}") == RepoPermission(collection=(longest,))
    with pytest.raises(ConfigurationError):
        RepoPermission(collection=(too_long,))


def test_error_when_the_text_is_long_then_is_short() -> None:
    """A message stays readable whatever it is about."""
    with pytest.raises(ConfigurationError) as caught:
        parse_scope("x" * 100_000)
    assert len(str(caught.value)) < 300


def test_permission_when_made_by_hand_then_is_checked_like_text() -> None:
    """A value that exists is a right one, in its canonical form."""
    made = RepoPermission(
        collection=("b.c.d", "a.b.c", "b.c.d"), action=("delete",) * 2
    )
    assert made == parse_scope("repo?collection=a.b.c&collection=b.c.d&action=delete")
    with pytest.raises(ConfigurationError, match="action"):
        RepoPermission(collection=("a.b.c",), action=())
    with pytest.raises(ConfigurationError, match="collection"):
        RepoPermission(collection=())


@relaxed
@given(any_scopes | st.text())
def test_text_when_it_is_anything_then_raises_only_our_error(text: str) -> None:
    """Either a scope, or an error of ours; a scope survives being printed and read."""
    try:
        scope = parse_scope(text)
    except ConfigurationError:
        return
    assert parse_scope(str(scope)) == scope
    assert str(parse_scope(str(scope))) == str(scope)
    assert pickle.loads(pickle.dumps(scope)) == scope  # noqa: S301 - our own
    assert " " not in str(scope)
