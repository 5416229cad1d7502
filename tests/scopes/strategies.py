"""Scopes, right and wrong, for property tests."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

relaxed = settings(suppress_health_check=[HealthCheck.too_slow])
"""For machines that are busy."""

NSIDS = [
    "com.example.post",
    "com.example.like",
    "com.example.feed.getFeed",
    "com.example-two.post",
    "org.other.thing",
    "chat.bsky.convo.getLog",
    "a.b.c",
]
NOT_NSIDS = [
    "",
    "com.example",
    "com.example.*",
    "com.example.1st",
    "1com.example.post",
    "com..post",
    "com.-example.post",
    "com.example.a-b",
    f"com.{'x' * 64}.post",
    f"{'a.' * 150}{'b' * 18}",
]
SERVICES = [
    "did:web:api.example.com#service",
    "did:web:other.example.org#svc_appview",
    "did:plc:ewvi7nxzyoun6zhxrhs64oiz#atproto_labeler",
    "did:web:api.example.com#a/b:c@d,e-f_g.h",
]
NOT_SERVICES = [
    "",
    "did:web:api.example.com",
    "did:web:api.example.com#",
    "did:web:api.example.com#a#b",
    "did:web:api.example.com#a b",
    "did:plc:short#service",
    "did:key:z6Mk#service",
    "api.example.com#service",
]
TYPES = ["image/png", "image/jpeg", "image/svg+xml", "video/mp4", "text/x.y-z"]
PATTERNS = [*TYPES, "image/*", "video/*", "*/*"]
NOT_PATTERNS = ["", "image", "*", "*/png", "image/", "/png", "image/png/x", "im ge/a"]

VALUES: dict[str, dict[str, list[str]]] = {
    "repo": {
        "collection": [*NSIDS, "*", *NOT_NSIDS],
        "action": ["create", "update", "delete", "", "read", "Create"],
    },
    "rpc": {
        "lxm": [*NSIDS, "*", *NOT_NSIDS],
        "aud": [*SERVICES, "*", *NOT_SERVICES],
    },
    "blob": {"accept": [*PATTERNS, *NOT_PATTERNS]},
    "account": {
        "attr": ["email", "repo", "status", "*", "", "name"],
        "action": ["read", "manage", "", "create"],
    },
    "identity": {"attr": ["handle", "*", "", "did"]},
    "include": {
        "nsid": [*NSIDS, "*", *NOT_NSIDS],
        "aud": [*SERVICES, "*", *NOT_SERVICES],
    },
}
GOOD: dict[str, dict[str, list[str]]] = {
    "repo": {"collection": [*NSIDS, "*"], "action": ["create", "update", "delete"]},
    "rpc": {"lxm": [*NSIDS, "*"], "aud": [*SERVICES, "*"]},
    "blob": {"accept": PATTERNS},
    "account": {"attr": ["email", "repo", "status"], "action": ["read", "manage"]},
    "identity": {"attr": ["handle", "*"]},
    "include": {"nsid": NSIDS, "aud": SERVICES},
}
STATIC = [
    "atproto",
    "transition:generic",
    "transition:email",
    "transition:chat.bsky",
]
# Without `blob`, where most differences to the official library are.
WORDS = [
    "",
    *(resource for resource in VALUES if resource != "blob"),
    *("collection", "action", "lxm", "aud", "attr", "nsid"),
    *"::::????&&&&====*",
    *(quote(value, safe=":") for value in SERVICES[:3]),
    *("com.example.post", "create", "delete", "email", "handle", "manage", "%", "%2A"),
    *("transition:generic", "atproto", "#", "foo"),
]

_REPEATABLE = {("repo", "collection"), ("repo", "action"), ("rpc", "lxm")}
_REPEATABLE |= {("blob", "accept")}
_NEEDED = ("rpc", "aud")
_ODD_PAIRS = ["foo=1", "foo", "=", "=x", "", "Action=", "aud=*", "action=create"]


@st.composite
def scopes(draw: st.DrawFn, *, all_good: bool = False) -> str:
    """One scope. If all its values are good it may still lack one, or hold two."""
    resource = draw(st.sampled_from(sorted(VALUES)))
    positional, *others = VALUES[resource]
    named = [positional, *others]
    text = resource
    if draw(st.booleans()):
        value = draw(st.sampled_from(values_of(draw, resource, positional, all_good)))
        text += ":" + escaped(draw, value, safe=":/+@,")
        named = others if draw(st.integers(0, 9)) else named
    pairs = [
        pair for name in named for pair in pairs_of(draw, resource, name, all_good)
    ]
    if not all_good and draw(st.integers(0, 9)) == 0:
        pairs.append(draw(st.sampled_from(_ODD_PAIRS)))
    query = "&".join(draw(st.permutations(pairs)))
    return f"{text}?{query}" if query or draw(st.booleans()) else text


def values_of(draw: st.DrawFn, resource: str, name: str, all_good: bool) -> list[str]:
    is_good = all_good or draw(st.integers(0, 3))
    return (GOOD if is_good else VALUES)[resource][name]


def pairs_of(draw: st.DrawFn, resource: str, name: str, all_good: bool) -> list[str]:
    some = st.sampled_from(values_of(draw, resource, name, all_good))
    most = 3 if (resource, name) in _REPEATABLE else 1
    least = 1 if (resource, name) == _NEEDED and draw(st.integers(0, 9)) else 0
    is_blob = resource == "blob"  # of two that are equal, both are printed otherwise
    return [
        f"{name}={escaped(draw, value, safe=':/@,')}"
        for value in draw(st.lists(some, min_size=least, max_size=most, unique=is_blob))
    ]


def escaped(draw: st.DrawFn, value: str, *, safe: str) -> str:
    """Percent-encoded: where it must be, or once in a while everywhere."""
    if draw(st.integers(0, 9)) == 0:
        return "".join(f"%{ord(each):02x}" for each in value)
    return quote(value, safe=safe + "*")


@st.composite
def broken_scopes(draw: st.DrawFn) -> str:
    """A good scope with a word put in, a piece taken out, or both."""
    text = draw(scopes(all_good=True).filter(lambda text: not text.startswith("blob")))
    start = draw(st.integers(0, len(text)))
    end = start + draw(st.integers(0, 4))
    word = draw(st.sampled_from(WORDS))
    return f"{text[:start]}{word}{text[end:]}"


good_scopes = st.one_of(st.sampled_from(STATIC), scopes(all_good=True))
any_scopes = st.one_of(st.sampled_from(STATIC), scopes(), broken_scopes())


@st.composite
def atoms(draw: st.DrawFn) -> tuple[str, dict[str, str]]:
    """What a server checks: a resource, and one value for each parameter."""
    resource = draw(st.sampled_from(["repo", "rpc", "blob", "account", "identity"]))
    values = {**GOOD[resource]}
    if resource == "blob":
        values["accept"] = TYPES
    chosen = {name: draw(st.sampled_from(some)) for name, some in values.items()}
    if chosen == {"lxm": "*", "aud": "*"}:
        chosen["aud"] = SERVICES[0]
    return resource, chosen


def as_scope(resource: str, parameters: dict[str, str]) -> str:
    """The scope that asks for this."""
    pairs = (f"{name}={quote(value)}" for name, value in parameters.items())
    return f"{resource}?{'&'.join(pairs)}"


@st.composite
def entries(draw: st.DrawFn) -> dict[str, Any]:
    """One entry of a permission set."""
    resource = draw(st.sampled_from(["repo", "rpc", "rpc", "blob", "account"]))
    name = {"repo": "collection", "rpc": "lxm"}.get(resource, "accept")
    names = st.sampled_from([*NSIDS[:4], *NSIDS[:4], "org.other.thing", "*", "bad"])
    entry: dict[str, Any] = {"type": "permission", "resource": resource}
    entry[name] = draw(
        st.one_of(st.lists(names, max_size=3), st.lists(names, min_size=1), names)
    )
    optional: dict[str, list[Any]] = {
        "action": [["create"], ["update", "delete"], [], ["read"], "create", [1]],
        "aud": ["*", *SERVICES[:2], None, "", ["*"]],
        "inheritAud": [True, True, False, None, 1, "true"],
        "foo": ["bar"],
    }
    for key, values in optional.items():
        if draw(st.integers(0, 3 if key != "foo" else 15)) == 0:
            entry[key] = draw(st.sampled_from(values))
    return entry
