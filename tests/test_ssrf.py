"""Attacks SRF-01 to SRF-17: nobody makes this server connect where it should not."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Sequence

import anyio
import httpx
import pytest
from anyio.abc import ByteStream

from atproto_oauth_asgi.client import OAuthClient
from atproto_oauth_asgi.exceptions import (
    Blocked,
    HandleNotFound,
    OAuthError,
    TransportError,
)
from tests.network.atproto import (
    ALICE,
    HANDLE,
    ISSUER,
    OTHER_ISSUER,
    PAR,
    PDS,
    TOKEN,
    Seen,
    answer,
    metadata,
)
from tests.network.servers import http, saying
from tests.network.stage import (
    HOPS,
    WELL_KNOWN,
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
    stage.world.asked.clear()
    stage.world.connected.clear()
    stage.world.heads.clear()
    stage.servers.seen.clear()


def reached(stage: Stage, host: str) -> list[tuple[str, int]]:
    """The connections to anything but the honest addresses of the other hosts."""
    others = [
        (address, 443)
        for name, addresses in stage.world.addresses.items()
        if name != host
        for address in addresses
    ]
    return [item for item in stage.world.connected if item not in others]


async def refuse_addresses(
    stage: Stage, client: OAuthClient, hop: str, answers: Sequence[list[str]]
) -> set[str]:
    """Let a host resolve to each of the answers in turn; give back what is said."""
    step = await stage.walk_to(hop, client)
    host, _ = stage.hop(hop)
    messages = set()
    for addresses in answers:
        forget(stage)
        stage.world.addresses[host] = addresses
        with pytest.raises((Blocked, HandleNotFound)) as caught:
            await step()
        messages.add(f"{type(caught.value).__name__}: {caught.value}")
        assert host in stage.world.asked
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
        stage.servers.clock.now += 301
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


async def plant(stage: Stage, where: str, url: str) -> None:
    """Let a server name a URL: as a PDS, an issuer, or an endpoint."""
    if where == "PDS":
        stage.servers.homes[ALICE] = url
    elif where == "issuer":
        stage.servers.issuers[PDS] = url
    else:
        stage.servers.metadata_changes = {where: f"{url}/x"}


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
            await plant(stage, where, f"https://{host}")
        with pytest.raises(OAuthError):
            await client.start_authorization(typed)
        assert set(stage.world.asked) <= set(stage.good), host
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
            await plant(stage, where, url)
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
    host, _ = stage.hop(hop)
    good = stage.world.addresses[host]
    answers: list[list[str]] = []

    async def resolve(name: str, /) -> Sequence[str]:
        stage.world.asked.append(name)
        if name != host or not answers:
            return stage.world.addresses[name]
        return answers.pop(0)

    stage.world.resolve = resolve  # type: ignore[method-assign]
    async with closing(stage.client()) as client:
        step = await stage.walk_to(hop, client)
        forget(stage)
        answers[:] = [good, ["127.0.0.1"], ["127.0.0.1"]]
        try:
            await step()
        except OAuthError:
            # Another connection to this host was wanted: it is not made.
            assert stage.world.asked.count(host) > 1
    assert all(
        ipaddress.ip_address(address).is_global for address, _ in stage.world.connected
    )
    assert (good[0], 443) in stage.world.connected


@pytest.mark.covers("SRF-05", "NET-03")
@pytest.mark.parametrize("hop", HOPS)
async def test_srf_05_when_answers_are_mixed_then_no_hop_connects(
    stage: Stage, client: OAuthClient, hop: str
) -> None:
    """One private address spoils the public ones beside it."""
    good = stage.world.addresses[stage.hop(hop)[0]][0]
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
    await stage.serve("evil.example.net")
    stage.world.addresses["private.example.net"] = ["10.0.0.5"]
    step = await stage.walk_to(hop, client)
    _, path = stage.hop(hop)
    names = ["https://10.0.0.5/x", "https://private.example.net/x"]
    if hop != "handle":
        names.append("https://evil.example.net/x")
    for location in names:
        forget(stage)
        headers = [("Location", location), ("Connection", "close")]
        stage.raw[path] = saying(http(status, headers=headers))
        if hop == "data":
            response = await step()
            assert isinstance(response, httpx.Response)
            assert response.status_code == status
        else:
            with pytest.raises(OAuthError):
                await step()
        assert reached(stage, "evil.example.net") == []
        if hop == "token":
            del stage.raw[path]
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
    stage.options = {"timeout_s": 1.0, "login_budget_s": 1.0}
    _, path = stage.hop(hop)
    began = 0

    async with closing(stage.client()) as client:

        async def begin_again(_: Seen) -> httpx.Response | None:
            nonlocal began
            began += 1
            try:
                await client.begin_login(HANDLE)
            except OAuthError:
                return answer(404, {})
            return None

        stage.servers.scripts[path] = begin_again
        with anyio.fail_after(5):
            with pytest.raises(OAuthError):
                await client.begin_login(HANDLE)
            assert began == 1
            # Afterwards all is as before.
            del stage.servers.scripts[path]
            if hop == "handle":
                stage.servers.scripts[WELL_KNOWN] = stage._say_did
            await client.begin_login(HANDLE)


@pytest.mark.covers("SRF-15", "NET-14")
async def test_srf_15_when_hosts_share_an_address_then_connections_are_not_shared(
    stage: Stage, client: OAuthClient
) -> None:
    """A connection that was opened for one host carries nothing of another."""
    hosts: list[bytes] = []

    async def keep_alive(stream: ByteStream, head: bytes) -> None:
        while True:
            hosts.append(head.partition(b"Host: ")[2].partition(b"\r\n")[0])
            await stream.send(http(404, {}))
            head = await stream.receive()

    for path in ("/.well-known/oauth-protected-resource", "/xrpc/x"):
        stage.raw[path] = keep_alive
    shared = stage.world.addresses["pds.example.com"]
    stage.world.addresses["as.example.com"] = shared
    transport = client._net.transport
    for origin in (PDS, ISSUER, PDS):
        url = f"{origin}/.well-known/oauth-protected-resource"
        try:
            response = await transport.handle_async_request(httpx.Request("GET", url))
            await response.aread()
        except TransportError:
            # The certificate at that address is for the other name.
            assert origin == ISSUER
    assert hosts == [b"pds.example.com"] * 2
    assert stage.world.connected == [(shared[0], 443)] * 2


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
    host, _ = stage.hop(hop)
    good = stage.world.addresses[host][0]
    step = await stage.walk_to(hop, client)
    for addresses in ([], [good] * 1000):
        forget(stage)
        stage.world.addresses[host] = addresses
        with pytest.raises(OAuthError):
            await step()
        assert reached(stage, host) == []
        if hop == "token":
            stage.restore()
            step = await stage.walk_to(hop, client)


@pytest.mark.covers("MIX-11", "DISC-13", "NET-01")
async def test_mix_11_when_metadata_changes_before_the_callback_then_code_stays_here(
    stage: Stage, client: OAuthClient
) -> None:
    """A server cannot send the code elsewhere by saying something new of itself."""
    for url in ("https://10.0.0.5/t", f"{OTHER_ISSUER}{TOKEN}"):
        callback = await stage.approved(client)
        stage.servers.clock.now += 301
        stage.servers.metadata_changes = {"token_endpoint": url}
        forget(stage)
        with pytest.raises(OAuthError):
            await client.handle_callback(**callback)
        assert stage.servers.sent(TOKEN) == []
        assert reached(stage, "") == []
        stage.servers.metadata_changes = metadata(ISSUER)
        stage.servers.clock.now += 301
