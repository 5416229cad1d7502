from __future__ import annotations

import logging
from typing import Any

import pytest
from starlette.types import ASGIApp

from atproto_oauth_asgi.client_keys import ClientKey
from atproto_oauth_asgi.crypto.keys import generate_private_key, private_jwk
from atproto_oauth_asgi.dpop import ProofSigner
from atproto_oauth_asgi.exceptions import (
    AuthorizationServerError,
    ClientKeyRetired,
    ConfigurationError,
    OAuthTokenError,
    TooLarge,
    Unreachable,
    UnsupportedAuthServerError,
)
from atproto_oauth_asgi.models import AuthServerMetadata
from atproto_oauth_asgi.network.auth_server import UNUSABLE_TOKENS, SessionKeys
from atproto_oauth_asgi.network.client_identity import ClientIdentity
from atproto_oauth_asgi.network.services import NetworkServices
from tests.network.atproto import (
    CLIENT_ID,
    ISSUER,
    PAR,
    REDIRECT_URI,
    REVOKE,
    TOKEN,
    Servers,
)
from tests.network.in_memory import (
    open_services,
)
from tests.network.programs import (
    answer,
    in_turn,
)

pytestmark = pytest.mark.anyio
KEY = ClientKey(generate_private_key(), kid="key-1")
OLD_KEY = ClientKey(generate_private_key(), "publish", kid="key-0")
SERVER = AuthServerMetadata(
    issuer=ISSUER,
    authorization_endpoint=f"{ISSUER}/oauth/authorize",
    token_endpoint=ISSUER + TOKEN,
    pushed_authorization_request_endpoint=ISSUER + PAR,
    revocation_endpoint=ISSUER + REVOKE,
    token_endpoint_auth_methods_supported=("none", "private_key_jwt"),
)
FORM = {
    "response_type": "code",
    "redirect_uri": REDIRECT_URI,
    "scope": "atproto",
    "state": "s" * 43,
    "code_challenge": "c" * 43,
    "code_challenge_method": "S256",
}
PUSHED = {"request_uri": "urn:example:request", "expires_in": 60}


def keys(kid: str | None = None) -> SessionKeys:
    return SessionKeys(ProofSigner(generate_private_key()), kid)


def say(internet: Servers, path: str, *programs: ASGIApp) -> None:
    """Answers, in order, in the place of the ordinary ones."""
    internet.on(ISSUER + path, in_turn(*programs))


async def redeem(services: NetworkServices, kid: str | None = None) -> Any:
    form = {"grant_type": "refresh_token", "refresh_token": "x"}
    return await services.server.redeem(SERVER, form, keys(kid), nonce_required=True)


def tokens(**changes: Any) -> dict[str, Any]:
    return {
        "access_token": "access-x",
        "refresh_token": "refresh-x",
        "token_type": "DPoP",
        "sub": "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa",
        "scope": "atproto",
        "expires_in": 60,
        **changes,
    }


NONCE = {"DPoP-Nonce": "n"}

# --- who the client is -------------------------------------------------------------


@pytest.mark.covers("CAUTH-03", "CAUTH-05", "CAUTH-09", "DPOP-08")
async def test_push_when_confidential_then_proves_the_client(
    internet: Servers,
) -> None:
    """Assertion and proof go along; no secret, no Basic, no hash of a token."""
    services = open_services(internet, KEY, OLD_KEY)
    await services.server.push(SERVER, FORM, keys("key-1"))
    [seen] = internet.taken(PAR)
    assert seen.kid == "key-1"
    claims = seen.assertion
    assert (claims["iss"], claims["sub"], claims["aud"]) == (
        CLIENT_ID,
        CLIENT_ID,
        ISSUER,
    )
    assert claims["exp"] - claims["iat"] == 60
    assert claims["iat"] <= internet.clock() < claims["exp"]
    assert len(claims["jti"]) >= 22
    assert "ath" not in seen.proof
    assert "client_secret" not in seen.form
    assert "authorization" not in seen.headers
    assert seen.headers["content-type"] == "application/x-www-form-urlencoded"


