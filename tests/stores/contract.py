"""The contract of every ``RecordStore``: the public tests, and a model beside them."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test
from typing_extensions import override

from atproto_oauth_asgi.stores import RecordStore
from atproto_oauth_asgi.testing.record_stores import (
    ManualClock,
    RecordStoreContract,
    Stores,
)
from tests.stores.model import RecordStoreMachine

__all__ = [
    "ManualClock",
    "RecordStoreContract",
    "RecordStoreModelContract",
    "Stores",
]

# The public tests name no requirements of ours; these are the ones that they show.
_CONTRACT = RecordStoreContract
_SHOWN = pytest.mark.covers("STORE-03")
for _test in (
    _CONTRACT.test_take_when_many_try_then_one_gets_it,
    _CONTRACT.test_save_when_many_create_then_one_wins,
    _CONTRACT.test_save_when_many_replace_then_one_wins,
    _CONTRACT.test_increments_when_many_repeat_them_then_none_is_lost,
):
    _SHOWN(_test)
pytest.mark.covers("STORE-04", "STORE-05")(
    _CONTRACT.test_save_when_texts_are_odd_then_keeps_them_apart
)
pytest.mark.covers("STORE-06")(
    _CONTRACT.test_any_method_when_record_expired_then_there_is_none
)
pytest.mark.covers("STORE-08")(
    _CONTRACT.test_lock_when_many_wait_then_one_is_inside_at_a_time
)
pytest.mark.covers("STORE-08")(
    _CONTRACT.test_lock_when_waiter_is_cancelled_then_others_get_on
)
pytest.mark.covers("STORE-08", "STORE-11")(
    _CONTRACT.test_lock_when_lease_ends_then_others_enter_and_stay
)


class RecordStoreModelContract:
    """Subclass it in a test module, and say how a store is made."""

    max_examples = 60

    def make_store(self, clock: ManualClock) -> RecordStore:
        """An empty store; called on the event loop that it is used on."""
        raise NotImplementedError

    @pytest.mark.covers("STORE-03", "STORE-06")
    def test_store_when_used_in_any_order_then_behaves_like_a_dictionary(self) -> None:
        """No sequence of calls tells a store from a dictionary with times."""
        make_store = self.make_store

        class Machine(RecordStoreMachine):
            @override
            def make_store(self, clock: ManualClock) -> RecordStore:
                return make_store(clock)

        run_state_machine_as_test(
            Machine,
            settings=settings(max_examples=self.max_examples, stateful_step_count=25),
        )
