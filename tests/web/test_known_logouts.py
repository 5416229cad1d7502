"""A log-out is known at once where it happens, and for as long as copies of cookies live."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from typing_extensions import override

from atproto_oauth_asgi.stores import MemoryStore, Record
from tests.sessions.making import ALICE, Clock, make_session
from tests.web.desk import LATER, Desk
from tests.web.test_session_modes import Office, log_out

pytestmark = pytest.mark.anyio

Header = tuple[str, str]


class LateStore(MemoryStore):
    """Reads; then something happens; then it gives what it has read."""

    def __init__(self) -> None:
        super().__init__(clock=Clock())
        self.meanwhile: Callable[[], Awaitable[object]] | None = None
        self.reads_before = 0

    @override
    async def load(self, kind: str, key: str) -> Record | None:
        found = await super().load(kind, key)
        if kind == "tombstone" and self.meanwhile is not None:
            self.reads_before -= 1
            if self.reads_before < 0:
                meanwhile, self.meanwhile = self.meanwhile, None
                await meanwhile()
        return found


async def begin(desk: Desk) -> Header:
    value = await desk.site.sessions.begin(make_session(expires_at=LATER))
    return ("cookie", f"{desk.site.session_cookie(None)}={value}")


@pytest.mark.covers("LOGOUT-08", "SESS-13")
@pytest.mark.parametrize(("everywhere", "reads"), [("0", 0), ("1", 1)])
async def test_logout_when_a_request_has_just_looked_then_known_here_at_once(
    everywhere: str, reads: int
) -> None:
    """What another request has read before the log-out counts for that one only."""
    store = LateStore()
    desk = Desk(session="cookie", store=store)
    cookie, mine = await begin(desk), await begin(desk)
    ending = mine if everywhere == "1" else cookie
    assert (await desk.get("/", ending)).body == ALICE.encode()
    desk.clock.now += 3

    async def log_out_now() -> None:
        assert (await log_out(desk, ending, everywhere=everywhere)).status == 303

    store.reads_before, store.meanwhile = reads, log_out_now
    await desk.get("/", cookie)
    assert store.reads_before < 0
    assert (await desk.get("/", cookie)).body == b"nobody"


@pytest.mark.covers("LOGOUT-08", "SESS-13")
async def test_logout_when_the_store_answers_another_worker_late_then_it_asks_again() -> (
    None
):
    """An answer is as old as its question: it is no news when it arrives at last."""
    store = LateStore()
    here, there = (Desk(session="cookie", store=store) for _ in range(2))
    cookie = await begin(here)

    async def log_out_there() -> None:
        await log_out(there, cookie)
        here.clock.now += 10

    store.meanwhile = log_out_there
    await here.get("/", cookie)
    assert (await here.get("/", cookie)).body == b"nobody"


@pytest.mark.covers("LOGOUT-05", "SESS-13", "CKE-09")
@pytest.mark.parametrize("mode", ["cookie", "identity"])
async def test_everywhere_when_sessions_last_for_years_then_no_copy_comes_back(
    mode: Any,
) -> None:
    """Whoever keeps a cookie for longer than browsers do has nothing from it."""
    office = Office(session=mode, max_age_s=3 * 365 * 86400)
    cookie = await office.log_in()
    await log_out(office, await office.log_in(), everywhere="1")
    assert (await office.get("/", cookie)).body == b"nobody"
    office.clock.now += 401 * 86400
    other = Desk(session=mode, store=office.shared, max_age_s=3 * 365 * 86400)
    other.clock.now = office.clock.now
    assert (await other.get("/", cookie)).body == b"nobody"
