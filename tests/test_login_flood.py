"""Attacks DOS-A07, DOS-A10 and DOS-A13 from outside: many logins, at one application."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse

from atproto_oauth_asgi import ATProtoOAuthMiddleware, LoginLimits
from atproto_oauth_asgi.exceptions import OAuthStateError
from atproto_oauth_asgi.stores.locks import unix_now
from atproto_oauth_asgi.testing import (
    AtprotoNetwork,
    approve,
    behaviours,
    deny,
    login_as,
)
from atproto_oauth_asgi.testing.accounts import build_did_document, new_did
from atproto_oauth_asgi.web import flows as flows_module
from atproto_oauth_asgi.web.flows import LoginFlows
from tests.sessions.making import Clock
from tests.testing.test_login_as import ORIGIN, make_app

pytestmark = pytest.mark.anyio

VICTIM = "victim.test"
RESOURCE = "/.well-known/oauth-protected-resource"
LIMIT = 3


@asynccontextmanager
async def visiting(
    app: ATProtoOAuthMiddleware, address: str = "198.51.100.7"
) -> AsyncIterator[httpx.AsyncClient]:
    """A program at an application, from an address."""
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app, client=(address, 50000)),
        base_url=ORIGIN,
        headers={"Origin": ORIGIN},
    ) as client:
        yield client
        await app._site.client.aclose()


async def begin(client: httpx.AsyncClient, identifier: str) -> httpx.Response:
    """Send the login form, as a program does."""
    return await client.post("/oauth/login", json={"identifier": identifier})


def add_name(net: AtprotoNetwork, number: int, did: str) -> str:
    """A handle of Eve's that names an account."""
    handle = f"eve{number}.test"
    net.internet.texts[f"_atproto.{handle}"] = [f"did={did}"]
    return handle


def add_account(net: AtprotoNetwork, number: int, *, pds_url: str) -> str:
    """An account of Eve's, wherever she likes; give back its handle."""
    did = new_did()
    handle = add_name(net, number, did)
    document = build_did_document(did, handle=handle, pds_url=pds_url)
    net.directory.documents[did] = document
    return handle


def by_pds(net: AtprotoNetwork, number: int) -> str:
    """The victim is where her account lives."""
    return add_account(net, number, pds_url=f"https://{VICTIM}")


def by_issuer(net: AtprotoNetwork, number: int) -> str:
    """Her PDS names the victim as its authorization server."""
    host = f"pds{number}.test"
    origin = f"https://{host}"
    members = {"resource": origin, "authorization_servers": [f"https://{VICTIM}"]}
    net.add_host(host, JSONResponse(members))
    return add_account(net, number, pds_url=origin)


def by_redirect(net: AtprotoNetwork, number: int) -> str:
    """The web server of her handle sends on to the victim."""
    handle = f"eve{number}.test"
    net.add_host(handle, behaviours.redirect(f"https://{VICTIM}/{number}"))
    return handle


def by_did_web(net: AtprotoNetwork, number: int) -> str:
    """Her handle names the victim's DID."""
    return add_name(net, number, f"did:web:{VICTIM}")


def by_claim(net: AtprotoNetwork, number: int) -> str:
    """Her account claims the victim's name."""
    host = f"pds{number}.test"
    net.add_host(host, PlainTextResponse("no PDS", 404))
    did = new_did()
    document = build_did_document(did, handle=VICTIM, pds_url=f"https://{host}")
    net.directory.documents[did] = document
    return did


def by_hand(net: AtprotoNetwork, number: int) -> str:
    """She types the victim's address."""
    return f"https://{VICTIM}"


LEADS = [by_pds, by_issuer, by_redirect, by_did_web, by_claim, by_hand]


def asked_of_victim(net: AtprotoNetwork) -> int:
    return len([each for each in net.traffic if each.host == VICTIM])


