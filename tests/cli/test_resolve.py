"""``resolve``: each step of the way to a server, with its finding."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.responses import PlainTextResponse

from atproto_oauth_asgi.cli.main import main
from atproto_oauth_asgi.testing import AtprotoNetwork
from tests.cli.deployment import Deployment

Output = pytest.CaptureFixture[str]
NOBODY = "did:plc:" + "a" * 24


@pytest.fixture
def network(deployment: Deployment) -> AtprotoNetwork:
    return deployment.network


@pytest.fixture
def reaching(deployment: Deployment, network: AtprotoNetwork) -> list[str]:
    """Everything by https at names, with a real name server."""
    return [
        *deployment.reaching,
        *("--private", ".test", "--plc-url", network.plc_url, "--test-handles"),
        *("--dns-server", network.internet.name_server),
    ]


def resolve(
    capsys: Output, identifier: str, reaching: list[str]
) -> tuple[int, list[dict[str, Any]]]:
    code = main(["resolve", identifier, "--json", *reaching])
    return code, json.loads(capsys.readouterr().out)["steps"]


def verdicts(steps: list[dict[str, Any]]) -> dict[str, str]:
    return {step["name"]: step["verdict"] for step in steps}


def test_resolve_when_handle_is_good_then_shows_every_step(
    network: AtprotoNetwork, reaching: list[str], capsys: Output
) -> None:
    """DNS, web, document, handle, PDS and server: each with its time and finding."""
    code, steps = resolve(capsys, "@alice.test", reaching)
    did = network.accounts["alice.test"].did
    assert code == 0
    names = ["dns", "well-known", "did-document", "handle", "pds-metadata"]
    assert list(verdicts(steps)) == [*names, "server-metadata"]
    assert steps[0]["text"] == did
    assert steps[-1]["text"] == "PAR at https://pds.test/oauth/par"
    asked = [step for step in steps if step["name"] != "handle"]
    assert all(step["took_ms"] > 0 for step in asked)


def test_resolve_when_given_a_did_then_begins_at_its_document(
    network: AtprotoNetwork, reaching: list[str], capsys: Output
) -> None:
    """A DID is followed, and its handle verified both ways."""
    code, steps = resolve(capsys, network.accounts["bob.test"].did, reaching)
    assert (code, steps[0]["name"]) == (0, "did-document")
    assert (steps[1]["name"], steps[1]["text"]) == ("handle", "bob.test")


def test_resolve_when_handle_of_a_did_is_not_true_then_goes_on(
    network: AtprotoNetwork, reaching: list[str], capsys: Output
) -> None:
    """A broken handle keeps nobody out who is named by DID."""
    did = network.accounts["bob.test"].did
    network.directory.documents[did]["alsoKnownAs"] = ["at://alice.test"]
    code, steps = resolve(capsys, did, reaching)
    assert (code, verdicts(steps)["handle"]) == (0, "none")
    network.directory.documents[did]["alsoKnownAs"] = []
    code, steps = resolve(capsys, did, reaching)
    assert (code, verdicts(steps)["handle"]) == (0, "none")


@pytest.mark.parametrize(
    ("as_host", "path"), [("pds.test", []), ("plc.test", ["pds-metadata"])]
)
def test_resolve_when_given_a_server_then_looks_at_its_documents(
    network: AtprotoNetwork,
    reaching: list[str],
    capsys: Output,
    as_host: str,
    path: list[str],
) -> None:
    """A host is a PDS or a server; what is neither fails at both."""
    code, steps = resolve(capsys, f"https://{as_host}", reaching)
    assert list(verdicts(steps)) == ["pds-metadata", "server-metadata"]
    assert code == bool(path)


def test_resolve_when_only_the_web_server_knows_then_is_content(
    network: AtprotoNetwork, reaching: list[str], capsys: Output
) -> None:
    """One way is enough, as in a login."""
    del network.internet.texts["_atproto.alice.test"]
    code, steps = resolve(capsys, "alice.test", reaching)
    assert (code, verdicts(steps)["dns"]) == (0, "none")


def test_resolve_when_the_web_server_is_out_of_order_then_dns_is_enough(
    network: AtprotoNetwork, reaching: list[str], capsys: Output
) -> None:
    """What a login does without fails nothing here; the reason still stands there."""
    broken = PlainTextResponse("no", status_code=503)
    network.on("alice.test", "/.well-known/atproto-did", broken)
    code, steps = resolve(capsys, "alice.test", reaching)
    assert (code, verdicts(steps)["well-known"]) == (0, "none")
    assert "503" in steps[1]["text"]


def test_resolve_when_the_two_ways_disagree_then_says_so(
    network: AtprotoNetwork, reaching: list[str], capsys: Output
) -> None:
    """DNS counts; that the web server says something else is told."""
    other = PlainTextResponse(network.accounts["bob.test"].did)
    network.on("alice.test", "/.well-known/atproto-did", other)
    code, steps = resolve(capsys, "alice.test", reaching)
    assert code == 0
    assert any("another account" in step["text"] for step in steps)


@pytest.mark.parametrize(
    ("texts", "code"),
    [
        (["did=" + NOBODY], "did_not_resolved"),
        (["did=" + NOBODY, "did=did:web:a.test"], "ambiguous_handle"),
    ],
)
def test_resolve_when_dns_is_wrong_then_stops_with_the_code(
    network: AtprotoNetwork,
    reaching: list[str],
    capsys: Output,
    texts: list[str],
    code: str,
) -> None:
    """The step that fails is the last one, with the code of the documentation."""
    network.internet.texts["_atproto.alice.test"] = texts
    exit_code, steps = resolve(capsys, "alice.test", reaching)
    assert (exit_code, [step["code"] for step in steps if step["code"]]) == (1, [code])


def test_resolve_when_nothing_is_published_then_says_so(
    reaching: list[str], capsys: Output
) -> None:
    """A handle that nobody has is not found, by the code of the documentation."""
    code, steps = resolve(capsys, "nobody.test", reaching)
    assert (code, steps[-1]["code"]) == (1, "handle_not_found")


def test_resolve_when_both_ways_are_out_of_order_then_tells_each(
    network: AtprotoNetwork, reaching: list[str], capsys: Output
) -> None:
    """What could not be asked is not said to be published nowhere."""
    broken = PlainTextResponse("no", status_code=503)
    network.on("alice.test", "/.well-known/atproto-did", broken)
    network.internet.texts["_atproto.alice.test"] = list(map(str, range(101)))
    code, steps = resolve(capsys, "alice.test", reaching)
    assert (code, verdicts(steps)) == (1, {"dns": "failed", "well-known": "failed"})


def test_resolve_when_account_claims_another_handle_then_says_which(
    network: AtprotoNetwork, reaching: list[str], capsys: Output
) -> None:
    """The handle leads to the account, but not back."""
    did = network.accounts["alice.test"].did
    network.directory.documents[did]["alsoKnownAs"] = ["at://new.test"]
    code, steps = resolve(capsys, "alice.test", reaching)
    assert (code, steps[-1]["code"]) == (1, "handle_mismatch")
    assert "new.test" in steps[-1]["text"]


@pytest.fixture
def local() -> Iterator[AtprotoNetwork]:
    """A network by plain http on this machine."""
    with AtprotoNetwork(localhost_port=0) as network:
        yield network


def test_resolve_when_developing_then_asks_this_machine(
    local: AtprotoNetwork, capsys: Output
) -> None:
    """A network on localhost is reached by three options; people get a table."""
    code = main(
        [
            *("resolve", "alice.test", "--development", "--plc-url", local.plc_url),
            *("--handle-resolver-url", local.pds_url),
        ]
    )
    printed = capsys.readouterr().out
    assert code == 0
    assert "ok      resolver" in printed
    assert f"PAR at {local.pds_url}/oauth/par" in printed


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["alice.test"], 1, "[invalid_identifier]"),
        (["a b"], 1, "[invalid_identifier]"),
        (["a.com", "--plc-url", "http://plc.com"], 2, "plc_url"),
        (["a.com", "--ca", __file__], 2, "no certificates"),
        (["a.com", "--ca", "/none"], 2, "No such file"),
        (["a.com", "--dns-server", "name"], 2, "dns_servers"),
        (["a.com", "--timeout", "0"], 2, "timeout_s"),
    ],
)
def test_resolve_when_arguments_are_of_no_use_then_says_why(
    arguments: list[str], code: int, told: str, capsys: Output
) -> None:
    """Nothing is asked, and nobody sees a traceback."""
    assert main(["resolve", *arguments]) == code
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("address", ["localhost:1", "127.0.0.1", "127.0.0.1:0", "1:x"])
def test_connect_when_it_is_no_address_then_says_what_it_wants(
    address: str, capsys: Output
) -> None:
    """Names are not looked up where a place is to be named."""
    with pytest.raises(SystemExit) as ending:
        main(["resolve", "a.com", "--connect", address])
    assert ending.value.code == 2
    assert "--connect" in capsys.readouterr().err
