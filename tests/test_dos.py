"""Attacks DOS-A01 to DOS-A12 from outside, at each step that asks another host."""

from __future__ import annotations

import gzip
import time
import tracemalloc
import zlib
from functools import partial
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream
from starlette.types import ASGIApp

from atproto_oauth_asgi.client import OAuthClient
from atproto_oauth_asgi.exceptions import (
    HandleNotFound,
    IdentityError,
    OAuthError,
    TimedOut,
    TransportError,
)
from atproto_oauth_asgi.network import identity
from atproto_oauth_asgi.network.dns import query_txt
from atproto_oauth_asgi.protocol.identifiers import normalize_identifier
from atproto_oauth_asgi.protocol.urls import UrlPolicy
from atproto_oauth_asgi.testing import behaviours
from tests.network.atproto import (
    ALICE,
    HANDLE,
    ISSUER,
    METADATA,
    PAR,
    PDS,
    RESOURCE,
    TOKEN,
)
from tests.network.programs import (
    answer,
    dripping,
    in_turn,
)
from tests.network.servers import port_of
from tests.network.stage import (
    HOPS,
    WELL_KNOWN,
    Stage,
    closing,
)

pytestmark = pytest.mark.anyio

# Data that an application asks for is its own to bound.
STEPS = [hop for hop in HOPS if hop != "data"]
JSON_STEPS = [hop for hop in STEPS if hop not in {"handle", "revocation"}]
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDPoP-Nonce: n\r\n"
PAR_OK = OK.replace(b"200", b"201")


def head_for(hop: str) -> bytes:
    """The beginning of an answer that would be a success."""
    return PAR_OK if hop == "PAR" else OK


async def fail_at(
    stage: Stage, client: OAuthClient, hop: str, program: ASGIApp
) -> OAuthError:
    """Do a step whose server misbehaves; give back the error."""
    step = await stage.walk_to(hop, client)
    stage.servers.on(stage.url(hop), program)
    with pytest.raises(OAuthError) as caught:
        await step()
    stage.servers.off(stage.url(hop))
    return caught.value


drip = partial(dripping, pause_s=0.02)


@pytest.mark.covers("DOS-A01", "DOS-01")
@pytest.mark.parametrize("hop", STEPS)
@pytest.mark.parametrize("what", ["headers", "body"])
async def test_dos_a01_when_a_server_drips_then_the_step_ends_in_time(
    stage: Stage, hop: str, what: str
) -> None:
    """A little now and then stretches no step."""
    stage.options = {"timeout_s": 0.5}
    head = head_for(hop)
    raw = drip(head, b"a: b\r\n") if what == "headers" else drip(head + b"\r\n", b" ")
    async with closing(stage.client()) as client:
        with anyio.fail_after(5):
            error = await fail_at(stage, client, hop, raw)
    assert isinstance(error, TimedOut | HandleNotFound)


@pytest.mark.covers("DOS-A01", "DOS-01")
@pytest.mark.parametrize("hop", STEPS)
async def test_dos_a01_when_tls_is_slow_then_the_step_ends_in_time(
    stage: Stage, hop: str
) -> None:
    """A server that takes the connection and never finishes the handshake."""
    stage.options = {"timeout_s": 0.5}
    silent = "93.184.218.1"
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:

        async def connect(address: str, port: int, /) -> ByteStream:
            if address != silent:
                return await stage.internet.connect(address, port)
            return await anyio.connect_tcp("127.0.0.1", port_of(listener))

        stage.options["connector"] = connect
        async with closing(stage.client()) as client:
            step = await stage.walk_to(hop, client)
            stage.internet.addresses[stage.host(hop)] = [silent]
            with anyio.fail_after(8), pytest.raises((TimedOut, HandleNotFound)):
                await step()


def endless(head: bytes) -> ASGIApp:
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    return dripping(head + b"Transfer-Encoding: chunked\r\n\r\n", chunk)


