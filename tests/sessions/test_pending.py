from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atproto_oauth_asgi.exceptions import (
    OAuthError,
    OAuthStateError,
    StoreError,
    WrongBrowser,
)
from atproto_oauth_asgi.models import AuthServerMetadata, OAuthState
from atproto_oauth_asgi.network.identity import Identity
from atproto_oauth_asgi.protocol.identifiers import Did, Handle
from atproto_oauth_asgi.sessions.pending import (
    AuthorizationRequest,
    KnownServer,
    check_age,
    check_binding,
    new_pending,
    read_extra,
    with_server,
)
from atproto_oauth_asgi.sessions.wish import LoginWish
from tests.network.atproto import (
    ALICE,
    HANDLE,
    ISSUER,
    PDS,
    REDIRECT_URI,
)

NOW = 1_750_000_000.0
WISH = LoginWish(
    scope="atproto",
    redirect_uri=REDIRECT_URI,
    app_state="canary-app-state",
    binding="canary-binding",
    kid="key-1",
    prompts=(),
    parameters={},
)


def pending(**changes: Any) -> OAuthState:
    identity = Identity(did=Did(ALICE), handle=Handle(HANDLE), pds_url=PDS)
    made = new_pending(WISH, identity=identity, issuer=ISSUER, now=NOW)
    return made.replace(**changes)


@pytest.mark.covers("PAR-11", "PAR-14")
def test_pending_when_made_then_remembers_what_the_callback_needs() -> None:
    """Account, server, redirect URI, scope, key and time."""
    made = pending()
    assert (made.did, made.handle, made.pds_url) == (ALICE, HANDLE, PDS)
    assert (made.authserver_iss, made.redirect_uri) == (ISSUER, REDIRECT_URI)
    assert (made.scope, made.created_at.timestamp()) == ("atproto", NOW)
    # A store that writes times as text needs to know what they are counted from.
    assert made.created_at.tzinfo is UTC
    extra = read_extra(made)
    assert (extra.kid, extra.app_state) == ("key-1", "canary-app-state")


@pytest.mark.covers("DISC-19")
def test_pending_when_a_server_was_named_then_is_bound_to_it_alone() -> None:
    """Only such a login is for anyone; losing the account does not make it one."""
    made = new_pending(WISH, identity=None, issuer=ISSUER, now=NOW)
    assert (made.did, made.handle, made.pds_url) == (None, None, None)
    assert (made.authserver_iss, read_extra(made).is_for_anyone) == (ISSUER, True)
    assert not read_extra(pending(did=None)).is_for_anyone


@pytest.mark.covers("PAR-08", "PAR-10", "DPOP-01", "LGN-13")
def test_pending_when_many_then_share_nothing_secret() -> None:
    """State, verifier and key are new for every login."""
    many = [pending() for _ in range(100)]
    assert len({each.state for each in many}) == 100
    assert len({each.pkce_verifier for each in many}) == 100
    points = {each.dpop_private_key.public_key().public_numbers().x for each in many}
    assert len(points) == 100


@pytest.mark.covers("PAR-10")
def test_state_when_decoded_then_says_nothing() -> None:
    """It is 256 random bits in base64url: no path, DID or key lies in it."""
    state = pending().state
    assert len(base64.urlsafe_b64decode(state + "=")) == 32


@pytest.mark.covers("CB-06", "SESS-02")
def test_extra_when_read_then_holds_a_hash_of_the_binding() -> None:
    """Who reads the store cannot end the login in another browser."""
    made = pending()
    assert "canary-binding" not in made.extra
    assert "canary" not in repr(made) + repr(read_extra(made)) + repr(WISH)


@pytest.mark.parametrize("app_state", [None, "", 'é"\\\x00', "x" * 5000])
def test_app_state_when_odd_then_comes_back(app_state: str | None) -> None:
    """What the application passes is given back unchanged."""
    identity = Identity(did=Did(ALICE), handle=None, pds_url=PDS)
    wish = LoginWish(
        scope="atproto",
        redirect_uri=REDIRECT_URI,
        app_state=app_state,
        binding="b",
        kid=None,
        prompts=(),
        parameters={},
    )
    made = new_pending(wish, identity=identity, issuer=ISSUER, now=NOW)
    assert read_extra(made).app_state == app_state


