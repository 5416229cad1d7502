from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream

from atproto_oauth_asgi.exceptions import (
    AmbiguousHandle,
    DidNotResolved,
    HandleMismatch,
    HandleNotFound,
    InvalidIdentifier,
    OAuthError,
    TimedOut,
    TransportError,
    Unreachable,
)
from atproto_oauth_asgi.network.identity import Identity, IdentityResolver
from atproto_oauth_asgi.protocol.identifiers import Did, Handle
from tests.network.servers import World, http, open_fetcher

pytestmark = pytest.mark.anyio

ALICE = Did("did:plc:ewvi7nxzyoun6zhxrhs64oiz")
EVE = Did("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa")
WEB = Did("did:web:id.example.com")
HANDLE = Handle("alice.example.com")
PDS = "https://pds.example.com"
RESOLVER_HOST = "resolver.example.com"
HOSTS = (HANDLE, "plc.directory", "id.example.com", RESOLVER_HOST)


def document(did: str, handle: str | None, **changes: Any) -> dict[str, Any]:
    service = {
        "id": "#atproto_pds",
        "type": "AtprotoPersonalDataServer",
        "serviceEndpoint": PDS,
    }
    names = [] if handle is None else [f"at://{handle}"]
    return {"id": did, "alsoKnownAs": names, "service": [service], **changes}


class FakeDns:
    """TXT records by name; slow or broken if wished for."""

    def __init__(self) -> None:
        self.records: dict[str, list[str]] = {}
        self.error: OAuthError | None = None
        self.delay_s = 0.0
        self.asked: list[str] = []

    async def __call__(
        self, name: str, *, servers: Sequence[str] | None, timeout_s: float
    ) -> list[str]:
        assert servers is None
        assert timeout_s > 0
        self.asked.append(name)
        await anyio.sleep(self.delay_s)
        if self.error is not None:
            raise self.error
        return self.records.get(name, [])


class Publications:
    """What DNS, the PLC directory and the web servers of one small world publish."""

    def __init__(self, world: World, client_tls: ssl.SSLContext) -> None:
        self.world = world
        self.client_tls = client_tls
        self.dns = FakeDns()
        self.answers: dict[str, bytes] = {}
        self.web_delay_s = 0.0
        self.paths: list[str] = []
        self.now = 1_000_000.0

    async def converse(self, stream: ByteStream, head: bytes) -> None:
        path = head.split(b" ")[1].decode()
        self.paths.append(path)
        if path == "/.well-known/atproto-did":
            await anyio.sleep(self.web_delay_s)
        await stream.send(self.answers.get(path, http(404, {"message": "unknown"})))

    def publish(self, did: str, handle: str | None = HANDLE, **changes: Any) -> None:
        path = "/.well-known/did.json" if did.startswith("did:web:") else f"/{did}"
        self.answers[path] = http(200, document(did, handle, **changes))

    def name_in_dns(self, *dids: str) -> None:
        self.dns.records[f"_atproto.{HANDLE}"] = [f"did={did}" for did in dids]

    def name_on_web(self, did: str) -> None:
        self.answers["/.well-known/atproto-did"] = http(200, f"{did}\n".encode())

    @asynccontextmanager
    async def resolver(self, **options: Any) -> AsyncIterator[IdentityResolver]:
        network = self.world.network(ssl_context=self.client_tls, **options)
        async with open_fetcher(network) as fetcher:
            yield IdentityResolver(
                fetcher, network, clock=lambda: self.now, query_txt=self.dns
            )

    async def resolve(
        self, identifier: Handle | Did = HANDLE, **options: Any
    ) -> Identity:
        async with self.resolver(**options) as resolver:
            return await resolver.resolve(identifier)


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


ALICE_HERSELF = Identity(did=ALICE, handle=HANDLE, pds_url=PDS)


@pytest.mark.covers("ID-11", "ID-23")
async def test_resolve_when_dns_names_the_did_then_gives_the_account(
    published: Publications,
) -> None:
    """A TXT record at ``_atproto`` and the claim in the document are enough."""
    published.publish(ALICE)
    published.name_in_dns(ALICE)
    assert await published.resolve() == ALICE_HERSELF
    assert published.dns.asked == [f"_atproto.{HANDLE}"]


