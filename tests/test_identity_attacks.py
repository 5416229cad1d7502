"""Attacks IDN-01 to IDN-20, and those on discovery: nobody becomes somebody else."""

from __future__ import annotations

import json
from typing import Any

import anyio
import httpx
import pytest
from starlette.types import Receive, Scope, Send

from atproto_oauth_asgi.client import OAuthClient
from atproto_oauth_asgi.exceptions import (
    AccountMoved,
    AmbiguousHandle,
    AuthorizationServerError,
    DidNotResolved,
    DiscoveryError,
    HandleMismatch,
    HandleNotFound,
    IdentityError,
    InvalidIdentifier,
    OAuthError,
    SessionError,
    TooLarge,
    UnsupportedAuthServerError,
)
from atproto_oauth_asgi.network import identity
from atproto_oauth_asgi.network.dns import query_txt
from atproto_oauth_asgi.testing import behaviours
from tests.network.atproto import (
    ALICE,
    BOB,
    HANDLE,
    ISSUER,
    METADATA,
    OTHER_ISSUER,
    PAR,
    PDS,
    PLC,
    RESOURCE,
    TOKEN,
    assert_given_back,
)
from tests.network.programs import (
    answer,
    dripping,
)
from tests.network.stage import (
    WEB_DID,
    WELL_KNOWN,
    Stage,
    closing,
)

pytestmark = pytest.mark.anyio

ON_WEB = f"https://{HANDLE}{WELL_KNOWN}"
EVE = "did:plc:eeeeeeeeeeeeeeeeeeeeeeee"


def document(did: str = ALICE, **changes: Any) -> dict[str, Any]:
    service = {
        "id": "#atproto_pds",
        "type": "AtprotoPersonalDataServer",
        "serviceEndpoint": PDS,
    }
    made = {"id": did, "alsoKnownAs": [f"at://{HANDLE}"], "service": [service]}
    return made | changes


def publish(stage: Stage, members: Any, did: str = ALICE) -> None:
    """Let the directory answer this for a DID, and for the login begin anew."""
    stage.servers.on(f"{PLC}/{did}", answer(200, members))
    stage.servers.clock.now += 301


def says_on_web(stage: Stage, body: bytes) -> None:
    stage.servers.on(ON_WEB, answer(200, body))
    stage.servers.clock.now += 301


async def refuse(
    client: OAuthClient, stage: Stage, *errors: type[OAuthError], name: str = HANDLE
) -> OAuthError:
    """A login fails before anything is pushed."""
    with pytest.raises(errors) as caught:
        await client.start_authorization(name)
    assert PAR not in stage.servers.paths()
    return caught.value


@pytest.mark.covers("IDN-01", "ID-22")
async def test_idn_01_when_handle_leads_to_a_victim_then_login_fails(
    stage: Stage, client: OAuthClient
) -> None:
    """A name of one's own does not give one somebody else's account."""
    stage.say_in_dns(f"did={BOB}")
    await refuse(client, stage, HandleMismatch)


@pytest.mark.covers("IDN-02", "ID-14")
async def test_idn_02_when_dns_names_two_then_neither_is_picked(
    stage: Stage, client: OAuthClient
) -> None:
    """However often it is tried, and whatever the web says."""
    for turn in range(50):
        records = [f"did={ALICE}", f"did={EVE}"]
        stage.say_in_dns(*records[:: 1 if turn % 2 else -1])
        stage.servers.clock.now += 301
        await refuse(client, stage, AmbiguousHandle)


@pytest.mark.covers("IDN-03", "ID-21")
@pytest.mark.parametrize("web_is_slow", [True, False])
async def test_idn_03_when_dns_and_web_disagree_then_dns_decides(
    stage: Stage,
    monkeypatch: pytest.MonkeyPatch,
    web_is_slow: bool,
) -> None:
    """Whoever answers first."""
    stage.say_in_dns(f"did={ALICE}")

    async def say_eve(scope: Scope, receive: Receive, send: Send) -> None:
        await anyio.sleep(0.1 if web_is_slow else 0)
        await answer(200, EVE.encode())(scope, receive, send)

    async def ask_slowly(*args: Any, **options: Any) -> list[str]:
        await anyio.sleep(0 if web_is_slow else 0.1)
        return await query_txt(*args, **options)

    stage.servers.on(ON_WEB, say_eve)
    monkeypatch.setattr(identity, "system_query_txt", ask_slowly)
    async with closing(stage.client()) as patched:
        assert (await stage.log_in(patched)).did == ALICE