@pytest.mark.covers("CAUTH-04", "DPO-20", "DPOP-12")
async def test_push_when_challenged_then_makes_a_new_assertion(
    internet: Servers,
) -> None:
    """A server that uses up the assertion before it looks for a nonce is satisfied."""
    services = open_services(internet, KEY)
    assert await services.server.push(SERVER, FORM, keys("key-1"))
    first, second = internet.sent(PAR)
    assert first.assertion["jti"] != second.assertion["jti"]
    assert first.proof["jti"] != second.proof["jti"]
    assert "nonce" not in first.proof
    assert second.proof["nonce"]
    assert (first.is_taken, second.is_taken) == (False, True)
    assert first.form["scope"] == second.form["scope"]


@pytest.mark.covers("CAUTH-02")
async def test_push_when_another_server_then_assertion_is_for_that_one(
    internet: Servers,
) -> None:
    """An assertion is worth nothing elsewhere."""
    sites = internet.net.internet.sites
    internet.net.add_host("as.example.net", sites["as.example.com"])
    services = open_services(internet, KEY)
    other = AuthServerMetadata(
        issuer="https://as.example.net",
        authorization_endpoint="https://as.example.net/oauth/authorize",
        token_endpoint="https://as.example.net/oauth/token",
        pushed_authorization_request_endpoint="https://as.example.net/oauth/par",
        token_endpoint_auth_methods_supported=("private_key_jwt",),
    )
    with pytest.raises(AuthorizationServerError):
        await services.server.push(other, FORM, keys("key-1"))
    assert internet.seen[-1].assertion["aud"] == "https://as.example.net"


@pytest.mark.covers("CAUTH-07", "RFR-15")
@pytest.mark.parametrize("use", ["retired", None])
async def test_redeem_when_client_key_is_gone_then_sends_nothing(
    internet: Servers, use: Any
) -> None:
    """No other key is tried, and none at all."""
    gone = [ClientKey(generate_private_key(), use, kid="gone")] if use else []
    services = open_services(internet, KEY, *gone)
    with pytest.raises(ClientKeyRetired):
        await redeem(services, kid="gone")
    assert internet.seen == []


@pytest.mark.covers("CAUTH-08", "MIX-15")
@pytest.mark.parametrize(
    ("ours", "theirs"), [((KEY,), "none"), ((), "private_key_jwt")]
)
async def test_push_when_server_takes_another_method_then_sends_nothing(
    internet: Servers, ours: tuple[ClientKey, ...], theirs: str
) -> None:
    """There is no falling back, in neither direction."""
    services = open_services(internet, *ours)
    server = AuthServerMetadata(
        issuer=ISSUER,
        authorization_endpoint=SERVER.authorization_endpoint,
        token_endpoint=SERVER.token_endpoint,
        pushed_authorization_request_endpoint=ISSUER + PAR,
        token_endpoint_auth_methods_supported=(theirs,),
    )
    with pytest.raises(UnsupportedAuthServerError):
        await services.server.push(server, FORM, keys())
    assert internet.seen == []


@pytest.mark.covers("CAUTH-08", "DEV-03", "META-16")
@pytest.mark.parametrize(
    ("client_id", "client_keys"),
    [
        (CLIENT_ID, [OLD_KEY]),
        (CLIENT_ID, [KEY, ClientKey(generate_private_key(), kid="key-2")]),
        (CLIENT_ID, [KEY, ClientKey(generate_private_key(), "publish", kid="key-1")]),
        ("http://localhost", [KEY]),
    ],
    ids=range(4),
)
def test_identity_when_keys_do_not_go_together_then_is_refused(
    client_id: str, client_keys: list[ClientKey]
) -> None:
    """A client with keys never turns into a public one by mistake."""
    with pytest.raises(ConfigurationError):
        ClientIdentity(client_id, client_keys, clock=lambda: 0.0)


# --- what servers answer -----------------------------------------------------------


