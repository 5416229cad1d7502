"""Pending logins in cookies of their own, and what became of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from atproto_oauth_asgi.config import OAuthConfig
from atproto_oauth_asgi.crypto.keys import generate_private_key
from atproto_oauth_asgi.exceptions import OAuthStateError, WrongBrowser
from atproto_oauth_asgi.models import OAuthState
from atproto_oauth_asgi.web.flows import FlowOutcome, LoginFlows
from atproto_oauth_asgi.web.site import Site
from tests.sessions.making import NOW, SECRET, Clock

PREFIX = "__Host-atproto-abcdef-login"
_KEY = generate_private_key()
DONE = FlowOutcome(location="/notes", cookie="sealed.value")


class Jar:
    """The login cookies of a browser, in the order in which they were set."""

    def __init__(self) -> None:
        self.cookies: dict[str, list[str]] = {}

    def receive(self, lines: list[bytes]) -> None:
        for line in lines:
            pair, *attributes = line.decode().split("; ")
            name, _, value = pair.partition("=")
            self.cookies.pop(name, None)
            if "Max-Age=0" not in attributes:
                self.cookies[name] = [value]


def make_flows(clock: Clock | None = None, **options: Any) -> LoginFlows:
    merged = {"secret_key": SECRET, "public_url": "https://app.example.com"}
    config = OAuthConfig(**{**merged, **options, "clock": clock or Clock()})
    return LoginFlows(Site(config))


def pending(state: str = "a-state", *, extra: str = "") -> OAuthState:
    return OAuthState(
        state=state,
        pkce_verifier="the-verifier",
        redirect_uri="https://app.example.com/oauth/callback",
        scope="atproto",
        authserver_iss="https://as.example.com",
        dpop_private_key=_KEY,
        created_at=datetime.fromtimestamp(NOW, UTC),
        extra=extra or json.dumps({"binding": "x"}),
    )


def keep(flows: LoginFlows, jar: Jar, *logins: OAuthState) -> None:
    for each in logins:
        present = list(jar.cookies)
        jar.receive(flows.cookie_lines(each, prefix=PREFIX, present=present))


@pytest.mark.covers("COOKIE-03", "LOG-03")
def test_flow_when_it_is_kept_then_it_opens_and_shows_nothing() -> None:
    """The cookie holds all that is needed, readable for nobody, small enough."""
    flows, jar = make_flows(), Jar()
    keep(flows, jar, pending())
    [(name, [value])] = jar.cookies.items()
    assert name.startswith(f"{PREFIX}-")
    assert "a-state" not in name
    assert len(name) + len(value) < 1200
    opened = flows.open("a-state", prefix=PREFIX, cookies=jar.cookies)
    assert opened.pkce_verifier == "the-verifier"
    assert opened.extra == pending().extra
    assert "the-verifier" not in repr(opened)


@pytest.mark.covers("CB-06", "CB-07", "COOKIE-04", "CKE-07")
def test_flow_when_the_cookie_is_not_this_login_s_then_wrong_browser() -> None:
    """No cookie, another login's cookie, another app's: none of them opens."""
    flows, jar, other = make_flows(), Jar(), Jar()
    keep(flows, jar, pending("one"))
    keep(flows, other, pending("two"))
    [name], [[foreign]] = list(jar.cookies), list(other.cookies.values())
    elsewhere = make_flows(public_url="https://other.example.com")
    for reader, cookies in (
        (flows, {}),
        (flows, other.cookies),
        (flows, {name: [foreign]}),
        (flows, {name: [*jar.cookies[name], foreign]}),
        (elsewhere, jar.cookies),
    ):
        with pytest.raises(WrongBrowser):
            reader.open("one", prefix=PREFIX, cookies=cookies)


@pytest.mark.covers("ASG-15", "SESS-11")
def test_flow_when_another_release_kept_it_then_it_has_expired() -> None:
    """What is authentic but not understood is a login to begin again."""
    flows = make_flows()
    value = flows._sealer.seal(b"{}", context=flows._context("one"), now=NOW)
    jar = Jar()
    keep(flows, jar, pending("one"))
    with pytest.raises(OAuthStateError):
        flows.open(
            "one", prefix=PREFIX, cookies={name: [value] for name in jar.cookies}
        )


@pytest.mark.covers("LOGIN-10", "LGN-14")
@pytest.mark.parametrize("size", [10, 4000])
def test_flows_when_there_are_many_then_the_newest_three_stay_whole(size: int) -> None:
    """A login that takes several cookies counts as one."""
    flows, jar = make_flows(), Jar()
    logins = [pending(f"state-{number}", extra="x" * size) for number in range(7)]
    keep(flows, jar, *logins)
    for number in (4, 5, 6):
        opened = flows.open(f"state-{number}", prefix=PREFIX, cookies=jar.cookies)
        assert opened.state == f"state-{number}"
    assert len(jar.cookies) == 3 * (1 if size < 1000 else 2)
    jar.receive(flows.clear_lines("state-5", prefix=PREFIX, cookies=jar.cookies))
    with pytest.raises(WrongBrowser):
        flows.open("state-5", prefix=PREFIX, cookies=jar.cookies)
    assert flows.clear_lines("state-5", prefix=PREFIX, cookies=jar.cookies) == []


@pytest.mark.anyio
@pytest.mark.covers("LGN-04", "CB-04")
async def test_outcome_when_asked_for_then_a_minute_long() -> None:
    """What became of a login is told for a minute; used up it stays until too old."""
    clock = Clock()
    flows = make_flows(clock)
    assert await flows.outcome("one") is None
    await flows.keep_outcome("one", DONE)
    clock.now += 60
    assert await flows.outcome("one") == DONE
    assert await flows.outcome("two") is None
    for _ in range(2):
        clock.now += 290
        with pytest.raises(OAuthStateError):
            await flows.outcome("one")


@pytest.mark.anyio
@pytest.mark.covers("CB-04", "CB-05")
async def test_outcome_when_the_login_has_failed_then_it_is_used_up() -> None:
    """A failure is an end as well: the same code is not sent twice."""
    flows = make_flows()
    await flows.keep_outcome("one", None)
    with pytest.raises(OAuthStateError):
        await flows.outcome("one")


@pytest.mark.anyio
@pytest.mark.covers("SES-03", "SESS-10", "SES-04")
async def test_outcome_when_it_lies_in_the_store_then_sealed_to_its_login() -> None:
    """A store that is read gives nothing away; a record that is moved opens nothing."""
    flows = make_flows()
    await flows.keep_outcome("one", DONE)
    store = flows._site.logins
    [((kind, key), row)] = store._rows.items()  # type: ignore[attr-defined]
    assert DONE.cookie.encode() not in row.record.value
    assert "one" not in key
    await flows.keep_outcome("two", None)
    [other] = {each for (_, each), _ in store._rows.items()} - {key}  # type: ignore[attr-defined]
    await store.save(kind, other, row.record.value, expires_at=NOW + 60)
    with pytest.raises(OAuthStateError):
        await flows.outcome("two")
    assert "sealed.value" not in repr(DONE)
