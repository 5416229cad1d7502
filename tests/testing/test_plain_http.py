"""The network at http://localhost: for browsers, and for other processes."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from atproto_oauth_asgi import ConfigurationError
from atproto_oauth_asgi.testing import (
    AtprotoNetwork,
    behaviours,
    deny,
    login_as,
    network,
)
from tests.serving import served_in_process
from tests.testing.test_login_as import ORIGIN, make_app

PAGE = Path(__file__).parents[2] / "docs/how-to/test-against-a-local-network.md"
RESOLVE = "/xrpc/com.atproto.identity.resolveHandle"


@pytest.fixture(scope="module")
def servers() -> Iterator[AtprotoNetwork]:
    with AtprotoNetwork(localhost_port=0) as net:
        yield net


@pytest.fixture
def net(servers: AtprotoNetwork) -> AtprotoNetwork:
    servers.reset()
    return servers


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    """A client of another process: it knows nothing but URLs."""
    with httpx.Client(trust_env=False) as client:
        yield client


def port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port


def say(port: int, text: str) -> bytes:
    """Send bytes to the port, and give what comes back until it hangs up."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(text.replace("\n", "\r\n").encode())
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(partial(connection.recv, 65536), b""))


def test_application_when_connected_then_whole_login_works(net: AtprotoNetwork) -> None:
    """``network.network`` leads an application there; ``login_as`` is the same."""
    app = make_app(net)
    with TestClient(app, base_url=ORIGIN) as client:
        login_as(client, "alice.test")
        assert client.get("/").json()["handle"] == "alice.test"
        assert client.post("/post").status_code == 200
    alice = net.accounts["alice.test"]
    assert len(net.list_records(alice.did, "com.example.note")) == 1
    assert len(net.sessions(alice.did)) == 1


def test_login_when_denied_then_leads_back(net: AtprotoNetwork) -> None:
    """Saying no works as well, at the same addresses."""
    with TestClient(make_app(net), base_url=ORIGIN) as client:
        form, headers = {"identifier": "alice.test"}, {"Origin": ORIGIN}
        answer = client.post("/oauth/login", json=form, headers=headers)
        back = deny(answer.json()["authorization_url"])
        assert back.startswith(f"{ORIGIN}/")
        assert "error=access_denied" in back


def test_other_process_when_it_follows_urls_then_finds_everything(
    net: AtprotoNetwork, http: httpx.Client
) -> None:
    """Handle, DID document, PDS, issuer: each says where the next one really is."""
    handle = {"handle": "alice.test"}
    did = http.get(net.pds_url + RESOLVE, params=handle).json()["did"]
    assert did == net.accounts["alice.test"].did
    (service,) = http.get(f"{net.plc_url}/{did}").json()["service"]
    pds_url = service["serviceEndpoint"]
    assert pds_url == net.pds_url
    resource = http.get(f"{pds_url}/.well-known/oauth-protected-resource").json()
    assert resource["resource"] == pds_url
    (issuer,) = resource["authorization_servers"]
    server = http.get(f"{issuer}/.well-known/oauth-authorization-server").json()
    assert server["issuer"] == issuer == net.issuer
    assert server["token_endpoint"] == f"{net.issuer}/oauth/token"


def test_options_when_asked_for_then_are_those_of_development(
    net: AtprotoNetwork,
) -> None:
    """They are refused with an https ``public_url``, as every development network."""
    options = net.network
    assert options.is_development
    assert options.plc_url == net.plc_url
    assert options.handle_resolver_url == net.pds_url
    with pytest.raises(ConfigurationError, match="development"):
        make_app(net, public_url="https://app.example.com")


@pytest.mark.parametrize(
    "host",
    ["evil.example:{port}", "pds.test", "localhost", "localhost:1", "alice.test"],
)
def test_page_when_its_name_leads_here_then_gets_nothing(
    net: AtprotoNetwork, http: httpx.Client, host: str
) -> None:
    """DNS rebinding: a web page cannot read the servers under a name of its own."""
    headers = {"Host": host.format(port=port_of(net.pds_url))}
    answer = http.get(f"{net.pds_url}{RESOLVE}?handle=alice.test", headers=headers)
    assert answer.status_code == 421
    assert net.accounts["alice.test"].did not in answer.text


