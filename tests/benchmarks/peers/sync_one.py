"""atproto-oauth-py: a blocking client. Run in its own environment."""

from __future__ import annotations

import json
import sys
import tempfile
from contextlib import redirect_stderr
from importlib import import_module
from io import StringIO
from pathlib import Path
from urllib.parse import urlencode

import httpx

from tests.benchmarks.harness import Figure
from tests.benchmarks.peers import world
from tests.benchmarks.peers.measuring import (
    ACCESS_TOKEN,
    METHOD,
    PATH,
    URL,
    say,
    shown,
    waits,
    wall_time,
)
from tests.benchmarks.signature import bare_signature


def main(echo: str) -> None:
    """Measure the peer."""
    dpop = import_module("atproto_oauth.dpop")
    key = dpop.generate_dpop_key()
    jwk = dpop.public_jwk(dpop.key_to_jwk(key))
    plain, url = httpx.Client(), echo + PATH
    cases = [
        shown(
            "DPoP proof, key warm",
            bare_signature(key),
            lambda: dpop.make_dpop_proof(key, jwk, METHOD, URL, "n" * 43, ACCESS_TOKEN),
        ),
        shown(
            "requests per second, one at a time",
            ("httpx", lambda: plain.get(url)),
            lambda: dpop.dpop_get(url, ACCESS_TOKEN, key, jwk),
            timer=wall_time,
            is_rate=True,
        ),
    ]
    say(cases, _count_waits)


def _count_waits() -> list[Figure]:
    flow, counted = import_module("atproto_oauth.flow"), world.install()
    found = []
    with tempfile.TemporaryDirectory() as folder, redirect_stderr(StringIO()):
        path = Path(folder) / "state.json"
        for name in ("cold", "same person again"):
            flow.phase_init(
                world.HANDLE,
                client_id=world.CLIENT_ID,
                redirect_uri=world.REDIRECT_URI,
                state_path=path,
            )
            found.append(waits(f"{name}: start", counted.take()))
            state = json.loads(path.read_text())["state"]
            back = {"code": "code", "state": state, "iss": world.ISSUER}
            url = f"{world.REDIRECT_URI}?{urlencode(back)}"
            flow.phase_complete(url, state_path=path)
            found.append(waits(f"{name}: callback", counted.take()))
    return found


if __name__ == "__main__":
    main(sys.argv[1])
