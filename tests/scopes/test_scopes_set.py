from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atproto_oauth_asgi.exceptions import ConfigurationError
from atproto_oauth_asgi.scopes import ScopeMissingError, ScopesSet, Verdict
from tests.scopes.strategies import any_scopes, good_scopes, relaxed

AUD = "aud=did:web:api.example.com%23svc"
SET = "include:com.example.authFull"

# What was granted, what is asked, the answer.
ANSWERS: list[tuple[str, str, Verdict]] = [
    ("atproto", "atproto", "yes"),
    ("", "atproto", "no"),
    ("atproto", "transition:generic", "no"),
    ("transition:generic", "transition:generic", "yes"),
    # repo
    ("repo:com.example.post", "repo:com.example.post", "yes"),
    ("repo:com.example.post", "repo:com.example.post?action=create", "yes"),
    ("repo:com.example.post", "repo:com.example.postscript", "no"),
    ("repo:com.example.post", "repo:com.example.Post", "no"),
    ("repo:com.example.post?action=create", "repo:com.example.post", "no"),
    (
        "repo:com.example.post?action=create",
        "repo:com.example.post?action=update",
        "no",
    ),
    ("repo:*", "repo:com.example.post", "yes"),
    ("repo:*", "repo:*?action=delete", "yes"),
    ("repo:*?action=delete", "repo:com.example.post?action=delete", "yes"),
    ("repo:*?action=delete", "repo:com.example.post?action=create", "no"),
    ("repo:com.example.post", "repo:*", "no"),
    (
        "repo:com.example.post?action=create repo:*?action=update&action=delete",
        "repo:com.example.post",
        "yes",
    ),
    (
        "repo:com.example.post repo:com.example.like",
        "repo?collection=com.example.like&collection=com.example.post",
        "yes",
    ),
    (
        "repo:com.example.post",
        "repo?collection=com.example.like&collection=com.example.post",
        "no",
    ),
    # rpc
    (f"rpc:com.example.getFeed?{AUD}", f"rpc:com.example.getFeed?{AUD}", "yes"),
    (f"rpc:com.example.getFeed?{AUD}", f"rpc:com.example.getFeed?{AUD}2", "no"),
    (f"rpc:com.example.getFeed?{AUD}", f"rpc:com.example.getLikes?{AUD}", "no"),
    (f"rpc:com.example.getFeed?{AUD}", "rpc:com.example.getFeed?aud=*", "no"),
    (f"rpc:com.example.getFeed?{AUD}", f"rpc:*?{AUD}", "no"),
    ("rpc:com.example.getFeed?aud=*", f"rpc:com.example.getFeed?{AUD}", "yes"),
    ("rpc:com.example.getFeed?aud=*", f"rpc:com.example.getLikes?{AUD}", "no"),
    (f"rpc:*?{AUD}", f"rpc:com.example.getFeed?{AUD}", "yes"),
    (f"rpc:*?{AUD}", f"rpc:*?{AUD}", "yes"),
    (f"rpc:*?{AUD}", f"rpc:com.example.getFeed?{AUD}2", "no"),
    (f"rpc:*?{AUD}", "rpc:com.example.getFeed?aud=*", "no"),
    ("rpc:*?aud=*", f"rpc:com.example.getFeed?{AUD}", "no"),
    # blob
    ("blob:*/*", "blob:image/png", "yes"),
    ("blob:*/*", "blob:image/*", "yes"),
    ("blob:*/*", "blob:*/*", "yes"),
    ("blob:image/*", "blob:image/png", "yes"),
    ("blob:image/*", "blob:image/*", "yes"),
    ("blob:image/*", "blob:*/*", "no"),
    ("blob:image/*", "blob:imagex/png", "no"),
    ("blob:image/*", "blob:video/mp4", "no"),
    ("blob:image/png", "blob:image/png", "yes"),
    ("blob:image/png", "blob:image/PNG", "no"),
    ("blob:image/png", "blob:image/*", "no"),
    ("blob:image/png", "blob?accept=image/png&accept=image/jpeg", "no"),
    # account
    ("account:email", "account:email", "yes"),
    ("account:email", "account:email?action=manage", "no"),
    ("account:email?action=manage", "account:email", "yes"),
    ("account:repo?action=manage", "account:email", "no"),
    # identity
    ("identity:handle", "identity:handle", "yes"),
    ("identity:handle", "identity:*", "no"),
    ("identity:*", "identity:handle", "yes"),
    ("identity:*", "account:email", "no"),
    # transitional scopes
    ("transition:generic", "repo:*", "yes"),
    ("transition:generic", "blob:*/*", "yes"),
    ("transition:generic", f"rpc:com.example.getFeed?{AUD}", "yes"),
    ("transition:generic", f"rpc:*?{AUD}", "yes"),
    ("transition:generic", f"rpc:chat.bsky.convo.getLog?{AUD}", "no"),
    ("transition:generic", f"rpc:chat.bskyx.convo.getLog?{AUD}", "yes"),
    ("transition:generic", "account:email", "no"),
    ("transition:generic", "identity:handle", "no"),
    ("transition:generic", "atproto", "no"),
    ("transition:chat.bsky", f"rpc:chat.bsky.convo.getLog?{AUD}", "yes"),
    ("transition:chat.bsky", f"rpc:com.example.getFeed?{AUD}", "no"),
    ("transition:chat.bsky", "repo:chat.bsky.actor.declaration", "no"),
    ("transition:email", "account:email", "yes"),
    ("transition:email", "account:email?action=manage", "no"),
    ("transition:email", "account:status", "no"),
    # include
    (SET, SET, "yes"),
    (f"{SET}?{AUD}", f"{SET}?{AUD}", "yes"),
    (f"{SET}?{AUD}", SET, "yes"),
    (SET, f"{SET}?{AUD}", "no"),
    (f"{SET}?{AUD}", f"{SET}?{AUD}2", "no"),
    (SET, "include:com.example.authSome", "no"),
    (SET, "repo:com.example.post?action=create", "unknown"),
    (SET, "repo:com.example.feed.post", "unknown"),
    (SET, f"rpc:com.example.getFeed?{AUD}", "unknown"),
    (SET, "rpc:com.example.getFeed?aud=*", "unknown"),
    (SET, "repo:com.examples.post", "no"),
    (SET, "repo:com.other.post", "no"),
    (SET, "repo:*", "no"),
    (SET, f"rpc:*?{AUD}", "no"),
    (SET, "blob:image/png", "no"),
    (SET, "account:email", "no"),
    (SET, "identity:handle", "no"),
    (SET, "atproto", "no"),
    ("include:com.example.feed.authFull", "repo:com.example.post", "no"),
    (SET, "repo:com.example.post repo:com.other.post", "no"),
    (
        f"{SET} repo:com.other.post",
        "repo:com.example.post repo:com.other.post",
        "unknown",
    ),
    # Servers tell what a set holds instead of its name.
    ("repo:com.example.post", SET, "unknown"),
    ("repo:com.example.feed.post", f"{SET}?{AUD}", "unknown"),
    (f"rpc:com.example.getFeed?{AUD}", SET, "unknown"),
    ("repo:com.example.post repo:com.other.post", SET, "unknown"),
    ("repo:com.other.post", SET, "no"),
    ("repo:*", SET, "no"),
    ("transition:generic", SET, "no"),
]

