"""A login at the official PDS that begins with the server, not with an account."""

from __future__ import annotations

import anyio.to_thread
import pytest

from tests.reference_network.process import ReferenceNetwork
from tests.reference_network.sign_in import approve
from tests.test_login import visiting

pytestmark = [pytest.mark.anyio, pytest.mark.network]


@pytest.mark.covers("DISC-18", "DISC-19", "TOK-07")
@pytest.mark.parametrize("handle", ["alice.test", "bob.test"])
async def test_login_when_the_official_server_is_typed_then_whoever_signs_in_is_known(
    fresh_network: ReferenceNetwork, handle: str
) -> None:
    """No account was named, so the server's own page asks who it is."""
    account = fresh_network.accounts[handle]
    async with visiting(fresh_network) as visitor:
        auth_url = await visitor.begin_and_leave(fresh_network.pds_url)
        back = await anyio.to_thread.run_sync(approve, auth_url, account)
        assert (await visitor.http.get(back)).status_code == 303
        assert (await visitor.who())["did"] == account.did
        assert (await visitor.post_note("hello")).status_code < 300