@pytest.mark.covers("DOS-A07", "DOS-07", "LOGIN-09")
@pytest.mark.parametrize("lead", LEADS)
async def test_dos_a07_when_all_logins_lead_to_one_victim_then_it_is_asked_rarely(
    atproto_network: AtprotoNetwork, lead: Callable[[AtprotoNetwork, int], str]
) -> None:
    """However they lead there: what goes beyond the limit asks the victim nothing."""
    net, clock = atproto_network, Clock()
    net.add_host(VICTIM, PlainTextResponse("I am somebody else", 404))
    limits = LoginLimits(per_target_host_per_minute=LIMIT)
    app = make_app(net, limits=limits, clock=clock)
    async with visiting(app) as client:
        for number in range(LIMIT):
            answer = await begin(client, lead(net, number))
            assert answer.json()["code"] != "too_many_logins"
        asked = asked_of_victim(net)
        assert asked > 0
        answers = [
            await begin(client, lead(net, LIMIT + number)) for number in range(LIMIT)
        ]
        assert asked_of_victim(net) == asked
        if lead is not by_claim:
            told = {
                (
                    answer.status_code,
                    answer.json()["code"],
                    answer.headers["retry-after"],
                )
                for answer in answers
            }
            assert told == {(429, "too_many_logins", "60")}
        clock.now += 60
        await begin(client, lead(net, 2 * LIMIT))
        assert asked_of_victim(net) > asked


@pytest.mark.covers("DOS-A07", "LOGIN-09")
async def test_dos_a07_when_one_host_is_flooded_then_others_log_in(
    atproto_network: AtprotoNetwork,
) -> None:
    """The limit of one host is nobody else's, nor that of who is logged in."""
    net = atproto_network
    net.add_host(VICTIM, PlainTextResponse("I am somebody else", 404))
    app = make_app(net, limits=LoginLimits(per_target_host_per_minute=LIMIT))
    async with visiting(app) as client:
        answers = [await begin(client, by_pds(net, each)) for each in range(LIMIT + 2)]
        assert [each.status_code for each in answers[LIMIT:]] == [429, 429]
        await login_as(client, "alice.test")
        assert (await client.get("/")).json()["handle"] == "alice.test"


@pytest.mark.covers("DOS-A07", "DOS-06", "LOGIN-09")
async def test_dos_a07_when_hosts_are_all_new_and_hang_then_a_few_are_asked(
    atproto_network: AtprotoNetwork,
) -> None:
    """A hundred logins at once, each to a host of its own: as many as have places."""
    net = atproto_network
    for number in range(100):
        net.add_host(f"eve{number}.test", behaviours.hang())
    app = make_app(net, limits=LoginLimits(concurrent=8))
    refused: list[httpx.Response] = []
    async with visiting(app) as client, visiting(app) as alice:
        callback = await hand_over(net, alice, "alice.test")
        net.clear_traffic()

        async def flood(number: int) -> None:
            refused.append(await begin(client, f"https://eve{number}.test"))

        async with anyio.create_task_group() as tasks:
            for number in range(100):
                tasks.start_soon(flood, number)
            await until(lambda: len(refused) == 92 and len(net.traffic) == 8)
            connected = len(net.internet.connected)
            answer = await begin(alice, "bob.test")
            assert (answer.status_code, answer.headers["retry-after"]) == (429, "5")
            assert len(net.internet.connected) == connected
            assert (await alice.get(callback)).status_code == 303
            assert (await alice.get("/")).json()["handle"] == "alice.test"
            tasks.cancel_scope.cancel()
        assert {answer.status_code for answer in refused} == {429}
        assert (await begin(alice, "bob.test")).status_code == 200


