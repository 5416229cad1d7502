"""A store of one's own takes three methods; taking is safe within the process."""

from __future__ import annotations

import logging

import anyio
import pytest
from typing_extensions import override

from atproto_oauth_asgi.exceptions import StoreError
from atproto_oauth_asgi.models import OAuthState
from atproto_oauth_asgi.stores import Record, SessionStore, StateStore, base
from atproto_oauth_asgi.stores.locks import ProcessLocks
from tests.stores.contract import ManualClock
from tests.stores.test_memory import make_state, take_by_many


class ThreeMethodStore(StateStore):
    """What people write: a store over something slow, without ``take_state``."""

    def __init__(self, *, fails_on_delete: bool = False) -> None:
        self.states: dict[str, OAuthState] = {}
        self.fails_on_delete = fails_on_delete

    @override
    async def save_state(self, state: OAuthState) -> None:
        self.states[state.state] = state

    @override
    async def get_state(self, state_key: str) -> OAuthState | None:
        await anyio.sleep(0.001)
        return self.states.get(state_key)

    @override
    async def delete_state(self, state_key: str) -> None:
        await anyio.sleep(0.001)
        if self.fails_on_delete:
            raise OSError
        self.states.pop(state_key, None)


class SlowStore(ThreeMethodStore):
    """A store for which ten minutes are nothing."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self.clock = clock

    @override
    async def delete_state(self, state_key: str) -> None:
        self.clock.advance(600)
        await super().delete_state(state_key)


@pytest.fixture(autouse=True)
def _no_warnings_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "_warned", set())


@pytest.mark.anyio
@pytest.mark.covers("STORE-03")
async def test_take_state_when_not_overridden_then_one_of_many_gets_it() -> None:
    """Reading and then deleting lets one task through, in this process."""
    store = ThreeMethodStore()
    await store.save_state(make_state("a"))
    assert len(await take_by_many(store.take_state)) == 1
    assert store.states == {}


@pytest.mark.anyio
async def test_take_state_when_not_overridden_then_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The limit is named in the log once for each class of store, without the key."""
    with caplog.at_level(logging.WARNING, "atproto_oauth_asgi"):
        for _ in range(2):
            for store in (ThreeMethodStore(), ThreeMethodStore()):
                await store.take_state("a-secret-state")
    (message,) = caplog.messages
    assert "ThreeMethodStore" in message
    assert "take_state" in message
    assert "a-secret-state" not in message


@pytest.mark.anyio
async def test_take_state_when_stores_differ_then_they_do_not_wait() -> None:
    """The lock is for one key of one store."""
    one, other = ThreeMethodStore(), ThreeMethodStore()
    for store in (one, other):
        await store.save_state(make_state("a"))
    async with base._take_locks.lock(f"{id(one)} a", 30.0):
        with anyio.fail_after(5):
            assert await other.take_state("a") is not None
            assert await one.take_state("b") is None


@pytest.mark.anyio
async def test_take_state_when_delete_fails_then_nobody_gets_it() -> None:
    """A login that cannot be forgotten is not given out."""
    store = ThreeMethodStore(fails_on_delete=True)
    await store.save_state(make_state("a"))
    with pytest.raises(OSError):  # noqa: PT011 - the store's own, as it came
        await store.take_state("a")


@pytest.mark.anyio
async def test_take_state_when_store_outlasts_the_lock_then_nobody_gets_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After so long another task may have it: better nobody than two."""
    clock = ManualClock()
    locks = ProcessLocks(clock=clock, monotonic=clock)
    monkeypatch.setattr(base, "_take_locks", locks)
    store = SlowStore(clock)
    await store.save_state(make_state("a"))
    with pytest.raises(StoreError, match="too long"):
        await store.take_state("a")


def test_stores_when_a_method_is_missing_then_cannot_be_made() -> None:
    """A forgotten method is an error at the start, not at the first login."""
    with pytest.raises(TypeError, match="delete_state"):
        StateStore()  # type: ignore[abstract]
    with pytest.raises(TypeError, match="delete_session"):
        SessionStore()  # type: ignore[abstract]


def test_record_when_printed_then_shows_no_value() -> None:
    """Not even sealed bytes belong into a log."""
    assert "sealed" not in repr(Record(value=b"sealed", version=1, expires_at=0.0))
