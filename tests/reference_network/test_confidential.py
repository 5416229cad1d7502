"""Whole logins at the official PDS by https, for clients with and without a key.

The application's metadata and keys are served by the middleware, as in production;
the client is used without it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import pytest

from atproto_oauth_asgi.client_keys import ClientKey
from atproto_oauth_asgi.crypto.keys import generate_private_key
from atproto_oauth_asgi.exceptions import (
    AuthorizationServerError,
    LoginDenied,
    OAuthStateError,
    OAuthTokenError,
    RefreshUnavailable,
    SessionRevoked,
)
from atproto_oauth_asgi.protocol.callback import parse_callback
from tests.notes_app import COLLECTION
from tests.reference_network.hosting import (
    PUBLIC_URL,
    Clock,
    hosted_app,
    open_desk,
    parameters_of,
)
from tests.reference_network.process import Account, ReferenceNetwork
from tests.reference_network.sign_in import deny, open_page

pytestmark = [pytest.mark.anyio, pytest.mark.network]

CLIENT_ID = f"{PUBLIC_URL}/oauth-client-metadata.json"
KEYS = (ClientKey(generate_private_key()),)
NO_KEYS: tuple[ClientKey, ...] = ()

each_client = pytest.mark.parametrize(
    ("keys", "method"),
    [(KEYS, "private_key_jwt"), (NO_KEYS, "none")],
    ids=["confidential", "public"],
)


@pytest.fixture
def alice(tls_network: ReferenceNetwork) -> Account:
    """An account on the PDS that is its own authorization server."""
    return tls_network.accounts["alice.test"]


# --- the whole way -------------------------------------------------------------------


@pytest.mark.covers("CAUTH-01", "META-12", "META-13", "REF-02", "REF-12", "DPOP-08")
@each_client
async def test_session_when_logged_in_then_works_until_revoked(
    each_tls_network: ReferenceNetwork, keys: Sequence[ClientKey], method: str
) -> None:
    """Login, call, refresh, revocation, wherever the authorization server is."""
    reference = each_tls_network
    account = reference.accounts["alice.test"]
    with hosted_app(reference, client_keys=keys) as app:
        async with open_desk(reference, app.config) as desk:
            session = await desk.log_in(account)
            assert (session.did, session.handle) == (account.did, "alice.test")
            assert session.authserver_iss == reference.issuer
            assert session.pds_url == reference.pds_url
            [row] = reference.sessions()
            assert (row["did"], row["clientId"]) == (account.did, CLIENT_ID)
            assert row["clientAuthMethod"] == method
            assert (await desk.describe(session))["did"] == account.did
            renewed = await desk.client.refresh_session(session)
            with pytest.raises(RefreshUnavailable):  # the old access token is dead
                await desk.describe(session)
            renewed = await desk.client.refresh_session(renewed)
            assert (await desk.describe(renewed))["did"] == account.did
            await desk.client.revoke_session(renewed)
            assert reference.sessions() == []
            with pytest.raises(RefreshUnavailable):
                await desk.describe(renewed)
            with pytest.raises(SessionRevoked):
                await desk.client.refresh_session(renewed)


@pytest.mark.covers("DISC-18", "DISC-19", "TOK-07")
async def test_login_when_the_issuer_is_typed_then_whoever_signs_in_is_known(
    each_tls_network: ReferenceNetwork,
) -> None:
    """Also if it is not the person's PDS, which only the DID document tells."""
    reference = each_tls_network
    bob = reference.accounts["bob.test"]
    with hosted_app(reference, client_keys=KEYS) as app:
        async with open_desk(reference, app.config) as desk:
            auth_url, _ = await desk.client.start_authorization(reference.issuer)
            session = await desk.end(await desk.approve(auth_url, bob))
            assert (session.did, session.pds_url) == (bob.did, reference.pds_url)
            assert (await desk.describe(session))["did"] == bob.did


