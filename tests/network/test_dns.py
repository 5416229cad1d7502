from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import dns.flags
import dns.message
import dns.rcode
import dns.resolver
import dns.rrset
import pytest
from dns.nameserver import Do53Nameserver

from atproto_oauth_asgi.exceptions import (
    ConfigurationError,
    TimedOut,
    TransportError,
    Unreachable,
)
from atproto_oauth_asgi.network.dns import _build_resolver, query_txt
from atproto_oauth_asgi.network_options import Network
from tests.network.servers import port_of

NAME = "_atproto.alice.example.com"
Answering = Callable[[dns.message.Message], dns.message.Message | None]


@asynccontextmanager
async def name_server(answering: Answering) -> AsyncIterator[tuple[str, list[str]]]:
    """A DNS server; gives its address and the names it is asked for."""
    asked: list[str] = []
    udp = await anyio.create_udp_socket(local_host="127.0.0.1")

    async def serve() -> None:
        async for packet, peer in udp:
            question = dns.message.from_wire(packet)
            asked.append(question.question[0].name.to_text())
            answer = answering(question)
            if answer is not None:
                await udp.sendto(answer.to_wire(), *peer)

    async with udp, anyio.create_task_group() as group:
        group.start_soon(serve)
        yield f"127.0.0.1:{port_of(udp)}", asked
        group.cancel_scope.cancel()


def with_records(*records: str, name: str = NAME) -> Answering:
    def answer(question: dns.message.Message) -> dns.message.Message:
        made = dns.message.make_response(question)
        made.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", "TXT", *records))
        return made

    return answer


def with_code(code: dns.rcode.Rcode) -> Answering:
    def answer(question: dns.message.Message) -> dns.message.Message:
        made = dns.message.make_response(question)
        made.set_rcode(code)
        return made

    return answer


async def ask(answering: Answering, *, timeout_s: float = 5) -> list[str]:
    found: list[str] = []
    error: TransportError | None = None
    async with name_server(answering) as (server, _):
        # Errors leave the task group as values: it would wrap them.
        try:
            found = await query_txt(NAME, servers=[server], timeout_s=timeout_s)
        except TransportError as caught:
            error = caught
    if error is not None:
        raise error
    return found


@pytest.mark.anyio
@pytest.mark.covers("ID-12", "IDN-04")
async def test_query_txt_when_answered_then_joins_the_strings_of_a_record() -> None:
    """The strings within a record are one text; records stay apart."""
    found = await ask(with_records('"did=did:pl" "c:abc"', '"v=spf1"', '" x "'))
    assert sorted(found) == [" x ", "did=did:plc:abc", "v=spf1"]


@pytest.mark.anyio
async def test_query_txt_when_bytes_are_no_text_then_keeps_the_others() -> None:
    """Junk in one record does not hide another one."""
    found = await ask(with_records('"\\255\\254"', '"did=x"'))
    assert sorted(found) == ["did=x", "\ufffd\ufffd"]


@pytest.mark.anyio
@pytest.mark.covers("ID-17")
@pytest.mark.parametrize("code", [dns.rcode.NXDOMAIN, dns.rcode.NOERROR])
async def test_query_txt_when_there_is_nothing_then_gives_nothing(
    code: dns.rcode.Rcode,
) -> None:
    """No such name and no such record are answers."""
    assert await ask(with_code(code)) == []


@pytest.mark.anyio
@pytest.mark.covers("ID-17")
@pytest.mark.parametrize("code", [dns.rcode.SERVFAIL, dns.rcode.REFUSED])
async def test_query_txt_when_server_fails_then_is_unreachable(
    code: dns.rcode.Rcode,
) -> None:
    """A failure is told apart from "there is none"."""
    with pytest.raises(Unreachable):
        await ask(with_code(code))


@pytest.mark.anyio
@pytest.mark.covers("NET-16", "DOS-A06")
async def test_query_txt_when_server_is_silent_then_times_out() -> None:
    """A name server that never answers costs a bounded time."""
    with pytest.raises(TimedOut):
        await ask(lambda _: None, timeout_s=0.1)