@pytest.mark.covers("DOS-A02", "DOS-02")
@pytest.mark.parametrize("hop", STEPS)
async def test_dos_a02_when_body_is_endless_then_the_step_ends_at_the_cap(
    stage: Stage, client: OAuthClient, hop: str
) -> None:
    """In chunks, or with a length that is a lie; memory stays flat."""
    head = head_for(hop)
    tracemalloc.start()
    await fail_at(stage, client, hop, endless(head))
    huge = head + b"Content-Length: 10000000000\r\n\r\n{}"
    await fail_at(stage, client, hop, behaviours.raw(huge))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000
    if hop not in {"handle", "revocation"}:
        short = head + b"Content-Length: 5\r\n\r\n{}"
        await fail_at(stage, client, hop, behaviours.raw(short))


@pytest.mark.covers("DOS-A03", "DOS-03")
@pytest.mark.parametrize("hop", STEPS)
async def test_dos_a03_when_answer_is_compressed_then_it_is_not_unpacked(
    stage: Stage, client: OAuthClient, hop: str
) -> None:
    """Nothing is unpacked that nobody asked to be packed."""
    bomb = gzip.compress(b" " * 10_000_000)
    for encoding, body in (
        ("gzip", bomb),
        ("deflate", zlib.compress(b" " * 10_000_000)),
        ("gzip, gzip", gzip.compress(bomb)),
        ("br", b"x"),
        ("zstd", b"x"),
    ):
        length = f"Content-Encoding: {encoding}\r\nContent-Length: {len(body)}\r\n\r\n"
        raw = behaviours.raw(head_for(hop) + length.encode() + body)
        error = await fail_at(stage, client, hop, raw)
        assert isinstance(error, TransportError | HandleNotFound)


@pytest.mark.covers("DOS-A04", "DOS-05")
@pytest.mark.parametrize("hop", JSON_STEPS)
async def test_dos_a04_when_json_is_a_bomb_then_the_error_is_ours(
    stage: Stage, client: OAuthClient, hop: str
) -> None:
    """Depth, digits, infinity, ambiguity: refused, without much work."""
    for body in (
        b"[" * 60_000,
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b'{"a": ' + b"1" * 5000 + b"}",
        b'{"a": 1e999}',
        b'{"a": NaN}',
        b'{"a": 1, "a": 2}',
    ):
        length = f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
        began = time.process_time()
        await fail_at(stage, client, hop, behaviours.raw(head_for(hop) + length + body))
        assert time.process_time() - began < 2


@pytest.mark.covers("DOS-A05", "DOS-04")
@pytest.mark.parametrize("hop", STEPS)
async def test_dos_a05_when_headers_are_a_bomb_then_the_step_fails(
    stage: Stage, client: OAuthClient, hop: str
) -> None:
    """Ten thousand of them, or one of a megabyte."""
    for headers in (
        b"a: b\r\n" * 10_000,
        b"DPoP-Nonce: " + b"x" * 1_000_000 + b"\r\n",
        b"X: " + b"x" * 40_000 + b"\r\n",
    ):
        raw = behaviours.raw(head_for(hop) + headers + b"Content-Length: 2\r\n\r\n{}")
        error = await fail_at(stage, client, hop, raw)
        assert isinstance(error, TransportError | HandleNotFound)


@pytest.mark.covers("DOS-A06", "NET-16")
async def test_dos_a06_when_name_servers_are_silent_then_login_ends_in_time(
    stage: Stage,
) -> None:
    """A name server that never answers costs its time, and no more."""
    async with await anyio.create_udp_socket(local_host="127.0.0.1") as silent:
        server = f"127.0.0.1:{port_of(silent)}"
        stage.options = {"dns_servers": (server,), "timeout_s": 0.5}
        stage.servers.on(stage.url("handle"), behaviours.status(404))
        async with closing(stage.client()) as client:
            with anyio.fail_after(5), pytest.raises(TimedOut):
                await client.start_authorization(HANDLE)