@pytest.mark.covers("DPOP-12", "DPOP-13", "DPOP-18")
async def test_session_when_nonces_rotate_before_every_step_then_works(
    tls_network: ReferenceNetwork, alice: Account
) -> None:
    """Code, refresh token and assertions outlive the server's demand for a nonce."""
    with hosted_app(tls_network, client_keys=KEYS) as app:
        async with open_desk(tls_network, app.config) as desk:
            auth_url, _ = await desk.client.start_authorization(alice.handle)
            redirect_url = await desk.approve(auth_url, alice)
            tls_network.rotate_nonces()
            session = await desk.end(redirect_url)
            tls_network.rotate_nonces()
            session = await desk.client.refresh_session(session)
            tls_network.rotate_nonces()
            assert (await desk.describe(session))["did"] == alice.did
            tls_network.rotate_nonces()
            await desk.client.revoke_session(session)
    assert tls_network.sessions() == []


@pytest.mark.covers("DPOP-23", "DPO-23")
@pytest.mark.parametrize(
    ("keys", "ahead_s"),
    [
        (KEYS, 30.0),
        (KEYS, -30.0),
        (KEYS, 120.0),
        (KEYS, -120.0),
        (NO_KEYS, 120.0),
        (NO_KEYS, -120.0),
    ],
)
async def test_session_when_our_clock_is_wrong_by_minutes_then_works(
    tls_network: ReferenceNetwork,
    alice: Account,
    keys: Sequence[ClientKey],
    ahead_s: float,
) -> None:
    """Two minutes, either way, are not noticed at any step."""
    clock = Clock(ahead_s=ahead_s)
    with hosted_app(tls_network, client_keys=keys, clock=clock) as app:
        async with open_desk(tls_network, app.config) as desk:
            session = await desk.log_in(alice)
            session = await desk.client.refresh_session(session)
            assert (await desk.describe(session))["did"] == alice.did
            await desk.client.revoke_session(session)
    assert tls_network.sessions() == []


@pytest.mark.parametrize("ahead_s", [250.0, -250.0], ids=["ahead", "behind"])
async def test_begin_when_our_clock_is_wrong_by_four_minutes_then_works(
    tls_network: ReferenceNetwork, alice: Account, ahead_s: float
) -> None:
    """The server refuses such a time, and tells the right one with it."""
    clock = Clock(ahead_s=ahead_s)
    with hosted_app(tls_network, client_keys=KEYS, clock=clock) as app:
        async with open_desk(tls_network, app.config) as desk:
            auth_url, _ = await desk.client.start_authorization(alice.handle)
            assert (
                await desk.end(await desk.approve(auth_url, alice))
            ).did == alice.did


@pytest.mark.parametrize("ahead_s", [60.0, 250.0])
async def test_callback_when_it_reaches_a_worker_with_a_wrong_clock_then_works(
    tls_network: ReferenceNetwork, alice: Account, ahead_s: float
) -> None:
    """A code is not lost to the refusal that tells that worker the time."""
    with hosted_app(tls_network, client_keys=KEYS) as app:
        wrong = replace(app.config, clock=Clock(ahead_s=ahead_s))
        async with (
            open_desk(tls_network, app.config) as desk,
            open_desk(tls_network, wrong) as other,
        ):
            request, pending = await desk.client.begin_login(alice.handle)
            redirect_url = await desk.approve(request[0], alice)
            answer = parse_callback(parameters_of(redirect_url).items())
            session = await other.client.complete_login(pending, answer)
            assert (await desk.describe(session))["did"] == alice.did