async def hand_over(net: AtprotoNetwork, client: httpx.AsyncClient, handle: str) -> str:
    """Begin a login and approve it; give back the callback's address."""
    answer = await begin(client, handle)
    url: str = answer.json()["authorization_url"]
    return approve(url, net.accounts[handle])


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for something that is bound to happen."""
    with anyio.fail_after(20):
        while not is_so():  # noqa: ASYNC110 - it happens in other threads
            await anyio.sleep(0.01)


@pytest.mark.covers("DOS-A07", "LOGIN-09")
async def test_dos_a07_when_one_client_floods_then_it_alone_is_refused(
    atproto_network: AtprotoNetwork,
) -> None:
    """By address, or behind a proxy by what the application calls a client."""
    net = atproto_network
    by_address = LoginLimits(per_client_per_minute=2)
    by_header = LoginLimits(
        per_client_per_minute=2,
        client_key=lambda request: request.headers.get("x-real-ip", ""),
    )
    for limits, same in ((by_address, False), (by_header, True)):
        app = make_app(net, limits=limits)
        async with visiting(app) as eve, visiting(app, "198.51.100.8") as bob:
            eve.headers["x-real-ip"] = "203.0.113.1"
            bob.headers["x-real-ip"] = "203.0.113.1" if same else "203.0.113.2"
            for _ in range(2):
                assert (await begin(eve, "alice.test")).status_code == 200
            resolved, asked = len(net.internet.resolved), len(net.traffic)
            answer = await begin(eve, "another.test")
            assert (answer.status_code, answer.headers["retry-after"]) == (429, "60")
            assert (len(net.internet.resolved), len(net.traffic)) == (resolved, asked)
            status = 429 if same else 200
            assert (await begin(bob, "bob.test")).status_code == status


@pytest.mark.covers("HTTP-12", "WEB-10")
@pytest.mark.parametrize(
    "name",
    ["x-forwarded-for", "forwarded", "x-real-ip", "client-ip", "cf-connecting-ip"],
)
async def test_client_when_it_claims_other_addresses_then_stays_one_client(
    atproto_network: AtprotoNetwork, name: str
) -> None:
    """Anybody can write such a field; the connection tells who it is."""
    app = make_app(atproto_network, limits=LoginLimits(per_client_per_minute=2))
    async with visiting(app) as eve:
        answers = []
        for number in range(4):
            eve.headers[name] = f"203.0.113.{number}"
            answers.append((await begin(eve, "alice.test")).status_code)
    assert answers == [200, 200, 429, 429]


@pytest.mark.covers("LOGIN-09", "ERR-04")
async def test_form_when_logins_are_too_many_then_a_person_can_send_it_again(
    atproto_network: AtprotoNetwork,
) -> None:
    """The page tells it, and still holds what was typed."""
    app = make_app(atproto_network, limits=LoginLimits(per_client_per_minute=1))
    async with visiting(app) as client:
        await begin(client, "alice.test")
        answer = await client.post(
            "/oauth/login", data={"identifier": "alice.test", "return_to": "/a"}
        )
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "60"
    assert answer.headers["content-type"].startswith("text/html")
    assert "Too many logins at once" in answer.text
    assert 'value="alice.test"' in answer.text
    assert "/a" in answer.text


async def test_login_when_the_applications_key_fails_then_none_begins(
    atproto_network: AtprotoNetwork, caplog: pytest.LogCaptureFixture
) -> None:
    """A mistake in it is an error of the application, and opens nothing."""

    def key(request: Request) -> str:
        return request.headers["x-real-ip"]

    limits = LoginLimits(per_client_per_minute=1, client_key=key)
    app = make_app(atproto_network, limits=limits)
    with caplog.at_level(logging.CRITICAL, logger="atproto_oauth_asgi"):
        async with visiting(app) as client:
            answer = await begin(client, "alice.test")
    assert (answer.status_code, answer.json()["code"]) == (500, "unexpected")
    assert atproto_network.traffic == []


# --- What is left behind -------------------------------------------------------------


def kept(app: ATProtoOAuthMiddleware) -> int:
    """How many records the stores of an application hold, of sessions and logins."""
    site: Any = app._site
    return len(site.store._rows.items()) + len(site.logins._rows.items())


@pytest.mark.covers("DOS-A10", "DOS-10")
async def test_dos_a10_when_logins_are_begun_and_left_then_nothing_is_kept(
    atproto_network: AtprotoNetwork,
) -> None:
    """A login that was begun lies in the browser, and nowhere else."""
    app = make_app(atproto_network)
    async with visiting(app) as client:
        for _ in range(20):
            assert (await begin(client, "alice.test")).status_code == 200
        assert len(client.cookies) == 3
    assert kept(app) == 0
    assert app._site.logins._locks._leases == {}  # type: ignore[attr-defined]


@pytest.mark.covers("DOS-A10", "DOS-10")
async def test_dos_a10_when_logins_fail_then_a_note_of_each_is_kept_shortly(
    atproto_network: AtprotoNetwork,
) -> None:
    """It says that the login is used up, until it would be too old anyway."""
    net, clock = atproto_network, Clock(unix_now())
    app = make_app(net, clock=clock)
    async with visiting(app) as client:
        for number in range(1, 4):
            answer = await begin(client, "alice.test")
            back = deny(answer.json()["authorization_url"])
            for _ in range(2):
                assert (await client.get(back)).status_code == 400
            assert kept(app) == number
    clock.now += 661
    assert kept(app) == 0


@pytest.mark.covers("DOS-A10", "DOS-10")
async def test_dos_a10_when_notes_are_many_then_the_oldest_make_room(
    atproto_network: AtprotoNetwork,
) -> None:
    """There is a bound that no number of logins goes beyond; sessions lie elsewhere."""
    app = make_app(atproto_network)
    flows = LoginFlows(app._site)
    await app._site.store.save("tombstone", "k", b"1", expires_at=unix_now() + 60)
    for number in range(10_050):
        await flows.keep_outcome(str(number), None)
    assert len(app._site.logins._rows) == 10_000  # type: ignore[attr-defined]
    with pytest.raises(OAuthStateError):
        await flows.outcome("10049")
    assert await flows.outcome("0") is None
    assert await app._site.store.load("tombstone", "k") is not None


@pytest.mark.covers("DOS-A13", "STORE-08", "STORE-11")
async def test_dos_a13_when_a_callback_never_ends_then_others_do_not_wait_for_ever(
    atproto_network: AtprotoNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are told to come again; once the lease is over, the login can end."""
    net, clock = atproto_network, Clock(unix_now())
    monkeypatch.setattr(flows_module, "_LONGEST_WAIT_S", 0.05)
    app = make_app(net, clock=clock)
    async with visiting(app) as client:
        back = await hand_over(net, client, "alice.test")
        state = httpx.URL(back).params["state"]
        stuck = LoginFlows(app._site).lock(state)
        await stuck.__aenter__()
        for _ in range(3):
            answer = await client.get(back)
            assert answer.status_code == 503
            assert "This app cannot remember you right now" in answer.text
        clock.now += 91
        assert (await client.get(back)).status_code == 303
        await stuck.__aexit__(None, None, None)
        assert (await client.get("/")).json()["handle"] == "alice.test"


