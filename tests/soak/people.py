"""What the people at the browsers do in the course of a case."""

from __future__ import annotations

from collections.abc import Sequence

import anyio

from tests.soak.browsers import Browser
from tests.soak.cases import Plan

# How long after asking the browsers hang up that drop an answer: some in the middle of
# the refresh, some when the answer begins.
_HANG_UP_AFTER_S = (None, 0.02, None, 0.06)
_HAPPY_WITHIN_S = 40.0


async def log_in(browsers: Sequence[Browser]) -> None:
    """Let everybody log in."""
    async with anyio.create_task_group() as tasks:
        for browser in browsers:
            tasks.start_soon(browser.log_in)


async def live(browsers: Sequence[Browser], plan: Plan) -> None:
    """Let everybody do what they do, until the case is over."""
    ends_at = anyio.current_time() + plan.seconds
    droppers = browsers[: plan.droppers]
    leavers = browsers[plan.droppers : plan.droppers + plan.logouts]
    others = browsers[plan.droppers + plan.logouts :]
    async with anyio.create_task_group() as tasks:
        for number, browser in enumerate(droppers):
            after_s = _HANG_UP_AFTER_S[number % len(_HANG_UP_AFTER_S)]
            tasks.start_soon(_drop, browser, after_s)
        for number, browser in enumerate(leavers):
            part = (number + 1) / (len(leavers) + 1)
            tasks.start_soon(_leave, browser, part, ends_at)
        for number, browser in enumerate(others):
            # Not all in step.
            begins_at = anyio.current_time() + plan.think_s * number / len(others)
            tasks.start_soon(_use_from, browser, begins_at, ends_at)


async def ask_all(browsers: Sequence[Browser]) -> None:
    """Ask everybody, when all is quiet again, whether they are logged in."""
    async with anyio.create_task_group() as tasks:
        for browser in browsers:
            tasks.start_soon(browser.settle, _HAPPY_WITHIN_S)


async def _use_from(browser: Browser, begins_at: float, until: float) -> None:
    await anyio.sleep_until(begins_at)
    await _use(browser, until)


async def _use(browser: Browser, until: float) -> None:
    while anyio.current_time() < until:
        if not await browser.burst():
            await browser.log_in()
        await anyio.sleep(browser.plan.think_s)


async def _leave(browser: Browser, part: float, until: float) -> None:
    now = anyio.current_time()
    await _use(browser, now + part * (until - now) * 0.8)
    await browser.log_out()
    await _use(browser, until)


async def _drop(browser: Browser, after_s: float | None) -> None:
    await browser.drop_and_return(after_s=after_s)
