"""``doctor`` and ``resolve`` at the official PDS, by https at names."""

from __future__ import annotations

import json
from typing import Any

import pytest

from atproto_oauth_asgi import ClientKey
from atproto_oauth_asgi.cli.main import main
from atproto_oauth_asgi.crypto.keys import generate_private_key
from tests.reference_network.hosting import PUBLIC_URL, hosted_app
from tests.reference_network.process import ReferenceNetwork
from tests.reference_network.tls import APP_HOST

pytestmark = pytest.mark.network
Output = pytest.CaptureFixture[str]


@pytest.fixture
def reaching(tls_network: ReferenceNetwork) -> list[str]:
    tls = tls_network._tls
    assert tls is not None
    return [
        *("--ca", tls.environment["NODE_EXTRA_CA_CERTS"]),
        *("--connect", f"127.0.0.1:{tls_network._ready['frontPort']}"),
        *("--private", APP_HOST, "--json"),
    ]


def run(capsys: Output, *arguments: str) -> tuple[int, Any]:
    code = main(arguments)
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("keys", [[], [ClientKey(generate_private_key())]])
def test_doctor_when_the_official_server_looks_then_takes_the_client(
    tls_network: ReferenceNetwork,
    reaching: list[str],
    capsys: Output,
    keys: list[ClientKey],
) -> None:
    """What passes the checks is taken by the official server, too."""
    with hosted_app(tls_network, client_keys=keys):
        code, printed = run(
            capsys, "doctor", PUBLIC_URL, "--identifier", "alice.test", *reaching
        )
    verdicts = {each["name"]: each["verdict"] for each in printed["checks"]}
    wrong = {name for name, each in verdicts.items() if each in {"failed", "hint"}}
    # No proxy is in front, which would send it.
    assert (code, wrong) == (0, {"hsts"})
    assert verdicts["login-begins"] == "ok"


def test_resolve_when_at_the_official_server_then_takes_every_step(
    tls_network: ReferenceNetwork, reaching: list[str], capsys: Output
) -> None:
    """The way to the official server is followed to its end."""
    network = tls_network.network
    assert network.dns_servers is not None
    directory = ["--plc-url", network.plc_url, "--dns-server", *network.dns_servers]
    private = ["--private", ".test", "--test-handles"]
    code, printed = run(
        capsys, "resolve", "alice.test", *reaching, *directory, *private
    )
    assert code == 0
    assert printed["steps"][-1]["name"] == "server-metadata"