@pytest.mark.covers("DPOP-17", "DPO-07")
async def test_push_when_answer_has_no_nonce_then_is_refused(
    internet: Servers,
) -> None:
    """The profile demands one; nothing is lost by starting again."""
    say(internet, PAR, answer(201, PUSHED))
    with pytest.raises(AuthorizationServerError) as caught:
        await open_services(internet).server.push(SERVER, FORM, keys())
    assert caught.value.code == "authorization_server"


@pytest.mark.covers("DPOP-17", "DPO-07", "TOK-14")
async def test_redeem_when_answer_has_no_nonce_then_tokens_are_revoked(
    internet: Servers,
) -> None:
    """The answer is refused, and what it brought is given back."""
    say(internet, TOKEN, answer(200, tokens()))
    with pytest.raises(OAuthTokenError) as caught:
        await redeem(open_services(internet))
    assert caught.value.error == UNUSABLE_TOKENS
    assert internet.revoked() == ["refresh-x", "access-x"]


@pytest.mark.covers("DPOP-17")
async def test_nonce_when_lifted_by_option_then_is_not_missed(
    internet: Servers,
) -> None:
    """The unsafe option is the one way to do without."""
    services = open_services(internet, unsafe_allow_missing_nonce=True)
    say(internet, PAR, answer(201, PUSHED))
    assert await services.server.push(SERVER, FORM, keys())
    say(internet, TOKEN, answer(200, tokens()))
    assert (await redeem(services)).access_token == "access-x"


@pytest.mark.covers("TOK-14", "TOK-03", "TOK-09", "LGN-15", "LGN-16")
@pytest.mark.parametrize(
    "changes", [{"token_type": "Bearer"}, {"scope": "x"}, {"sub": "did:key:z"}]
)
@pytest.mark.parametrize("status", [200, 201])
async def test_redeem_when_answer_must_not_be_used_then_tokens_are_revoked(
    internet: Servers, changes: dict[str, Any], status: int
) -> None:
    """An unusable answer with live tokens leaves none of them behind."""
    say(internet, TOKEN, answer(status, tokens(**changes), headers=NONCE))
    with pytest.raises(OAuthTokenError) as caught:
        await redeem(open_services(internet))
    assert caught.value.error == UNUSABLE_TOKENS
    assert internet.revoked() == ["refresh-x", "access-x"]


@pytest.mark.covers("TOK-14", "OUT-02")
async def test_redeem_when_revoking_fails_too_then_first_error_stays(
    internet: Servers, caplog: pytest.LogCaptureFixture
) -> None:
    """A failure to revoke is logged, without the tokens."""
    caplog.set_level(logging.DEBUG)
    say(internet, TOKEN, answer(200, tokens(token_type="Bearer"), headers=NONCE))
    say(internet, REVOKE, *[answer(503, {}, headers=NONCE)] * 2)
    with pytest.raises(OAuthTokenError):
        await redeem(open_services(internet))
    assert len(internet.sent(REVOKE)) == 2
    assert "authorization_server" in caplog.text
    assert "access-x" not in caplog.text


@pytest.mark.covers("TOK-16", "REF-14")
@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (400, {"error": "invalid_grant"}, "invalid_grant"),
        (401, {"error": "invalid_client"}, "invalid_client"),
        (500, b"<html>", "http_500"),
        (400, {"error": "bad code", "access_token": "access-x"}, "http_400"),
        (200, b"<html>", "malformed_response"),
        (200, {}, "malformed_response"),
    ],
)
async def test_redeem_when_refused_then_error_tells_why(
    internet: Servers, status: int, body: Any, error: str
) -> None:
    """Where there are no tokens nothing is revoked."""
    say(internet, TOKEN, answer(status, body, headers=NONCE))
    with pytest.raises(OAuthTokenError) as caught:
        await redeem(open_services(internet))
    assert caught.value.error == error
    assert internet.sent(REVOKE) == []
    assert len(internet.sent(TOKEN)) == 1


