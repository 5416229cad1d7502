from __future__ import annotations

import pytest

from atproto_oauth_asgi.exceptions import (
    AccountMoved,
    DidNotResolved,
    DiscoveryError,
    HandleMismatch,
    SubjectMismatch,
    Unreachable,
    UnsupportedAuthServerError,
)
from atproto_oauth_asgi.network.account import AccountLocator
from atproto_oauth_asgi.protocol.identifiers import Did, Handle, HostUrl
from tests.network.atproto import (
    ALICE,
    BOB,
    HANDLE,
    ISSUER,
    METADATA,
    OTHER_ISSUER,
    PDS,
    PDS2,
    PLC,
    Servers,
)
from tests.network.in_memory import (
    open_services,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def accounts(internet: Servers) -> AccountLocator:
    return open_services(internet).accounts


async def verify(accounts: AccountLocator) -> str:
    document = await accounts.verify(Did(ALICE), pds_url=PDS, issuer=ISSUER)
    return document.pds_url


@pytest.mark.parametrize("identifier", [Handle(HANDLE), Did(ALICE)])
async def test_find_when_published_then_gives_account_and_server(
    accounts: AccountLocator, identifier: Handle | Did
) -> None:
    """From a handle or a DID to the account and the server that signs it in."""
    account = await accounts.find(identifier)
    assert account.identity is not None
    assert (account.identity.did, account.identity.handle) == (ALICE, HANDLE)
    assert account.identity.pds_url == PDS
    assert account.server.issuer == ISSUER


@pytest.mark.covers("ID-22", "IDN-01")
async def test_find_when_account_does_not_claim_the_handle_then_is_refused(
    internet: Servers, accounts: AccountLocator
) -> None:
    """A handle that points at somebody else's account gets nowhere."""
    internet.create_account(HANDLE, BOB)
    internet.claim(BOB, "bob.example.com", HANDLE)
    with pytest.raises(HandleMismatch):
        await accounts.find(Handle(HANDLE))


@pytest.mark.covers("DISC-16", "MIX-05")
async def test_find_when_server_does_not_know_the_pds_then_is_refused(
    internet: Servers, accounts: AccountLocator
) -> None:
    """A PDS cannot pick a server that serves others only."""
    internet.alter(ISSUER + METADATA, {"protected_resources": [PDS2]})
    with pytest.raises(DiscoveryError):
        await accounts.find(Did(ALICE))
    internet.net.move(ALICE, PDS2)
    internet.clock.now += 301
    found = (await accounts.find(Did(ALICE))).identity
    assert found is not None
    assert found.pds_url == PDS2


@pytest.mark.covers("DISC-18")
@pytest.mark.parametrize("origin", [PDS, ISSUER])
async def test_find_when_a_server_is_named_then_gives_its_authorization_server(
    internet: Servers, accounts: AccountLocator, origin: str
) -> None:
    """A host is taken for a PDS first, and then for an authorization server."""
    account = await accounts.find(HostUrl(origin=origin))
    assert (account.identity, account.server.issuer) == (None, ISSUER)
    asked = [(seen.origin, seen.path.rpartition("-")[2]) for seen in internet.seen]
    assert asked == [(origin, "resource"), (ISSUER, "server")]


@pytest.mark.covers("DISC-18", "DISC-02", "MIX-05")
async def test_find_when_a_server_is_neither_then_is_refused(
    internet: Servers, accounts: AccountLocator
) -> None:
    """What is no PDS and no authorization server leads nowhere."""
    internet.alter(ISSUER + METADATA, {"issuer": OTHER_ISSUER})
    with pytest.raises(DiscoveryError):
        await accounts.find(HostUrl(origin=ISSUER))
    internet.alter(ISSUER + METADATA, {"protected_resources": [PDS2]})
    with pytest.raises(DiscoveryError):
        await accounts.find(HostUrl(origin=PDS))


@pytest.mark.covers("DISC-18")
async def test_find_when_a_server_is_down_then_is_not_asked_again(
    internet: Servers, accounts: AccountLocator
) -> None:
    """A host that does not answer is not taken for something else."""
    internet.cut(PDS)
    with pytest.raises(Unreachable):
        await accounts.find(HostUrl(origin=PDS))
    assert len(internet.seen) == 1


@pytest.mark.covers("TOK-07", "DISC-19")
async def test_find_signed_in_when_account_leads_to_the_server_then_gives_it(
    internet: Servers, accounts: AccountLocator
) -> None:
    """Nothing that was known before is believed."""
    await accounts.find(Did(ALICE))
    asked_before = len(internet.seen)
    found = await accounts.find_signed_in(Did(ALICE), issuer=ISSUER)
    assert (found.did, found.handle, found.pds_url) == (ALICE, HANDLE, PDS)
    origins = [seen.origin for seen in internet.seen[asked_before:]]
    assert {PLC, PDS} < set(origins)


@pytest.mark.covers("TOK-07", "MIX-09", "MIX-10")
async def test_find_signed_in_when_account_leads_elsewhere_then_is_refused(
    internet: Servers, accounts: AccountLocator
) -> None:
    """A server cannot vouch for an account that does not lead to it."""
    with pytest.raises(SubjectMismatch):
        await accounts.find_signed_in(Did(ALICE), issuer=OTHER_ISSUER)
    internet.alter(ISSUER + METADATA, {"protected_resources": [PDS2]})
    with pytest.raises(DiscoveryError):
        await accounts.find_signed_in(Did(ALICE), issuer=ISSUER)


@pytest.mark.covers("MIX-15")
async def test_find_when_server_lacks_the_profile_then_is_refused(
    internet: Servers, accounts: AccountLocator
) -> None:
    """There is no falling back to something weaker."""
    internet.alter(ISSUER + METADATA, {"code_challenge_methods_supported": ["plain"]})
    with pytest.raises(UnsupportedAuthServerError):
        await accounts.find(Did(ALICE))


@pytest.mark.covers("TOK-07", "TOK-08", "REF-08")
async def test_verify_when_nothing_changed_then_asks_anew(
    internet: Servers, accounts: AccountLocator
) -> None:
    """Caches do not count: every call asks the directory and the PDS."""
    for _ in range(2):
        internet.net.clear_traffic()
        assert await verify(accounts) == PDS
        assert {seen.origin for seen in internet.seen} == {PLC, PDS}


@pytest.mark.covers("TOK-08", "REF-08", "RFR-08", "IDN-17", "MIX-09", "MIX-10")
@pytest.mark.parametrize("is_new_home", [True, False])
async def test_verify_when_account_leads_elsewhere_then_has_moved(
    internet: Servers, accounts: AccountLocator, is_new_home: bool
) -> None:
    """A new PDS with another server, or the old one with another server."""
    await verify(accounts)
    if is_new_home:
        internet.net.move(ALICE, PDS2)
        internet.lead(PDS2, OTHER_ISSUER)
    else:
        internet.lead(PDS, OTHER_ISSUER)
    with pytest.raises(AccountMoved):
        await verify(accounts)


@pytest.mark.covers("REF-13", "RFR-09")
@pytest.mark.parametrize("is_old_home_down", [True, False])
async def test_verify_when_only_the_pds_changed_then_gives_the_new_one(
    internet: Servers, accounts: AccountLocator, is_old_home_down: bool
) -> None:
    """The same server serves both; the old PDS need not be there any more."""
    internet.net.move(ALICE, PDS2)
    if is_old_home_down:
        internet.cut(PDS)
    assert await verify(accounts) == PDS2


@pytest.mark.parametrize("origin", [PLC, PDS])
async def test_verify_when_a_host_is_down_then_cannot_tell(
    internet: Servers, accounts: AccountLocator, origin: str
) -> None:
    """Silence is not an answer."""
    internet.cut(origin)
    with pytest.raises(Unreachable):
        await verify(accounts)


@pytest.mark.covers("REF-08", "RES-16")
async def test_verify_when_new_home_is_down_then_is_no_mere_outage(
    internet: Servers, accounts: AccountLocator
) -> None:
    """What was known has been contradicted, so it is in doubt."""
    internet.net.move(ALICE, PDS2)
    internet.cut(PDS2)
    with pytest.raises(DiscoveryError):
        await verify(accounts)


@pytest.mark.covers("IDN-20")
async def test_verify_when_did_is_gone_then_does_not_resolve(
    internet: Servers, accounts: AccountLocator
) -> None:
    """A deleted account leads nowhere."""
    del internet.net.directory.documents[ALICE]
    with pytest.raises(DidNotResolved):
        await verify(accounts)