@pytest.mark.covers("ID-17", "ID-18")
async def test_resolve_when_only_the_web_names_the_did_then_gives_the_account(
    published: Publications,
) -> None:
    """Without a TXT record the web server of the handle is believed."""
    published.publish(ALICE)
    published.name_on_web(ALICE)
    assert await published.resolve() == ALICE_HERSELF
    published.dns.error = Unreachable("SERVFAIL")
    assert await published.resolve() == ALICE_HERSELF


@pytest.mark.covers("ID-18")
@pytest.mark.parametrize(
    "answer",
    [
        http(200, ALICE.encode(), media_type="text/html"),
        http(206, ALICE.encode()),
        http(201, f" {ALICE}\r\n".encode()),
    ],
)
async def test_resolve_when_web_answer_is_odd_but_right_then_accepts_it(
    published: Publications, answer: bytes
) -> None:
    """Any 2xx will do, of any media type."""
    published.publish(ALICE)
    published.answers["/.well-known/atproto-did"] = answer
    assert await published.resolve() == ALICE_HERSELF


@pytest.mark.covers("ID-21", "IDN-03")
@pytest.mark.parametrize(("dns_s", "web_s"), [(0.1, 0.0), (0.0, 0.1)])
async def test_resolve_when_dns_and_web_disagree_then_dns_wins_whoever_is_first(
    published: Publications, dns_s: float, web_s: float
) -> None:
    """The outcome does not depend on who answers first."""
    published.publish(ALICE)
    published.publish(EVE)
    published.name_in_dns(ALICE)
    published.name_on_web(EVE)
    published.dns.delay_s, published.web_delay_s = dns_s, web_s
    assert (await published.resolve()).did == ALICE


async def test_resolve_when_dns_answers_then_does_not_wait_for_the_web(
    published: Publications,
) -> None:
    """A slow web server does not slow down a handle that DNS knows."""
    published.publish(ALICE)
    published.name_in_dns(ALICE)
    published.web_delay_s = 60
    with anyio.fail_after(5):
        assert await published.resolve(timeout_s=30) == ALICE_HERSELF


@pytest.mark.covers("ID-14", "IDN-02")
@pytest.mark.parametrize("dids", [(ALICE, EVE), (EVE, ALICE)])
@pytest.mark.parametrize("dns_s", [0.0, 0.1])
async def test_resolve_when_dns_contradicts_itself_then_refuses(
    published: Publications, dids: tuple[str, str], dns_s: float
) -> None:
    """The web cannot turn a contradiction into a login, not even if it is first."""
    published.dns.delay_s = dns_s
    published.publish(ALICE)
    published.name_on_web(ALICE)
    published.name_in_dns(*dids)
    with pytest.raises(AmbiguousHandle):
        await published.resolve()


@pytest.mark.covers("ID-17")
async def test_resolve_when_nothing_is_published_then_is_not_found(
    published: Publications,
) -> None:
    """No record, no page: no such account."""
    with pytest.raises(HandleNotFound):
        await published.resolve()


@pytest.mark.covers("LOGIN-08")
async def test_resolve_when_handle_has_no_web_server_then_is_not_found(
    published: Publications,
) -> None:
    """No address, a private one and a dead one look the same."""
    messages = set()
    for addresses in ([], ["10.0.0.1"], ["127.0.0.1"], ["93.184.216.200"]):
        published.world.addresses[HANDLE] = addresses
        with pytest.raises(HandleNotFound) as caught:
            await published.resolve()
        messages.add(str(caught.value))
    assert len(messages) == 1


@pytest.mark.covers("ID-17")
async def test_resolve_when_it_cannot_be_told_then_says_not_now(
    published: Publications,
) -> None:
    """A failing name server is not "no such handle", and is not remembered."""
    async with published.resolver() as resolver:
        published.dns.error = TimedOut("DNS")
        with pytest.raises(TimedOut):
            await resolver.resolve(HANDLE)
        published.dns.error = None
        published.publish(ALICE)
        published.name_in_dns(ALICE)
        assert await resolver.resolve(HANDLE) == ALICE_HERSELF


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_resolve_when_web_is_out_of_order_then_says_not_now(
    published: Publications, status: int
) -> None:
    """A web server in trouble has not said "no such handle"."""
    published.answers["/.well-known/atproto-did"] = http(status)
    with pytest.raises(Unreachable):
        await published.resolve()


