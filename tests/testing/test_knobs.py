"""What tests can make the network do, through the real guard, TLS and HTTP."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import anyio
import dns.message
import dns.rcode
import httpx
import pytest
from anyio.streams.tls import TLSStream
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

from atproto_oauth_asgi import (
    AmbiguousHandle,
    Blocked,
    ClientKey,
    ConfigurationError,
    HandleMismatch,
    Network,
    OAuthClient,
    RefreshUnavailable,
    TooLarge,
    TransportError,
    Unreachable,
)
from atproto_oauth_asgi.crypto.keys import generate_private_key
from atproto_oauth_asgi.network.fetch import Fetcher
from atproto_oauth_asgi.network.transport import GuardedTransport
from atproto_oauth_asgi.stores.memory import MemoryStateStore
from atproto_oauth_asgi.testing import AtprotoNetwork, approve, behaviours, login_as
from atproto_oauth_asgi.testing.certificates import TlsFault
from tests.contract.hosted import HOST, Hosted, Site
from tests.contract.peers import Login, Teller, in_process, outcome
from tests.testing.test_login_as import HOSTED, ORIGIN, make_app

REDIRECT_URI = "http://127.0.0.1:8000/callback"
PATH = "/xrpc/com.atproto.server.getSession"
URL = f"https://pds.test{PATH}"


@asynccontextmanager
async def visiting(
    net: AtprotoNetwork, timeout_s: float = 5.0
) -> AsyncIterator[httpx.AsyncClient]:
    """A client over the guarded transport."""
    transport = GuardedTransport(net.network)
    async with httpx.AsyncClient(transport=transport, timeout=timeout_s) as client:
        yield client


@asynccontextmanager
async def open_fetcher(network: Network) -> AsyncIterator[Fetcher]:
    """What our own documents are fetched with."""
    transport = GuardedTransport(network)
    try:
        yield Fetcher(transport, network)
    finally:
        await transport.aclose()


@asynccontextmanager
async def knowing(net: AtprotoNetwork) -> AsyncIterator[OAuthClient]:
    """An OAuth client of the network."""
    client = OAuthClient(
        "http://localhost",
        REDIRECT_URI,
        "atproto",
        state_store=MemoryStateStore(),
        network=net.network,
    )
    try:
        yield client
    finally:
        await client.aclose()


@pytest.mark.anyio
async def test_traffic_when_asked_then_tells_what_came_and_no_secret(
    atproto_network: AtprotoNetwork,
) -> None:
    """Host, method, path and status are kept; tokens are there, but not shown."""
    async with visiting(atproto_network) as client:
        headers = {"Authorization": "DPoP secret-token"}
        await client.post(f"{URL}?q=secret", headers=headers, content=b"secret body")
    (seen,) = atproto_network.traffic
    assert (seen.host, seen.method, seen.path, seen.status) == (
        "pds.test",
        "POST",
        PATH,
        501,
    )
    assert seen.headers["authorization"] == "DPoP secret-token"
    assert "secret" not in repr(seen)
    assert atproto_network.internet.connected == [
        (atproto_network.internet.addresses["pds.test"][0], 443)
    ]
    atproto_network.clear_traffic()
    assert atproto_network.traffic == []


@pytest.mark.anyio
async def test_on_when_set_then_answers_there_only_and_so_often(
    atproto_network: AtprotoNetwork,
) -> None:
    """A behaviour holds for its path, its number of times, until it is taken back."""
    atproto_network.on("pds.test", PATH, behaviours.status(503, "busy"), times=1)
    async with visiting(atproto_network) as client:
        assert (await client.get(URL)).text == "busy"
        assert (await client.get(URL)).status_code == 401
        atproto_network.on("pds.test", None, JSONResponse({"every": "path"}))
        assert (await client.get(URL)).json() == {"every": "path"}
        plc = await client.get("https://plc.test/did:plc:x")
        assert plc.status_code == 404
        atproto_network.off("pds.test")
        assert (await client.get(URL)).status_code == 401


def plain(answer: httpx.Response) -> tuple[int, Any]:
    return answer.status_code, answer.headers.get("location") or answer.json()


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (behaviours.document({"id": "another"}, code=201), (201, {"id": "another"})),
        (behaviours.redirect("https://evil.test/"), (302, "https://evil.test/")),
        (behaviours.drip(b"[1]", pause_s=0.01), (200, [1])),
        (behaviours.compressed(b'"bomb"'), (200, "bomb")),
        (behaviours.compressed(b'"bomb"', layers=2), (200, "bomb")),
        (
            behaviours.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"),
            (200, {}),
        ),
    ],
    ids=["document", "redirect", "drip", "compressed", "layers", "raw"],
)
async def test_behaviour_when_it_answers_then_says_what_it_should(
    atproto_network: AtprotoNetwork, behaviour: ASGIApp, expected: tuple[int, Any]
) -> None:
    """Each ready-made behaviour does what its name says."""
    atproto_network.on("pds.test", PATH, behaviour)
    async with visiting(atproto_network) as client:
        assert plain(await client.get(URL)) == expected


@pytest.mark.anyio
async def test_compressed_when_sent_then_is_smaller_on_the_wire(
    atproto_network: AtprotoNetwork,
) -> None:
    """A bomb is small before it is opened."""
    bomb = behaviours.compressed(b" " * 1_000_000)
    atproto_network.on("pds.test", PATH, bomb)
    async with visiting(atproto_network) as client, client.stream("GET", URL) as answer:
        body = b"".join([part async for part in answer.aiter_raw()])
    assert len(body) < 10_000
    assert len(gzip.decompress(body)) == 1_000_000


@pytest.mark.anyio
async def test_hang_when_asked_then_the_clients_patience_ends_it(
    atproto_network: AtprotoNetwork,
) -> None:
    """A host that says nothing runs into the client's own limit."""
    atproto_network.on("pds.test", PATH, behaviours.hang())
    async with visiting(atproto_network, timeout_s=0.2) as client:
        with pytest.raises(TransportError):
            await client.get(URL)