@pytest.mark.parametrize(
    "extra",
    [
        "",
        "null",
        "[]",
        "{}",
        "not json",
        "[" * 100_000,
        '{"binding":"x"}',
        '{"binding":5,"kid":null,"app_state":null}',
        '{"binding":null,"kid":null,"app_state":null}',
        '{"binding":"x","kid":[],"app_state":null}',
        None,
        5,
    ],
    ids=range(12),
)
def test_extra_when_store_lost_it_then_says_so(extra: Any) -> None:
    """A store that drops what is ours fails closed, and is named."""
    with pytest.raises(StoreError, match="state store"):
        read_extra(pending(extra=extra))
    with pytest.raises(StoreError):
        check_binding(pending(extra=extra), "canary-binding")


JSON = st.recursive(st.none() | st.text() | st.integers(), st.lists, max_leaves=3)


@given(
    st.text()
    | st.fixed_dictionaries({"binding": JSON, "kid": JSON, "app_state": JSON}).map(
        json.dumps
    ),
    st.text(st.characters(), max_size=20),
)
def test_binding_when_anything_then_raises_our_errors_only(
    extra: str, binding: str
) -> None:
    """Nothing from a store or a cookie brings it down."""
    with pytest.raises(OAuthError):
        check_binding(pending().replace(extra=extra), binding)


@pytest.mark.covers("CB-06", "CRYPT-01", "WEB-16")
def test_binding_when_right_then_passes() -> None:
    """The browser that began may end."""
    made = pending()
    check_binding(made, "canary-binding")
    for wrong in (
        "",
        "canary-bindinG",
        "canary-binding ",
        "é",
        "\ud800",
        "x" * 100_000,
    ):
        with pytest.raises(WrongBrowser):
            check_binding(made, wrong)


@pytest.mark.covers("CB-04")
def test_binding_when_login_is_unknown_then_says_so() -> None:
    """Whether the binding is right plays no part then; the words are those of old."""
    with pytest.raises(OAuthStateError, match="Invalid or expired state parameter"):
        check_binding(None, "canary-binding")


@pytest.mark.covers("CB-18", "PAR-12", "LGN-12")
def test_age_when_more_than_ten_minutes_then_is_too_old() -> None:
    """The time in the record counts; one that is too old is like one that is not."""
    check_age(pending(), now=NOW)
    check_age(pending(), now=NOW + 600)
    with pytest.raises(OAuthStateError, match="Invalid or expired state parameter"):
        check_age(pending(), now=NOW + 601)


@pytest.mark.covers("LOG-01")
def test_request_when_made_then_is_a_pair_and_more() -> None:
    """It unpacks like the pair it was, and the binding is in no repr."""
    request = AuthorizationRequest("https://as/x", "state-1", "canary-binding")
    url, state = request
    assert (url, state) == ("https://as/x", "state-1") == request
    assert request.browser_binding == "canary-binding"
    assert "canary" not in repr(request)


SERVER = AuthServerMetadata(
    issuer=ISSUER,
    authorization_endpoint=f"{ISSUER}/authorize",
    token_endpoint=f"{ISSUER}/token",
    pushed_authorization_request_endpoint=f"{ISSUER}/par",
)


@pytest.mark.parametrize("revocation", [None, f"{ISSUER}/revoke"])
def test_with_server_when_read_then_knows_where_the_login_ends(
    revocation: str | None,
) -> None:
    """Another process needs no metadata; all else stays as it was."""
    server = replace(SERVER, revocation_endpoint=revocation)
    made = with_server(pending(), server, dpop_nonce="n-1")
    known = KnownServer(
        issuer=ISSUER,
        token_endpoint=SERVER.token_endpoint,
        revocation_endpoint=revocation,
    )
    assert read_extra(made).server == known
    assert replace(read_extra(made), server=None) == read_extra(pending())
    assert made.dpop_authserver_nonce == "n-1"


@pytest.mark.parametrize(
    "members", ["text", [], {}, {"token": "t"}, {"token": 1, "revoke": None}]
)
def test_read_extra_when_the_server_is_not_as_written_then_names_the_store(
    members: object,
) -> None:
    """What a store has changed is used for nothing."""
    extra = {"binding": "", "kid": None, "app_state": None, "server": members}
    with pytest.raises(StoreError):
        read_extra(pending(extra=json.dumps(extra)))
