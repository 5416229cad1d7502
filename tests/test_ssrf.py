"""Attacks SRF-01 to SRF-17: nobody makes this server connect where it should not."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import anyio
import anyio.to_thread
import httpx
import pytest
from anyio.from_thread import BlockingPortal
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from atproto_oauth_asgi.client import OAuthClient
from atproto_oauth_asgi.exceptions import (
    Blocked,
    HandleNotFound,
    OAuthError,
)
from atproto_oauth_asgi.stores.memory import MemoryStateStore
from tests.network.atproto import (
    ALICE,
    HANDLE,
    ISSUER,
    METADATA,
    OTHER_ISSUER,
    PAR,
    PDS,
    TOKEN,
)
from tests.network.programs import (
    after,
    answer,
)
from tests.network.stage import (
    HOPS,
    Stage,
    closing,
)

pytestmark = pytest.mark.anyio

PRIVATE = [
    "0.0.0.0",  # noqa: S104 - an address that nothing may be connected to
    "10.0.0.5",
    "100.64.0.1",
    "127.0.0.1",
    "169.254.1.1",
    "172.16.0.1",
    "192.0.0.8",
    "192.0.2.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fc00::1",
    "fe80::1",
    "ff02::1",
    "2001:db8::1",
    "100::1",
    "2001::1",
]
DISGUISED = [
    "::ffff:127.0.0.1",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::7f00:1",
    "2002:7f00:1::",
    "2001:0:7f00:1::1",
    "fec0::1",
    "fe80::1%eth0",
]
CLOUD = ["169.254.169.254", "fd00:ec2::254", "100.100.100.200", "168.63.129.16"]


def forget(stage: Stage) -> None:
    """Forget what was asked so far."""
    stage.servers.net.clear_traffic()


def reached(stage: Stage, host: str) -> list[tuple[str, int]]:
    """The connections to anything but the honest addresses of the other hosts."""
    others = [
        (address, 443)
        for name, addresses in stage.internet.addresses.items()
        if name != host
        for address in addresses
    ]
    return [item for item in stage.internet.connected if item not in others]


async def refuse_addresses(
    stage: Stage, client: OAuthClient, hop: str, answers: Sequence[list[str]]
) -> set[str]:
    """Let a host resolve to each of the answers in turn; give back what is said."""
    step = await stage.walk_to(hop, client)
    host = stage.host(hop)
    messages = set()
    for addresses in answers:
        forget(stage)
        stage.internet.addresses[host] = addresses
        with pytest.raises((Blocked, HandleNotFound)) as caught:
            await step()
        messages.add(f"{type(caught.value).__name__}: {caught.value}")
        assert host in stage.internet.resolved
        assert reached(stage, host) == []
        # A state can be taken once, so one try is all that a callback has.
        if hop == "token":
            stage.restore()
            step = await stage.walk_to(hop, client)
    return messages


async def test_stage_when_nobody_attacks_then_every_hop_is_reached(
    stage: Stage, client: OAuthClient
) -> None:
    """What the attacks below attack works: each step asks its host."""
    for hop, (origin, path) in HOPS.items():
        step = await stage.walk_to(hop, client)
        # What is remembered is forgotten, but a code does not live longer than that.
        stage.servers.clock.now += 0 if hop == "token" else 301
        forget(stage)
        await step()
        assert origin + path in [seen.url for seen in stage.servers.seen], hop


@pytest.mark.covers("SRF-01", "NET-01", "NET-05", "ID-31", "DISC-13")
@pytest.mark.parametrize("hop", HOPS)
async def test_srf_01_when_a_name_is_private_then_no_hop_connects(
    stage: Stage, client: OAuthClient, hop: str
) -> None:
    """Handle, did:web, PLC, PDS, metadata, PAR, token, revocation, data."""
    said = await refuse_addresses(stage, client, hop, [[a] for a in PRIVATE])
    assert len(said) == 1


@pytest.mark.covers("SRF-02", "NET-04")
@pytest.mark.parametrize("hop", HOPS)
async def test_srf_02_when_an_address_is_disguised_then_no_hop_connects(
    stage: Stage, client: OAuthClient, hop: str
) -> None:
    """IPv4 inside IPv6, in every notation."""
    await refuse_addresses(stage, client, hop, [[a] for a in DISGUISED])


NUMBERS = ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0", "127.0.0.1"]
LOCAL = [
    "localhost",
    "localhost.",
    "metadata",
    "metadata.google.internal",
    "kubernetes.default.svc",
    "host.docker.internal",
]
ODD = [
    "as@10.0.0.1",
    "as.example.com\\@evil.example.net",
    "as.example.com#@evil.example.net",
    "as.example.com%00.evil.example.net",
    "as.example.com\t.evil.example.net",
    "as.example.com .evil.example.net",
    "as.example.com:22",
    "as.example.com:25",
    "as.example.com:6379",
    "as.example.com:11211",
    "as.example.com:0",
    "as.example.com:65536",
    "xn--a.example.com",
    "\u24db\u24deocalhost",
    "stra\u00dfe.example.com",
    "a\u200db.example.com",
    "\u2460\u2461\u2466.0.0.1",
]


def plant(stage: Stage, where: str, url: str) -> None:
    """Let a server name a URL: as a PDS, an issuer, or an endpoint."""
    if where == "PDS":
        stage.servers.net.move(ALICE, url)
    elif where == "issuer":
        stage.servers.lead(PDS, url)
    else:
        stage.servers.alter(ISSUER + METADATA, {where: f"{url}/x"})


@pytest.mark.covers(
    "SRF-03", "SRF-07", "SRF-08", "SRF-09", "SRF-12", "NET-07", "NET-08", "NET-09"
)
@pytest.mark.parametrize(
    "where",
    [
        "PDS",
        "issuer",
        "token_endpoint",
        "pushed_authorization_request_endpoint",
        "revocation_endpoint",
        "typed",
    ],
)
async def test_srf_03_07_08_09_12_when_a_host_is_odd_then_it_is_not_looked_up(
    stage: Stage, client: OAuthClient, where: str
) -> None:
    """Numbers, local names, ports, tricks of spelling: refused before DNS."""
    for host in NUMBERS + LOCAL + ODD:
        forget(stage)
        typed = HANDLE
        if where == "typed":
            typed = f"https://{host}"
        else:
            plant(stage, where, f"https://{host}")
        with pytest.raises(OAuthError):
            await client.start_authorization(typed)
        assert set(stage.internet.resolved) <= set(stage.good), host
        assert reached(stage, "") == []
        assert PAR not in stage.servers.paths()
        stage.servers.clock.now += 301


@pytest.mark.covers("SRF-11", "NET-13")
@pytest.mark.parametrize("where", ["PDS", "issuer", "token_endpoint", "typed"])
async def test_srf_11_when_scheme_is_another_then_nothing_is_opened(
    stage: Stage, client: OAuthClient, where: str
) -> None:
    """Files, sockets, other protocols: not by any document."""
    for url in (
        "file:///etc/passwd",
        "unix:/run/x.sock",
        "http+unix://%2Frun%2Fx",
        "gopher://as.example.com",
        "data:,x",
        "ftp://as.example.com",
        "http://as.example.com",
    ):
        if where != "typed":
            plant(stage, where, url)
        with pytest.raises(OAuthError):
            await client.start_authorization(url if where == "typed" else HANDLE)
        assert PAR not in stage.servers.paths()
        assert reached(stage, "") == []
        stage.servers.clock.now += 301


@pytest.mark.covers("SRF-04", "NET-02")
@pytest.mark.parametrize("hop", HOPS)
async def test_srf_04_when_a_name_is_rebound_then_the_checked_address_counts(
    stage: Stage, hop: str
) -> None:
    """A name is asked once for a connection; a second answer is not heard."""
    host = stage.host(hop)
    good = stage.internet.addresses[host]
    answers: list[list[str]] = []

    async def resolve(name: str, /) -> Sequence[str]:
        found = await stage.internet.resolve(name)
        return answers.pop(0) if name == host and answers else found

    stage.options = {"resolver": resolve}
    async with closing(stage.client()) as client:
        step = await stage.walk_to(hop, client)
        forget(stage)
        answers[:] = [good, ["127.0.0.1"], ["127.0.0.1"]]
        try:
            await step()
        except OAuthError:
            # Another connection to this host was wanted: it is not made.
            assert stage.internet.resolved.count(host) > 1
    assert all(
        ipaddress.ip_address(address).is_global
        for address, _ in stage.internet.connected
    )
    assert (good[0], 443) in stage.internet.connected


@pytest.mark.covers("SRF-05", "NET-03")
@pytest.mark.parametrize("hop", HOPS)
async def test_srf_05_when_answers_are_mixed_then_no_hop_connects(
    stage: Stage, client: OAuthClient, hop: str
) -> None:
    """One private address spoils the public ones beside it."""
    good = stage.internet.addresses[stage.host(hop)][0]
    await refuse_addresses(
        stage, client, hop, [[good, "10.0.0.5"], ["fd00::1", good], [good, "::1"]]
    )


@pytest.mark.covers("SRF-06", "NET-11", "MIX-14", "RFR-18", "OUT-02", "TOK-02")
@pytest.mark.parametrize("hop", HOPS)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_srf_06_when_a_hop_redirects_then_nobody_follows(
    stage: Stage, client: OAuthClient, hop: str, status: int
) -> None:
    """Neither to a private address nor to a public one; a handle to public ones."""
    stage.serve("evil.example.net")
    stage.internet.addresses["private.example.net"] = ["10.0.0.5"]
    step = await stage.walk_to(hop, client)
    names = ["https://10.0.0.5/x", "https://private.example.net/x"]
    if hop != "handle":
        names.append("https://evil.example.net/x")
    for location in names:
        forget(stage)
        away = {"Location": location, "Connection": "close"}
        stage.servers.on(stage.url(hop), answer(status, {}, headers=away))
        if hop == "data":
            response = await step()
            assert isinstance(response, httpx.Response)
            assert response.status_code == status
        else:
            with pytest.raises(OAuthError):
                await step()
        assert reached(stage, "evil.example.net") == []
        if hop == "token":
            stage.servers.off(stage.url(hop))
            step = await stage.walk_to(hop, client)


@pytest.mark.covers("SRF-10", "NET-06")
@pytest.mark.parametrize("hop", HOPS)
async def test_srf_10_when_a_name_is_the_clouds_then_no_hop_connects(
    stage: Stage, client: OAuthClient, hop: str
) -> None:
    """Where clouds keep the credentials of their machines."""
    await refuse_addresses(stage, client, hop, [[a] for a in CLOUD])


@pytest.mark.covers("SRF-13", "NET-17")
@pytest.mark.parametrize("hop", ["handle", "did:web", "PDS", "metadata", "PAR"])
async def test_srf_13_when_private_targets_differ_then_nothing_tells_them_apart(
    stage: Stage, client: OAuthClient, hop: str
) -> None:
    """Open, closed, filtered: the same words; nothing waits for a connection."""
    messages, times = set(), []
    for address in ("127.0.0.1", "10.0.0.5", "192.168.7.7"):
        began = time.perf_counter()
        messages |= await refuse_addresses(stage, client, hop, [[address]])
        times.append(time.perf_counter() - began)
    assert len(messages) == 1
    assert max(times) < 4


@pytest.mark.covers("SRF-14", "NET-18", "IDN-15")
@pytest.mark.parametrize("hop", ["handle", "PLC", "PDS", "metadata"])
async def test_srf_14_when_a_host_is_our_own_then_no_loop_is_made(
    stage: Stage, hop: str
) -> None:
    """A document that is made by starting the same login again ends with its time."""
    stage.options = {"timeout_s": 4.0, "login_budget_s": 4.0}
    began = 0

    async with closing(stage.client()) as client, BlockingPortal() as portal:

        async def begin_again() -> None:
            nonlocal began
            began += 1
            with suppress(OAuthError):
                await client.begin_login(HANDLE)

        # In this event loop: the application is the one that has begun the login.
        again = after(partial(anyio.to_thread.run_sync, portal.call, begin_again))
        stage.servers.on(stage.url(hop), again)
        with anyio.fail_after(15):
            with pytest.raises(OAuthError):
                await client.begin_login(HANDLE)
            assert began == 1
            # Afterwards all is as before.
            stage.servers.off(stage.url(hop))
            await client.begin_login(HANDLE)


@pytest.mark.covers("SRF-15", "NET-14")
async def test_srf_15_when_hosts_share_an_address_then_connections_are_not_shared(
    stage: Stage, client: OAuthClient
) -> None:
    """A connection that was opened for one host carries nothing of another."""
    hosts: list[tuple[str, str]] = []

    async def note(scope: Scope, receive: Receive, send: Send) -> None:
        hosts.append((scope["server"][0], Headers(scope=scope)["host"]))
        await answer(404, {})(scope, receive, send)

    for origin in (PDS, ISSUER):
        stage.servers.on(origin, note)
    pds, issuer = stage.host("PDS"), stage.host("metadata")
    shared = stage.internet.addresses[pds]
    stage.internet.addresses[issuer] = shared
    for origin in (PDS, ISSUER, PDS):
        request = httpx.Request("GET", f"{origin}/x")
        response = await client._net.transport.handle_async_request(request)
        await response.aread()
    assert hosts == [(pds, pds), (issuer, issuer), (pds, pds)]
    assert stage.internet.connected == [(shared[0], 443)] * 2


@pytest.mark.covers("SRF-16", "NET-12")
@pytest.mark.parametrize(
    "name", ["ALL_PROXY", "HTTPS_PROXY", "https_proxy", "all_proxy"]
)
async def test_srf_16_when_a_proxy_is_set_then_every_hop_is_direct(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A proxy would look names up by itself, past the guard."""
    monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with closing(stage.client()) as client:
        session = await stage.log_in(client)
        response = await stage.get_record(client, session)
        await client.revoke_session(session)
    assert response.status_code == 200
    assert reached(stage, "") == []


