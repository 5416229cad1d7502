"""Whose name servers are asked, for how long, and what their failures mean."""

from __future__ import annotations

import anyio
import dns.asyncresolver
import dns.resolver
import pytest

from atproto_oauth_asgi.exceptions import TimedOut, Unreachable
from atproto_oauth_asgi.network.dns import _build_resolver, query_txt
from tests.network.test_dns import NAME, ask, name_server, with_records


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that the system's configuration names."""
    servers = ["192.0.2.53"]

    def read(resolver: dns.resolver.BaseResolver, _: object) -> None:
        resolver.nameservers = servers
        resolver.port = 5353

    monkeypatch.setattr(dns.resolver.BaseResolver, "read_resolv_conf", read)
    return servers


def test_name_servers_when_none_are_given_then_are_the_systems(
    system: list[str],
) -> None:
    """Without an option the machine's own configuration counts."""
    assert _build_resolver(None).nameservers == system


@pytest.mark.usefixtures("system")
def test_name_servers_when_given_then_the_systems_configuration_is_not_read() -> None:
    """No port, search list or option of the machine is mixed into the operator's."""
    resolver = _build_resolver(["9.9.9.9"])
    assert [str(server) for server in resolver.nameservers] == ["Do53:9.9.9.9@53"]
    assert resolver.port == 53


@pytest.mark.anyio
@pytest.mark.covers("NET-16", "DOS-A06")
async def test_query_txt_when_server_is_silent_then_ends_when_it_was_told() -> None:
    """The time that is given is the time that is taken."""
    is_told = False
    async with name_server(lambda _: None) as (server, _):
        # The library behind it would wait for five seconds.
        with anyio.move_on_after(3):
            try:
                await query_txt(NAME, servers=[server], timeout_s=0.05)
            except TimedOut:
                is_told = True
    assert is_told


@pytest.mark.anyio
async def test_query_txt_when_records_are_many_but_not_too_many_then_gives_them() -> (
    None
):
    """A hundred records are read."""
    found = await ask(with_records(*(f'"{number}"' for number in range(100))))
    assert sorted(found, key=int) == [str(number) for number in range(100)]


@pytest.mark.anyio
@pytest.mark.covers("ID-17")
@pytest.mark.parametrize("error", [OSError("no route"), ValueError("bad packet")])
async def test_query_txt_when_asking_breaks_then_is_unreachable(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever goes wrong on the way is told apart from "there is none"."""

    async def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(dns.asyncresolver.Resolver, "resolve", fail)
    with pytest.raises(Unreachable) as caught:
        await query_txt(NAME, servers=["9.9.9.9"], timeout_s=1)
    assert str(error) not in str(caught.value)