@pytest.mark.covers("DOS-A08", "DOS-07", "DOS-08")
async def test_dos_a08_when_every_server_does_its_worst_then_requests_are_few(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hops and challenges: one login makes eleven questions to begin, and six to end."""
    asked: list[str] = []

    async def count(name: str, **options: Any) -> list[str]:
        asked.append(name)
        return await query_txt(name, **options)

    monkeypatch.setattr(identity, "system_query_txt", count)
    origin = f"https://{HANDLE}"
    for number, path in enumerate([WELL_KNOWN, "/1", "/2"], start=1):
        stage.servers.on(origin + path, behaviours.redirect(f"/{number}"))
    stage.servers.on(f"{origin}/3", behaviours.status(200, ALICE))
    async with closing(stage.client()) as patched:
        callback = await stage.approved(patched)
        assert len(stage.servers.sent(PAR)) == 2
        # One of them is a guess, which may be given up before it is sent.
        assert 10 <= len(asked) + len(stage.servers.seen) <= 11
        stage.servers.net.clear_traffic()
        stage.servers.net.rotate_nonces()
        await patched.handle_callback(**callback)
        assert len(stage.servers.sent(TOKEN)) == 2
        assert len(stage.servers.seen) <= 6


@pytest.mark.covers("DOS-A08", "DOS-08", "DPO-01")
async def test_dos_a08_when_challenges_never_end_then_two_requests_are_made(
    stage: Stage, client: OAuthClient
) -> None:
    """A new nonce every time, and never good."""
    members = {"error": "use_dpop_nonce"}
    challenges = [
        answer(400, members, headers={"DPoP-Nonce": f"nonce-{number}"})
        for number in range(9)
    ]
    stage.servers.on(ISSUER + PAR, in_turn(*challenges))
    with pytest.raises(OAuthError):
        await client.start_authorization(HANDLE)
    assert len(stage.servers.sent(PAR)) == 2


@pytest.mark.covers("DOS-A08", "DOS-07", "DISC-18")
async def test_dos_a08_when_a_server_is_named_then_requests_are_few(
    stage: Stage, client: OAuthClient
) -> None:
    """Neither a PDS nor an authorization server: two questions, and an end."""
    stage.servers.on(ISSUER + METADATA, answer(404, {}))
    with pytest.raises(OAuthError):
        await client.start_authorization(ISSUER)
    assert len(stage.servers.seen) == 2


@pytest.mark.covers("DOS-A09", "DOS-06")
async def test_dos_a09_when_a_host_hangs_then_other_peoples_calls_are_served(
    stage: Stage,
) -> None:
    """A hundred logins to a host that hangs; somebody's data still arrives at once."""
    stage.serve("hang.example.net", behaviours.hang())
    stage.options = {"timeout_s": 60.0, "login_budget_s": 60.0}
    async with closing(stage.client()) as client:
        session = await stage.log_in(client)
        stage.servers.on(PDS + RESOURCE, behaviours.hang())

        async def log_in(number: int) -> None:
            host = "hang.example.net" if number % 2 else "pds.example.com"
            await client.begin_login(f"https://{host}")
            pytest.fail("it does not answer")

        async with anyio.create_task_group() as tasks:
            stage.servers.clock.now += 301
            for number in range(100):
                tasks.start_soon(log_in, number)
            await anyio.sleep(0.2)
            with anyio.fail_after(20):
                response = await stage.get_record(client, session)
            assert response.status_code == 200
            tasks.cancel_scope.cancel()
    assert session.pds_url == PDS


@pytest.mark.covers("DOS-A12", "DOS-11")
@pytest.mark.parametrize("unit", ["a-", "a.", "a", "@", "did:web:", "%41", "\u200b"])
async def test_dos_a12_when_input_is_long_then_it_is_read_quickly(unit: str) -> None:
    """No expression goes back and forth, however long the text."""
    for text in (
        unit * (1_000_000 // len(unit)),
        unit * (4096 // len(unit)),
        "https://" + unit * (4000 // len(unit)),
        "did:web:" + unit * (4000 // len(unit)) + "!",
    ):
        began = time.process_time()
        with pytest.raises(IdentityError):
            normalize_identifier(text, policy=UrlPolicy())
        assert time.process_time() - began < 0.05