@pytest.mark.covers("IDN-04", "ID-13", "ID-16")
async def test_idn_04_when_records_are_almost_right_then_are_ignored(
    stage: Stage, client: OAuthClient
) -> None:
    """Only exactly ``did=`` and a DID counts."""
    says_on_web(stage, b"nothing")
    almost = [f" did={EVE}", f"DID={EVE}", f"did ={EVE}", f"did={EVE} x"]
    records = [*almost, f"did={EVE}\0", f"did=\0{EVE}", "v=spf1 -all"]
    stage.say_in_dns(*records)
    await refuse(client, stage, HandleNotFound)
    stage.say_in_dns(*records, f"did={ALICE}")
    assert (await stage.log_in(client)).did == ALICE


@pytest.mark.covers("IDN-06", "ID-26")
async def test_idn_06_when_document_is_someone_elses_then_login_fails(
    stage: Stage, client: OAuthClient
) -> None:
    """The document must be that of the DID that was asked for, letter by letter."""
    for did in (BOB, ALICE.upper(), f"{ALICE} ", ""):
        publish(stage, document(did))
        await refuse(client, stage, DidNotResolved)


@pytest.mark.covers("IDN-07", "ID-28")
async def test_idn_07_when_the_handle_is_not_the_first_then_login_fails(
    stage: Stage, client: OAuthClient
) -> None:
    """The first that is a handle counts, whatever stands before and after it."""
    first = "at://first.example.com"
    names = ["at://bad handle", f"at://{HANDLE}/", first, f"at://{HANDLE}"]
    publish(stage, document(alsoKnownAs=names))
    await refuse(client, stage, HandleMismatch)


@pytest.mark.covers("IDN-08", "ID-28")
async def test_idn_08_when_name_is_more_than_a_handle_then_it_is_none(
    stage: Stage, client: OAuthClient
) -> None:
    """Path, port, user, query, another scheme; only its case is forgiven."""
    for name in (
        f"at://{HANDLE}/x",
        f"at://{HANDLE}:443",
        f"at://u@{HANDLE}",
        f"at://{HANDLE}?x",
        f"AT://{HANDLE}",
        f"https://{HANDLE}",
        HANDLE,
    ):
        publish(stage, document(alsoKnownAs=[name]))
        await refuse(client, stage, HandleMismatch)
    publish(stage, document(alsoKnownAs=["at://Alice.Example.Com"]))
    await client.start_authorization(HANDLE)


@pytest.mark.covers("IDN-09", "ID-29")
async def test_idn_09_when_a_service_is_of_another_did_then_it_is_passed_over(
    stage: Stage, client: OAuthClient
) -> None:
    """A PDS is named by the account's own id and by its type."""
    evil = {"type": "AtprotoPersonalDataServer", "serviceEndpoint": OTHER_ISSUER}
    honest = document()["service"]
    ids = (f"{BOB}#atproto_pds", "x#atproto_pds", "#atproto_labeler", "atproto_pds")
    services = [evil | {"id": name} for name in ids]
    services.append(evil | {"id": "#atproto_pds", "type": "BskyNotificationService"})
    publish(stage, document(service=services + honest))
    assert (await stage.log_in(client)).pds_url == PDS
    publish(stage, document(service=services))
    with pytest.raises(DidNotResolved):
        await client.start_authorization(HANDLE)


