"""Which hosts a login is led to, and what is asked of them."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence

import anyio
import pytest
from typing_extensions import override

from atproto_oauth_asgi.exceptions import (
    AmbiguousHandle,
    HandleNotFound,
    TooManyLogins,
)
from atproto_oauth_asgi.network.admission import admitting
from tests.network.servers import World, http
from tests.network.test_identity import (
    ALICE,
    ALICE_HERSELF,
    EVE,
    HANDLE,
    HOSTS,
    QUESTION,
    SERVICE,
    WEB,
    FakeDns,
    Publications,
    redirect,
)

pytestmark = pytest.mark.anyio
WELL_KNOWN = "/.well-known/atproto-did"


@pytest.fixture
async def published(
    world: World,
    client_tls: ssl.SSLContext,
    server_tls: Callable[[str], ssl.SSLContext],
) -> Publications:
    publications = Publications(world, client_tls)
    for host in HOSTS:
        await world.serve(host, publications.converse, tls=server_tls(host))
    return publications


@pytest.mark.covers("DOS-07")
@pytest.mark.parametrize("did", [ALICE, WEB])
async def test_resolve_when_strangers_name_hosts_then_each_has_to_be_admitted(
    published: Publications, did: str
) -> None:
    """The handle's host, where it redirects, a ``did:web``; not the PLC directory."""
    published.publish(did)
    published.answers[WELL_KNOWN] = redirect("https://resolver.example.com/did")
    published.answers["/did"] = http(200, did.encode())
    hosts: list[str] = []
    with admitting(hosts.append):
        assert (await published.resolve()).did == did
    own = ["id.example.com"] if did == WEB else []
    assert hosts == [HANDLE, "resolver.example.com", *own]


@pytest.mark.covers("DOS-07")
@pytest.mark.parametrize("refused", [HANDLE, "resolver.example.com", "id.example.com"])
async def test_resolve_when_a_host_is_not_admitted_then_it_is_not_asked(
    published: Publications, refused: str
) -> None:
    """What a login may not be led to is not even looked up."""
    published.publish(WEB)
    published.answers[WELL_KNOWN] = redirect("https://resolver.example.com/did")
    published.answers["/did"] = http(200, WEB.encode())

    def admit(host: str) -> None:
        if host == refused:
            message = "not now"
            raise TooManyLogins(message)

    with admitting(admit), pytest.raises(TooManyLogins):
        await published.resolve()
    assert refused not in published.world.asked


@pytest.mark.covers("ID-34", "IDN-17")
async def test_resolve_when_handle_moves_then_fresh_sees_the_other_account(
    published: Publications,
) -> None:
    """A handle that was taken over does not log in to the account it had before."""
    published.publish(ALICE)
    published.publish(EVE)
    published.name_in_dns(ALICE)
    async with published.resolver() as resolver:
        await resolver.resolve(HANDLE)
        published.name_in_dns(EVE)
        assert (await resolver.resolve(HANDLE)).did == ALICE
        for fresh in (True, False):
            assert (await resolver.resolve(HANDLE, fresh=fresh)).did == EVE


@pytest.mark.covers("ID-14", "IDN-02")
async def test_resolve_when_dns_contradicts_itself_then_does_not_wait_for_the_web(
    published: Publications,
) -> None:
    """Nothing that the web could say would help."""
    published.name_in_dns(ALICE, EVE)
    published.web_delay_s = 60
    with anyio.fail_after(5), pytest.raises(AmbiguousHandle):
        await published.resolve(timeout_s=30)


@pytest.mark.covers("ID-20", "IDN-15")
async def test_resolve_when_answer_is_no_redirect_then_its_location_means_nothing(
    published: Publications,
) -> None:
    """A Location leads somewhere only where the status says so."""
    published.publish(ALICE)
    published.answers[WELL_KNOWN] = redirect("/did", 200, ALICE.encode())
    published.answers["/did"] = http(200, EVE.encode())
    assert await published.resolve() == ALICE_HERSELF
    assert "/did" not in published.paths


@pytest.mark.parametrize("status", [300, 304, 399])
async def test_resolve_when_web_answers_with_a_choice_then_is_not_found(
    published: Publications, status: int
) -> None:
    """Only a 2xx answer names an account."""
    published.publish(ALICE)
    published.answers[WELL_KNOWN] = http(status, ALICE.encode())
    with pytest.raises(HandleNotFound):
        await published.resolve()


