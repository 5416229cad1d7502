"""Once a browser has shown new tokens, older cookies lead nowhere by and by."""

from __future__ import annotations

import anyio
import pytest

from atproto_oauth_asgi.exceptions import SessionExpired
from atproto_oauth_asgi.sessions import outcomes as module
from atproto_oauth_asgi.sessions.lifecycle import OpenedSession
from tests.sessions.making import HOUR_S, make_session, make_sessions
from tests.sessions.test_outcomes import House

pytestmark = pytest.mark.anyio

# How long an outcome is kept after a browser has shown that it has it.
KEPT_S = 300


@pytest.fixture
def house() -> House:
    return House()


async def renew(house: House, times: int) -> list[OpenedSession]:
    """A session, and what it became, each state confirmed by nobody yet."""
    states = [house.opened]
    for _ in range(times):
        states.append(await house.process().refresh(states[-1]))
        house.clock.now += HOUR_S
    return states


async def test_knows_when_a_browser_comes_again_then_the_store_is_spared(
    house: House,
) -> None:
    """Nobody has logged out lately, and the cookie is one that was confirmed."""
    process = house.process()
    assert not process.knows(house.opened)
    await process.newest(house.opened)
    assert process.knows(house.opened)
    (_, renewed) = await renew(house, 1)
    await process.newest(renewed)
    assert not process.knows(renewed)
    await process.confirm(renewed)
    assert process.knows(renewed)
    house.clock.now += 2
    assert not process.knows(renewed)


async def test_confirmed_when_asked_then_each_state_stands_for_itself(
    house: House,
) -> None:
    """The cookie of the login has nothing before it; each later one is noted."""
    outcomes, states = house.outcomes(), await renew(house, 2)
    assert [outcomes.has_confirmed(each) for each in states] == [True, False, False]
    await outcomes.confirm(states[1])
    assert [outcomes.has_confirmed(each) for each in states] == [True, True, False]


async def test_confirmations_when_there_are_many_then_the_oldest_go(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded, and what is forgotten is confirmed once more."""
    monkeypatch.setattr(module, "_CONFIRMATIONS_KEPT", 2)
    outcomes, sessions = house.outcomes(), make_sessions(house.clock)
    opened = [sessions.seal(make_session(renewals=1)) for _ in range(3)]
    for each in opened:
        await outcomes.confirm(each)
    assert [outcomes.has_confirmed(each) for each in opened] == [False, True, True]


@pytest.mark.covers("REF-22", "CKE-08")
async def test_refresh_when_the_cookie_comes_out_of_a_backup_then_nothing_is_sent(
    house: House,
) -> None:
    """Its token is known to be used: sending it would end what the browser has now."""
    before, after, newest = await renew(house, 2)
    for each in (after, newest):
        await house.outcomes().confirm(each)
    house.clock.now += KEPT_S
    sent = len(house.server.sent)
    for old in (before, after):
        with pytest.raises(SessionExpired, match="older than one that came after"):
            await house.process().refresh(old)
    assert len(house.server.sent) == sent
    await house.process().refresh(newest)
    assert not house.server.is_ended


@pytest.mark.parametrize("order", [1, -1])
async def test_reached_when_two_browsers_confirm_at_once_then_the_later_state_counts(
    house: House, order: int
) -> None:
    """Whoever writes last: a number that was reached does not go down again."""
    before, after, newest = await renew(house, 2)
    # Both look what was reached, and find nothing.
    house.store.meet(2)
    async with anyio.create_task_group() as group:
        for each in (after, newest)[::order]:
            group.start_soon(house.outcomes().confirm, each)
    house.clock.now += KEPT_S
    for old in (before, after):
        with pytest.raises(SessionExpired):
            await house.outcomes().find(old)
    assert await house.outcomes().find(newest) is None
