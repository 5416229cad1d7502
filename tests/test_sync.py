"""The client for code without an event loop, on both networks."""

from __future__ import annotations

import gc
import inspect
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import anyio
import httpx
import pytest

from atproto_oauth_asgi import client as asynchronous
from atproto_oauth_asgi.config import OAuthConfig
from atproto_oauth_asgi.exceptions import (
    Blocked,
    ConfigurationError,
    HandleNotFound,
    OAuthStateError,
    RefreshUnavailable,
    SessionRevoked,
    Unreachable,
)
from atproto_oauth_asgi.models import OAuthSession
from atproto_oauth_asgi.network.pds import PDSClient as AsyncPDSClient
from atproto_oauth_asgi.network_options import Network
from atproto_oauth_asgi.stores.memory import (
    MemorySessionStore,
    MemoryStateStore,
    MemoryStore,
)
from atproto_oauth_asgi.sync import OAuthClient, PDSClient
from atproto_oauth_asgi.testing import AtprotoNetwork, approve, behaviours
from tests.reference_network import sign_in
from tests.reference_network.process import ReferenceNetwork

HANDLE = "alice.test"
REDIRECT_URI = "http://127.0.0.1:5000/callback"
SCOPE = "atproto transition:generic"
SECRET = "a secret of the tests, of 32 bytes or more"
SELF = "/xrpc/com.atproto.server.getSession"


@dataclass(frozen=True)
class Place:
    """A network, and how somebody says yes there."""

    network: Network
    did: str
    approve: Callable[[str], str]


@pytest.fixture(
    params=["in-process", pytest.param("reference", marks=pytest.mark.network)]
)
def place(request: pytest.FixtureRequest) -> Place:
    if request.param == "in-process":
        net: AtprotoNetwork = request.getfixturevalue("atproto_network")
        alice = net.accounts[HANDLE]
        return Place(net.network, alice.did, lambda url: approve(url, HANDLE))
    official: ReferenceNetwork = request.getfixturevalue("fresh_network")
    account = official.accounts[HANDLE]
    return Place(
        official.network, account.did, lambda url: sign_in.approve(url, account)
    )


def open_client(network: Network, **options: Any) -> OAuthClient:
    given = {"state_store": MemoryStateStore(), **options}
    return OAuthClient(
        "http://localhost", REDIRECT_URI, SCOPE, network=network, **given
    )


def log_in(place: Place, client: OAuthClient) -> OAuthSession:
    request = client.start_authorization(HANDLE, app_state="here")
    auth_url, _ = request
    answer = dict(parse_qsl(urlsplit(place.approve(auth_url)).query))
    return client.handle_callback(**answer, browser_binding=request.browser_binding)


@pytest.fixture
def client(place: Place) -> Iterator[OAuthClient]:
    with open_client(place.network, session_store=MemorySessionStore()) as opened:
        yield opened


def threads() -> int:
    return sum(t.name == "atproto_oauth_asgi.sync" for t in threading.enumerate())


# --- the whole way -----------------------------------------------------------------


def test_login_when_there_is_no_loop_then_gives_a_session(
    place: Place, client: OAuthClient
) -> None:
    """Begin, end, restore, renew, call, revoke: without a word of ``await``."""
    session = log_in(place, client)
    assert (session.did, session.handle) == (place.did, HANDLE)
    assert session.app_state == "here"
    assert client.restore(place.did).access_token == session.access_token
    renewed = client.refresh_session(session)
    assert renewed.refresh_token != session.refresh_token
    pds = client.pds_client(renewed)
    assert isinstance(pds, httpx.Client)
    assert pds.query("com.atproto.server.getSession").json()["did"] == place.did
    answer = client.make_authenticated_request(renewed, "GET", SELF)
    assert answer.json()["did"] == place.did
    client.revoke_session(renewed)
    with pytest.raises(SessionRevoked):
        client.refresh_session(renewed)


def test_record_when_created_then_is_on_the_pds(
    place: Place, client: OAuthClient
) -> None:
    """A procedure with a JSON body, signed, with a nonce that it had to ask for."""
    pds = client.pds_client(log_in(place, client))
    record = {"$type": "com.example.note", "text": "sync"}
    answer = pds.procedure(
        "com.atproto.repo.createRecord",
        json={"repo": place.did, "collection": "com.example.note", "record": record},
    )
    assert answer.status_code == 200
    found = pds.query(
        "com.atproto.repo.listRecords",
        {"repo": place.did, "collection": "com.example.note"},
    )
    assert found.json()["records"][0]["value"]["text"] == "sync"