@pytest.mark.covers("IDN-10", "ID-30", "NET-10")
async def test_idn_10_when_endpoint_is_smuggled_then_login_fails(
    stage: Stage, client: OAuthClient
) -> None:
    """What two parsers could read differently is read by none."""
    for endpoint in (
        f"{PDS}@evil.example.net",
        f"{PDS}\\@evil.example.net",
        f"{PDS}/..//evil.example.net",
        f"{PDS}#@evil.example.net",
        f"{PDS}/path",
        f"{PDS}?x",
        f"{PDS}:443",
        f" {PDS}",
        f"{PDS}\n",
        "javascript:alert(1)",
        {"uri": PDS},
        [PDS],
        None,
    ):
        service = document()["service"][0] | {"serviceEndpoint": endpoint}
        publish(stage, document(service=[service]))
        await refuse(client, stage, DidNotResolved)
    assert "evil.example.net" not in stage.internet.resolved


@pytest.mark.covers("IDN-11", "ID-10")
async def test_idn_11_when_did_web_is_encoded_then_nobody_is_asked(
    stage: Stage, client: OAuthClient
) -> None:
    """A host name, and nothing that could become another."""
    for tail in (
        "id.example.com%3A8443",
        "id.example.com%3a8443",
        "id.example.com%2F..",
        "id.exa%6Dple.com",
        "id.example.com:user",
        "127.0.0.1",
        "0x7f000001",
        "2130706433",
        "[::1]",
        "localhost",
        "localhost%3A8080",
        "id.example.com.",
        "ID.example.com",
        "a" * 2049,
        "",
    ):
        await refuse(client, stage, InvalidIdentifier, name=f"did:web:{tail}")
    assert stage.internet.resolved == []


@pytest.mark.covers("IDN-12", "ID-05", "ID-06")
async def test_idn_12_when_tld_is_reserved_then_nobody_is_asked(
    stage: Stage, client: OAuthClient
) -> None:
    """Those names mean nothing, or something inside somebody's network."""
    tlds = "local internal onion arpa invalid localhost alt example test LOCAL"
    for tld in tlds.split():
        await refuse(client, stage, InvalidIdentifier, name=f"x.{tld}")
        did = f"did:web:x.{tld.lower()}"
        await refuse(client, stage, InvalidIdentifier, name=did)
    assert stage.internet.resolved == []


@pytest.mark.covers("IDN-13", "IDN-14", "ID-02", "ID-03", "ID-04")
async def test_idn_13_14_when_handle_holds_odd_characters_then_nobody_is_asked(
    stage: Stage, client: OAuthClient
) -> None:
    """What surrounds a handle is stripped; nothing inside is mapped to another."""
    for name in (
        "alice.example.com\r\nHost: x",
        "alice\u202e.example.com",
        "alice\u200b.example.com",
        "alice\uff0eexample.com",
        "alice.example\u3002com",
        "al\u0131ce.example.com",
        "\u212alice.example.com",
        "a\u0301lice.example.com",
        "\uff41lice.example.com",
        "alice..example.com",
        "alice.example.com.",
    ):
        await refuse(client, stage, InvalidIdentifier, name=name)
    assert stage.internet.resolved == []
    await client.start_authorization(f"\u202a@{HANDLE.upper()}\n\u202c")
    assert stage.servers.sent(PAR)[0].form["login_hint"] == HANDLE


@pytest.mark.covers("IDN-15", "ID-20", "DOS-08")
async def test_idn_15_when_well_known_redirects_for_ever_then_four_are_asked(
    stage: Stage, client: OAuthClient
) -> None:
    """A loop ends; one clean hop to another public host is fine."""
    stage.servers.on(ON_WEB, behaviours.redirect(ON_WEB))
    await refuse(client, stage, HandleNotFound)
    assert len(stage.servers.seen) == 4
    there = "https://id.example.com/did"
    stage.servers.on(ON_WEB, behaviours.redirect(there))
    stage.servers.on(there, behaviours.status(200, ALICE))
    assert (await stage.log_in(client)).did == ALICE