# Granted by a server that knows more, or by one that is wrong: it allows nothing.
NOT_UNDERSTOOD = [
    "repo:com.example.post?foo=1",
    "repo:com.example.post?action=create&until=2030",
    "repo:com.example.post?action=create&action=archive",
    "repo:com.example.*",
    "repo:com.example.post,com.example.like",
    "repo:com.example.post?collection=com.example.like",
    "repo:com.example.post%00",
    "REPO:com.example.post",
    "repo.com.example.post",
    "space:com.example.post",
    "transition:everything",
    "*",
    "repo:com.example.post\t",
    "repo:com.example.post\u00a0",
]


@pytest.mark.covers("SCOPE-04", "SCOPE-06")
@pytest.mark.parametrize(("granted", "asked", "answer"), ANSWERS)
def test_permission_when_asked_for_then_answer_is_right(
    granted: str, asked: str, answer: Verdict
) -> None:
    """Yes, no, or unknown; what is not surely granted is not allowed, and is missing."""
    scopes = ScopesSet(granted)
    assert scopes.check(asked) == answer
    assert scopes.allows(asked) is (answer == "yes")
    assert (scopes.missing(asked) == ()) is (answer == "yes")


@pytest.mark.covers("SCOPE-05")
@pytest.mark.parametrize("granted", NOT_UNDERSTOOD)
def test_grant_when_not_understood_then_is_kept_and_allows_nothing(
    granted: str,
) -> None:
    """A server may grant what it likes: nobody guesses what it means."""
    scopes = ScopesSet(f"atproto {granted}")
    assert list(scopes) == ["atproto", granted]
    assert granted in scopes
    assert str(scopes).split(" ") == sorted(["atproto", granted])
    for action in ("create", "update", "delete"):
        assert scopes.check(f"repo:com.example.post?action={action}") == "no"