@pytest.mark.covers("ID-19", "ID-20", "IDN-15", "IDN-16", "SRF-06")
@pytest.mark.parametrize(
    "answer",
    [
        http(200, b"x" * 3000),
        http(200, ALICE.encode() + b" " * 3000),
        http(200, f"{ALICE}\n{EVE}".encode()),
        http(200, b"\xef\xbb\xbf" + ALICE.encode()),
        http(302, ALICE.encode(), headers=[("Location", "http://127.0.0.1/")]),
        http(302, headers=[("Location", "https://10.0.0.1/")]),
        http(404, ALICE.encode()),
    ],
)
async def test_resolve_when_web_answer_is_no_did_then_is_not_found(
    published: Publications, answer: bytes
) -> None:
    """What is not exactly one DID is no answer, and nobody is followed."""
    published.publish(ALICE)
    published.answers["/.well-known/atproto-did"] = answer
    with pytest.raises(HandleNotFound):
        await published.resolve()


def redirect(location: str, status: int = 302, body: bytes = b"") -> bytes:
    return http(status, body, headers=[("Location", location)])


@pytest.mark.covers("ID-20", "IDN-15", "NET-11")
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_resolve_when_web_redirects_then_three_hops_are_followed(
    published: Publications, status: int
) -> None:
    """To other hosts and other paths; nothing goes along that could tell on us."""
    published.publish(ALICE)
    published.answers |= {
        "/.well-known/atproto-did": redirect("https://id.example.com/a?b=c", status),
        "/a?b=c": redirect("/second", status),
        "/second": redirect("https://resolver.example.com/did", status),
        "/did": http(200, ALICE.encode()),
    }
    assert await published.resolve() == ALICE_HERSELF
    asked = list(dict.fromkeys(published.world.asked))
    assert asked[:3] == [HANDLE, "id.example.com", RESOLVER_HOST]
    for head in published.world.heads:
        names = {line.partition(b":")[0].lower() for line in head.split(b"\r\n")[1:-2]}
        assert names == {b"host", b"accept", b"accept-encoding", b"user-agent"}


@pytest.mark.covers("ID-20", "IDN-15", "SRF-06", "DOS-08")
@pytest.mark.parametrize(
    "location",
    [
        "https://alice.example.com/.well-known/atproto-did",
        "http://id.example.com/did",
        "https://id.example.com:8443/did",
        "https://user@id.example.com/did",
        "https://private.example.com/did",
        "https://127.0.0.1/did",
        "https://[::1]/did",
        "https://localhost/did",
        "//id.example.com/did",
        "did",
        "?did",
        "/../did",
        "/did#x",
        "/\\id.example.com/did",
        "",
        "file:///did",
        "https://id.example.com/" + "x" * 9000,
    ],
)
async def test_resolve_when_redirect_leads_astray_then_is_not_followed(
    published: Publications, location: str
) -> None:
    """Each hop is checked as the first: https, port 443, a public host."""
    published.publish(ALICE)
    published.world.addresses["private.example.com"] = ["10.0.0.1"]
    published.answers["/.well-known/atproto-did"] = redirect(location)
    published.answers["/did"] = http(200, ALICE.encode())
    with pytest.raises(HandleNotFound):
        await published.resolve(
            allowed_ports=(443, 8443), unsafe_http_hosts=("id.example.com",)
        )
    assert set(published.paths) == {"/.well-known/atproto-did"}
    assert len(published.paths) <= 4


@pytest.mark.covers("ID-20", "IDN-15", "DOS-08")
async def test_resolve_when_there_is_a_fourth_hop_then_is_not_found(
    published: Publications,
) -> None:
    """However short the rest of the way would be."""
    published.publish(ALICE)
    published.answers |= {
        "/.well-known/atproto-did": redirect("/1"),
        "/1": redirect("/2"),
        "/2": redirect("/3"),
        "/3": redirect("/4", body=ALICE.encode()),
        "/4": http(200, ALICE.encode()),
    }
    with pytest.raises(HandleNotFound):
        await published.resolve()
    assert published.paths[-1] == "/3"