@pytest.mark.covers("DPOP-23", "DPO-23")
@pytest.mark.parametrize("ahead_s", [3600.0, -3600.0], ids=["ahead", "behind"])
async def test_session_when_our_clock_is_wrong_by_an_hour_then_the_errors_say_so(
    tls_network: ReferenceNetwork, alice: Account, ahead_s: float
) -> None:
    """The server's refusal alone would not tell an operator where to look."""
    clock, so = Clock(), r"3[56]\d\d seconds apart"
    with hosted_app(tls_network, client_keys=KEYS, clock=clock) as app:
        async with open_desk(tls_network, app.config) as desk:
            session = await desk.log_in(alice)
            clock.ahead_s = ahead_s
            with pytest.raises(AuthorizationServerError, match=so):
                await desk.client.start_authorization(alice.handle)
            with pytest.raises(RefreshUnavailable) as unavailable:
                await desk.client.refresh_session(session)
            assert re.search(so, str(unavailable.value.__cause__))
            clock.ahead_s = 0.0
            session = await desk.client.refresh_session(session)
            assert (await desk.describe(session))["did"] == alice.did


# --- what is refused -----------------------------------------------------------------


async def test_begin_when_the_server_cannot_get_our_metadata_then_is_refused(
    tls_network: ReferenceNetwork, alice: Account
) -> None:
    """An application that is not reached from outside learns it at once."""
    with hosted_app(tls_network, client_keys=KEYS) as app:
        config = app.config
    async with open_desk(tls_network, config) as desk:
        with pytest.raises(AuthorizationServerError) as refused:
            await desk.client.start_authorization(alice.handle)
    assert refused.value.error == "invalid_client_metadata"


async def test_begin_when_our_key_is_not_published_then_is_refused(
    tls_network: ReferenceNetwork, alice: Account
) -> None:
    """Who knows the name of a client, but not its key, can begin nothing for it."""
    with hosted_app(tls_network, client_keys=KEYS) as app:
        others = (ClientKey(generate_private_key(), kid=KEYS[0].kid),)
        impostor = replace(app.config, client_keys=others)
        async with open_desk(tls_network, impostor) as desk:
            with pytest.raises(AuthorizationServerError) as refused:
                await desk.client.start_authorization(alice.handle)
    assert refused.value.error == "invalid_client"


@pytest.mark.covers("CB-10")
async def test_login_when_denied_then_says_so(
    tls_network: ReferenceNetwork, alice: Account
) -> None:
    """A no is heard as one, and leaves nothing at the server."""
    with hosted_app(tls_network, client_keys=KEYS) as app:
        async with open_desk(tls_network, app.config) as desk:
            auth_url, _ = await desk.client.start_authorization(alice.handle)
            with pytest.raises(LoginDenied) as denied:
                await desk.end(deny(auth_url, browser=desk.browser))
    assert denied.value.error == "access_denied"
    assert tls_network.sessions() == []


async def test_code_when_used_twice_then_refused_and_the_session_is_ended(
    tls_network: ReferenceNetwork, alice: Account
) -> None:
    """The server ends what a code was used for once it comes again (RFC 6749, 4.1.2).

    Our own bookkeeping would not let it come again; here it is left out.
    """
    with hosted_app(tls_network, client_keys=KEYS) as app:
        async with open_desk(tls_network, app.config) as desk:
            request, pending = await desk.client.begin_login(alice.handle)
            redirect_url = await desk.approve(request[0], alice)
            answer = parse_callback(parameters_of(redirect_url).items())
            session = await desk.client.complete_login(pending, answer)
            assert len(tls_network.sessions()) == 1
            with pytest.raises(OAuthTokenError) as refused:
                await desk.client.complete_login(pending, answer)
            assert refused.value.error == "invalid_grant"
            assert tls_network.sessions() == []
            with pytest.raises(SessionRevoked):
                await desk.client.refresh_session(session)


@pytest.mark.covers("CB-04")
async def test_callback_when_delivered_twice_then_the_session_lives(
    tls_network: ReferenceNetwork, alice: Account
) -> None:
    """A callback that comes again is refused here, so the server never hears of it."""
    with hosted_app(tls_network, client_keys=KEYS) as app:
        async with open_desk(tls_network, app.config) as desk:
            auth_url, _ = await desk.client.start_authorization(alice.handle)
            redirect_url = await desk.approve(auth_url, alice)
            session = await desk.end(redirect_url)
            with pytest.raises(OAuthStateError):
                await desk.end(redirect_url)
            assert (await desk.describe(session))["did"] == alice.did