# --- What a refusal tells ------------------------------------------------------------


@pytest.mark.covers("SRF-13", "NET-17")
async def test_srf_13_when_targets_are_inside_then_told_as_one_that_is_not_there(
    atproto_network: AtprotoNetwork,
) -> None:
    """Open, closed or filtered: no packet is sent, so that there is nothing to time."""
    net = atproto_network
    targets = ["127.0.0.1", "10.0.0.5", "169.254.169.254", "::1"]
    net.internet.addresses |= {
        f"inside{number}.test": [address] for number, address in enumerate(targets)
    }
    net.internet.addresses["closed.test"] = ["93.184.218.1"]
    app = make_app(net)
    async with visiting(app) as client:
        told = []
        for host in [f"inside{number}.test" for number in range(len(targets))]:
            told.append(await tell(client, host))
            assert net.internet.connected == []
        told += [await tell(client, "closed.test"), await tell(client, "none.test")]
    assert told.count(told[0]) == len(told) == 6


async def tell(client: httpx.AsyncClient, host: str) -> tuple[int, dict[str, Any]]:
    """What a program is told of a host, but for the number of the incident."""
    answer = await begin(client, f"https://{host}")
    members = answer.json()
    assert len(members.pop("incident_id")) == 8
    return answer.status_code, members