@pytest.mark.covers("SCOPE-05")
@pytest.mark.parametrize(
    "asked", ["", " ", "bogus", "repo:x", "atproto ", [""], ["", ""]]
)
def test_question_when_not_understood_then_is_an_error(asked: str | list[str]) -> None:
    """Whoever misspells a permission finds out, also when everything is granted."""
    scopes = ScopesSet("atproto transition:generic bogus repo:x")
    for question in (scopes.allows, scopes.check, scopes.missing, scopes.require):
        with pytest.raises(ConfigurationError, match="scope '"):
            question(asked)
    with pytest.raises(ConfigurationError, match="scope '"):
        scopes.ask_for(asked)


def test_questions_when_several_then_all_have_to_be_granted() -> None:
    """One text with blanks, or several texts; nothing asked is nothing missing."""
    scopes = ScopesSet(["atproto repo:com.example.post", "blob:image/*"])
    assert scopes.allows("repo:com.example.post blob:image/png")
    assert scopes.allows(["repo:com.example.post", "blob:image/png atproto"])
    assert not scopes.allows(["repo:com.example.post", "blob:video/mp4"])
    assert scopes.missing(iter(["blob:video/mp4", "blob:image/png"])) == (
        "blob:video/mp4",
    )
    assert scopes.allows([])


MISSING = [
    ("", "repo:com.example.post", ["repo:com.example.post"]),
    (
        "repo:com.example.post?action=create",
        "repo:com.example.post",
        ["repo:com.example.post?action=update&action=delete"],
    ),
    (
        "repo:b.c.d?action=create",
        "repo?collection=d.e.f&collection=b.c.d&collection=c.d.e",
        [
            "repo:b.c.d?action=update&action=delete",
            "repo?collection=c.d.e&collection=d.e.f",
        ],
    ),
    (
        "",
        (
            "repo:a.b.c?action=delete repo:a.b.c?action=create"
            " repo:b.c.d?action=create&action=delete"
        ),
        ["repo?collection=a.b.c&collection=b.c.d&action=create&action=delete"],
    ),
    ("repo:b.c.d", "repo:* repo:b.c.d repo:c.d.e repo:c.d.e", ["repo:*"]),
    (
        "blob:image/*",
        "blob?accept=image/png&accept=video/mp4&accept=text/html",
        ["blob?accept=text/html&accept=video/mp4"],
    ),
    (
        f"rpc:a.b.c?{AUD}",
        f"rpc?lxm=a.b.c&lxm=b.c.d&lxm=c.d.e&{AUD} rpc:b.c.d?aud=*",
        ["rpc:b.c.d?aud=*", f"rpc?lxm=b.c.d&lxm=c.d.e&{AUD}"],
    ),
    (
        "account:email",
        "account:email?action=manage account:repo identity:* identity:handle",
        [
            "account:email?action=manage",
            "account:repo",
            "identity:*",
            "identity:handle",
        ],
    ),
    ("", f"{SET}?{AUD}", [f"{SET}?{AUD}"]),
    ("", SET, [SET]),
    ("", f"{SET} include:a.b.c?{AUD}", [f"include:a.b.c?{AUD}", SET]),
    (SET, f"{SET}?{AUD}", [f"{SET}?{AUD}"]),
    ("", "transition:generic atproto", ["atproto", "transition:generic"]),
]