@pytest.mark.covers("MIX-14", "PAR-16", "TOK-02", "RFR-18")
@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_endpoint_when_it_redirects_then_nothing_follows(
    internet: Servers, status: int
) -> None:
    """Neither assertion nor token go anywhere else."""
    away = {**NONCE, "Location": "https://evil.example/"}
    services = open_services(internet)
    for path in (PAR, TOKEN, REVOKE):
        say(internet, path, answer(status, {}, headers=away))
    with pytest.raises(AuthorizationServerError):
        await services.server.push(SERVER, FORM, keys())
    with pytest.raises(AuthorizationServerError):
        await redeem(services)
    with pytest.raises(AuthorizationServerError):
        await services.server.revoke(SERVER, "t", keys(), hint="access_token")
    assert {seen.origin for seen in internet.seen} == {ISSUER}


@pytest.mark.covers("DPOP-14", "DPO-01", "DOS-08")
async def test_endpoint_when_it_challenges_for_ever_then_gives_up(
    internet: Servers,
) -> None:
    """Two requests, then an error."""
    body = {"error": "use_dpop_nonce"}
    challenges = [answer(400, body, headers={"DPoP-Nonce": f"n-{n}"}) for n in range(9)]
    say(internet, TOKEN, *challenges)
    with pytest.raises(OAuthTokenError) as caught:
        await redeem(open_services(internet))
    assert caught.value.error == "use_dpop_nonce"
    assert len(internet.sent(TOKEN)) == 2


@pytest.mark.covers("TOK-02", "DOS-02")
async def test_endpoint_when_answer_is_huge_then_is_refused(
    internet: Servers,
) -> None:
    """Protocol answers are small."""
    say(internet, PAR, answer(201, {}, headers={"Content-Length": "70000"}))
    with pytest.raises(TooLarge):
        await open_services(internet).server.push(SERVER, FORM, keys())


async def test_endpoint_when_down_then_error_says_so(internet: Servers) -> None:
    """No answer is no refusal."""
    internet.cut(ISSUER)
    with pytest.raises(Unreachable):
        await open_services(internet).server.push(SERVER, FORM, keys())


# --- revoking ----------------------------------------------------------------------


@pytest.mark.covers("LOGOUT-03", "LOGOUT-04", "CAUTH-01")
async def test_revoke_when_asked_then_names_token_and_client(
    internet: Servers,
) -> None:
    """Token, hint, proof and assertion are sent."""
    services = open_services(internet, KEY)
    await services.server.revoke(SERVER, "t", keys("key-1"), hint="refresh_token")
    [seen] = internet.taken(REVOKE)
    assert (seen.form["token"], seen.form["token_type_hint"]) == ("t", "refresh_token")
    assert seen.kid == "key-1"
    assert seen.proof["htu"] == ISSUER + REVOKE


async def test_revoke_when_server_has_no_endpoint_then_sends_nothing(
    internet: Servers,
) -> None:
    """Some servers cannot be asked."""
    services = open_services(internet)
    server = AuthServerMetadata(
        issuer=ISSUER,
        authorization_endpoint=SERVER.authorization_endpoint,
        token_endpoint=SERVER.token_endpoint,
        pushed_authorization_request_endpoint=ISSUER + PAR,
    )
    await services.server.revoke(server, "t", keys(), hint="access_token")
    assert internet.seen == []


@pytest.mark.covers("LOG-02")
async def test_revoke_when_refused_then_error_holds_no_token(
    internet: Servers,
) -> None:
    """The server's code is there, the token is not."""
    body = {"error": "invalid_request", "error_description": "canary-token"}
    say(internet, REVOKE, answer(400, body, headers=NONCE))
    with pytest.raises(AuthorizationServerError) as caught:
        await open_services(internet).server.revoke(
            SERVER, "canary-token", keys(), hint="access_token"
        )
    assert caught.value.error == "invalid_request"
    assert "canary-token" not in str(caught.value)


@pytest.mark.covers("LOG-01")
async def test_parts_when_shown_then_hide_keys(internet: Servers) -> None:
    """Nothing of the private keys is in a repr."""
    services = open_services(internet, KEY)
    shown = f"{keys()!r}{services!r}{services.server!r}{services.server._identity!r}"
    assert private_jwk(KEY.private_key)["d"] not in shown
