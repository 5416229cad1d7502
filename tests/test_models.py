from __future__ import annotations

import copy
import dataclasses
import json
import logging
import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atproto_oauth_asgi.crypto.keys import (
    export_private_key,
    generate_private_key,
    private_jwk,
)
from atproto_oauth_asgi.exceptions import StoreError
from atproto_oauth_asgi.models import (
    OAuthSession,
    OAuthState,
    TokenResponse,
    deserialize_oauth_session,
    deserialize_oauth_state,
    serialize_oauth_session,
    serialize_oauth_state,
)

KEY = generate_private_key()
NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
SESSION = OAuthSession(
    did="did:plc:aaaaaaaaaaaaaaaaaaaaaaaa",
    handle="alice.example.com",
    pds_url="https://pds.example.com",
    authserver_iss="https://as.example.com",
    access_token="canary-access",
    refresh_token="canary-refresh",
    dpop_private_key=KEY,
    dpop_authserver_nonce="canary-nonce-1",
    dpop_pds_nonce="canary-nonce-2",
    scope="atproto",
    expires_at=NOW + timedelta(hours=1),
    created_at=NOW,
    session_id="session-1",
    kid="key-1",
    app_state="canary-app-state",
    verified_at=NOW,
)
STATE = OAuthState(
    state="canary-state",
    pkce_verifier="canary-verifier",
    redirect_uri="https://app.example.com/oauth/callback",
    scope="atproto",
    authserver_iss="https://as.example.com",
    dpop_private_key=KEY,
    dpop_authserver_nonce="canary-nonce",
    did="did:plc:aaaaaaaaaaaaaaaaaaaaaaaa",
    handle="alice.example.com",
    pds_url="https://pds.example.com",
    created_at=NOW,
    extra='{"canary":"extra"}',
)
TOKENS = TokenResponse(
    access_token="canary-access", refresh_token="canary-refresh", sub="d", scope="s"
)
SECRETIVE = [SESSION, STATE, TOKENS]

Read = Callable[[str], Any]
BOTH = pytest.mark.parametrize(
    ("text", "read"),
    [
        (serialize_oauth_session(SESSION), deserialize_oauth_session),
        (serialize_oauth_state(STATE), deserialize_oauth_state),
    ],
    ids=["session", "state"],
)


def values_of(value: Any) -> dict[str, Any]:
    found = {name: getattr(value, name) for name in value._names}
    found["dpop_private_key"] = export_private_key(value.dpop_private_key)
    return found


# --- there and back ----------------------------------------------------------------


@pytest.mark.covers("TOK-17")
def test_session_when_read_back_then_is_the_same() -> None:
    """Every field survives, the key and the times included."""
    read = deserialize_oauth_session(serialize_oauth_session(SESSION))
    assert values_of(read) == values_of(SESSION)
    assert read.expires_at is not None
    assert read.expires_at.tzinfo is UTC


@pytest.mark.covers("PAR-11")
def test_state_when_read_back_then_is_the_same() -> None:
    """Every field of a pending login survives, ``extra`` included."""
    read = deserialize_oauth_state(serialize_oauth_state(STATE))
    assert values_of(read) == values_of(STATE)


def test_session_when_fields_are_missing_then_comes_back_so() -> None:
    """What is None stays None, and takes no room."""
    bare = SESSION.replace(
        handle=None, refresh_token=None, expires_at=None, kid=None, app_state=None
    )
    text = serialize_oauth_session(bare)
    assert values_of(deserialize_oauth_session(text)) == values_of(bare)
    assert "null" not in text


# Microseconds, until the year 2096.
TIMES = st.integers(0, 4_000_000_000_000_000)


@given(text=st.text(), time_us=TIMES)
def test_session_when_text_and_times_are_odd_then_they_survive(
    text: str, time_us: int
) -> None:
    """Any text, and times to the microsecond."""
    moment = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=time_us)
    session = SESSION.replace(app_state=text, scope=text, expires_at=moment)
    read = deserialize_oauth_session(serialize_oauth_session(session))
    assert values_of(read) == values_of(session)


def test_times_when_defaulted_then_are_aware() -> None:
    """A session that is made by hand has an aware time."""
    made = OAuthSession(
        did="d",
        pds_url="p",
        authserver_iss="i",
        access_token="a",
        dpop_private_key=KEY,
        scope="s",
    )
    assert made.created_at.tzinfo is UTC


# --- what is not ours --------------------------------------------------------------


def change(text: str, **changes: Any) -> str:
    return json.dumps(json.loads(text) | changes)


