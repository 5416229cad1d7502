"""Several worker processes, one store: nobody is logged out by a race."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.reference_network.process import ReferenceNetwork
from tests.reference_network.sign_in import approve
from tests.serving import served_in_process

pytestmark = pytest.mark.network

# The shortest that the reference server counts well.
_LIFETIME_S = 2.0


@pytest.fixture
def origin(fresh_network: ReferenceNetwork, tmp_path: Path) -> Iterator[str]:
    settings = {
        "ATPROTO_PLC_URL": fresh_network.plc_url,
        "ATPROTO_HANDLE_RESOLVER_URL": fresh_network.pds_url,
        "STORE": str(tmp_path / "store.sqlite"),
    }
    app, options = "tests.stored_app:app", ["--workers", "2"]
    with served_in_process(app, settings=settings, options=options) as served:
        yield served


def open_browser(origin: str, *, cookies: Any = None) -> httpx.Client:
    headers = {"Origin": origin, "Connection": "close"}
    return httpx.Client(
        base_url=origin, headers=headers, cookies=cookies, trust_env=False, timeout=30
    )


def log_in(origin: str, network: ReferenceNetwork) -> httpx.Client:
    browser = open_browser(origin)
    answer = browser.post("/oauth/login", json={"identifier": "alice.test"})
    auth_url = answer.json()["authorization_url"]
    back = approve(auth_url, network.accounts["alice.test"])
    assert browser.get(back).status_code == 303
    return browser


@pytest.mark.covers("REF-04", "REF-22", "RFR-02")
def test_workers_when_tokens_end_then_one_refresh_serves_them_all(
    origin: str, fresh_network: ReferenceNetwork
) -> None:
    """Two processes, parallel requests, several expiries: the session lives on."""
    fresh_network.set_token_lifetime(int(_LIFETIME_S * 1000))
    alice = fresh_network.accounts["alice.test"]
    pids: set[int] = set()
    with closing(log_in(origin, fresh_network)) as browser:
        for _ in range(4):
            time.sleep(_LIFETIME_S)
            cookies = dict(browser.cookies)

            def ask(_: int, cookies: dict[str, str] = cookies) -> httpx.Response:
                with open_browser(origin, cookies=cookies) as tab:
                    return tab.get("/")

            with ThreadPoolExecutor(8) as pool:
                answers = list(pool.map(ask, range(8)))
            told = [answer.json() for answer in answers]
            pids |= {each["pid"] for each in told}
            assert {each["did"] for each in told} == {alice.did}, told
            assert {each.get("status") for each in told} == {200}, told
            browser.cookies.update(answers[-1].cookies)
    assert len(pids) == 2
    assert len(fresh_network.sessions(alice.did)) == 1


@pytest.mark.covers("SESS-14", "LOGOUT-01")
def test_workers_when_one_logs_out_then_a_copy_of_the_cookie_is_dead_on_all(
    origin: str, fresh_network: ReferenceNetwork
) -> None:
    """The tombstone lies in the store that all of them ask."""
    with closing(log_in(origin, fresh_network)) as browser:
        cookies = dict(browser.cookies)
        assert browser.post("/oauth/logout").status_code == 303
    pids: set[int] = set()
    for _ in range(200):
        with open_browser(origin, cookies=cookies) as thief:
            told = thief.get("/").json()
        assert (told["did"], told["reason"]) == (None, "revoked")
        pids.add(told["pid"])
        if len(pids) == 2:
            break
    assert len(pids) == 2
    alice = fresh_network.accounts["alice.test"]
    assert fresh_network.sessions(alice.did) == []
