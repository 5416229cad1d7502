"""A client key's life at the official PDS: published, signing, served out, retired."""

from __future__ import annotations

from dataclasses import replace

import pytest
from anyio.abc import ByteStream

from atproto_oauth_asgi import ClientKey
from atproto_oauth_asgi.crypto.keys import generate_private_key
from atproto_oauth_asgi.exceptions import (
    AuthorizationServerError,
    ClientKeyRetired,
    RefreshUnavailable,
)
from atproto_oauth_asgi.network_options import Network
from tests.reference_network.hosting import hosted_app, open_desk
from tests.reference_network.process import Account, ReferenceNetwork

pytestmark = [pytest.mark.anyio, pytest.mark.network]

OLD, NEW = generate_private_key(), generate_private_key()
ONLY_OLD = (ClientKey(OLD),)
NEW_PUBLISHED = (ClientKey(OLD), ClientKey(NEW, "publish"))
NEW_SIGNS = (ClientKey(OLD, "publish"), ClientKey(NEW))
OLD_RETIRED = (ClientKey(OLD, "retired"), ClientKey(NEW))
OLD_KID, NEW_KID = (item.kid for item in NEW_SIGNS)


@pytest.fixture
def alice(tls_network: ReferenceNetwork) -> Account:
    return tls_network.accounts["alice.test"]


class Connections:
    """Counts what a network connects to."""

    def __init__(self, network: Network) -> None:
        assert network.connector is not None
        self._connect = network.connector
        self.opened = 0
        self.network = replace(network, connector=self.connect)

    async def connect(self, address: str, port: int, /) -> ByteStream:
        self.opened += 1
        return await self._connect(address, port)


@pytest.mark.covers("CAUTH-06", "META-17", "REF-12")
async def test_rotation_when_done_in_steps_then_no_session_is_lost(
    tls_network: ReferenceNetwork, alice: Account
) -> None:
    """Sessions stay with the key they began with, and new ones take the new one."""
    bob = tls_network.accounts["bob.test"]
    with hosted_app(tls_network, client_keys=ONLY_OLD) as app:
        async with open_desk(tls_network, app.config) as desk:
            old = await desk.log_in(alice)
    with hosted_app(tls_network, client_keys=NEW_PUBLISHED) as app:
        async with open_desk(tls_network, app.config) as desk:
            early = await desk.log_in(bob)
            old = await desk.client.refresh_session(old)
    assert {old.kid, early.kid} == {OLD_KID}
    with hosted_app(tls_network, client_keys=NEW_SIGNS) as app:
        async with open_desk(tls_network, app.config) as desk:
            new = await desk.log_in(alice)
            assert new.kid == NEW_KID
            old = await desk.client.refresh_session(old)
            new = await desk.client.refresh_session(new)
            assert (old.kid, new.kid) == (OLD_KID, NEW_KID)
            for session, account in ((old, alice), (new, alice), (early, bob)):
                assert (await desk.describe(session))["did"] == account.did
            await desk.client.revoke_session(early)
            assert tls_network.sessions(bob.did) == []
            assert len(tls_network.sessions(alice.did)) == 2


@pytest.mark.covers("CAUTH-07", "RFR-15")
async def test_refresh_when_the_key_is_retired_then_nothing_is_sent(
    tls_network: ReferenceNetwork, alice: Account
) -> None:
    """The session ends here with its reason, and no other key is tried for it.

    The server would end it for another key of the same client, and take the same
    session up again if the key came back.
    """
    with hosted_app(tls_network, client_keys=NEW_SIGNS) as app:
        before = replace(app.config, client_keys=ONLY_OLD)
        async with open_desk(tls_network, before) as desk:
            old = await desk.log_in(alice)
        async with open_desk(tls_network, app.config) as desk:
            new = await desk.log_in(alice)
    with hosted_app(tls_network, client_keys=OLD_RETIRED) as app:
        connections = Connections(tls_network.network)
        retired = replace(app.config, network=connections.network)
        async with open_desk(tls_network, retired) as desk:
            with pytest.raises(ClientKeyRetired):
                await desk.client.refresh_session(old)
            assert connections.opened == 0
            new = await desk.client.refresh_session(new)
            assert (await desk.describe(new))["did"] == alice.did
    assert len(tls_network.sessions(alice.did)) == 2
    with hosted_app(tls_network, client_keys=NEW_SIGNS) as app:
        async with open_desk(tls_network, app.config) as desk:
            old = await desk.client.refresh_session(old)
            assert (await desk.describe(old))["did"] == alice.did


async def test_revocation_when_the_key_is_retired_then_fails_and_says_why(
    tls_network: ReferenceNetwork, alice: Account
) -> None:
    """What cannot be revoked is not reported as revoked."""
    with hosted_app(tls_network, client_keys=ONLY_OLD) as app:
        async with open_desk(tls_network, app.config) as desk:
            old = await desk.log_in(alice)
    with hosted_app(tls_network, client_keys=OLD_RETIRED) as app:
        async with open_desk(tls_network, app.config) as desk:
            with pytest.raises(ClientKeyRetired):
                await desk.client.revoke_session(old)
    assert len(tls_network.sessions(alice.did)) == 1


@pytest.mark.covers("REF-14")
async def test_login_when_the_new_key_was_not_published_first_then_refused(
    tls_network: ReferenceNetwork, alice: Account
) -> None:
    """The server keeps the keys it knows for 10 minutes: that is why one waits.

    A refresh with such a key is refused too, and loses nothing.
    """
    with hosted_app(tls_network, client_keys=ONLY_OLD) as app:
        async with open_desk(tls_network, app.config) as desk:
            old = await desk.log_in(alice)
        hasty = replace(app.config, client_keys=NEW_SIGNS)
        async with open_desk(tls_network, hasty) as desk:
            with pytest.raises(AuthorizationServerError) as refused:
                await desk.client.start_authorization(alice.handle)
            assert refused.value.error == "invalid_client"
            old = await desk.client.refresh_session(old)
        with hosted_app(tls_network, client_keys=(ClientKey(NEW),)):
            async with open_desk(tls_network, app.config) as desk:
                with pytest.raises(RefreshUnavailable):
                    await desk.client.refresh_session(old)
        assert len(tls_network.sessions(alice.did)) == 1