@pytest.mark.parametrize(("granted", "asked", "missing"), MISSING)
def test_missing_when_some_is_granted_then_is_the_rest(
    granted: str, asked: str, missing: list[str]
) -> None:
    """Only what is not there is named, in as few scopes as can be, sorted."""
    assert list(ScopesSet(granted).missing(asked)) == missing


@relaxed
@given(granted=st.lists(any_scopes), asked=good_scopes)
def test_missing_when_it_is_granted_too_then_all_is_allowed(
    granted: list[str], asked: str
) -> None:
    """What is named as missing is enough; and each of it is needed."""
    before = ScopesSet(granted)
    try:
        missing = before.missing(asked)
    except ConfigurationError:
        return
    assert ScopesSet([*granted, *missing]).allows(asked)
    assert not any(before.allows(each) for each in missing)
    assert before.allows(asked) is (missing == ())


@relaxed
@given(st.lists(any_scopes | st.text()))
def test_set_when_made_of_anything_then_prints_and_reads_the_same(
    granted: list[str],
) -> None:
    """No grant raises; one that is printed and read again is the same one."""
    scopes = ScopesSet(granted)
    again = ScopesSet(str(scopes))
    assert again == scopes
    assert hash(again) == hash(scopes)
    assert str(again) == str(scopes)
    assert all(each in again for each in scopes)
    assert scopes.check("identity:*") in {"yes", "no"}


def test_set_when_used_as_a_collection_then_has_each_scope_once() -> None:
    """Scopes keep their order and spelling; other spellings are found too."""
    scopes = ScopesSet("repo?collection=a.b.c atproto  atproto repo:a.b.c ")
    assert list(scopes) == ["repo?collection=a.b.c", "atproto", "repo:a.b.c"]
    assert len(scopes) == 3
    assert "repo:a.b.c?action=create&action=delete&action=update" in scopes
    assert "repo:a.b.c?action=create" not in scopes
    assert 1 not in scopes
    assert str(scopes) == "atproto repo:a.b.c"
    assert repr(scopes) == ("ScopesSet('repo?collection=a.b.c atproto repo:a.b.c')")


def test_set_when_compared_then_meaning_counts_not_spelling() -> None:
    """Order and spelling make no difference; anything else is not equal."""
    scopes = ScopesSet("atproto account?attr=repo&action=manage")
    assert scopes == ScopesSet(["account:repo?action=manage", "atproto"])
    assert len({scopes, ScopesSet("account:repo?action=manage atproto")}) == 1
    assert scopes != ScopesSet("atproto")
    assert (scopes == "account:repo?action=manage atproto") is False
    assert ScopesSet() == ScopesSet("")


def test_require_when_granted_then_is_silent() -> None:
    """What is there is not asked for."""
    ScopesSet("atproto repo:com.example.post").require("repo:com.example.post")


def test_require_when_missing_then_error_says_what_to_ask_for() -> None:
    """The error has all that a second login needs, and no more."""
    granted = ScopesSet("atproto repo:com.example.post?action=create")
    with pytest.raises(ScopeMissingError) as caught:
        granted.require("repo:com.example.post")
    missing = "repo:com.example.post?action=update&action=delete"
    assert caught.value.missing == (missing,)
    assert caught.value.ask_for == (
        f"atproto repo:com.example.post?action=create {missing}"
    )
    assert str(caught.value) == f"the session lacks a permission: {missing}"
    assert caught.value.status_hint == 403
    with pytest.raises(ScopeMissingError) as caught:
        granted.require("repo:com.example.post", declared="atproto repo:*")
    assert caught.value.ask_for == "atproto repo:*"


def test_require_when_unknown_then_is_missing() -> None:
    """A permission that a set may hold is not one that is surely there."""
    with pytest.raises(ScopeMissingError):
        ScopesSet(f"atproto {SET}").require("repo:com.example.post")


def test_set_when_large_and_hostile_then_is_read() -> None:
    """64 KiB of anything are read, in steps that grow no faster than they do."""
    for granted in (
        "repo?" + "&".join(["collection=a.b.c"] * 3500),
        "repo?" + "&".join(["a=b"] * 16000),
        "rpc:" + "a." * 32000,
        "blob:" + "a" * 65000 + "/*",
        "repo:%" + "%25" * 21000,
    ):
        assert ScopesSet(granted).check("repo:b.c.d") == "no"