@pytest.mark.covers("DPOP-20")
def test_upload_when_streamed_then_survives_the_first_nonce() -> None:
    """A generator is sent once, piece by piece, and arrives whole."""

    def pieces() -> Iterator[bytes]:
        for _ in range(50):
            yield b"x" * 1000

    # On its own origin the PDS has given nobody a nonce yet.
    with AtprotoNetwork(as_host="as.test") as net, open_client(net.network) as client:
        place = Place(net.network, "", lambda url: approve(url, HANDLE))
        pds = client.pds_client(log_in(place, client))
        answer = pds.procedure(
            "com.atproto.repo.uploadBlob",
            content=pieces(),
            headers={"Content-Type": "text/plain"},
        )
    assert answer.json()["blob"]["size"] == 50_000


def test_upload_when_streamed_then_the_official_pds_takes_it(
    place: Place, client: OAuthClient
) -> None:
    """From an iterator that waits between its pieces."""
    pds = client.pds_client(log_in(place, client))

    def pieces() -> Iterator[bytes]:
        for _ in range(3):
            time.sleep(0.01)
            yield b"x" * 1000

    answer = pds.procedure(
        "com.atproto.repo.uploadBlob",
        content=pieces(),
        headers={"Content-Type": "text/plain"},
    )
    assert answer.json()["blob"]["size"] == 3000


def test_answer_when_streamed_then_comes_in_pieces(
    place: Place, client: OAuthClient
) -> None:
    """``stream`` works, and a body that is left alone is closed."""
    pds = client.pds_client(log_in(place, client))
    with pds.stream("GET", SELF) as answer:
        assert b"".join(answer.iter_bytes()).startswith(b"{")
    with pds.stream("GET", SELF) as answer:
        assert answer.status_code == 200
    assert answer.is_closed


# --- the guard ---------------------------------------------------------------------


@pytest.mark.covers("RES-02", "RES-04", "RES-05", "DPO-13", "DPO-15")
@pytest.mark.parametrize(
    "call",
    [
        lambda pds: pds.get("https://evil.example/x"),
        lambda pds: pds.get("http://127.0.0.1:1/x"),
        lambda pds: pds.send(httpx.Request("GET", "https://evil.example/x")),
        lambda pds: pds.get("https://evil.example", auth=("a", "b")),
        lambda pds: httpx.Client.send(pds, httpx.Request("GET", "https://evil.test")),
    ],
)
def test_request_when_it_leads_elsewhere_then_is_refused(
    place: Place, client: OAuthClient, call: Callable[[PDSClient], httpx.Response]
) -> None:
    """Whatever way round httpx offers, the guard stands behind it."""
    pds = client.pds_client(log_in(place, client))
    with pytest.raises(Blocked):
        call(pds)
    pds.base_url = "https://evil.example"
    with pytest.raises(Blocked):
        pds.get("/x")


@pytest.mark.covers("RES-04", "DPO-14")
def test_redirect_when_it_is_answered_then_is_given_back(
    atproto_network: AtprotoNetwork,
) -> None:
    """Also where the caller insists on following."""
    net = atproto_network
    place = Place(net.network, "", lambda url: approve(url, HANDLE))
    with open_client(net.network) as client:
        pds = client.pds_client(log_in(place, client))
        net.on("pds.test", SELF, behaviours.redirect("https://bob.test/"))
        pds.follow_redirects = True
        assert pds.get(SELF, follow_redirects=True).status_code == 302
        assert pds.proxied("did:web:api.test#x").get(SELF).status_code == 302
    assert [each.host for each in net.traffic if each.host == "bob.test"] == []


def test_proxied_when_called_then_names_the_service(
    atproto_network: AtprotoNetwork,
) -> None:
    """The header goes along, and the client it came from stays as it was."""
    net = atproto_network
    place = Place(net.network, "", lambda url: approve(url, HANDLE))
    with open_client(net.network) as client:
        pds = client.pds_client(log_in(place, client))
        pds.timeout = httpx.Timeout(3)
        clone = pds.proxied("did:web:api.test#x")
        clone.get(SELF)
        pds.get(SELF)
    sent = [each for each in net.traffic if each.path == SELF]
    assert "atproto-proxy" not in sent[-1].headers
    assert sent[-2].headers["atproto-proxy"] == "did:web:api.test#x"
    assert clone.timeout == pds.timeout


# --- renewing ----------------------------------------------------------------------