@pytest.mark.covers("IDN-16", "ID-19", "DOS-02")
async def test_idn_16_when_well_known_body_is_odd_then_names_nobody(
    stage: Stage, client: OAuthClient
) -> None:
    """One DID and outer blanks; an endless one is cut off."""
    for body in (
        f"{ALICE}<html>".encode(),
        f"{ALICE}\n{BOB}".encode(),
        b"\xef\xbb\xbf" + ALICE.encode(),
        ALICE.encode("utf-16"),
        ALICE.encode() + b"\0",
        b"",
    ):
        says_on_web(stage, body)
        await refuse(client, stage, HandleNotFound)
    endless = dripping(b"HTTP/1.1 200 OK\r\n\r\n", ALICE.encode() + b" " * 60_000)
    stage.servers.on(ON_WEB, endless)
    await refuse(client, stage, HandleNotFound)
    says_on_web(stage, f" \r\n{ALICE}\t\n".encode())
    await client.start_authorization(HANDLE)


@pytest.mark.covers("IDN-17", "TOK-07", "TOK-08", "ID-34")
async def test_idn_17_when_account_moves_during_the_login_then_it_fails(
    stage: Stage, client: OAuthClient
) -> None:
    """No cache hides it, and the tokens are revoked."""
    callback = await stage.approved(client)
    stage.serve("eve.example.net")
    members = {"resource": OTHER_ISSUER, "authorization_servers": [OTHER_ISSUER]}
    stage.servers.on(OTHER_ISSUER + RESOURCE, answer(200, members))
    stage.servers.net.move(ALICE, OTHER_ISSUER)
    with pytest.raises(AccountMoved):
        await client.handle_callback(**callback)
    assert_given_back(stage.servers)


@pytest.mark.covers("IDN-18", "ID-35")
async def test_idn_18_when_handle_is_spelt_otherwise_then_it_is_the_same(
    stage: Stage, client: OAuthClient
) -> None:
    """One name in the cache, so that no spelling of it can be a lie of its own."""
    await client.start_authorization(HANDLE.upper())
    says_on_web(stage, EVE.encode())
    stage.servers.clock.now -= 301
    for name in (HANDLE, f"@{HANDLE}", f"{HANDLE} ", f"at://{HANDLE}"):
        await client.start_authorization(name)
    hints = {seen.form["login_hint"] for seen in stage.servers.taken(PAR)}
    assert hints == {HANDLE}
    assert len(stage.servers.sent(WELL_KNOWN)) == 1


@pytest.mark.covers("IDN-19", "ID-27", "DOS-05")
async def test_idn_19_when_document_is_hostile_then_login_fails(
    stage: Stage, client: OAuthClient
) -> None:
    """One kind of error, whatever its shape."""
    plain = json.dumps(document())
    service = document()["service"][0]
    for body in (
        b" " * 10_000_000,
        json.dumps(document(service=[{}] * 100_000)).encode(),
        b'{"id":' * 10_000 + b"1" + b"}" * 10_000,
        json.dumps(document(id=1)).encode(),
        json.dumps(document(service={"a": 1})).encode(),
        json.dumps(document(service=[None, service])).encode(),
        json.dumps(document(alsoKnownAs=[1])).encode(),
        (plain[:-1] + f', "id": "{ALICE}"}}').encode(),
        json.dumps(document(x="\ud800", alsoKnownAs=["\ud800"])).encode(),
        b"[]",
        b"null",
        b"\xff\xfe",
    ):
        publish(stage, body)
        await refuse(client, stage, DidNotResolved, TooLarge)
    publish(stage, document(__proto__={"id": EVE}, constructor=1))
    await client.start_authorization(HANDLE)


@pytest.mark.covers("IDN-20", "ID-23")
async def test_idn_20_when_account_is_gone_then_its_session_ends_at_the_refresh(
    stage: Stage, client: OAuthClient
) -> None:
    """A tombstone: no new login, and no old session for ever."""
    session = await stage.log_in(client)
    stage.servers.on(f"{PLC}/{ALICE}", answer(410, {"message": "gone"}))
    stage.servers.clock.now += 301
    error = await _fail(client)
    assert isinstance(error, DidNotResolved)
    stage.servers.clock.now += 25 * 3600
    with pytest.raises(SessionError):
        await client.refresh_session(session)
    forms = [seen.form["grant_type"] for seen in stage.servers.sent(TOKEN)]
    assert forms == ["authorization_code"]