@BOTH
@pytest.mark.covers("SESS-11", "SES-07", "ASG-15")
@pytest.mark.parametrize(
    "changes",
    [
        {"v": 2},
        {"v": None},
        {"kind": "other"},
        {"unknown": "x"},
        {"scope": 5},
        {"scope": ["atproto"]},
        {"scope": None},
        {"created_at": "2026-01-01"},
        {"created_at": 1e300},
        {"created_at": None},
        {"created_at": [1]},
        {"dpop_private_key": 5},
        {"dpop_private_key": None},
        {"dpop_private_key": "AAAA"},
        {"dpop_private_key": "é"},
    ],
    ids=str,
)
def test_reading_when_something_is_wrong_then_raises(
    text: str, read: Read, changes: dict[str, Any]
) -> None:
    """Another version, kind, field or type is refused, and nothing else happens."""
    read(change(text))
    with pytest.raises(StoreError):
        read(change(text, **changes))


@BOTH
def test_reading_when_the_other_kind_then_raises(text: str, read: Read) -> None:
    """A session is no pending login, nor the other way round."""
    others = {serialize_oauth_session(SESSION), serialize_oauth_state(STATE)} - {text}
    with pytest.raises(StoreError):
        read(others.pop())


@BOTH
@pytest.mark.parametrize(
    "damaged",
    ["", "null", "[]", "5", '"x"', "{}", "[" * 100_000, '{"v":1}', "\x80\x04K\x01."],
    ids=range(9),
)
def test_reading_when_not_ours_at_all_then_raises(
    text: str, read: Read, damaged: str
) -> None:
    """Whatever a store brings, it is a StoreError or a value."""
    with pytest.raises(StoreError):
        read(damaged)


@given(st.text() | st.from_regex(r'\{"v":1,"kind":"session",[^{}]*\}', fullmatch=True))
def test_reading_when_any_text_then_raises_our_error_only(text: str) -> None:
    """No text brings down the reader."""
    with pytest.raises(StoreError):
        deserialize_oauth_session(text)


@BOTH
@pytest.mark.covers("LOG-02", "SESS-10")
def test_reading_when_cut_off_then_error_holds_no_secret(text: str, read: Read) -> None:
    """The error, its causes and their attributes do not hold the text."""
    with pytest.raises(StoreError) as caught:
        read(text[:-1])
    error: BaseException | None = caught.value
    while error is not None:
        assert "canary" not in f"{error!r} {vars(error)} {getattr(error, 'doc', '')}"
        error = error.__cause__ or error.__context__


# --- secrets stay inside -----------------------------------------------------------


@pytest.mark.covers("LOG-01", "DPOP-22", "SESS-09")
@pytest.mark.parametrize("value", SECRETIVE, ids=lambda value: type(value).__name__)
def test_value_when_shown_then_hides_its_secrets(value: Any) -> None:
    """No way of turning it into text shows a secret."""
    record = logging.LogRecord("x", 10, "f", 1, "%s %r", (value, value), None)
    shown = [repr(value), str(value), f"{value}", f"{value!r:>9}", f"{[value]}"]
    for text in [*shown, record.getMessage()]:
        assert "canary" not in text
        assert private_jwk(KEY)["d"] not in text


@pytest.mark.covers("LOG-01", "DPOP-22", "SESS-09")
@pytest.mark.parametrize("value", SECRETIVE, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize(
    "spill",
    [
        dataclasses.asdict,
        dataclasses.astuple,
        dataclasses.fields,
        pickle.dumps,
        copy.copy,
        copy.deepcopy,
        json.dumps,
        vars,
    ],
    ids=lambda function: function.__name__,
)
def test_value_when_spilled_then_refuses(
    value: Any, spill: Callable[[Any], Any]
) -> None:
    """Nothing takes it apart in passing; the error shows nothing either."""
    with pytest.raises(TypeError) as caught:
        spill(value)
    assert "canary" not in str(caught.value)


def test_session_when_shown_then_says_whose_it_is() -> None:
    """What helps in a log is there."""
    assert SESSION.did in repr(SESSION)
    assert "https://pds.example.com" in repr(SESSION)


# --- frozen ------------------------------------------------------------------------


def test_session_when_changed_then_is_refused() -> None:
    """A session is never changed in place."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        SESSION.did = "did:plc:bbbbbbbbbbbbbbbbbbbbbbbb"  # type: ignore[misc]
    with pytest.raises((AttributeError, TypeError)):
        SESSION.extra = "x"  # type: ignore[attr-defined]


def test_session_when_replaced_then_gives_a_new_one() -> None:
    """A change gives a copy; the old one stays, and unknown fields are refused."""
    changed = SESSION.replace(access_token="other")
    assert (changed.access_token, SESSION.access_token) == ("other", "canary-access")
    assert changed.did == SESSION.did
    with pytest.raises(TypeError):
        SESSION.replace(acces_token="x")