@pytest.mark.anyio
async def test_hang_when_the_client_is_patient_then_hangs_up(
    atproto_network: AtprotoNetwork,
) -> None:
    """The silence can be short, and ends without an answer."""
    atproto_network.on("pds.test", PATH, behaviours.hang(0.01))
    async with visiting(atproto_network) as client:
        with pytest.raises(Unreachable):
            await client.get(URL)


@pytest.mark.anyio
async def test_endless_when_read_then_the_clients_cap_ends_it(
    atproto_network: AtprotoNetwork,
) -> None:
    """The body is longer than anybody wants to read."""
    atproto_network.on("pds.test", PATH, behaviours.endless())
    async with open_fetcher(atproto_network.network) as fetcher:
        with pytest.raises(TooLarge):
            await fetcher.fetch("GET", URL, what="answer", max_body_bytes=5_000_000)


@pytest.mark.anyio
@pytest.mark.parametrize("drop", [behaviours.drop, behaviours.drop_after_processing])
async def test_drop_when_asked_then_connection_ends_without_answer(
    atproto_network: AtprotoNetwork, drop: Callable[[], ASGIApp]
) -> None:
    """The client sees a broken connection."""
    atproto_network.on("pds.test", PATH, drop())
    async with visiting(atproto_network) as client:
        with pytest.raises(Unreachable):
            await client.get(URL)


def test_drop_after_processing_when_token_is_refreshed_then_server_has_rotated(
    atproto_network: AtprotoNetwork,
) -> None:
    """The server did its part although nobody heard of it."""
    with TestClient(make_app(atproto_network), base_url=ORIGIN) as client:
        atproto_network.set_token_lifetime(0)
        login_as(client, "alice.test")
        (before,) = atproto_network.ledger.grants
        token = before.refresh_token
        drop = behaviours.drop_after_processing()
        atproto_network.on("pds.test", "/oauth/token", drop)
        with pytest.raises(RefreshUnavailable):
            client.post("/post")
        assert token in before.spent
        assert before.refresh_token != token