def test_name_when_it_is_for_the_directory_then_is_not_the_pds(
    net: AtprotoNetwork, http: httpx.Client
) -> None:
    """The two servers have two hosts, so that neither can read the other's cookies."""
    assert urlsplit(net.plc_url).hostname != urlsplit(net.pds_url).hostname
    path = "/.well-known/oauth-protected-resource"
    assert http.get(net.plc_url + path).status_code == 404


def test_servers_when_listening_then_on_loopback_only(net: AtprotoNetwork) -> None:
    """Other machines cannot reach them."""
    with socket.socket() as other:
        # Taken on 127.0.0.1 alone: another loopback address is still free.
        other.bind(("127.0.0.2", port_of(net.pds_url)))


def test_knobs_when_turned_then_hosts_go_by_their_names(
    net: AtprotoNetwork, http: httpx.Client
) -> None:
    """``on``, ``off`` and ``traffic`` call the hosts as they do with https."""
    url = f"{net.pds_url}{RESOLVE}"
    net.on("pds.test", RESOLVE, behaviours.status(503))
    assert http.get(url).status_code == 503
    net.off("pds.test", RESOLVE)
    assert http.get(url, params={"handle": "bob.test"}).status_code == 200
    assert http.get(f"{net.plc_url}/did:plc:nobody").status_code == 404
    seen = [(each.host, each.status) for each in net.traffic]
    assert seen == [("pds.test", 503), ("pds.test", 200), ("plc.test", 404)]


def test_program_when_it_answers_then_knows_its_url(
    net: AtprotoNetwork, http: httpx.Client
) -> None:
    """A program of a test sees the scheme, host and port that the browser sees."""

    async def echo(scope: Scope, receive: Receive, send: Send) -> None:
        url = str(Request(scope).url)
        await PlainTextResponse(url)(scope, receive, send)

    net.on("pds.test", None, echo)
    url = f"{net.pds_url}/page?a=1"
    assert http.get(url).text == url


def test_network_when_asked_from_inside_then_answers_the_same(
    net: AtprotoNetwork,
) -> None:
    """``request`` goes to the same hosts, without a socket."""
    answer = net.request("GET", f"{net.pds_url}{RESOLVE}?handle=bob.test")
    assert answer.json()["did"] == net.accounts["bob.test"].did
    assert net.request("GET", "https://pds.test/").status_code == 421


@pytest.mark.parametrize(
    ("what", "ask"),
    [
        ("add_host", lambda net: net.add_host("x.test", PlainTextResponse(""))),
        ("add_pds", lambda net: net.add_pds("pds2.test")),
        ("serve_client", lambda net: net.serve_client("app.example.com", {})),
        ("break_tls", lambda net: net.break_tls("pds.test", "expired")),
        (
            "did:web",
            lambda net: net.create_account("carol.test", "x", did="did:web:c.test"),
        ),
        ("as_host", lambda _: AtprotoNetwork(localhost_port=0, as_host="as.test")),
    ],
)
def test_what_needs_https_when_asked_for_then_is_refused(
    net: AtprotoNetwork, what: str, ask: Callable[[AtprotoNetwork], Any]
) -> None:
    """What plain http cannot give is an error that says so, and changes nothing."""
    with pytest.raises(ConfigurationError, match=f"{what}.*https.*localhost_port"):
        ask(net)
    assert set(net.accounts) == {"alice.test", "bob.test"}


def test_account_when_created_then_logs_in(net: AtprotoNetwork) -> None:
    """Further accounts work as those that were there first."""
    carol = net.create_account("carol.test", "carol-pass")
    with TestClient(make_app(net), base_url=ORIGIN) as client:
        login_as(client, carol)
        assert client.get("/").json()["did"] == carol.did