@pytest.mark.covers("LGN-03")
async def test_code_when_brought_to_another_login_then_is_good_for_nothing(
    tls_network: ReferenceNetwork, alice: Account
) -> None:
    """Who has stolen a code cannot end a login of their own with it (RFC 7636)."""
    with hosted_app(tls_network, client_keys=KEYS) as app:
        async with (
            open_desk(tls_network, app.config) as victim,
            open_desk(tls_network, app.config) as eve,
        ):
            auth_url, _ = await victim.client.start_authorization(alice.handle)
            stolen = parameters_of(await victim.approve(auth_url, alice))
            _, state = await eve.client.start_authorization(alice.handle)
            with pytest.raises(OAuthTokenError) as refused:
                await eve.client.handle_callback(**{**stolen, "state": state})
    assert refused.value.error == "invalid_grant"
    assert tls_network.sessions() == []


# --- consent -------------------------------------------------------------------------

SCOPE = f"atproto repo:{COLLECTION} account:email"


@pytest.mark.covers("TOK-10")
async def test_consent_when_narrowed_then_the_session_says_what_was_granted(
    tls_network: ReferenceNetwork, alice: Account
) -> None:
    """What the person left out is neither in the session nor possible."""
    with hosted_app(tls_network, client_keys=KEYS, scope=SCOPE) as app:
        async with open_desk(tls_network, app.config) as desk:
            auth_url, _ = await desk.client.start_authorization(alice.handle)
            granted = "atproto account:email"
            session = await desk.end(await desk.approve(auth_url, alice, scope=granted))
            assert set(session.scope.split()) == set(granted.split())
            assert "email" in await desk.describe(session)
            record = {"repo": alice.did, "collection": COLLECTION, "record": {}}
            async with desk.client.pds_client(session) as pds:
                refused = await pds.procedure(
                    "com.atproto.repo.createRecord", json=record
                )
            assert (refused.status_code, refused.json()["error"]) == (
                403,
                "ScopeMissingError",
            )
            renewed = await desk.client.refresh_session(session)
            assert set(renewed.scope.split()) == set(granted.split())


async def test_consent_when_atproto_is_left_out_then_denied(
    tls_network: ReferenceNetwork, alice: Account
) -> None:
    """Without it there is no login, and the server itself says so."""
    with hosted_app(tls_network, client_keys=KEYS, scope=SCOPE) as app:
        async with open_desk(tls_network, app.config) as desk:
            auth_url, _ = await desk.client.start_authorization(alice.handle)
            back = await desk.approve(auth_url, alice, scope="account:email")
            with pytest.raises(LoginDenied):
                await desk.end(back)
    assert tls_network.sessions() == []


# --- prompt (OpenID Connect Core section 3.1.2.1) ------------------------------------


async def test_prompt_none_when_nobody_is_signed_in_there_then_login_required(
    tls_network: ReferenceNetwork, alice: Account
) -> None:
    """The server shows no page, and the application learns why."""
    with hosted_app(tls_network, client_keys=KEYS) as app:
        async with open_desk(tls_network, app.config) as desk:
            auth_url, _ = await desk.client.start_authorization(
                alice.handle, prompt="none"
            )
            back = await desk.pass_by(auth_url)
            with pytest.raises(LoginDenied) as denied:
                await desk.end(back)
    assert denied.value.error == "login_required"