@pytest.mark.covers("ID-18")
async def test_resolve_when_web_is_asked_then_asks_for_plain_text(
    published: Publications,
) -> None:
    """A server that knows several forms gives the one that is read."""
    published.publish(ALICE)
    published.name_on_web(ALICE)
    await published.resolve()
    (head,) = (each for each in published.world.heads if WELL_KNOWN.encode() in each)
    assert b"\r\nAccept: text/plain\r\n" in head


@pytest.mark.covers("ID-06", "ID-10")
async def test_resolve_when_service_names_a_local_host_then_is_not_found(
    published: Publications,
) -> None:
    """What a resolver service says is held to the rules of all hosts."""
    published.answers[QUESTION] = http(200, {"did": "did:web:x.internal"})
    with pytest.raises(HandleNotFound):
        await published.resolve(handle_resolver_url=SERVICE)


@pytest.mark.covers("ID-25")
async def test_document_when_asked_for_then_names_every_form_that_is_read(
    published: Publications,
) -> None:
    """A directory learns which media types will do."""
    published.publish(ALICE, None)
    await published.resolve(ALICE)
    accept = (
        b"\r\nAccept: application/did+json, application/did+ld+json, "
        b"application/json, application/ld+json\r\n"
    )
    assert accept in published.world.heads[0]


async def test_resolve_when_service_is_asked_then_by_get(
    published: Publications,
) -> None:
    """A question changes nothing at the service."""
    published.publish(ALICE)
    published.answers[QUESTION] = http(200, {"did": ALICE})
    await published.resolve(handle_resolver_url=SERVICE)
    assert published.world.heads[0].startswith(f"GET {QUESTION} ".encode())


class WatchedDns(FakeDns):
    """Keeps the time that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.timeouts_s: list[float] = []

    @override
    async def __call__(
        self, name: str, *, servers: Sequence[str] | None, timeout_s: float
    ) -> list[str]:
        self.timeouts_s.append(timeout_s)
        return await super().__call__(name, servers=servers, timeout_s=timeout_s)


@pytest.mark.covers("NET-16")
async def test_resolve_when_dns_is_asked_then_has_five_seconds_or_less(
    published: Publications,
) -> None:
    """Name servers get the time of a step, and never more than five seconds."""
    dns = published.dns = WatchedDns()
    published.publish(ALICE)
    published.name_in_dns(ALICE)
    for timeout_s in (2.0, 30.0):
        await published.resolve(timeout_s=timeout_s)
    assert dns.timeouts_s == [2.0, 5.0]


@pytest.mark.covers("ID-34")
async def test_resolve_when_five_minutes_are_not_quite_over_then_still_remembers(
    published: Publications,
) -> None:
    """The memory lasts for the whole of its time."""
    published.publish(ALICE)
    published.name_in_dns(ALICE)
    async with published.resolver() as resolver:
        await resolver.resolve(HANDLE)
        published.now += 299.5
        await resolver.resolve(HANDLE)
    assert published.dns.asked == [f"_atproto.{HANDLE}"]


@pytest.mark.covers("ID-19", "IDN-16")
async def test_resolve_when_web_answer_just_fits_then_is_read(
    published: Publications,
) -> None:
    """Two KiB have room for any DID; one byte more is not read."""
    published.publish(ALICE)
    body = ALICE.encode().ljust(2048)
    published.answers[WELL_KNOWN] = http(200, body)
    assert await published.resolve() == ALICE_HERSELF
    published.answers[WELL_KNOWN] = http(200, body + b" ")
    with pytest.raises(HandleNotFound):
        await published.resolve()


async def test_resolve_when_web_answers_with_any_success_then_accepts_it(
    published: Publications,
) -> None:
    """The last of the 2xx is as good as the first."""
    published.publish(ALICE)
    published.answers[WELL_KNOWN] = http(299, ALICE.encode())
    assert await published.resolve() == ALICE_HERSELF


@pytest.mark.covers("ID-34")
async def test_document_when_asked_again_then_is_remembered(
    published: Publications,
) -> None:
    """Only who asks for a fresh one has it fetched anew."""
    published.publish(ALICE)
    async with published.resolver() as resolver:
        for fresh in (False, False, True):
            await resolver.document(ALICE, fresh=fresh)
            await resolver.document(ALICE)
    assert published.paths == [f"/{ALICE}"] * 2
