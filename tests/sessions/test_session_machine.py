"""Sessions of browsers in any order of what can happen to them."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    precondition,
    rule,
    run_state_machine_as_test,
)
from typing_extensions import override

from atproto_oauth_asgi import ATProtoOAuthMiddleware
from atproto_oauth_asgi.exceptions import (
    LoggedOut,
    RefreshUnavailable,
    SessionError,
    SessionRevoked,
    StoreError,
)
from atproto_oauth_asgi.models import OAuthSession
from atproto_oauth_asgi.sessions import patience
from atproto_oauth_asgi.sessions.held import HeldSessions
from atproto_oauth_asgi.sessions.lifecycle import OpenedSession
from atproto_oauth_asgi.stores import MemoryStore, Record, RecordStore, SQLiteStore
from atproto_oauth_asgi.stores.locks import Lease
from tests.services.stores import make_tables, store_on
from tests.sessions.making import HOUR_S, Clock, make_session, when
from tests.web.desk import HELLO
from tests.web.driving import make_middleware

DIDS = ["did:plc:" + letter * 24 for letter in "ab"]
WORKERS = 2
LOGINS = 5
MAX_AGE_S = 3 * 86400

numbers = st.integers(0, LOGINS - 1)
workers = st.integers(0, WORKERS - 1)


class Shaky:
    """A store that does not answer while it is down."""

    def __init__(self, inner: RecordStore) -> None:
        self.inner = inner
        self.answers_left: int | None = None

    def _answer(self) -> None:
        if self.answers_left == 0:
            message = "down"
            raise StoreError(message)
        if self.answers_left is not None:
            self.answers_left -= 1

    async def load(self, kind: str, key: str) -> Record | None:
        self._answer()
        return await self.inner.load(kind, key)

    async def save(self, *args: Any, **named: Any) -> int | None:
        self._answer()
        return await self.inner.save(*args, **named)

    async def take(self, kind: str, key: str) -> Record | None:
        self._answer()
        return await self.inner.take(kind, key)

    async def delete(self, kind: str, key: str) -> None:
        self._answer()
        await self.inner.delete(kind, key)

    async def keys(self, kind: str, owner: str) -> Sequence[str]:
        self._answer()
        return await self.inner.keys(kind, owner)

    def lock(self, key: str, lease_s: float) -> AbstractAsyncContextManager[Lease]:
        self._answer()
        return self.inner.lock(key, lease_s)


@dataclass
class Login:
    """A session as the browser and the server know it.

    Attributes:
        cookies: what the browser has held, the newest last.
        token: the refresh token that the server takes.
        may_be_over: an answer was cut off, or a log-out broken off: nobody can know.
    """

    did: str
    session_id: str
    began_at: float
    token: str | None
    cookies: list[str]
    used: set[str | None] = field(default_factory=set)
    is_alive: bool = True
    is_logged_out: bool = False
    may_be_over: bool = False


class SessionMachine(RuleBasedStateMachine):
    """Workers over one store, a strict server, and browsers."""

    mode = "cookie"
    service = ""
    url = ""

    async def make_store(self, clock: Clock) -> RecordStore:
        return MemoryStore(clock=clock)

    def __init__(self) -> None:
        super().__init__()
        self.running = ExitStack()
        self.call = self.running.enter_context(start_blocking_portal()).call
        self.clock = Clock()
        self.store = Shaky(self.call(self.make_store, self.clock))
        self.outage: str | None = None
        self.fresh = count()
        self.logins: list[Login] = []
        self.workers = [self.start() for _ in range(WORKERS)]

    @override
    def teardown(self) -> None:
        aclose = getattr(self.store.inner, "aclose", None)
        if aclose is not None:
            self.call(aclose)
        self.running.close()

    def start(self) -> HeldSessions:
        """A new process."""
        app: ATProtoOAuthMiddleware = make_middleware(
            HELLO,
            clock=self.clock,
            store=self.store,
            session=self.mode,
            max_age_s=MAX_AGE_S,
        )
        tokens: Any = app._site.client.sessions.tokens
        tokens.renew, tokens.revoke = self.renew, self.revoke
        return app._site.sessions

    # --- the server ------------------------------------------------------------------

    def login_of(self, session: OAuthSession) -> Login:
        [login] = [x for x in self.logins if x.session_id == session.session_id]
        return login

    async def renew(self, session: OAuthSession, ready: Any) -> OAuthSession:
        await ready()
        login, token = self.login_of(session), session.refresh_token
        if self.outage == "away":
            message = "away"
            raise RefreshUnavailable(message)
        is_used_again = token in login.used
        assert not is_used_again or login.may_be_over, "a used token was sent"
        login.is_alive &= not is_used_again
        if not login.is_alive:
            message = "invalid_grant"
            raise SessionRevoked(message)
        login.used.add(token)
        login.token = f"refresh-{next(self.fresh)}"
        login.may_be_over |= self.store.answers_left is not None
        if self.outage == "cut":
            login.may_be_over = True
            message = "cut"
            raise RefreshUnavailable(message)
        return session.replace(
            renewals=session.renewals + 1,
            access_token=login.token.replace("refresh", "access"),
            refresh_token=login.token,
            expires_at=when(self.clock() + HOUR_S),
        )

    async def revoke(self, session: OAuthSession) -> None:
        login = self.login_of(session)
        if session.refresh_token == login.token and self.outage is None:
            login.is_alive = False

    # --- what happens ----------------------------------------------------------------

    @precondition(lambda self: len(self.logins) < LOGINS)
    @rule(did=st.sampled_from(DIDS), worker=workers)
    def log_in(self, did: str, worker: int) -> None:
        self.clock.now += 1
        session = make_session(
            did=did,
            created_at=when(self.clock()),
            expires_at=self.clock() + HOUR_S,
        )
        login = Login(did, session.session_id, self.clock(), session.refresh_token, [])
        self.logins.append(login)
        try:
            login.cookies.append(self.call(self.workers[worker].begin, session))
        except StoreError:
            self.logins.remove(login)

    @precondition(lambda self: self.logins)
    @rule(number=numbers, worker=workers, is_old=st.booleans(), drops=st.booleans())
    def visit(self, number: int, worker: int, *, is_old: bool, drops: bool) -> None:
        login = self.logins[number % len(self.logins)]
        is_current = not is_old or len(login.cookies) == 1
        value = login.cookies[0 if is_old else -1]
        with suppress(StoreError, RefreshUnavailable):
            try:
                held = self.call(self.see, worker, value)
            except SessionError as error:
                if isinstance(error, RefreshUnavailable):
                    raise
                held, is_told = None, isinstance(error, LoggedOut)
                assert not is_told or login.is_logged_out or login.may_be_over
            if held is None:
                assert not is_current or self.may_end(login), "a session was lost"
                return
            assert held.session.did == login.did
            assert held.session.session_id == login.session_id
            assert not login.is_logged_out, "it came back after the log-out"
            if is_current and not drops and held.value != value:
                login.cookies.append(held.value)

    async def see(self, worker: int, value: str) -> OpenedSession | None:
        sessions = self.workers[worker]
        found = sessions.recall(value) or await sessions.open(value)
        if not isinstance(found, OpenedSession):
            return None
        if found.is_due(self.clock()):
            found = await sessions.refresh(found)
        return await sessions.to_write(found)

    def may_end(self, login: Login) -> bool:
        is_aged = self.clock() >= login.began_at + MAX_AGE_S
        is_over = login.is_logged_out or not login.is_alive
        return is_aged or is_over or login.may_be_over

    @precondition(lambda self: self.logins)
    @rule(number=numbers, worker=workers, everywhere=st.booleans())
    def log_out(self, number: int, worker: int, *, everywhere: bool) -> None:
        login = self.logins[number % len(self.logins)]
        ended = [x for x in self.logins if x is login or everywhere]
        ended = [x for x in ended if x.did == login.did]
        try:
            is_open = self.call(self.leave, worker, login.cookies[-1], everywhere)
        except StoreError:
            for each in ended:
                each.may_be_over = True
            return
        if is_open:
            for each in ended:
                each.is_logged_out = True
            assert self.outage or login.may_be_over or not login.is_alive

    async def leave(self, worker: int, value: str, everywhere: bool) -> bool:
        sessions = self.workers[worker]
        with suppress(LoggedOut):
            found = await sessions.open(value)
            if isinstance(found, OpenedSession):
                await sessions.end(found, everywhere=everywhere)
                return True
        return False

    @precondition(lambda self: self.logins)
    @rule(number=numbers)
    def end_at_server(self, number: int) -> None:
        self.logins[number % len(self.logins)].is_alive = False

    @rule(seconds=st.sampled_from([1, 40, 400, 3590, 3700, 86400]))
    def wait(self, seconds: int) -> None:
        self.clock.now += seconds

    @rule(worker=workers)
    def restart(self, worker: int) -> None:
        self.workers[worker] = self.start()

    @rule(outage=st.sampled_from([None, None, "away", "cut"]))
    def change_server(self, outage: str | None) -> None:
        self.outage = outage

    @rule(answers_left=st.sampled_from([None, None, None, 0, 2, 5]))
    def change_store(self, answers_left: int | None) -> None:
        self.store.answers_left = answers_left


class _OnDisk(SessionMachine):
    @override
    async def make_store(self, clock: Clock) -> RecordStore:
        folder = self.running.enter_context(tempfile.TemporaryDirectory())
        return SQLiteStore(Path(folder) / "sessions.db", clock=clock)


class _OnServer(SessionMachine):
    @override
    async def make_store(self, clock: Clock) -> RecordStore:
        store = store_on(self.url, f"machine_{secrets.token_hex(8)}", clock=clock)
        await make_tables(store)
        return store


class _OnRedis(_OnServer):
    service = "redis_service"


class _OnPostgres(_OnServer):
    service = "postgres_service"


@pytest.mark.covers("REF-02", "SESS-14", "LOGOUT-08", "STORE-01", "STORE-02")
@pytest.mark.parametrize("mode", ["cookie", "server"])
@pytest.mark.parametrize(
    ("machine", "runs"),
    [(SessionMachine, 150), (_OnDisk, 20), (_OnRedis, 60), (_OnPostgres, 40)],
)
def test_sessions_when_anything_happens_then_none_is_lost_nor_comes_back(
    mode: str,
    machine: type[SessionMachine],
    runs: int,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No used token is sent, nobody is somebody else, and only an end is an end."""
    monkeypatch.setattr(patience, "_WAITS_S", (0.0,))
    monkeypatch.setattr(SessionMachine, "mode", mode)
    if machine.service:
        url = request.getfixturevalue(machine.service).url
        monkeypatch.setattr(SessionMachine, "url", url)
    few = settings(
        max_examples=runs,
        stateful_step_count=40,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=few)