@pytest.mark.anyio
@pytest.mark.covers("NET-16", "DOS-A06")
async def test_query_txt_when_records_are_too_many_then_refuses() -> None:
    """A flood of records is not searched."""
    with pytest.raises(Unreachable):
        await ask(with_records(*(f'"{number}"' for number in range(101))))


@pytest.mark.anyio
@pytest.mark.covers("NET-16", "SRF-17")
async def test_query_txt_when_aliases_form_a_loop_then_gives_up() -> None:
    """A chain of aliases ends somewhere, or the question does."""

    def loop(question: dns.message.Message) -> dns.message.Message:
        made = dns.message.make_response(question)
        names = [f"{NAME}.", *(f"a{number}.example.com." for number in range(30))]
        for name, target in zip(names, [*names[1:], names[0]], strict=True):
            made.answer.append(dns.rrset.from_text(name, 60, "IN", "CNAME", target))
        return made

    with pytest.raises((Unreachable, TimedOut)):
        await ask(loop, timeout_s=0.5)


@pytest.mark.anyio
@pytest.mark.covers("ID-11", "IDN-05")
async def test_query_txt_when_search_list_exists_then_asks_the_absolute_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody's search list turns a missing name into another one."""
    hijacked = with_records('"did=evil"', name=f"{NAME}.evil.test")

    def answer(question: dns.message.Message) -> dns.message.Message | None:
        if question.question[0].name.to_text().endswith("evil.test."):
            return hijacked(question)
        return with_code(dns.rcode.NXDOMAIN)(question)

    read_default = dns.resolver.BaseResolver.reset

    def with_search_list(resolver: dns.resolver.BaseResolver) -> None:
        read_default(resolver)
        resolver.search = [dns.name.from_text("evil.test.")]
        resolver.use_search_by_default = True

    monkeypatch.setattr(dns.resolver.BaseResolver, "reset", with_search_list)
    async with name_server(answer) as (server, asked):
        assert await query_txt(NAME, servers=[server], timeout_s=5) == []
    assert asked == [f"{NAME}."]


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [
        ("9.9.9.9", "9.9.9.9", 53),
        ("9.9.9.9:5353", "9.9.9.9", 5353),
        ("2620:fe::fe", "2620:fe::fe", 53),
        ("[2620:fe::fe]:5353", "2620:fe::fe", 5353),
    ],
)
def test_name_servers_when_given_then_are_asked_at_their_port(
    text: str, address: str, port: int
) -> None:
    """The usual port is meant unless another one is written."""
    (server,) = _build_resolver([text]).nameservers
    assert isinstance(server, Do53Nameserver)
    assert (server.address, server.port) == (address, port)


@pytest.mark.anyio
async def test_query_txt_when_system_knows_no_servers_then_is_unreachable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A machine without name servers cannot tell, and says so."""

    def fail(*_: object) -> None:
        raise dns.resolver.NoResolverConfiguration

    monkeypatch.setattr(dns.resolver.BaseResolver, "read_resolv_conf", fail)
    with pytest.raises(Unreachable):
        await query_txt(NAME, servers=None, timeout_s=1)


@pytest.mark.parametrize("text", ["", "example.com", "10.0.0.0/33", "10.0.0.1/8"])
def test_denied_network_when_it_is_none_then_is_misconfigured(text: str) -> None:
    """A slip of the pen would deny nothing."""
    with pytest.raises(ConfigurationError, match="denied_networks"):
        Network(denied_networks=(text,))


@pytest.mark.parametrize(
    "server", ["", "x", "dns.example.com", "1.2.3.4:x", "[::1", ":53"]
)
def test_dns_server_when_server_is_no_address_then_is_misconfigured(
    server: str,
) -> None:
    """Name servers are given by their addresses."""
    with pytest.raises(ConfigurationError, match="dns_servers"):
        Network(dns_servers=(server,))
