from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atproto_oauth_asgi.exceptions import ConfigurationError
from atproto_oauth_asgi.scopes import ScopesSet, find_scope_warnings
from tests.scopes.strategies import any_scopes, good_scopes, relaxed

AUD = "aud=did:web:api.example.com%23svc"
FULL = "include:com.example.authFull"

# What was granted, what is needed, what is declared; what to ask for.
ASKED = {
    "the narrowest declared scope": (
        "atproto",
        "repo:com.example.post?action=create",
        (
            "atproto transition:generic repo:* repo:com.example.post"
            " repo:com.example.post?action=create repo:com.example.post?action=delete"
        ),
        "atproto repo:com.example.post?action=create",
    ),
    "the only one that brings it": (
        "atproto",
        "repo:com.example.post?action=create",
        "atproto blob:*/* transition:generic",
        "atproto transition:generic",
    ),
    "several that bring it together": (
        "atproto",
        "repo:com.example.post?action=create&action=update",
        "atproto repo:com.example.post?action=update repo:*?action=create",
        "atproto repo:*?action=create repo:com.example.post?action=update",
    ),
    "one for all, if it brings all": (
        "atproto",
        "repo?collection=com.example.post&collection=com.example.like",
        "atproto repo:*",
        "atproto repo:*",
    ),
    "as it is declared": (
        "atproto",
        "account:repo?action=manage",
        "atproto account?action=manage&attr=repo",
        "atproto account?action=manage&attr=repo",
    ),
    "what is there too": (
        "atproto repo:com.example.post",
        "blob:image/png",
        "atproto repo:com.example.post repo:com.example.like blob:image/*",
        "atproto repo:com.example.post blob:image/*",
    ),
    "what is there in other words": (
        "atproto account:repo?action=manage repo:com.example.post",
        "blob:image/png",
        (
            "atproto account?action=manage&attr=repo blob:image/*"
            " repo:com.example.post?action=create"
        ),
        (
            "atproto account?action=manage&attr=repo repo:com.example.post?action=create"
            " blob:image/*"
        ),
    ),
    "nothing broader than what is there": (
        "atproto repo:com.example.post?action=create",
        "blob:image/png",
        "atproto repo:com.example.post blob:image/* transition:email",
        "atproto blob:image/*",
    ),
    "nothing twice": (
        "atproto transition:generic",
        "account:email",
        "atproto transition:generic repo:com.example.post transition:email",
        "atproto transition:generic transition:email",
    ),
    "nothing new if nothing is missing": (
        "atproto transition:generic",
        "repo:com.example.post",
        "atproto transition:generic repo:com.example.post",
        "atproto transition:generic",
    ),
    "what is not understood, where it is declared": (
        "atproto space:a space:b",
        "blob:image/png",
        "atproto space:a space:c blob:image/*",
        "atproto space:a blob:image/*",
    ),
    "nothing that is not declared": (
        "atproto repo:com.example.like",
        "blob:image/png",
        "atproto blob:image/*",
        "atproto blob:image/*",
    ),
    "a set that was granted by its name": (
        f"atproto {FULL}",
        "blob:image/png",
        f"atproto {FULL} blob:image/*",
        f"atproto {FULL} blob:image/*",
    ),
    "a set that was granted by what it holds": (
        "atproto repo:com.example.post",
        "blob:image/png",
        f"atproto {FULL} include:org.other.authFull blob:image/*",
        f"atproto {FULL} blob:image/*",
    ),
    "no set that explains nothing": (
        "atproto repo:com.example.post",
        "blob:image/png",
        f"atproto {FULL} repo:com.example.post blob:image/*",
        "atproto repo:com.example.post blob:image/*",
    ),
    "no set that explains what is there in other words": (
        "atproto repo?collection=com.example.post",
        "blob:image/png",
        f"atproto {FULL} repo:com.example.post blob:image/*",
        "atproto repo:com.example.post blob:image/*",
    ),
    "nothing that another one brings": (
        "atproto",
        "repo:com.example.post?action=create&action=update",
        "atproto repo:com.example.post?action=update repo:com.example.post",
        "atproto repo:com.example.post",
    ),
    "all sets that may bring it": (
        "atproto",
        "repo:com.example.post",
        f"atproto {FULL} include:com.example.authPosts?{AUD} include:org.other.authFull",
        f"atproto {FULL} include:com.example.authPosts?{AUD}",
    ),
    "a scope that is sure before a set": (
        "atproto",
        "repo:com.example.post",
        f"atproto {FULL} repo:*",
        "atproto repo:*",
    ),
    "atproto, always": (
        "",
        "blob:image/png",
        "blob:image/* atproto",
        "atproto blob:image/*",
    ),
}


@pytest.mark.parametrize(
    ("granted", "needed", "declared", "expected"), ASKED.values(), ids=ASKED
)
def test_next_login_when_something_is_missing_then_asks_for(
    granted: str, needed: str, declared: str, expected: str
) -> None:
    """A second login asks for what is missing and keeps the rest, as declared."""
    assert ScopesSet(granted).ask_for(needed, declared=declared) == expected


def test_next_login_when_nothing_is_declared_then_asks_for_the_narrowest() -> None:
    """Without a list to choose from, just what is missing is added."""
    granted = ScopesSet("repo:com.example.post atproto space:x")
    assert granted.ask_for("repo:com.example.post blob:image/png") == (
        "atproto repo:com.example.post space:x blob:image/png"
    )
    assert granted.ask_for("blob:image/png", declared="") == (
        "atproto repo:com.example.post space:x blob:image/png"
    )


def test_next_login_when_nothing_declared_brings_it_then_is_an_error() -> None:
    """A need that no login can meet is a mistake of the developer."""
    declared = ["atproto", "repo:com.example.post", "include:org.other.authFull"]
    expected = "repo:com.example.like.action=create, which is needed"
    with pytest.raises(ConfigurationError, match=expected):
        ScopesSet("atproto").ask_for("repo:com.example.like", declared=declared)


@relaxed
@given(
    granted=st.lists(any_scopes, max_size=5),
    needed=good_scopes,
    declared=st.lists(any_scopes, min_size=1, max_size=8),
)
def test_next_login_when_anything_then_is_declared_and_enough(
    granted: list[str], needed: str, declared: list[str]
) -> None:
    """It is a part of what is declared, has nothing twice, and may bring what is needed."""
    declared = ["atproto", *(text for text in declared if text)]
    before = ScopesSet(granted)
    try:
        asked = before.ask_for(needed, declared=declared)
    except ConfigurationError:
        return
    texts = asked.split(" ")
    assert set(texts) <= set(declared)
    assert len(set(texts)) == len(texts)
    assert texts[0] == "atproto"
    after = ScopesSet(asked)
    missing = before.missing(needed)
    assert all(after.check(each) != "no" for each in missing)


def test_warnings_when_a_scope_is_odd_then_name_it() -> None:
    """What no server will grant, and chat without its companion, are told."""
    assert find_scope_warnings("atproto transition:generic transition:chat.bsky") == ()
    assert find_scope_warnings("atproto transition:chat.bsky") == (
        "transition:chat.bsky needs transition:generic beside it",
    )
    openid, wildcard = find_scope_warnings("atproto openid repo:com.example.*")
    assert openid.startswith("no server is known to grant this: scope 'openid': ")
    assert "'repo:com.example.*': collection: an NSID" in wildcard
