from __future__ import annotations

from itertools import pairwise

import pytest

from atproto_oauth_asgi.exceptions import AccountMoved, RefreshUnavailable
from atproto_oauth_asgi.sessions import lineage as module
from atproto_oauth_asgi.sessions.lineage import Lineage
from tests.sessions.making import make_session


def test_lineage_when_nothing_is_known_then_is_the_session_itself() -> None:
    """The very object, so that callers can tell."""
    session = make_session()
    assert Lineage().newest(session) is session


def test_lineage_when_renewed_several_times_then_leads_to_the_last() -> None:
    """From every state of the session."""
    lineage, chain = Lineage(), [make_session() for _ in range(4)]
    for before, after in pairwise(chain):
        lineage.note(before, after)
    for each in chain:
        assert lineage.newest(each) is chain[-1]


def test_lineage_when_it_ended_then_raises_the_same_each_time() -> None:
    """An error of its own for everybody who asks."""
    lineage, session = Lineage(), make_session()
    ending = AccountMoved("moved")
    lineage.note(session, ending)
    for _ in range(2):
        with pytest.raises(AccountMoved, match="moved") as raised:
            lineage.newest(session)
        assert raised.value is not ending


def test_key_when_anything_differs_then_does_too() -> None:
    """Whose tokens they are, and both tokens: none of them alone names a session."""
    session = make_session()
    others = [
        session.replace(did="did:plc:bbbbbbbbbbbbbbbbbbbbbbbb"),
        session.replace(access_token="another"),
        session.replace(refresh_token="another"),
        session.replace(refresh_token=None),
    ]
    assert len({module.tokens_key(each) for each in (session, *others)}) == 5
    assert module.tokens_key(session.replace(handle=None)) == module.tokens_key(session)


def test_lineage_when_tokens_do_not_change_then_ends_there() -> None:
    """A server that gives the same tokens again makes no circle."""
    lineage, session = Lineage(), make_session()
    lineage.note(session, session.replace(handle=None))
    assert lineage.newest(session) is session


def test_lineage_when_tokens_come_back_then_is_refused_in_time() -> None:
    """Nor does one that gives older ones: nobody waits without end."""
    lineage, one, other = Lineage(), make_session(), make_session()
    lineage.note(one, other)
    lineage.note(other, one)
    with pytest.raises(RefreshUnavailable):
        lineage.newest(one)


def test_lineage_when_full_then_oldest_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded, whatever is renewed."""
    monkeypatch.setattr(module, "_KEPT", 2)
    lineage, sessions = Lineage(), [make_session() for _ in range(3)]
    newest = make_session()
    for each in sessions:
        lineage.note(each, newest)
    assert lineage.newest(sessions[0]) is sessions[0]
    for each in sessions[1:]:
        assert lineage.newest(each) is newest
