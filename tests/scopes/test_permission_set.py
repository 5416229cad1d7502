from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atproto_oauth_asgi.exceptions import ConfigurationError
from atproto_oauth_asgi.scopes import IncludeScope, ScopesSet, expand_include
from tests.scopes.strategies import relaxed

SERVICE = "did:web:api.example.com#svc_appview"
NSID = "app.example.feed.authFull"
SCOPE = IncludeScope(nsid=NSID, aud=SERVICE)
AUD = "aud=did:web:api.example.com%23svc_appview"


def lexicon(*permissions: object, nsid: str = NSID) -> dict[str, Any]:
    main = {"type": "permission-set", "title": "All", "permissions": [*permissions]}
    return {"lexicon": 1, "id": nsid, "defs": {"main": main}}


def repo(*collection: object, **others: object) -> dict[str, Any]:
    return {
        "type": "permission",
        "resource": "repo",
        "collection": [*collection],
        **others,
    }


def rpc(*lxm: object, **others: object) -> dict[str, Any]:
    return {"type": "permission", "resource": "rpc", "lxm": [*lxm], **others}


def expand(*permissions: object, scope: IncludeScope = SCOPE) -> list[str]:
    return [str(each) for each in expand_include(scope, lexicon(*permissions))]


@pytest.mark.covers("SCOPE-06")
def test_set_when_its_schema_is_known_then_gives_its_permissions() -> None:
    """Records, methods of any service, and methods of the service that is named."""
    assert expand(
        repo("app.example.feed.post"),
        repo("app.example.feed.like", action=["delete"]),
        rpc("app.example.feed.getFeed", "app.example.feed.getAll", inheritAud=True),
        rpc("app.example.feed.getSkeleton", aud="*"),
    ) == [
        "repo:app.example.feed.post",
        "repo:app.example.feed.like?action=delete",
        f"rpc?lxm=app.example.feed.getAll&lxm=app.example.feed.getFeed&{AUD}",
        "rpc:app.example.feed.getSkeleton?aud=*",
    ]


@pytest.mark.parametrize(
    ("name", "is_inside"),
    [
        ("app.example.feed.post", True),
        ("app.example.feed.deeper.post", True),
        ("app.example.feed.much.much.deeper.post", True),
        ("app.example.post", False),
        ("app.example.feed", False),
        ("app.example.feeds.post", False),
        ("app.example.actor.profile", False),
        ("app.example.Feed.post", False),
        ("org.other.feed.post", False),
        ("feed.app.example.post", False),
    ],
)
def test_set_when_it_reaches_out_then_gives_only_what_is_its_own(
    name: str, is_inside: bool
) -> None:
    """A set has authority over names beside and below its own, and no others."""
    found = expand(repo(name), rpc(name, aud="*"), repo("app.example.feed.like", name))
    assert len(found) == (3 if is_inside else 0)
    assert ScopesSet(str(SCOPE)).check(f"repo:{name}") == (
        "unknown" if is_inside else "no"
    )


NAME = "app.example.feed.post"
LEFT_OUT = {
    "a wildcard": repo("*"),
    "a wildcard of methods": rpc("*", inheritAud=True),
    "no names": repo(),
    "a name that is none": repo("app.example"),
    "a name that is not text": repo(1),
    "a name beside what is not text": repo(NAME, 1),
    "names that are no list": repo() | {"collection": NAME},
    "an unknown action": repo(NAME, action=["create", "archive"]),
    "no action": repo(NAME, action=[]),
    "an action that is no list": repo(NAME, action="create"),
    "an unknown parameter": repo(NAME, until=["2030"]),
    "a parameter of the other resource": repo(NAME, aud="*"),
    "a named service": rpc(NAME, aud=SERVICE),
    "no service": rpc(NAME),
    "a service that is null": rpc(NAME, aud=None, inheritAud=True),
    "a list of services": rpc(NAME, aud=["*"]),
    "a service beside the inherited": rpc(NAME, aud="*", inheritAud=True),
    "inheritAud beside the service": rpc(NAME, aud="*", inheritAud=False),
    "inheritAud false": rpc(NAME, inheritAud=False),
    "inheritAud that is a number": rpc(NAME, inheritAud=1),
    "a file": {"type": "permission", "resource": "blob", "accept": ["*/*"]},
    "an account": {"type": "permission", "resource": "account", "attr": "email"},
    "another set": {"type": "permission", "resource": "include", "nsid": NSID},
    "an unknown resource": repo(NAME) | {"resource": "space"},
    "an unknown resource with a service": rpc(NAME, aud="*") | {"resource": "space"},
    "a resource that is not text": repo(NAME) | {"resource": ["repo"]},
    "no resource": {"type": "permission", "collection": [NAME]},
    "another type": repo(NAME) | {"type": "other"},
    "text": "repo:app.example.feed.post",
    "null": None,
}