async def _fail(client: OAuthClient) -> OAuthError:
    with pytest.raises(IdentityError) as caught:
        await client.start_authorization(HANDLE)
    return caught.value


@pytest.mark.covers("ID-33", "ID-36")
async def test_handle_when_the_server_names_one_then_it_is_not_believed(
    stage: Stage, client: OAuthClient
) -> None:
    """The DID is who somebody is; a handle is what was verified, and nothing else."""
    lies = {"handle": "bob.example.com", "did": BOB}
    stage.servers.alter(ISSUER + TOKEN, lies)
    first = await stage.log_in(client)
    stage.servers.claim(ALICE, "new.example.com")
    stage.servers.clock.now += 301
    second = await client.handle_callback(**await stage.approved(client, ALICE))
    assert (first.did, first.handle) == (ALICE, HANDLE)
    assert (second.did, second.handle) == (ALICE, None)


@pytest.mark.covers("ID-24", "ID-32")
async def test_did_web_when_logged_in_then_all_of_it_works(
    stage: Stage, client: OAuthClient
) -> None:
    """An account that publishes its own document, from the login to its data."""
    stage.servers.claim(WEB_DID, HANDLE)
    stage.servers.signs_in = WEB_DID
    says_on_web(stage, WEB_DID.encode())
    for name in (WEB_DID, HANDLE):
        session = await client.handle_callback(**await stage.approved(client, name))
        assert (session.did, session.handle) == (WEB_DID, HANDLE)
        renewed = await client.refresh_session(session)
        assert (await stage.get_record(client, renewed)).status_code == 200
        await client.revoke_session(renewed)


# --- discovery -------------------------------------------------------------------


@pytest.mark.covers("MIX-04", "DISC-06")
async def test_mix_04_when_metadata_is_of_another_issuer_then_login_fails(
    stage: Stage, client: OAuthClient
) -> None:
    """A server speaks for itself, letter by letter."""
    for issuer in (OTHER_ISSUER, f"{ISSUER}/", ISSUER.upper(), f"{ISSUER}:443", None):
        stage.servers.alter(ISSUER + METADATA, {"issuer": issuer})
        await refuse(client, stage, DiscoveryError)


@pytest.mark.covers("MIX-05", "DISC-02", "DISC-16")
async def test_mix_05_when_pds_and_server_do_not_agree_then_login_fails(
    stage: Stage, client: OAuthClient
) -> None:
    """The PDS speaks for itself, and the server knows whom it serves."""
    for members in (
        {"resource": OTHER_ISSUER, "authorization_servers": [ISSUER]},
        {"resource": f"{PDS}/", "authorization_servers": [ISSUER]},
        {"resource": PDS, "authorization_servers": [ISSUER, OTHER_ISSUER]},
        {"resource": PDS, "authorization_servers": []},
    ):
        stage.servers.on(PDS + RESOURCE, answer(200, members))
        await refuse(client, stage, DiscoveryError)
    stage.servers.off(PDS + RESOURCE)
    changes = {"protected_resources": [OTHER_ISSUER]}
    stage.servers.alter(ISSUER + METADATA, changes)
    await refuse(client, stage, DiscoveryError)


@pytest.mark.covers("MIX-06", "DISC-15", "CAUTH-02")
@pytest.mark.parametrize(
    "name",
    [
        "token_endpoint",
        "pushed_authorization_request_endpoint",
        "revocation_endpoint",
        "authorization_endpoint",
    ],
)
async def test_mix_06_when_an_endpoint_is_another_servers_then_login_fails(
    stage: Stage, client: OAuthClient, name: str
) -> None:
    """Nobody can make us carry a code or an assertion to somebody else."""
    stage.servers.alter(ISSUER + METADATA, {name: f"{OTHER_ISSUER}/x"})
    await refuse(client, stage, UnsupportedAuthServerError)