@pytest.mark.anyio
async def test_altered_when_asked_then_only_that_differs(
    atproto_network: AtprotoNetwork,
) -> None:
    """A document is the real one, but for what is changed or left out."""
    path = "/.well-known/oauth-authorization-server"
    url = f"https://pds.test{path}"
    change = behaviours.altered({"issuer": "https://evil.test"}, without=["jwks_uri"])
    async with visiting(atproto_network) as client:
        real = (await client.get(url)).json()
        atproto_network.on("pds.test", path, change)
        found = (await client.get(url)).json()
    expected = {**real, "issuer": "https://evil.test"}
    del expected["jwks_uri"]
    assert found == expected


@pytest.mark.anyio
async def test_altered_when_header_is_left_out_then_it_is_missing(
    atproto_network: AtprotoNetwork,
) -> None:
    """A server that forgets its nonces."""
    change = behaviours.altered(without_headers=["DPoP-Nonce"])
    headers = {"Authorization": "DPoP x"}
    async with visiting(atproto_network) as client:
        assert "dpop-nonce" in (await client.get(URL, headers=headers)).headers
        atproto_network.on("pds.test", PATH, change)
        answer = await client.get(URL, headers=headers)
    assert "dpop-nonce" not in answer.headers
    assert answer.json()["error"] == "invalid_dpop_proof"


@pytest.mark.covers("CAUTH-04", "DPO-20")
@pytest.mark.anyio
async def test_altered_when_the_answer_is_no_json_then_its_body_stays(
    atproto_network: AtprotoNetwork,
) -> None:
    """The header of a page can be taken away; there are no members to change."""
    url = "https://alice.test/.well-known/atproto-did"
    change = behaviours.altered({"a": 1}, without_headers=["Content-Type"])
    async with visiting(atproto_network) as client:
        real = await client.get(url)
        atproto_network.on("alice.test", None, change)
        found = await client.get(url)
    assert found.text == real.text
    assert "content-type" in real.headers
    assert "content-type" not in found.headers


@pytest.mark.anyio
async def test_document_when_taken_away_then_its_host_has_none(
    atproto_network: AtprotoNetwork,
) -> None:
    """An account can disappear; its host stays, and has nothing to show."""
    url = "https://alice.test/.well-known/did.json"
    async with visiting(atproto_network) as client:
        assert (await client.get(url)).status_code == 200
        del atproto_network.directory.documents[
            atproto_network.accounts["alice.test"].did
        ]
        assert (await client.get(url)).status_code == 404