def test_session_when_token_has_ended_then_is_renewed_and_told(
    atproto_network: AtprotoNetwork,
) -> None:
    """A plain function can be the hook; it has seen the tokens before they are used."""
    net = atproto_network
    place = Place(net.network, "", lambda url: approve(url, HANDLE))
    told: list[OAuthSession] = []
    with open_client(net.network, on_session_updated=told.append) as client:
        session = log_in(place, client)
        past = datetime.now(UTC) - timedelta(seconds=1)
        pds = client.pds_client(session.replace(expires_at=past))
        assert pds.get(SELF).status_code == 200
    assert [each.did for each in told] == [session.did]
    assert told[0].access_token != session.access_token


def test_session_when_nobody_keeps_it_then_is_not_renewed(
    atproto_network: AtprotoNetwork,
) -> None:
    """As in the asynchronous client."""
    net = atproto_network
    place = Place(net.network, "", lambda url: approve(url, HANDLE))
    with open_client(net.network) as client:
        session = log_in(place, client)
        past = datetime.now(UTC) - timedelta(seconds=1)
        with pytest.raises(RefreshUnavailable):
            client.pds_client(session.replace(expires_at=past)).get(SELF)


# --- errors ------------------------------------------------------------------------


def test_errors_when_raised_then_are_the_same(
    atproto_network: AtprotoNetwork,
) -> None:
    """The classes, the messages and the attributes of the asynchronous client."""
    net = atproto_network
    place = Place(net.network, "", lambda url: approve(url, HANDLE))
    with open_client(net.network) as client:
        with pytest.raises(HandleNotFound):
            client.start_authorization("nobody.test")
        with pytest.raises(OAuthStateError):
            client.handle_callback("code", "a-state-nobody-knows", net.issuer)
        with pytest.raises(ConfigurationError, match="scope"):
            client.start_authorization(HANDLE, scope="atproto everything")
        pds = client.pds_client(log_in(place, client))
        net.on("pds.test", SELF, behaviours.drop())
        with pytest.raises(Unreachable):
            pds.get(SELF)
    with pytest.raises(ConfigurationError):
        OAuthClient("http://localhost", REDIRECT_URI, SCOPE, MemoryStore())


# --- threads and processes ---------------------------------------------------------


def test_client_when_shared_by_threads_then_serves_all(
    place: Place, client: OAuthClient
) -> None:
    """Twenty threads, one loop, one pool; one renewal for all."""
    session = log_in(place, client)

    def call(_: int) -> tuple[str, str]:
        renewed = client.refresh_session(session)
        answer = client.pds_client(renewed).get(SELF)
        return answer.json()["did"], renewed.access_token

    with ThreadPoolExecutor(20) as pool:
        got = set(pool.map(call, range(20)))
    assert len(got) == 1
    assert got.pop()[0] == place.did
    assert threads() == 1


def test_client_when_not_used_then_starts_no_thread(
    atproto_network: AtprotoNetwork,
) -> None:
    """Making one at import is free; closing it is, too."""
    client = open_client(atproto_network.network)
    assert threads() == 0
    client.close()
    client.close()
    assert threads() == 0


def test_pds_client_when_its_oauth_client_is_dropped_then_works_on(
    atproto_network: AtprotoNetwork,
) -> None:
    """A function may give back what it made of a client of its own."""
    net = atproto_network
    place = Place(net.network, "", lambda url: approve(url, HANDLE))

    def open_pds() -> PDSClient:
        client = open_client(net.network)
        return client.pds_client(log_in(place, client))

    pds = open_pds()
    gc.collect()
    assert pds.get(SELF).status_code == 200
    del pds
    gc.collect()
    assert threads() == 0


def test_client_when_closed_during_a_refresh_then_new_tokens_are_kept(
    atproto_network: AtprotoNetwork,
) -> None:
    """What was sent is waited for: half a refresh is a session lost."""
    net = atproto_network
    place = Place(net.network, "", lambda url: approve(url, HANDLE))
    store = MemorySessionStore()
    client = open_client(net.network, session_store=store)
    session = log_in(place, client)
    sent = threading.Event()
    behaviour = slow_answer(sent)
    net.on("pds.test", "/oauth/token", behaviour, times=1)
    with ThreadPoolExecutor(1) as pool:
        refreshed = pool.submit(client.refresh_session, session)
        assert sent.wait(10)
        client.close()
        assert refreshed.result(10).refresh_token != session.refresh_token
    kept = anyio.run(store.get_session, session.did)
    assert kept is not None
    assert kept.refresh_token == refreshed.result().refresh_token
    assert threads() == 0


def slow_answer(sent: threading.Event) -> Any:
    """A program that does what it should, and answers half a second later."""
    usual = behaviours.altered()

    async def program(scope: Any, receive: Any, send: Any) -> None:
        async def late(message: Any) -> None:
            if message["type"] == "http.response.start":
                sent.set()
                await anyio.sleep(0.5)
            await send(message)

        await usual(scope, receive, late)

    return program


