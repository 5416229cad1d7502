"""Another `secret_key`, worker after worker: two deploys, and nobody is logged out."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.reference_network.process import Account, ReferenceNetwork
from tests.reference_network.sign_in import approve
from tests.rolling import Deployment, Through, Worker, deployment

pytestmark = pytest.mark.network

OLD = "the-old-secret-of-the-tests-of-32-bytes-or-more"
NEW = "the-new-secret-of-the-tests-of-32-bytes-or-more"
ONLY_OLD, OLD_FIRST, NEW_FIRST, ONLY_NEW = OLD, f"{OLD},{NEW}", f"{NEW},{OLD}", NEW

# One more than the shortest that the reference server counts well.
_LIFETIME_S = 3.0


@pytest.fixture
def mode() -> str:
    """Where sessions are, unless a test says otherwise."""
    return "cookie"


@pytest.fixture
def site(
    fresh_network: ReferenceNetwork, tmp_path: Path, mode: str
) -> Iterator[Deployment]:
    """The address of an application whose tokens end soon."""
    fresh_network.set_token_lifetime(int(_LIFETIME_S * 1000))
    settings = {
        "ATPROTO_PLC_URL": fresh_network.plc_url,
        "ATPROTO_HANDLE_RESOLVER_URL": fresh_network.pds_url,
        "STORE": str(tmp_path / "store.sqlite"),
        "SESSION": mode,
    }
    with deployment(**settings) as opened:
        yield opened


@dataclass
class Person:
    """Somebody with a browser, which keeps what the workers put into it."""

    origin: str
    account: Account
    cookies: httpx.Cookies = field(default_factory=httpx.Cookies)

    def open(self, worker: Worker | None = None) -> httpx.Client:
        """A tab: it begins with the cookies that the browser has now."""
        return httpx.Client(
            base_url=self.origin,
            headers={"Origin": self.origin, "Connection": "close"},
            cookies=self.cookies,
            transport=None if worker is None else Through(worker),
            trust_env=False,
            timeout=30,
        )

    def send(
        self, method: str, path: str, *, at: Worker | None = None, **body: Any
    ) -> httpx.Response:
        """Return the answer of a worker, or of whichever comes first."""
        with self.open(at) as tab:
            answer = tab.request(method, path, **body)
            self.cookies = tab.cookies
        return answer

    def begin_login(self, at: Worker | None = None) -> str:
        """Return where the browser is sent back to when its owner has said yes."""
        body = {"identifier": self.account.handle}
        answer = self.send("POST", "/oauth/login", at=at, json=body)
        return approve(answer.json()["authorization_url"], self.account)

    def visit(self, at: Worker | None = None) -> dict[str, Any]:
        """Return what the application tells."""
        told: dict[str, Any] = self.send("GET", "/", at=at).json()
        assert at is None or told["pid"] == at.pid
        return told

    def copy(self) -> Person:
        """Another tab, whose requests know nothing of this one's answers."""
        return Person(self.origin, self.account, httpx.Cookies(self.cookies))


def log_in(site: Deployment, account: Account, *, begin: Worker, end: Worker) -> Person:
    person = Person(site.origin, account)
    back = person.begin_login(begin)
    assert person.send("GET", back, at=end).status_code == 303
    return person


def check_known(person: Person, told: dict[str, Any]) -> None:
    expected = {"did": person.account.did, "reason": None, "status": 200}
    assert {name: told.get(name) for name in expected} == expected, told


def check_ignored(person: Person, worker: Worker) -> None:
    """Nobody is there, nobody was sent away, and the cookie is left alone."""
    answer = person.send("GET", "/", at=worker)
    expected = {"pid": worker.pid, "did": None, "reason": None}
    assert (answer.json(), answer.headers.get("set-cookie")) == (expected, None)


def wait_for_expiry() -> None:
    time.sleep(_LIFETIME_S)


def check_overlap(people: Sequence[Person], workers: Sequence[Worker]) -> None:
    """Tokens are renewed here, then there, then wherever a request is first."""
    for here, there in (workers, workers[::-1]):
        wait_for_expiry()
        for person in people:
            late = person.copy()
            check_known(person, person.visit(at=here))
            check_known(late, late.visit(at=there))
            check_known(person, person.visit(at=there))
    wait_for_expiry()
    everywhere = (*workers, None, None)
    tabs = [(each, each.copy(), at) for at in everywhere for each in people]
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda opened: opened[1].visit(at=opened[2]), tabs))
    for (person, tab, _), each in zip(tabs, told, strict=True):
        check_known(tab, each)
        person.cookies = tab.cookies