@pytest.mark.anyio
async def test_program_when_it_has_read_everything_then_waits_for_the_end(
    atproto_network: AtprotoNetwork,
) -> None:
    """As under a real server: there is nothing more to receive until somebody leaves."""

    async def program(scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["more_body"] is False
        with anyio.move_on_after(0.05) as waiting:
            await receive()
        waited = str(waiting.cancelled_caught)
        await PlainTextResponse(waited)(scope, receive, send)

    atproto_network.on("pds.test", PATH, program)
    async with visiting(atproto_network) as client:
        assert (await client.get(URL)).text == "True"


@pytest.mark.anyio
async def test_name_server_when_it_gets_noise_then_goes_on_with_its_work(
    atproto_network: AtprotoNetwork,
) -> None:
    """What is no question gets no answer; a name without the record asked for, an empty one."""
    host, _, port = atproto_network.internet.name_server.rpartition(":")
    name = "_atproto.alice.test"
    async with await anyio.create_connected_udp_socket(host, int(port)) as udp:
        await udp.send(b"noise")
        await udp.send(dns.message.Message(id=1).to_wire())
        found = {}
        for kind in ("A", "TXT"):
            await udp.send(dns.message.make_query(name, kind).to_wire())
            answer = dns.message.from_wire(await udp.receive())
            found[kind] = (answer.rcode(), len(answer.answer))
    assert found == {"A": (dns.rcode.NOERROR, 0), "TXT": (dns.rcode.NOERROR, 1)}


def test_burn_assertions_when_set_then_a_client_with_new_ones_gets_through() -> None:
    """A server that burns assertions before it looks for a nonce is satisfied."""
    burning = behaviours.burn_assertions()
    paths = {"/oauth/par", "/oauth/token", "/oauth/revoke"}
    with AtprotoNetwork(as_host="as.test") as net:
        for path in paths:
            net.on("as.test", path, burning)
        key = ClientKey(generate_private_key())
        app = make_app(net, public_url=HOSTED, client_keys=[key])
        net.serve_client(HOSTED.removeprefix("https://"), app)
        with TestClient(app, base_url=HOSTED) as client:
            net.set_token_lifetime(0)
            login_as(client, "alice.test")
            net.reset_token_lifetime()
            net.rotate_nonces()
            assert client.post("/post").status_code == 200
            net.rotate_nonces()
            client.post("/oauth/logout", headers={"Origin": HOSTED})
        assert net.sessions() == []
        challenged = {each.path for each in net.traffic if each.status == 400}
        assert challenged == paths


def test_burn_assertions_when_one_comes_twice_then_is_refused(
    atproto_network: AtprotoNetwork,
) -> None:
    """What the official server would forgive is not forgiven; others are not asked."""
    site = Site()
    atproto_network.serve_client(HOST, site)
    hosted = Hosted(in_process(atproto_network), site)
    atproto_network.on("pds.test", "/oauth/par", behaviours.burn_assertions())
    assertion = hosted.assertion()
    hosted.teller.nonce = None
    assert outcome(hosted.push(client_assertion=assertion)) == (400, "invalid_client")
    assert outcome(hosted.push(client_assertion=hosted.assertion())) == (201, None)
    for text, error in {"a.b.c": "invalid_client", "a.bm90": "invalid_request"}.items():
        answers = [hosted.push(client_assertion=text) for _ in range(2)]
        found = [outcome(answer) for answer in answers]
        assert found == [(400, error), (400, "invalid_client")]
    assert outcome(Login(hosted.teller).push()) == (201, None)


@pytest.mark.anyio
@pytest.mark.covers("NET-15", "DPO-24")
@pytest.mark.parametrize("fault", ["wrong name", "expired", "unknown authority"])
async def test_certificate_when_broken_then_connection_is_refused(
    atproto_network: AtprotoNetwork, fault: TlsFault
) -> None:
    """TLS is real: a host that cannot prove its name is not spoken to."""
    atproto_network.break_tls("pds.test", fault)
    async with visiting(atproto_network) as client:
        with pytest.raises(Unreachable):
            await client.get(URL)
    assert atproto_network.traffic == []


@pytest.mark.anyio
async def test_addresses_when_private_then_the_real_guard_refuses(
    atproto_network: AtprotoNetwork,
) -> None:
    """The guard is real: it sees the addresses that a test gives to a name."""
    atproto_network.internet.addresses["pds.test"] = ["169.254.169.254"]
    async with visiting(atproto_network) as client:
        with pytest.raises(Blocked):
            await client.get(URL)
    assert atproto_network.internet.resolved == ["pds.test"]
    assert atproto_network.internet.connected == []


@pytest.mark.anyio
@pytest.mark.parametrize("url", ["https://nobody.test/", "https://pds.test:8443/"])
async def test_host_when_it_does_not_exist_then_cannot_be_reached(
    atproto_network: AtprotoNetwork, url: str
) -> None:
    """Only what was added is there, on the https port."""
    network = atproto_network.network
    open_ports = {
        name: getattr(network, name)
        for name in ("plc_url", "resolver", "connector", "ssl_context")
    }
    transport = GuardedTransport(
        Network(**open_ports, allowed_ports=(443, 8443), unsafe_test_handles=True)
    )
    async with httpx.AsyncClient(transport=transport) as client:
        with pytest.raises(Unreachable):
            await client.get(url)


@pytest.mark.anyio
async def test_host_when_added_then_is_reached_by_its_own_name_only(
    atproto_network: AtprotoNetwork,
) -> None:
    """Any ASGI program can be a host; a connection made for one serves no other."""
    atproto_network.add_host("evil.test", PlainTextResponse("evil"))
    async with visiting(atproto_network) as client:
        assert (await client.get("https://evil.test/")).text == "evil"
    wrong = atproto_network.request("GET", "https://nobody.test/")
    assert wrong.status_code == 421


@pytest.mark.anyio
@pytest.mark.covers("IDN-02", "ID-14")
async def test_texts_when_two_accounts_are_named_then_login_is_refused(
    atproto_network: AtprotoNetwork,
) -> None:
    """The DNS question is real: its records can be set, and are believed."""
    bob = atproto_network.accounts["bob.test"]
    atproto_network.internet.texts["_atproto.alice.test"].append(f"did={bob.did}")
    async with knowing(atproto_network) as client:
        with pytest.raises(AmbiguousHandle):
            await client.start_authorization("alice.test")
    assert "/oauth/par" not in {each.path for each in atproto_network.traffic}


@pytest.mark.anyio
@pytest.mark.parametrize("way", ["dns", "https"])
async def test_handle_when_one_way_is_gone_then_the_other_leads(
    atproto_network: AtprotoNetwork, way: str
) -> None:
    """A handle is published twice, and each way is enough."""
    if way == "https":
        del atproto_network.internet.texts["_atproto.alice.test"]
    else:
        atproto_network.on("alice.test", None, behaviours.status(404))
    async with knowing(atproto_network) as client:
        started = await client.start_authorization("alice.test")
    assert approve(started[0], "alice.test").startswith("http://127.0.0.1")


@pytest.mark.anyio
async def test_document_when_changed_then_is_what_clients_see(
    atproto_network: AtprotoNetwork,
) -> None:
    """Tests may change what the directory says."""
    did = atproto_network.accounts["alice.test"].did
    document = atproto_network.directory.documents[did]
    document["alsoKnownAs"] = ["at://other.test"]
    async with knowing(atproto_network) as client:
        with pytest.raises(HandleMismatch):
            await client.start_authorization("alice.test")


def test_account_when_moved_then_the_app_writes_at_the_new_pds(
    atproto_network: AtprotoNetwork,
) -> None:
    """An account may live on another PDS of the same authorization server."""
    alice = atproto_network.accounts["alice.test"]
    atproto_network.move(alice.did, atproto_network.add_pds("pds2.test"))
    with TestClient(make_app(atproto_network), base_url=ORIGIN) as client:
        login_as(client, "alice.test")
        assert client.post("/post").status_code == 200
    assert ("pds2.test", "/xrpc/com.atproto.repo.createRecord", 200) in {
        (each.host, each.path, each.status) for each in atproto_network.traffic
    }


def test_reset_when_called_then_network_is_as_new(
    atproto_network: AtprotoNetwork,
) -> None:
    """Nothing of a test is left for the next one; the options stay good."""
    options = atproto_network.network
    with TestClient(make_app(atproto_network), base_url=ORIGIN) as client:
        login_as(client, "alice.test")
        client.post("/post")
    old = atproto_network.accounts["alice.test"]
    atproto_network.create_account("carol.test", "carol-pass")
    atproto_network.on("pds.test", None, behaviours.status(500))
    atproto_network.break_tls("plc.test", "expired")
    atproto_network.set_token_lifetime(1)
    atproto_network.reset()
    assert set(atproto_network.accounts) == {"alice.test", "bob.test"}
    assert atproto_network.accounts["alice.test"].did != old.did
    assert atproto_network.sessions() == []
    assert atproto_network.list_records(old.did, "com.example.note") == []
    assert atproto_network.traffic == []
    app = make_app(atproto_network, network=options)
    with TestClient(app, base_url=ORIGIN) as client:
        login_as(client, "alice.test")
    assert atproto_network.sessions()[0]["expiresAt"] > 3000


@pytest.mark.parametrize("did_of", ["alice.test", None])
def test_revoke_when_called_then_counts_what_it_deleted(
    atproto_network: AtprotoNetwork, did_of: str | None
) -> None:
    """Sessions can be ended behind the application's back, of one account or all."""
    for handle in ("alice.test", "bob.test"):
        with TestClient(make_app(atproto_network), base_url=ORIGIN) as client:
            login_as(client, handle)
    did = atproto_network.accounts[did_of].did if did_of else None
    assert atproto_network.revoke(did) == (1 if did_of else 2)
    assert len(atproto_network.sessions()) == (1 if did_of else 0)


def test_clock_when_given_then_decides_when_tokens_end() -> None:
    """A test can let time pass, for the network and the application alike."""
    now = [1_800_000_000.0]
    with AtprotoNetwork(clock=lambda: now[0]) as net:
        app = make_app(net, clock=lambda: now[0])
        with TestClient(app, base_url=ORIGIN) as client:
            login_as(client, "alice.test")
            (grant,) = net.ledger.grants
            token = grant.access_token
            now[0] += 3601
            assert client.post("/post").status_code == 200
            assert grant.access_token != token


@pytest.mark.anyio
async def test_connection_when_made_for_one_host_then_serves_no_other(
    atproto_network: AtprotoNetwork,
) -> None:
    """The name in TLS and the name in the request have to be the same."""
    (address,) = atproto_network.internet.addresses["pds.test"]
    stream = await atproto_network.internet.connect(address, 443)
    request = b"GET /did:plc:x HTTP/1.1\r\nHost: plc.test\r\n\r\n"
    async with await TLSStream.wrap(
        stream,
        hostname="pds.test",
        ssl_context=atproto_network.network.ssl_context,
        standard_compatible=False,
    ) as tls:
        await tls.send(request)
        assert (await tls.receive()).startswith(b"HTTP/1.1 421 ")


@pytest.mark.anyio
async def test_connection_when_it_names_no_host_then_serves_none(
    atproto_network: AtprotoNetwork,
) -> None:
    """A client that forgets to say whom it wants (SNI) would find the wrong one."""
    (address,) = atproto_network.internet.addresses["pds.test"]
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    async with await TLSStream.wrap(
        await atproto_network.internet.connect(address, 443),
        server_side=False,
        ssl_context=context,
        standard_compatible=False,
    ) as tls:
        await tls.send(b"GET / HTTP/1.1\r\nHost: pds.test\r\n\r\n")
        assert (await tls.receive()).startswith(b"HTTP/1.1 421 ")


@pytest.mark.anyio
async def test_host_when_its_program_fails_then_the_others_go_on(
    atproto_network: AtprotoNetwork, caplog: pytest.LogCaptureFixture
) -> None:
    """A mistake in a test's own host is logged, and ends that connection only."""

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("a mistake")

    atproto_network.add_host("broken.test", broken)
    async with visiting(atproto_network) as client:
        with pytest.raises(Unreachable):
            await client.get("https://broken.test/")
        assert (await client.get(URL)).status_code == 401
    assert "the program of broken.test failed" in caplog.text


@pytest.mark.parametrize("drop", [behaviours.drop, behaviours.drop_after_processing])
def test_request_when_host_hangs_up_then_raises_as_httpx_does(
    atproto_network: AtprotoNetwork, drop: Callable[[], ASGIApp]
) -> None:
    """Requests from outside an application see the same misbehaviour."""
    atproto_network.on("pds.test", PATH, drop())
    with pytest.raises(httpx.RemoteProtocolError):
        atproto_network.request("GET", URL)


@pytest.mark.parametrize("host", ["app.example.com", "app.test", "localhost"])
def test_serve_client_when_no_server_would_take_it_then_says_so_at_once(
    atproto_network: AtprotoNetwork, host: str
) -> None:
    """A name that works here and nowhere else would be found out too late."""
    with pytest.raises(ConfigurationError, match=f"no server takes a client at {host}"):
        atproto_network.serve_client(host, {})


def test_form_post_when_asked_for_then_a_page_sends_the_answer(
    atproto_network: AtprotoNetwork,
) -> None:
    """The answer goes to the client by a form, which sends itself."""
    login = Login(Teller(in_process(atproto_network)))
    url = login.auth_url(response_mode="form_post")
    form = {**dict(parse_qsl(urlsplit(url).query)), "decision": "deny"}
    page = f"{atproto_network.issuer}/oauth/authorize"
    answer = atproto_network.request("POST", page, data=form)
    assert answer.status_code == 200
    assert 'method="post" action="http://127.0.0.1:8000/callback"' in answer.text
    assert f'name="state" value="{login.state}"' in answer.text
    assert 'name="error" value="access_denied"' in answer.text
    (script,) = re.findall(r"<script>(.*?)</script>", answer.text)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in answer.headers["content-security-policy"]