@pytest.mark.parametrize("port", [-1, 80, 65536])
def test_port_when_there_is_none_such_then_refused(port: int) -> None:
    """A port that cannot be is told when the network is made."""
    with pytest.raises(ConfigurationError, match="0 to 65535"):
        AtprotoNetwork(localhost_port=port)


def test_port_when_taken_then_told_and_had_once_it_is_free(http: httpx.Client) -> None:
    """Starting fails with the port and the reason, and can be tried again."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        net = AtprotoNetwork(localhost_port=port)
        with pytest.raises(ConfigurationError, match=f"localhost_port: {port}: .* use"):
            net.start()
        assert net not in network.running
        with pytest.raises(ConfigurationError, match="start it"):
            net.request("GET", net.pds_url)
    with net:
        assert net.pds_url == f"http://localhost:{port}"
        assert http.get(net.pds_url).status_code == 404


def test_network_when_stopped_and_started_then_is_where_and_what_it_was(
    http: httpx.Client,
) -> None:
    """URLs and accounts outlive a stop, also with a port that was chosen for you."""
    net = AtprotoNetwork(localhost_port=0)
    before = (net.pds_url, net.accounts["alice.test"].did)
    with net:
        assert http.get(net.pds_url).status_code == 404
    with pytest.raises(httpx.ConnectError):
        http.get(net.pds_url)
    with net:
        assert (net.pds_url, net.accounts["alice.test"].did) == before
        assert http.get(net.pds_url).status_code == 404


def test_networks_when_two_run_then_have_ports_of_their_own(
    net: AtprotoNetwork, http: httpx.Client
) -> None:
    """Two networks do not know each other's accounts."""
    with AtprotoNetwork(accounts={"dan.test": "x"}, localhost_port=0) as other:
        assert other.pds_url != net.pds_url
        answers = [
            http.get(each.pds_url + RESOLVE, params={"handle": "dan.test"}).status_code
            for each in (other, net)
        ]
        assert answers == [200, 400]


def test_head_when_asked_then_has_no_body(net: AtprotoNetwork) -> None:
    """What tools ask first (``curl -I``) is answered, and the connection goes on."""
    host = urlsplit(net.pds_url).netloc
    url = "/.well-known/oauth-authorization-server"
    head = f"HEAD {url} HTTP/1.1\nHost: {host}\n\n"
    last = f"GET /nothing HTTP/1.1\nHost: {host}\nConnection: close\n\n"
    answer = say(port_of(net.pds_url), head + last)
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"200", b"404"]
    assert b"issuer" not in answer


@pytest.mark.parametrize("noise", ["\x16\x03\x01\x02\x00\x01", "GET\n\n", ""])
def test_noise_when_sent_then_others_are_still_served(
    net: AtprotoNetwork, http: httpx.Client, noise: str
) -> None:
    """A browser that tries https first, or a port scan, disturbs nobody."""
    assert b"200" not in say(port_of(net.pds_url), noise)
    assert http.get(net.pds_url).status_code == 404


def test_page_when_its_script_is_followed_then_an_application_logs_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stranger's terminal: the network, its two variables, an application."""
    script, program = re.findall(
        r"^```python\n(.*?)^```$",
        PAGE.read_text(encoding="utf-8"),
        re.MULTILINE | re.DOTALL,
    )[:2]
    (tmp_path / "yours.py").write_text(program, encoding="utf-8")
    outcome: list[int] = []

    def meanwhile(_: str) -> str:
        settings = dict(re.findall(r"export (\w+)=(\S+)", capsys.readouterr().out))
        settings["PYTHONPATH"] = str(tmp_path)
        with (
            served_in_process("yours:app", settings=settings) as origin,
            httpx.Client(base_url=origin, trust_env=False) as client,
        ):
            outcome.append(login_as(client, "alice.test").status_code)
        return ""

    monkeypatch.setattr("builtins.input", meanwhile)
    exec(script.replace("2583", "0"), {"__name__": "__main__"})  # noqa: S102 - documentation
    assert outcome == [303]
