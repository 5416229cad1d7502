"""A session in the browser's keeping opens where it was made for, while it lasts."""

from __future__ import annotations

import os

import pytest

from atproto_oauth_asgi.crypto.sealing import Sealer
from atproto_oauth_asgi.exceptions import SessionExpired
from atproto_oauth_asgi.models import OAuthSession
from atproto_oauth_asgi.sessions import lifecycle
from atproto_oauth_asgi.sessions.lifecycle import (
    OpenedSession,
    Past,
    Reference,
    SealedSessions,
    record_key,
)
from atproto_oauth_asgi.sessions.lifetime import Lifetime
from tests.sessions.making import (
    HOUR_S,
    MAX_AGE_S,
    NOW,
    SECRET,
    Clock,
    make_session,
    make_sessions,
    when,
)


def members_of(session: OAuthSession) -> dict[str, object]:
    names = [name for name in session._names if name != "dpop_private_key"]
    return {name: getattr(session, name) for name in names}


@pytest.mark.covers("ASGI-19", "COOKIE-03")
def test_sealed_when_opened_by_another_process_then_the_same_session() -> None:
    """Any worker with the same secret opens what another one has sealed."""
    session = make_session()
    sealed = make_sessions(Clock()).seal(session)
    opened = make_sessions(Clock()).read(sealed.value)
    assert isinstance(opened, OpenedSession)
    assert members_of(opened.session) == members_of(session)
    assert (opened.renewed_at, opened.seen_at) == (NOW, NOW)
    assert opened.value == sealed.value
    private = opened.session.dpop_private_key.private_numbers()
    assert private == session.dpop_private_key.private_numbers()


@pytest.mark.covers("COOKIE-03", "LOG-01")
def test_sealed_when_looked_at_then_holds_nothing_readable() -> None:
    """Neither the value nor any repr shows a token."""
    session = make_session()
    opened = make_sessions(Clock()).seal(session)
    assert session.access_token not in opened.value
    for secret in (session.access_token, session.refresh_token, opened.value):
        assert str(secret) not in repr(opened)


@pytest.mark.covers("COOKIE-04", "CKE-07")
def test_sealed_when_it_was_made_elsewhere_then_opens_as_nothing() -> None:
    """Another cookie, client or secret is another world."""
    sealed = make_sessions(Clock()).seal(make_session())
    options = {"clock": Clock(), "lifetime": Lifetime(limit_s=MAX_AGE_S)}
    elsewhere = SealedSessions((SECRET,), context="other", **options)  # type: ignore[arg-type]
    stranger = SealedSessions((os.urandom(32),), context="test", **options)  # type: ignore[arg-type]
    assert elsewhere.read(sealed.value) is None
    assert stranger.read(sealed.value) is None


@pytest.mark.covers("COOKIE-13", "CKE-13")
def test_sealed_when_keys_rotate_then_old_values_open_until_the_key_is_gone() -> None:
    """The first secret seals, all open, a removed one opens nothing."""
    old, new = SECRET, os.urandom(32)

    def having(*secrets: bytes) -> SealedSessions:
        options = {"clock": Clock(), "lifetime": Lifetime(limit_s=MAX_AGE_S)}
        return SealedSessions(secrets, context="test", **options)  # type: ignore[arg-type]

    by_old = having(old).seal(make_session()).value
    by_both = having(new, old).seal(make_session()).value
    assert having(new, old).read(by_old) is not None
    assert having(new).read(by_both) is not None
    assert having(new).read(by_old) is None
    assert having(old).read(by_both) is None