@pytest.mark.covers("ID-20", "IDN-15")
@pytest.mark.parametrize("count", [0, 2])
async def test_resolve_when_there_is_not_one_location_then_is_not_found(
    published: Publications, count: int
) -> None:
    """Nobody chooses between two ways."""
    published.publish(ALICE)
    headers = [("Location", "/did")] * count
    published.answers["/.well-known/atproto-did"] = http(302, headers=headers)
    published.answers["/did"] = http(200, ALICE.encode())
    with pytest.raises(HandleNotFound):
        await published.resolve()


@pytest.mark.covers("ID-20", "DOS-01", "DOS-A01")
async def test_resolve_when_every_hop_is_slow_then_they_share_the_time(
    published: Publications,
) -> None:
    """Redirects do not stretch the time of the step."""
    published.web_delay_s = 0.5
    path = "/.well-known/atproto-did"
    published.answers[path] = redirect(f"https://{HANDLE}{path}")
    with pytest.raises(TimedOut):
        await published.resolve(timeout_s=0.9)
    assert len(published.paths) == 2


@pytest.mark.covers("ID-07")
async def test_resolve_when_handle_is_too_long_for_dns_then_asks_the_web_only(
    published: Publications,
) -> None:
    """A name that DNS cannot carry is not asked for there."""
    longest = Handle(".".join(["a" * 60] * 3 + ["b" * 57, "com"]))
    assert len(longest) == 244
    for handle in (longest, Handle(f"c{longest}")):
        with pytest.raises(HandleNotFound):
            await published.resolve(handle)
    assert published.dns.asked == [f"_atproto.{longest}"]
    assert published.world.asked == [longest, f"c{longest}"]


@pytest.mark.covers("ID-05", "ID-06", "IDN-11", "IDN-12")
@pytest.mark.parametrize(
    "identifier",
    [
        "x.local",
        "x.internal",
        "alice.test",
        "handle.invalid",
        "did:web:x.internal",
        "did:web:localhost%3A3000",
        "did:web:127.0.0.1",
        "did:key:abc",
        "did:plc:x",
    ],
)
async def test_resolve_when_it_can_never_be_resolved_then_asks_nobody(
    published: Publications, identifier: str
) -> None:
    """Reserved names and malformed ones cause no traffic."""
    with pytest.raises(InvalidIdentifier):
        await published.resolve(Handle(identifier))
    assert (published.dns.asked, published.world.asked) == ([], [])


@pytest.mark.covers("ID-22", "IDN-01")
@pytest.mark.parametrize("claimed", ["bob.example.com", "x.alice.example.com", None])
async def test_resolve_when_account_does_not_claim_the_handle_then_refuses(
    published: Publications, claimed: str | None
) -> None:
    """Pointing one's handle at somebody's account does not name that account."""
    published.publish(ALICE, claimed)
    published.name_in_dns(ALICE)
    with pytest.raises(HandleMismatch):
        await published.resolve()


@pytest.mark.covers("ID-28", "IDN-07")
async def test_resolve_when_handle_is_but_the_second_name_then_refuses(
    published: Publications,
) -> None:
    """Only the first handle of a document is claimed."""
    names = ["at://bob.example.com", f"at://{HANDLE}"]
    published.publish(ALICE, alsoKnownAs=names)
    published.name_in_dns(ALICE)
    with pytest.raises(HandleMismatch):
        await published.resolve()


async def test_resolve_when_did_then_the_handle_is_verified(
    published: Publications,
) -> None:
    """A handle is shown if it leads back to the DID."""
    published.publish(ALICE)
    published.name_in_dns(ALICE)
    assert await published.resolve(ALICE) == ALICE_HERSELF