@pytest.mark.covers("SRF-17", "NET-02", "NET-16")
@pytest.mark.parametrize("hop", HOPS)
async def test_srf_17_when_a_name_has_no_or_too_many_addresses_then_is_refused(
    stage: Stage, client: OAuthClient, hop: str
) -> None:
    """An alias to a private name is an address as any; a flood is not tried."""
    host = stage.host(hop)
    good = stage.internet.addresses[host][0]
    step = await stage.walk_to(hop, client)
    for addresses in ([], [good] * 1000):
        forget(stage)
        stage.internet.addresses[host] = addresses
        with pytest.raises(OAuthError):
            await step()
        assert reached(stage, host) == []
        if hop == "token":
            stage.restore()
            step = await stage.walk_to(hop, client)


@pytest.mark.covers("MIX-11", "DISC-13", "NET-01")
async def test_mix_11_when_metadata_changes_before_the_callback_then_code_stays_here(
    stage: Stage,
) -> None:
    """A server cannot send the code elsewhere by saying something new of itself."""
    stage.serve("eve.example.net")
    for url in ("https://10.0.0.5/t", f"{OTHER_ISSUER}{TOKEN}"):
        store = MemoryStateStore(clock=stage.servers.clock)
        async with closing(stage.client(state_store=store)) as begun:
            callback = await stage.approved(begun)
        stage.servers.alter(ISSUER + METADATA, {"token_endpoint": url})
        forget(stage)
        # Another process, which remembers nothing of the server.
        async with closing(stage.client(state_store=store)) as other:
            session = await other.handle_callback(**callback)
        assert session.did == ALICE
        codes = {seen.url for seen in stage.servers.seen if "code" in seen.form}
        assert codes == {ISSUER + TOKEN}
        assert reached(stage, "eve.example.net") == []
        stage.servers.off(ISSUER + METADATA)
