"""A store compared with the simplest thing that could be one."""

from __future__ import annotations

from contextlib import ExitStack

from anyio.from_thread import start_blocking_portal
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from typing_extensions import override

from atproto_oauth_asgi.stores import Record, RecordStore
from atproto_oauth_asgi.testing.record_stores import ManualClock

KINDS, KEYS, OWNERS = ["s", "p"], ["a", "b"], [None, "o", "q"]
kinds, keys = st.sampled_from(KINDS), st.sampled_from(KEYS)
ends = st.integers(-1, 20)


class RecordStoreMachine(RuleBasedStateMachine):
    """Calls a store in any order, on an event loop of its own."""

    def make_store(self, clock: ManualClock) -> RecordStore:
        """An empty store; called on that event loop."""
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.rows: dict[tuple[str, str], tuple[Record, str | None]] = {}
        self.versions: set[int] = set()
        self.running = ExitStack()
        self.call = self.running.enter_context(start_blocking_portal()).call
        self.store = self.call(self.make_store, self.clock)

    @override
    def teardown(self) -> None:
        aclose = getattr(self.store, "aclose", None)
        if aclose is not None:
            self.call(aclose)
        self.running.close()

    def alive(self, kind: str, key: str) -> Record | None:
        record, _ = self.rows.get((kind, key), (None, None))
        return record if record and record.expires_at > self.clock() else None

    @rule(
        kind=kinds,
        key=keys,
        value=st.binary(max_size=3),
        lasts_s=ends,
        owner=st.sampled_from(OWNERS),
        condition=st.sampled_from(["any", "none", "this", "older", "other"]),
    )
    def save(
        self,
        *,
        kind: str,
        key: str,
        value: bytes,
        lasts_s: int,
        owner: str | None,
        condition: str,
    ) -> None:
        seen = self.alive(kind, key)
        version = seen.version if seen else 0
        older = min(self.versions - {version}, default=9**9)
        wanted = {"any": None, "none": 0, "this": version}
        wanted |= {"older": older, "other": 9**9}
        end = self.clock() + lasts_s
        if_version = wanted[condition]

        async def save() -> int | None:
            return await self.store.save(
                kind, key, value, expires_at=end, owner=owner, if_version=if_version
            )

        made = self.call(save)
        assert (made is not None) == (if_version in {None, version})
        if made is not None:
            assert made > 0
            assert made not in self.versions
            self.versions.add(made)
            record = Record(value=value, version=made, expires_at=end)
            self.rows[kind, key] = (record, owner)

    @rule(kind=kinds, key=keys)
    def take(self, kind: str, key: str) -> None:
        assert self.call(self.store.take, kind, key) == self.alive(kind, key)
        self.rows.pop((kind, key), None)

    @rule(kind=kinds, key=keys)
    def delete(self, kind: str, key: str) -> None:
        self.call(self.store.delete, kind, key)
        self.rows.pop((kind, key), None)

    @rule(seconds=st.integers(1, 15))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @invariant()
    def shows_the_same(self) -> None:
        for kind in KINDS:
            for key in KEYS:
                found = self.call(self.store.load, kind, key)
                assert found == self.alive(kind, key)
            for owner in OWNERS[1:]:
                listed = self.call(self.store.keys, kind, owner or "")
                expected = [
                    key
                    for key in KEYS
                    if self.alive(kind, key) and self.rows[kind, key][1] == owner
                ]
                assert sorted(listed) == expected