@pytest.mark.covers("SCOPE-05")
@pytest.mark.parametrize("entry", LEFT_OUT.values(), ids=LEFT_OUT)
def test_entry_when_not_right_then_is_left_out_alone(entry: object) -> None:
    """What is not fully understood gives nothing, and does not spoil the rest."""
    assert expand(entry, repo("app.example.feed.like")) == [
        "repo:app.example.feed.like"
    ]


def test_method_when_no_service_is_named_then_is_not_inherited() -> None:
    """Without an audience in the scope, there is none to hand down."""
    scope = IncludeScope(nsid=NSID)
    assert expand(rpc(NAME, inheritAud=True), scope=scope) == []
    assert expand(rpc(NAME, aud="*"), scope=scope) == [f"rpc:{NAME}?aud=*"]


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"id": NSID},
        {"id": NSID, "defs": []},
        {"id": NSID, "defs": {"main": []}},
        {"id": NSID, "defs": {"main": {"type": "permission-set"}}},
        {"id": NSID, "defs": {"main": {"type": "permission-set", "permissions": {}}}},
        {"id": NSID, "defs": {"main": {"type": "record", "permissions": []}}},
        {**lexicon(), "id": "app.example.feed.authOther"},
        {**lexicon(), "id": [NSID]},
    ],
)
def test_schema_when_it_is_another_then_is_an_error(document: dict[str, Any]) -> None:
    """The schema of something else is not taken for that of the set."""
    with pytest.raises(ConfigurationError, match="permission set of this name"):
        expand_include(SCOPE, document)


def test_grant_when_expanded_then_answers_for_sure() -> None:
    """With the schema at hand, unknown becomes yes or no."""
    granted = ScopesSet(f"atproto {SCOPE} include:org.other.authFull")
    assert granted.check(f"repo:{NAME}") == "unknown"
    known = granted.expanded([lexicon(repo(NAME)), lexicon(nsid="a.b.c"), {"id": [1]}])
    assert list(known) == ["atproto", f"repo:{NAME}", "include:org.other.authFull"]
    assert known.check(f"repo:{NAME}") == "yes"
    assert known.check("repo:app.example.feed.like") == "no"
    assert known.check("repo:org.other.post") == "unknown"
    assert granted.check(f"repo:{NAME}") == "unknown"


def test_grant_when_expanded_with_a_wrong_schema_then_is_an_error() -> None:
    """A schema that bears the name of the set has to be its schema."""
    with pytest.raises(ConfigurationError):
        ScopesSet(str(SCOPE)).expanded([{"id": NSID}])


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda some: st.lists(some) | st.dictionaries(st.text(), some),
    max_leaves=6,
)


@relaxed
@given(st.lists(json | st.builds(repo, json) | st.builds(rpc, json, inheritAud=json)))
def test_entries_when_anything_then_nothing_outside_is_given(
    permissions: list[Any],
) -> None:
    """Whatever a schema holds: no other error, and no permission beyond its name."""
    for permission in expand_include(SCOPE, lexicon(*permissions)):
        assert all(map(SCOPE.may_grant, permission.atoms()))
