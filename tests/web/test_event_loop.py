"""In which event loop requests are served."""

from __future__ import annotations

import anyio
import anyio.to_thread
import pytest
from anyio.lowlevel import current_token

from atproto_oauth_asgi.web.event_loop import EventLoops


@pytest.mark.anyio
async def test_event_loop_when_another_thread_serves_then_each_has_its_own() -> None:
    """Two servers in two threads: nobody's work lands in the other's event loop."""
    loops = EventLoops()
    here = current_token()
    with loops.remembered():
        assert loops.current() == here
        there = await anyio.to_thread.run_sync(anyio.run, _see, loops)
        assert loops.current() == here
    assert here not in there
    assert there[0] == there[1]


def test_event_loop_when_it_has_ended_then_the_next_one_counts() -> None:
    """A thread may run one event loop after another, as tests of applications do."""
    loops = EventLoops()
    first = anyio.run(_see, loops)
    second = anyio.run(_see, loops)
    assert first[0] == first[1] != second[0] == second[1]
    with pytest.raises(anyio.NoEventLoopError):
        loops.current()


async def _see(loops: EventLoops) -> list[object]:
    """Return the running event loop, as it is remembered and as it is found."""
    with loops.remembered():
        remembered = loops.current()
    return [remembered, loops.current()]