def test_pds_client_when_its_oauth_client_was_closed_then_says_so(
    atproto_network: AtprotoNetwork,
) -> None:
    """An error that tells what to do, and no wait without end."""
    net = atproto_network
    place = Place(net.network, "", lambda url: approve(url, HANDLE))
    with open_client(net.network) as client:
        pds = client.pds_client(log_in(place, client))
    with pytest.raises(RuntimeError, match="was closed"):
        pds.get(SELF)


def test_client_when_no_loop_can_be_started_then_says_so(
    atproto_network: AtprotoNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine without file descriptors, for instance; later calls may work."""
    client = open_client(atproto_network.network)

    def fail(*_: object) -> None:
        raise OSError("too many open files")

    with monkeypatch.context() as broken:
        broken.setattr(anyio, "run", fail)
        broken.setattr(threading, "excepthook", lambda _: None)
        with pytest.raises(RuntimeError, match="could not be started"):
            client.start_authorization(HANDLE)
    assert client.start_authorization(HANDLE)
    client.close()


def test_client_when_closed_then_thread_is_gone_and_next_call_starts_anew(
    atproto_network: AtprotoNetwork,
) -> None:
    """Nothing stays behind, and closing is no end."""
    client = open_client(atproto_network.network)
    for _ in range(2):
        client.start_authorization(HANDLE)
        assert threads() == 1
        client.close()
        assert threads() == 0


def test_client_when_dropped_then_thread_ends(
    atproto_network: AtprotoNetwork,
) -> None:
    """A client that nobody can use any more keeps nothing open."""
    client = open_client(atproto_network.network)
    client.start_authorization(HANDLE)
    del client
    gc.collect()
    assert threads() == 0


@pytest.mark.anyio
async def test_client_when_called_inside_a_loop_then_works_all_the_same(
    atproto_network: AtprotoNetwork,
) -> None:
    """It blocks, as a synchronous call does, and does not break."""
    with open_client(atproto_network.network) as client:
        _, state = client.start_authorization(HANDLE)
    await anyio.lowlevel.checkpoint()
    assert state


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_client_when_process_forks_then_child_has_a_loop_of_its_own(
    atproto_network: AtprotoNetwork,
) -> None:
    """As a server does that loads the application before it forks."""
    client = open_client(atproto_network.network)
    client.start_authorization(HANDLE)
    child = os.fork()
    if child == 0:
        # Whatever happens here, it must not go on as a second run of the tests.
        status = 1
        try:
            _, state = client.start_authorization(HANDLE)
            status = 0 if state and threads() == 1 else 1
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    client.close()


def test_program_when_it_ends_without_closing_then_it_ends() -> None:
    """A script that forgets to close neither hangs nor complains."""
    program = """
        from atproto_oauth_asgi.exceptions import OAuthError
        from atproto_oauth_asgi.sync import OAuthClient
        client = OAuthClient("http://localhost", "http://127.0.0.1/c", "atproto")
        try:
            client.restore("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa")
        except OAuthError as error:
            print(error.code)
    """
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "session_expired\n", "")


# --- the two clients ---------------------------------------------------------------


def test_clients_when_compared_then_have_the_same_methods() -> None:
    """What one can do, the other can, with the same parameters."""
    left_out = {"begin_login", "complete_login", "aclose"}
    for name, method in inspect.getmembers(asynchronous.OAuthClient, callable):
        if name.startswith("_") or name in left_out:
            continue
        twin = getattr(OAuthClient, name)
        ours, theirs = inspect.signature(twin), inspect.signature(method)
        assert set(ours.parameters) == set(theirs.parameters) - {"tokens"}, name
    ours = inspect.signature(OAuthClient.__init__)
    theirs = inspect.signature(asynchronous.OAuthClient.__init__)
    assert ours.parameters == theirs.parameters


def test_pds_clients_when_compared_then_have_the_same_methods() -> None:
    """Beyond what httpx brings."""
    ours = {name for name in vars(PDSClient) if not name.startswith("_")}
    theirs = {name for name in vars(AsyncPDSClient) if not name.startswith("_")}
    assert ours == theirs


def test_client_when_from_config_then_speaks_for_the_application(
    atproto_network: AtprotoNetwork,
) -> None:
    """The one of the middleware, for the worker beside it."""
    config = OAuthConfig(secret_key=SECRET, network=atproto_network.network)
    with OAuthClient.from_config(config, state_store=MemoryStore()) as client:
        auth_url, _ = client.start_authorization(HANDLE)
    assert dict(parse_qsl(urlsplit(auth_url).query))["client_id"] == config.client_id