async def test_prompt_none_when_remembered_then_asks_for_consent_once(
    tls_network: ReferenceNetwork, alice: Account
) -> None:
    """A browser that is signed in there needs a yes the first time, and then no page."""
    with hosted_app(tls_network, client_keys=KEYS) as app:
        async with open_desk(tls_network, app.config) as desk:
            auth_url, _ = await desk.client.start_authorization(alice.handle)
            back = await desk.approve(auth_url, alice, remember=True)
            first = await desk.end(back)
            auth_url, _ = await desk.client.start_authorization(
                alice.handle, prompt="none"
            )
            second = await desk.end(await desk.pass_by(auth_url))
            assert (first.did, second.did) == (alice.did, alice.did)
            tls_network.forget_consent()
            auth_url, _ = await desk.client.start_authorization(
                alice.handle, prompt="none"
            )
            back = await desk.pass_by(auth_url)
            with pytest.raises(LoginDenied) as denied:
                await desk.end(back)
    assert denied.value.error == "consent_required"


async def test_prompt_none_when_the_client_is_public_then_refused_at_once(
    tls_network: ReferenceNetwork, alice: Account
) -> None:
    """The server wants to know for sure who asks without asking the person."""
    with hosted_app(tls_network) as app:
        async with open_desk(tls_network, app.config) as desk:
            with pytest.raises(AuthorizationServerError) as refused:
                await desk.client.start_authorization(alice.handle, prompt="none")
    assert refused.value.error == "invalid_request"


async def test_prompt_when_given_then_a_page_is_shown_that_would_not_be(
    tls_network: ReferenceNetwork, alice: Account
) -> None:
    """Who is remembered and has agreed goes straight on, unless we want to be sure."""
    with hosted_app(tls_network, client_keys=KEYS) as app:
        async with open_desk(tls_network, app.config) as desk:

            async def open_with(prompt: str | None) -> str | None:
                client = desk.client
                auth_url, _ = await client.start_authorization(alice.did, prompt=prompt)
                return open_page(auth_url, browser=desk.browser)

            auth_url, _ = await desk.client.start_authorization(alice.did)
            await desk.end(await desk.approve(auth_url, alice, remember=True))
            for prompt in ("login", "consent", "select_account"):
                assert await open_with(prompt) is None
            redirect_url = await open_with(None)
            assert redirect_url is not None
            assert (await desk.end(redirect_url)).did == alice.did


# --- accounts and devices ------------------------------------------------------------


async def test_sessions_when_of_two_accounts_then_each_is_its_own(
    tls_network: ReferenceNetwork, alice: Account
) -> None:
    """One client speaks for both, and the end of one leaves the other."""
    bob = tls_network.accounts["bob.test"]
    with hosted_app(tls_network, client_keys=KEYS) as app:
        async with open_desk(tls_network, app.config) as desk:
            of_alice, of_bob = await desk.log_in(alice), await desk.log_in(bob)
            for account, session in ((alice, of_alice), (bob, of_bob)):
                assert (await desk.describe(session))["did"] == account.did
            await desk.client.revoke_session(of_alice)
            assert tls_network.sessions(alice.did) == []
            assert len(tls_network.sessions(bob.did)) == 1
            renewed = await desk.client.refresh_session(of_bob)
            assert (await desk.describe(renewed))["did"] == bob.did


@pytest.mark.covers("SESS-05")
async def test_sessions_when_on_two_devices_then_each_is_its_own(
    tls_network: ReferenceNetwork, alice: Account
) -> None:
    """Refresh and revocation of one are nothing to the other."""
    with hosted_app(tls_network, client_keys=KEYS) as app:
        async with (
            open_desk(tls_network, app.config) as phone,
            open_desk(tls_network, app.config) as laptop,
        ):
            on_phone, on_laptop = await phone.log_in(alice), await laptop.log_in(alice)
            assert len(tls_network.sessions(alice.did)) == 2
            on_phone = await phone.client.refresh_session(on_phone)
            assert (await laptop.describe(on_laptop))["did"] == alice.did
            await laptop.client.revoke_session(on_laptop)
            assert len(tls_network.sessions(alice.did)) == 1
            assert (await phone.describe(on_phone))["did"] == alice.did