@pytest.mark.covers("ID-32")
@pytest.mark.parametrize("claimed", [HANDLE, "x.invalid", "x.local", None])
async def test_resolve_when_did_has_a_broken_handle_then_leaves_it_out(
    published: Publications, claimed: str | None
) -> None:
    """Who logs in with a DID is not stopped by the handle, nor shown with it."""
    published.publish(ALICE, claimed)
    assert await published.resolve(ALICE) == Identity(
        did=ALICE, handle=None, pds_url=PDS
    )


@pytest.mark.covers("ID-32")
@pytest.mark.parametrize("trouble", ["other", "ambiguous", "away", "slow"])
async def test_resolve_when_handle_of_did_is_in_trouble_then_leaves_it_out(
    published: Publications, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No state of the handle keeps an account out."""
    monkeypatch.setattr("atproto_oauth_asgi.network.identity._HANDLE_CHECK_S", 0.05)
    published.publish(ALICE)
    if trouble == "other":
        published.name_in_dns(EVE)
    elif trouble == "ambiguous":
        published.name_in_dns(ALICE, EVE)
    elif trouble == "away":
        published.dns.error = Unreachable("DNS")
    else:
        published.dns.delay_s = 60
    assert (await published.resolve(ALICE)).handle is None


@pytest.mark.covers("ID-24")
async def test_resolve_when_did_web_then_asks_its_host(published: Publications) -> None:
    """The document of a ``did:web`` lies at its host."""
    published.publish(WEB)
    published.name_in_dns(WEB)
    assert await published.resolve() == Identity(did=WEB, handle=HANDLE, pds_url=PDS)


@pytest.mark.covers("ID-25")
@pytest.mark.parametrize(
    "media_type",
    [
        "application/json",
        "application/did+json",
        "Application/DID+LD+JSON; charset=utf-8",
        "application/ld+json",
    ],
)
async def test_document_when_media_type_is_known_then_is_read(
    published: Publications, media_type: str
) -> None:
    """Directories name the same document in several ways."""
    body = document(ALICE, HANDLE)
    published.answers[f"/{ALICE}"] = http(200, body, media_type=media_type)
    async with published.resolver() as resolver:
        found = await resolver.document(ALICE)
    assert (found.did, found.claimed_handle, found.pds_url) == (ALICE, HANDLE, PDS)


@pytest.mark.covers("ID-08", "ID-23", "ID-24", "ID-25", "ID-26", "IDN-06", "IDN-20")
@pytest.mark.parametrize("did", [ALICE, WEB])
@pytest.mark.parametrize(
    "answer",
    [
        http(301, document(ALICE, HANDLE), headers=[("Location", "/elsewhere")]),
        http(404, {"message": "not registered"}),
        http(410, {"message": "tombstone"}),
        http(201, document(ALICE, HANDLE)),
        http(200, document(EVE, HANDLE)),
        http(200, document(ALICE.upper(), HANDLE)),
        http(200, document(ALICE, HANDLE, service=[])),
        http(200, b"<html>", media_type="text/html"),
        http(200, b"[]", media_type="application/json"),
    ],
)
async def test_document_when_there_is_none_then_did_is_not_resolved(
    published: Publications, did: Did, answer: bytes
) -> None:
    """Redirects, gaps, tombstones and other people's documents resolve nothing."""
    published.answers[f"/{ALICE}"] = answer
    published.answers["/.well-known/did.json"] = answer
    async with published.resolver() as resolver:
        with pytest.raises(DidNotResolved):
            await resolver.document(did)
    assert "/elsewhere" not in published.paths


@pytest.mark.covers("ID-23", "ERR-06")
async def test_document_when_directory_is_away_then_says_not_now(
    published: Publications,
) -> None:
    """A directory in trouble has not said that there is no account."""
    published.answers[f"/{ALICE}"] = http(502, {})
    with pytest.raises(Unreachable):
        await published.resolve(ALICE)
    published.world.addresses["plc.directory"] = ["93.184.216.200"]
    with pytest.raises(Unreachable):
        await published.resolve(ALICE)


@pytest.mark.covers("DOS-02")
async def test_document_when_it_is_huge_then_is_not_read(
    published: Publications,
) -> None:
    """A document has a size limit."""
    published.publish(ALICE, padding="x" * 300_000)
    with pytest.raises(TransportError):
        await published.resolve(ALICE)


@pytest.mark.covers("ID-31", "SRF-01")
async def test_document_when_web_host_is_private_then_is_blocked(
    published: Publications,
) -> None:
    """A ``did:web`` cannot lead inside."""
    published.publish(WEB)
    published.world.addresses["id.example.com"] = ["10.0.0.1"]
    with pytest.raises(TransportError):
        await published.resolve(WEB)
    assert published.paths == []


@pytest.mark.covers("ID-34")
async def test_resolve_when_asked_again_then_remembers_for_some_minutes(
    published: Publications,
) -> None:
    """Within five minutes nothing is asked twice, then everything is."""
    published.publish(ALICE)
    published.name_in_dns(ALICE)
    async with published.resolver() as resolver:
        for _ in range(3):
            assert await resolver.resolve(HANDLE) == ALICE_HERSELF
            assert await resolver.resolve(ALICE) == ALICE_HERSELF
        assert published.paths.count(f"/{ALICE}") == 1
        assert len(published.dns.asked) == 1
        published.now += 300
        await resolver.resolve(HANDLE)
    assert published.paths.count(f"/{ALICE}") == 2
    assert len(published.dns.asked) == 2


@pytest.mark.covers("ID-34", "IDN-17")
@pytest.mark.parametrize("identifier", [HANDLE, ALICE])
async def test_resolve_when_fresh_is_asked_then_sees_the_change(
    published: Publications, identifier: Handle | Did
) -> None:
    """A fresh answer passes every memory, and becomes the memory."""
    moved = [
        {
            "id": "#atproto_pds",
            "type": "AtprotoPersonalDataServer",
            "serviceEndpoint": "https://new.example.com",
        }
    ]
    published.publish(ALICE)
    published.name_in_dns(ALICE)
    async with published.resolver() as resolver:
        await resolver.resolve(identifier)
        published.publish(ALICE, service=moved)
        assert (await resolver.resolve(identifier)).pds_url == PDS
        for fresh in (True, False):
            found = await resolver.resolve(identifier, fresh=fresh)
            assert found.pds_url == "https://new.example.com"


@pytest.mark.covers("DOS-07", "DOS-A08")
async def test_resolve_when_many_ask_at_once_then_the_hosts_are_asked_once(
    published: Publications,
) -> None:
    """A rush of logins is one question to each host."""
    published.publish(ALICE)
    published.name_in_dns(ALICE)
    published.dns.delay_s = 0.05
    async with published.resolver() as resolver, anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(resolver.resolve, HANDLE)
    assert published.paths.count(f"/{ALICE}") == 1
    assert len(published.dns.asked) == 1


SERVICE = "https://resolver.example.com"
QUESTION = f"/xrpc/com.atproto.identity.resolveHandle?handle={HANDLE}"


async def test_resolve_when_service_is_configured_then_asks_it_alone(
    published: Publications,
) -> None:
    """A resolver service replaces DNS and the web; the claim is still checked."""
    published.publish(ALICE)
    published.answers[QUESTION] = http(200, {"did": ALICE})
    assert await published.resolve(handle_resolver_url=SERVICE) == ALICE_HERSELF
    assert published.dns.asked == []
    assert HANDLE not in published.world.asked
    published.publish(ALICE, "bob.example.com")
    with pytest.raises(HandleMismatch):
        await published.resolve(handle_resolver_url=SERVICE)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (http(400, {"error": "HandleNotFound"}), HandleNotFound),
        (http(404, {}), HandleNotFound),
        (http(200, {"did": "did:key:x"}), HandleNotFound),
        (http(200, {"did": 1}), HandleNotFound),
        (http(200, {}), HandleNotFound),
        (http(200, b"no"), HandleNotFound),
        (http(302, headers=[("Location", "/")]), Unreachable),
        (http(429, {}), Unreachable),
        (http(500, {}), Unreachable),
    ],
)
async def test_resolve_when_service_gives_no_did_then_says_why(
    published: Publications, answer: bytes, error: type[OAuthError]
) -> None:
    """ "No such handle" and "not now" stay apart."""
    published.answers[QUESTION] = answer
    with pytest.raises(error):
        await published.resolve(handle_resolver_url=SERVICE)