@pytest.mark.covers("MIX-12", "DISC-13", "DISC-14")
async def test_mix_12_when_authorization_endpoint_is_dangerous_then_login_fails(
    stage: Stage, client: OAuthClient
) -> None:
    """A browser is sent there; what stands in its query must not be ours."""
    for url in (
        "javascript:alert(1)",
        "data:text/html,x",
        f"http://{ISSUER.removeprefix('https://')}/a",
        f"{ISSUER}/a?client_id=evil",
        f"{ISSUER}/a?request%5Furi=evil",
        f"{ISSUER}/a#x",
    ):
        stage.servers.alter(ISSUER + METADATA, {"authorization_endpoint": url})
        await refuse(client, stage, UnsupportedAuthServerError)
    changes = {"authorization_endpoint": f"{ISSUER}/a?tenant=1"}
    stage.servers.alter(ISSUER + METADATA, changes)
    auth_url, _ = await client.start_authorization(HANDLE)
    assert auth_url.startswith(f"{ISSUER}/a?tenant=1&client_id=")
    assert auth_url.count("client_id=") == 1


@pytest.mark.covers("MIX-13", "PAR-05", "PAR-06")
async def test_mix_13_when_request_uri_is_odd_then_is_encoded_or_refused(
    stage: Stage, client: OAuthClient
) -> None:
    """It goes into the browser's URL as one value, and is never fetched."""
    for request_uri in (
        "urn:x&redirect_uri=https://evil.example.net",
        "urn:x\r\nSet-Cookie: a=b",
        "urn:" + "x" * 1_000_000,
        "https://10.0.0.5/x",
        "javascript:alert(1)",
        "",
        None,
    ):
        members = {"request_uri": request_uri, "expires_in": 60}
        pushed = answer(201, members, headers={"DPoP-Nonce": "n"})
        stage.servers.on(ISSUER + PAR, pushed)
        try:
            auth_url, _ = await client.start_authorization(HANDLE)
        except (AuthorizationServerError, TooLarge):
            continue
        query = httpx.URL(auth_url).params
        assert query.multi_items() == [
            ("client_id", query["client_id"]),
            ("request_uri", request_uri),
        ]
    assert set(stage.internet.resolved) <= set(stage.good)


@pytest.mark.covers("MIX-14", "PAR-16", "NET-11")
@pytest.mark.parametrize("status", [307, 308])
async def test_mix_14_when_par_redirects_then_nobody_else_sees_the_proof(
    stage: Stage, client: OAuthClient, status: int
) -> None:
    """Not even one that would keep method and body."""
    stage.serve("evil.example.net")
    away = behaviours.redirect("https://evil.example.net/par", code=status)
    stage.servers.on(ISSUER + PAR, away)
    with pytest.raises(AuthorizationServerError):
        await client.start_authorization(HANDLE)
    assert "evil.example.net" not in stage.internet.resolved


@pytest.mark.covers("MIX-15", "MIX-16", "MIX-17", "DISC-11", "DISC-21", "PAR-01")
@pytest.mark.parametrize(
    "changes",
    [
        {"pushed_authorization_request_endpoint": None},
        {"code_challenge_methods_supported": ["plain"]},
        {"token_endpoint_auth_methods_supported": ["none"]},
        {"scopes_supported": "atproto x"},
        {"dpop_signing_alg_values_supported": "ES256"},
        {"response_types_supported": {"code": True}},
        {"require_pushed_authorization_requests": "true"},
        {"client_id_metadata_document_supported": 1},
        {"authorization_response_iss_parameter_supported": None},
        {"require_request_uri_registration": "false"},
    ],
    ids=str,
)
async def test_mix_15_16_17_when_server_is_weaker_or_vague_then_login_fails(
    stage: Stage, client: OAuthClient, changes: dict[str, Any]
) -> None:
    """No downgrade, no text where a list or a truth value belongs."""
    stage.servers.alter(ISSUER + METADATA, changes)
    await refuse(client, stage, UnsupportedAuthServerError)


@pytest.mark.covers("MIX-16", "DISC-03")
async def test_mix_16_when_authorization_servers_is_a_string_then_login_fails(
    stage: Stage, client: OAuthClient
) -> None:
    """A string holds letters, not servers."""
    members = {"resource": PDS, "authorization_servers": ISSUER}
    stage.servers.on(PDS + RESOURCE, answer(200, members))
    await refuse(client, stage, DiscoveryError)