@pytest.mark.parametrize("mode", ["cookie", "server"])
@pytest.mark.covers("COOKIE-13", "CRYPT-07", "REF-04", "REF-22", "RFR-02", "CKE-13")
def test_rotation_when_done_in_two_deploys_then_nobody_is_logged_out(
    site: Deployment, fresh_network: ReferenceNetwork
) -> None:
    """Old and new workers serve everybody at once, at each step."""
    alice, bob = (fresh_network.accounts[f"{name}.test"] for name in ("alice", "bob"))
    with ExitStack() as old_one, ExitStack() as new_one:
        old = old_one.enter_context(site.worker(SECRETS=ONLY_OLD))
        people = [log_in(site, each, begin=old, end=old) for each in (alice, bob)]
        first = people[0].copy()
        for secrets in (OLD_FIRST, NEW_FIRST):
            new = new_one.enter_context(site.worker(SECRETS=secrets))
            people.append(log_in(site, alice, begin=old, end=new))
            people.append(log_in(site, bob, begin=new, end=old))
            check_overlap(people, (old, new))
            old_one.close()
            old = new
            old_one.push(new_one.pop_all())
        wait_for_expiry()
        for person in people:
            check_known(person, person.visit(at=old))
        # Later, when everybody has come by.
        with site.worker(SECRETS=ONLY_NEW) as last:
            for person in people:
                check_known(person, person.visit(at=last))
            assert first.visit(at=last)["did"] is None
    assert len(fresh_network.sessions(alice.did)) == 3
    assert len(fresh_network.sessions(bob.did)) == 3


@pytest.mark.covers("COOKIE-22", "COOKIE-13", "RFR-02", "LGN-04")
def test_rotation_when_the_first_deploy_is_skipped_then_nothing_is_lost(
    site: Deployment, fresh_network: ReferenceNetwork
) -> None:
    """Old workers take what new ones have sealed for nobody's, and leave it alone."""
    alice, bob = (fresh_network.accounts[f"{name}.test"] for name in ("alice", "bob"))
    with site.worker(SECRETS=NEW_FIRST) as new:
        with site.worker(SECRETS=ONLY_OLD) as old:
            person = log_in(site, alice, begin=old, end=old)
            wait_for_expiry()
            late = person.copy()
            check_known(person, person.visit(at=new))
            check_ignored(person, old)
            # A request with the cookie of before is known, but nothing is sent for it.
            told = late.visit(at=old)
            assert (told["did"], told["code"]) == (alice.did, "refresh_unavailable")
            check_known(person, person.visit(at=new))
            check_known(late, late.visit(at=new))
            other = Person(site.origin, bob)
            back = other.begin_login(new)
            assert other.send("GET", back, at=old).status_code == 400
            assert other.send("GET", back, at=new).status_code == 303
            check_ignored(other, old)
            wait_for_expiry()
            for each in (person, other):
                check_ignored(each, old)
                check_known(each, each.visit(at=new))
        for each in (person, late, other):
            check_known(each, each.visit())
    for account in (alice, bob):
        assert len(fresh_network.sessions(account.did)) == 1


@pytest.mark.covers("CRYPT-07", "CKE-13", "COOKIE-22")
def test_secret_when_dropped_at_once_then_everybody_logs_in_again(
    site: Deployment, fresh_network: ReferenceNetwork
) -> None:
    """What a secret that leaked has sealed is worth nothing any more."""
    alice = fresh_network.accounts["alice.test"]
    with site.worker(SECRETS=ONLY_OLD) as old:
        person = log_in(site, alice, begin=old, end=old)
        back = Person(site.origin, alice)
        url = back.begin_login(old)
    with site.worker(SECRETS=ONLY_NEW) as new:
        check_ignored(person, new)
        assert back.send("GET", url, at=new).status_code == 400
        assert person.send("GET", person.begin_login(new), at=new).status_code == 303
        check_known(person, person.visit(at=new))
