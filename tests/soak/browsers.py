"""The browsers: each one person, one jar of cookies, several requests at a time."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import httpx
from anyio import CapacityLimiter, to_thread

from atproto_oauth_asgi.stores.locks import unix_now
from tests.reference_network.process import Account
from tests.reference_network.sign_in import SignInError, approve
from tests.soak.cases import Case, Plan
from tests.soak.seen import Loss, Seen

_OK, _GONE_ON = 200, 303
_TIMEOUT_S = 25.0
_LOGIN_TRIES = 20
_INTERRUPTED = "refresh_interrupted"

Told = dict[str, Any]


@dataclass(slots=True)
class Browser:
    """One person at one device.

    Attributes:
        http: keeps the cookies; an answer that nobody read changes none.
        dead_after_s: how long a copy of a cookie may live on after a log-out.
        ends_at: of the access token, as it was last told, in Unix seconds.
        renewals: of the session, as it was last told.
    """

    account: Account
    http: httpx.AsyncClient
    plan: Plan
    seen: Seen
    at_once: CapacityLimiter
    dead_after_s: float
    ends_at: float = 0.0
    renewals: int = 0

    async def log_in(self) -> None:
        """Log in, through the pages of the PDS; what fails is begun again."""
        for _ in range(_LOGIN_TRIES):
            async with self.at_once:
                try:
                    if await self._try_to_log_in():
                        break
                except (httpx.HTTPError, SignInError) as error:
                    self.seen.login_failures[type(error).__name__] += 1
            await anyio.sleep(1)
        else:
            message = f"{self.account.handle} cannot log in"
            raise RuntimeError(message)
        await self.burst()

    async def _try_to_log_in(self) -> bool:
        self.http.cookies.clear()
        begun = await self.http.post(
            "/oauth/login", json={"identifier": self.account.handle}
        )
        if begun.status_code != _OK:
            self.seen.login_failures[_name(begun)] += 1
            return False
        back = await to_thread.run_sync(
            approve, begun.json()["authorization_url"], self.account
        )
        done = await self.http.get(back)
        if done.status_code != _GONE_ON or "/oauth/" in done.headers["location"]:
            self.seen.login_failures[_name(done)] += 1
            return False
        return True

    async def burst(self) -> bool:
        """Send several requests at once; return whether the session is still there."""
        answers: list[Told] = []

        async def one(path: str) -> None:
            if told := await self.ask(path):
                answers.append(told)

        async with anyio.create_task_group() as tasks:
            for number in range(self.plan.parallel):
                tasks.start_soon(one, "/" if number % 3 else "/?ask")
        return self._is_there(answers)

    async def ask(self, path: str) -> Told | None:
        """Send one request; return what was told, None if that was an error."""
        self.seen.requests += 1
        begun_at = time.monotonic()
        try:
            answer = await self.http.get(path)
        except httpx.HTTPError as error:
            self.seen.errors[type(error).__name__] += 1
            return None
        self.seen.latencies_s.append(time.monotonic() - begun_at)
        if answer.status_code != _OK:
            self.seen.errors[_name(answer)] += 1
            return None
        told: Told = answer.json()
        if "code" in told:
            self.seen.errors[f"told {told['code']}"] += 1
        elif told.get("status", _OK) != _OK:
            self.seen.errors[f"PDS {told['status']}"] += 1
        return told

    def _is_there(self, answers: Sequence[Told]) -> bool:
        missing = [told for told in answers if told["did"] is None]
        for told in answers:
            if told["did"] is not None:
                self.ends_at = max(self.ends_at, told["ends_at"] or 0.0)
                self.renewals = max(self.renewals, told["renewals"])
        if not missing:
            return True
        reasons = {told["reason"] for told in missing}
        reason = (
            _INTERRUPTED if _INTERRUPTED in reasons else str(min(map(str, reasons)))
        )
        self.seen.lost.append(Loss(self.account.did, reason))
        return False

    async def until_due(self) -> None:
        """Wait until the access token has ended."""
        await anyio.sleep(max(0.0, self.ends_at - unix_now()))

    async def log_out(self) -> None:
        """Log out in the middle of a refresh, see that it holds, and log in again."""
        await self.until_due()
        before = httpx.Cookies(self.http.cookies)
        async with anyio.create_task_group() as tasks:
            for _ in range(self.plan.parallel - 1):
                tasks.start_soon(self.ask, "/?ask")
            is_out = await self._post_logout()
        if not is_out:
            # It was said to have failed: the session goes on, or does not.
            self.http.cookies = before
            await self.log_in()
            return
        self.seen.logouts += 1
        await anyio.sleep(self.dead_after_s)
        for cookies in (self.http.cookies, before):
            self.http.cookies = cookies
            told = await self.ask("/?ask")
            if told and told["did"] is not None:
                self.seen.came_back += 1
        await self.log_in()

    async def _post_logout(self) -> bool:
        self.seen.requests += 1
        try:
            answer = await self.http.post("/oauth/logout")
        except httpx.HTTPError as error:
            self.seen.errors[type(error).__name__] += 1
            return False
        if answer.status_code not in {_OK, _GONE_ON}:
            self.seen.errors[f"logout {_name(answer)}"] += 1
            return False
        return True

    async def drop_and_return(self, *, after_s: float | None) -> None:
        """Ask for something that needs a refresh, read nothing, come back much later.

        Args:
            after_s: hang up so many seconds after asking; None hangs up when the
                answer begins.
        """
        await self.until_due()
        before = self.renewals
        cookies = httpx.Cookies(self.http.cookies)
        with anyio.move_on_after(after_s):
            try:
                async with self.http.stream("GET", "/?ask"):
                    pass
            except httpx.HTTPError as error:
                self.seen.errors[type(error).__name__] += 1
        self.http.cookies = cookies
        await anyio.sleep(self.plan.away_s)
        if await self.burst():
            self.seen.dropped.append(self.renewals - before)
        else:
            await self.log_in()

    async def settle(self, within_s: float) -> None:
        """Wait until the PDS answers, at last; or until the session is known to be lost."""
        with anyio.move_on_after(within_s):
            while True:
                told = await self.ask("/?ask")
                if told and not self._is_there([told]):
                    return
                if told and told.get("status") == _OK:
                    return
                await anyio.sleep(1)
        self.seen.unhappy += 1


@asynccontextmanager
async def open_browsers(
    case: Case, plan: Plan, accounts: Sequence[Account], *, origin: str, seen: Seen
) -> AsyncIterator[list[Browser]]:
    """Give browsers that are not logged in."""
    at_once = CapacityLimiter(8)
    browsers = [
        Browser(account, _open(origin), plan, seen, at_once, case.dead_after_s)
        for account in accounts[: plan.browsers]
    ]
    try:
        yield browsers
    finally:
        for browser in browsers:
            await browser.http.aclose()


def _open(origin: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=origin,
        headers={"Origin": origin, "Accept": "application/json"},
        # A worker that is frozen keeps the requests it has, and gets no new ones.
        limits=httpx.Limits(max_keepalive_connections=0),
        timeout=_TIMEOUT_S,
        trust_env=False,
    )


def _name(answer: httpx.Response) -> str:
    """Return status and code of an answer that is none."""
    try:
        code = answer.json().get("code", "")
    except ValueError:
        code = ""
    return f"{answer.status_code} {code}".strip()