@pytest.mark.covers("COOKIE-05", "CKE-01", "CKE-02")
def test_sealed_when_changed_in_any_way_then_opens_as_nothing() -> None:
    """One value has one spelling, and no other opens."""
    sessions = make_sessions(Clock())
    value = sessions.seal(make_session()).value
    for index in {0, 1, 20, len(value) // 2, len(value) - 44, len(value) - 1}:
        flipped = [
            value[:index] + chr(ord(value[index]) ^ 1 << bit) + value[index + 1 :]
            for bit in range(8)
        ]
        assert [sessions.read(each) for each in flipped] == [None] * 8
    spellings = (value + "=", f'"{value}"', " " + value, value.replace(".", "%2e"), "")
    assert [sessions.read(each) for each in spellings] == [None] * len(spellings)


@pytest.mark.covers("SESS-06", "SESS-07", "SES-05", "COOKIE-06")
def test_sealed_when_the_login_is_too_old_then_is_over() -> None:
    """The age counts from the login: sealing anew does not make it younger."""
    clock = Clock()
    sessions = make_sessions(clock)
    session = make_session(created_at=when(NOW))
    first = sessions.seal(session)
    clock.now = NOW + MAX_AGE_S - 1
    second = sessions.seal(session)
    for each in (first, second):
        sessions.check(each)
        assert sessions.remaining_s(each) == pytest.approx(1)
        assert sessions.cookie_lifetime_s(each) == pytest.approx(1)
    clock.now += 1
    for reader in (sessions, make_sessions(clock)):
        for value in (first.value, second.value):
            opened = reader.read(value)
            assert isinstance(opened, OpenedSession)
            with pytest.raises(SessionExpired):
                reader.check(opened)


@pytest.mark.covers("SESS-06", "SES-05")
def test_sealed_when_the_limit_was_longer_then_the_shorter_counts() -> None:
    """An application that lets people in for shorter means those who are in as well."""
    clock = Clock()
    sealed = make_sessions(clock).seal(make_session(created_at=when(NOW)))
    for limit_s, expected_s in ((HOUR_S, HOUR_S), (2 * MAX_AGE_S, MAX_AGE_S)):
        reader = make_sessions(clock, max_age_s=limit_s)
        opened = reader.read(sealed.value)
        assert isinstance(opened, OpenedSession)
        assert reader.remaining_s(opened) == pytest.approx(expected_s)


@pytest.mark.covers("SESS-07", "SES-05")
def test_sealed_when_nobody_came_for_too_long_then_is_over() -> None:
    """A visit counts once it is noted, and noting it is not due at each."""
    clock = Clock()
    sessions = SealedSessions(
        (SECRET,),
        context="test",
        clock=clock,
        lifetime=Lifetime(limit_s=MAX_AGE_S, idle_timeout_s=HOUR_S),
    )
    opened = sessions.seal(make_session(created_at=when(NOW)))
    clock.now += 200
    assert not sessions.wants_to_be_seen(opened)
    clock.now += 200
    assert sessions.wants_to_be_seen(opened)
    seen = sessions.seal_seen(opened)
    clock.now = NOW + HOUR_S + 100
    with pytest.raises(SessionExpired):
        sessions.check(opened)
    sessions.check(seen)
    assert seen.renewed_at == opened.renewed_at
    # The cookie outlives it, so that the end can be told as what it is.
    assert sessions.cookie_lifetime_s(seen) > HOUR_S


@pytest.mark.covers("COOKIE-03", "LOG-01", "SESS-02")
def test_reference_when_sealed_then_opens_as_one_and_shows_nothing() -> None:
    """A browser holds who it is and which session, and nobody can read that."""
    session = make_session()
    made = make_sessions(Clock()).refer(session)
    assert make_sessions(Clock()).read(made.value) == made
    assert isinstance(made, Reference)
    assert (made.did, made.session_id) == (session.did, session.session_id)
    assert session.session_id not in made.value
    assert made.value not in repr(made)


@pytest.mark.parametrize("handle", ["alice.test", None])
def test_past_when_sealed_then_opens_as_one(handle: str | None) -> None:
    """Who it was and why it ended come back, and no token does."""
    made = make_sessions(Clock()).remember(
        "did:web:a.test", handle, code="account_moved"
    )
    assert make_sessions(Clock()).read(made.value) == made
    assert isinstance(made, Past)
    assert (made.did, made.handle, made.code) == (
        "did:web:a.test",
        handle,
        "account_moved",
    )


@pytest.mark.covers("COOKIE-06", "CKE-17", "ASG-14")
@pytest.mark.parametrize(("step_s", "is_open"), [(-30, True), (-600, False)])
def test_sealed_when_the_clock_is_set_back_then_a_minute_is_forgiven(
    step_s: float, is_open: bool
) -> None:
    """Whether the process had opened it before makes no difference."""
    clock = Clock()
    sessions = make_sessions(clock)
    value = sessions.seal(make_session()).value
    clock.now = NOW + step_s
    for reader in (sessions, make_sessions(clock)):
        assert (reader.read(value) is not None) is is_open


@pytest.mark.covers("SESS-11", "ASG-15")
@pytest.mark.parametrize(
    "text",
    [
        "",
        "session",
        "reference a b",
        "past a b c d",
        "{}",
        '{"v":1}',
        "one two three\n{}",
        "nan -\n{}",
        '1.0 -\n{"v":99,"kind":"session"}',
        "1.0 -\nnot json",
        '["a list", 1, null]',
        "\udcff",
    ],
)
def test_sealed_when_another_release_made_it_then_opens_as_nothing(text: str) -> None:
    """What is authentic but not understood is signed out, not a crash."""
    value = Sealer((SECRET,), purpose="session").seal(
        text.encode("utf-8", "surrogateescape"), context="test", now=NOW
    )
    assert make_sessions(Clock()).read(value) is None


def test_opened_when_there_are_many_then_memory_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only so many opened sessions are kept; the others are opened again."""
    monkeypatch.setattr(lifecycle, "_OPENED_KEPT", 3)
    sessions = make_sessions(Clock())
    values = [sessions.seal(make_session()).value for _ in range(5)]
    assert len(sessions._opened) == 3
    assert all(sessions.read(value) is not None for value in values)


@pytest.mark.covers("REF-01")
@pytest.mark.parametrize(
    ("lifetime_s", "margin_s"), [(HOUR_S, 60.0), (300.0, 30.0), (10.0, 1.0)]
)
def test_due_when_the_token_is_about_to_end_then_a_tenth_of_its_life_before(
    lifetime_s: float, margin_s: float
) -> None:
    """It is renewed a minute before its end; earlier than that never."""
    sealed = make_sessions(Clock()).seal(make_session(expires_at=NOW + lifetime_s))
    begins = NOW + lifetime_s - margin_s
    assert not sealed.is_due(begins - 0.5)
    assert sealed.is_due(begins + 0.5)


@pytest.mark.covers("REF-23")
def test_due_when_nothing_can_be_renewed_then_only_at_the_end() -> None:
    """Without a refresh token the last minute is used as well."""
    session = make_session(expires_at=NOW + HOUR_S, refresh_token=None)
    sealed = make_sessions(Clock()).seal(session)
    assert not sealed.is_due(NOW + HOUR_S - 1)
    assert sealed.is_due(NOW + HOUR_S)


def test_due_when_the_end_is_not_known_then_never() -> None:
    """A server that tells no lifetime is asked when it refuses."""
    sealed = make_sessions(Clock()).seal(make_session(expires_at=None))
    assert not sealed.is_due(NOW + 1e9)


@pytest.mark.covers("SESS-02")
def test_record_key_when_parts_differ_then_the_key_does() -> None:
    """Keys are hashes, and two parts are not one."""
    assert record_key("ab", "c") != record_key("a", "bc")
    assert "secret" not in record_key("secret")
    assert len(record_key("x")) == 64
