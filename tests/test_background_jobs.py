"""Jobs in processes of their own, with the session of somebody who is not there."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import anyio
import pytest

from tests.reference_network.process import ReferenceNetwork
from tests.reference_network.sign_in import approve
from tests.restoring_job import open_client

pytestmark = pytest.mark.network

_ROOT = Path(__file__).parents[1]
# The shortest that the reference server counts well.
_LIFETIME_S = 2.0


@pytest.mark.covers("REF-04", "RFR-02")
def test_jobs_when_four_start_with_an_ended_token_then_one_renews_for_all(
    fresh_network: ReferenceNetwork, tmp_path: Path
) -> None:
    """They meet at the lock of the store, and nobody is logged out."""
    fresh_network.set_token_lifetime(int(_LIFETIME_S * 1000))
    alice = fresh_network.accounts["alice.test"]
    store = str(tmp_path / "store.sqlite")
    urls = {"plc_url": fresh_network.plc_url, "pds_url": fresh_network.pds_url}

    async def log_in() -> None:
        client = open_client(store, **urls)
        auth_url, _ = await client.start_authorization("alice.test")
        back = await anyio.to_thread.run_sync(approve, auth_url, alice)
        await client.handle_callback(**dict(parse_qsl(urlsplit(back).query)))
        await client.aclose()

    anyio.run(log_in)
    settings = {
        **os.environ,
        "STORE": store,
        "ATPROTO_PLC_URL": urls["plc_url"],
        "ATPROTO_HANDLE_RESOLVER_URL": urls["pds_url"],
    }
    command = [sys.executable, "-m", "tests.restoring_job", alice.did]
    for _ in range(2):
        time.sleep(_LIFETIME_S)
        jobs = [
            subprocess.Popen(
                command,
                cwd=_ROOT,
                env=settings,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(4)
        ]
        said = [job.communicate(timeout=60) for job in jobs]
        assert [(out.strip(), err) for out, err in said] == [(alice.did, "")] * 4
    assert len(fresh_network.sessions(alice.did)) == 1
