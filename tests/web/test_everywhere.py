"""Out of all sessions of an account, whichever host, clock or secret made them."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from atproto_oauth_asgi.exceptions import LoggedOut
from atproto_oauth_asgi.models import serialize_oauth_session
from atproto_oauth_asgi.stores import MemoryStore
from tests.sessions.making import ALICE, HOUR_S, NOW, Clock, make_session, when
from tests.web.desk import LATER, Desk
from tests.web.test_session_modes import BOB, Office, log_out, next_cookie

pytestmark = pytest.mark.anyio

OLD = b"an old secret of the tests, 32 bytes or so"
NEW = b"a new secret of the tests, 32 bytes or more"


async def begin(desk: Desk, did: str = ALICE) -> tuple[str, str]:
    """The header of a browser that has just logged in at this desk."""
    now = when(desk.clock.now)
    session = make_session(did=did, expires_at=LATER, created_at=now)
    value = await desk.site.sessions.begin(session)
    return ("cookie", f"{desk.site.session_cookie(None)}={value}")


async def who(desk: Desk, cookie: tuple[str, str]) -> str:
    return (await desk.get("/", cookie)).body.decode()


@pytest.mark.covers("LOGOUT-05", "SESS-13", "SES-06")
@pytest.mark.parametrize("mode", ["cookie", "server"])
async def test_logout_when_everywhere_then_all_of_the_account_and_nobody_else(
    mode: str,
) -> None:
    """Other browsers of the person are out at once; a later login is not."""
    office = Office(session=mode)
    mine, other = [
        await office.log_in(make_session(expires_at=LATER)) for _ in range(2)
    ]
    bobs = await office.log_in(make_session(did=BOB, expires_at=LATER))
    sent = await log_out(office, mine, everywhere="1")
    assert sent.status == 303
    assert (await office.get("/", other)).body == b"nobody"
    assert (await office.get("/", bobs)).body == BOB.encode()
    late = await office.log_in(make_session(expires_at=LATER))
    assert (await office.get("/", late)).body == ALICE.encode()
    revoked = 2 if mode == "server" else 1
    assert len(office.server.revoked) == revoked


async def test_logout_when_everywhere_is_off_then_only_this_one() -> None:
    """A form may hold the field without meaning it."""
    office = Office()
    mine, other = [await office.log_in() for _ in range(2)]
    await log_out(office, mine, everywhere="0")
    assert (await office.get("/", other)).body == ALICE.encode()


@pytest.mark.covers("LOGOUT-05", "SESS-13")
@pytest.mark.parametrize("mode", ["cookie", "identity"])
@pytest.mark.parametrize("ahead_s", [-30.0, 30.0])
async def test_everywhere_when_clocks_of_hosts_differ_then_the_order_decides(
    mode: Any, ahead_s: float
) -> None:
    """What was there before ends, what comes after lives, whatever the clocks say."""
    shared = MemoryStore(clock=Clock())
    here, there = (Desk(session=mode, store=shared) for _ in range(2))
    there.clock.now += ahead_s
    mine, other = await begin(here), await begin(there)
    assert await who(there, other) == ALICE
    await log_out(here, mine, everywhere="1")
    there.clock.now += 3
    assert await who(there, other) == "nobody"
    for desk in (here, there):
        later = await begin(desk)
        assert [await who(each, later) for each in (here, there)] == [ALICE] * 2


@pytest.mark.covers("LOGOUT-05")
async def test_everywhere_when_a_session_of_today_was_renewed_then_it_is_still_one() -> (
    None
):
    """A session that came after lives on with other tokens, until the next time."""
    office = Office(session="cookie", idle_timeout_s=int(HOUR_S))
    await log_out(office, await office.log_in(), everywhere="1")
    cookie = await office.log_in(make_session())
    renewed = next_cookie(await office.get("/", cookie), cookie)
    assert renewed != cookie
    office.clock.now += HOUR_S / 2
    seen = next_cookie(await office.get("/", renewed), renewed)
    assert seen != renewed
    assert await who(office, seen) == ALICE
    await log_out(office, await office.log_in(), everywhere="1")
    for each in (cookie, renewed, seen):
        assert await who(office, each) == "nobody"


@pytest.mark.covers("LOGOUT-05", "ASG-15", "SESS-11")
async def test_everywhere_when_a_cookie_knows_of_no_generation_then_it_ends() -> None:
    """It opens like any other until then: the form of before is known."""
    office = Office(session="cookie")
    sealed = office.site.sessions.sealed
    text = serialize_oauth_session(make_session(expires_at=LATER))
    times = f"{NOW!r} {NOW!r} {NOW + HOUR_S!r}"
    value = sealed._seal_text("session", f"{times}\n{text}")
    cookie = ("cookie", f"{office.site.session_cookie(None)}={value}")
    assert await who(office, cookie) == ALICE
    await log_out(office, await office.log_in(), everywhere="1")
    assert await who(office, cookie) == "nobody"


@pytest.mark.covers("LOGOUT-05", "SESS-13", "CRYPT-07")
async def test_everywhere_when_a_record_cannot_be_opened_then_it_ends_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """While a secret changes, an old worker ends what a newer one has begun."""
    caplog.set_level(logging.WARNING)
    shared = MemoryStore(clock=Clock())
    old, new = (Desk(store=shared, secret_key=each) for each in (OLD, [NEW, OLD]))
    mine, other = await begin(old), await begin(new)
    bobs = await begin(new, did=BOB)
    await log_out(old, mine, everywhere="1")
    assert await who(new, other) == await who(new, mine) == "nobody"
    assert await who(new, bobs) == BOB
    held = new.site.sessions.sealed.read(other[1].partition("=")[2])
    with pytest.raises(LoggedOut):
        await new.site.sessions.in_store.open(held)  # type: ignore[arg-type]
    told = [each.message for each in caplog.records if "not revoked" in each.message]
    assert [f"tokens not revoked: did={ALICE}" in line for line in told] == [True]
    assert await who(old, await begin(old)) == ALICE


async def test_login_when_it_begins_in_a_cookie_then_costs_one_read() -> None:
    """And no request costs more for it."""
    office = Office(session="cookie")
    await office.site.sessions.begin(make_session(expires_at=LATER))
    assert office.shared.reads == ["tombstone"]
