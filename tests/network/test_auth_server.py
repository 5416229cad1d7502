from __future__ import annotations

import logging
from typing import Any

import httpx
import pytest

from atproto_oauth_asgi.config import ClientKey
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
from atproto_oauth_asgi.network.auth_server import (
    UNUSABLE_TOKENS,
    ClientIdentity,
    SessionKeys,
)
from atproto_oauth_asgi.network.services import NetworkServices
from tests.network.atproto import (
    CLIENT_ID,
    ISSUER,
    PAR,
    REVOKE,
    TOKEN,
    FakeAtproto,
    Seen,
    answer,
    install,
    open_services,
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
FORM = {"scope": "atproto"}


@pytest.fixture
def internet(monkeypatch: pytest.MonkeyPatch) -> FakeAtproto:
    return install(monkeypatch)


def keys(kid: str | None = None) -> SessionKeys:
    return SessionKeys(ProofSigner(generate_private_key()), kid)


def say(internet: FakeAtproto, path: str, *responses: httpx.Response) -> None:
    """Answers, in order, in the place of the ordinary ones."""
    left = list(responses)

    async def script(_: Seen) -> httpx.Response | None:
        return left.pop(0) if left else None

    internet.scripts[path] = script


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
    internet: FakeAtproto,
) -> None:
    """Assertion and proof go along; no secret, no Basic, no hash of a token."""
    services = open_services(internet, KEY, OLD_KEY)
    await services.server.push(SERVER, FORM, keys("key-1"))
    [seen] = internet.sent(PAR)
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
    internet: FakeAtproto,
) -> None:
    """A server that uses up the assertion before it looks for a nonce is satisfied."""
    internet.require_nonce = True
    services = open_services(internet, KEY)
    assert await services.server.push(SERVER, FORM, keys("key-1"))
    first, second = internet.sent(PAR)
    assert first.assertion["jti"] != second.assertion["jti"]
    assert first.proof["jti"] != second.proof["jti"]
    assert second.proof["nonce"] == "nonce-1"
    assert first.form["scope"] == second.form["scope"]


@pytest.mark.covers("CAUTH-02")
async def test_push_when_another_server_then_assertion_is_for_that_one(
    internet: FakeAtproto,
) -> None:
    """An assertion is worth nothing elsewhere."""
    internet.issuers["https://pds.example.net"] = "https://as.example.net"
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
    internet: FakeAtproto, use: Any
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
    internet: FakeAtproto, ours: tuple[ClientKey, ...], theirs: str
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
    internet: FakeAtproto,
) -> None:
    """The profile demands one; nothing is lost by starting again."""
    internet.nonce = None
    with pytest.raises(AuthorizationServerError) as caught:
        await open_services(internet).server.push(SERVER, FORM, keys())
    assert caught.value.code == "authorization_server"


@pytest.mark.covers("DPOP-17", "DPO-07", "TOK-14")
async def test_redeem_when_answer_has_no_nonce_then_tokens_are_revoked(
    internet: FakeAtproto,
) -> None:
    """The answer is refused, and what it brought is given back."""
    say(internet, TOKEN, answer(200, tokens()))
    with pytest.raises(OAuthTokenError) as caught:
        await redeem(open_services(internet))
    assert caught.value.error == UNUSABLE_TOKENS
    assert internet.revoked() == ["refresh-x", "access-x"]


@pytest.mark.covers("DPOP-17")
async def test_nonce_when_lifted_by_option_then_is_not_missed(
    internet: FakeAtproto,
) -> None:
    """The unsafe option is the one way to do without."""
    services = open_services(internet, unsafe_allow_missing_nonce=True)
    internet.nonce = None
    assert await services.server.push(SERVER, FORM, keys())
    say(internet, TOKEN, answer(200, tokens()))
    assert (await redeem(services)).access_token == "access-x"


@pytest.mark.covers("TOK-14", "TOK-03", "TOK-09", "LGN-15", "LGN-16")
@pytest.mark.parametrize(
    "changes", [{"token_type": "Bearer"}, {"scope": "x"}, {"sub": "did:key:z"}]
)
@pytest.mark.parametrize("status", [200, 201])
async def test_redeem_when_answer_must_not_be_used_then_tokens_are_revoked(
    internet: FakeAtproto, changes: dict[str, Any], status: int
) -> None:
    """An unusable answer with live tokens leaves none of them behind."""
    say(internet, TOKEN, answer(status, tokens(**changes), headers=NONCE))
    with pytest.raises(OAuthTokenError) as caught:
        await redeem(open_services(internet))
    assert caught.value.error == UNUSABLE_TOKENS
    assert internet.revoked() == ["refresh-x", "access-x"]


@pytest.mark.covers("TOK-14", "OUT-02")
async def test_redeem_when_revoking_fails_too_then_first_error_stays(
    internet: FakeAtproto, caplog: pytest.LogCaptureFixture
) -> None:
    """A failure to revoke is logged, without the tokens."""
    caplog.set_level(logging.DEBUG)
    say(internet, TOKEN, answer(200, tokens(token_type="Bearer"), headers=NONCE))
    say(internet, REVOKE, *[answer(503, {}, headers=NONCE)] * 2)
    with pytest.raises(OAuthTokenError):
        await redeem(open_services(internet))
    assert len(internet.revoked()) == 2
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
    internet: FakeAtproto, status: int, body: Any, error: str
) -> None:
    """Where there are no tokens nothing is revoked."""
    say(internet, TOKEN, answer(status, body, headers=NONCE))
    with pytest.raises(OAuthTokenError) as caught:
        await redeem(open_services(internet))
    assert caught.value.error == error
    assert internet.revoked() == []
    assert len(internet.sent(TOKEN)) == 1


@pytest.mark.covers("MIX-14", "PAR-16", "TOK-02", "RFR-18")
@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_endpoint_when_it_redirects_then_nothing_follows(
    internet: FakeAtproto, status: int
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
    internet: FakeAtproto,
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
    internet: FakeAtproto,
) -> None:
    """Protocol answers are small."""
    say(internet, PAR, answer(201, {}, headers={"Content-Length": "70000"}))
    with pytest.raises(TooLarge):
        await open_services(internet).server.push(SERVER, FORM, keys())


async def test_endpoint_when_down_then_error_says_so(internet: FakeAtproto) -> None:
    """No answer is no refusal."""
    internet.down.add(ISSUER)
    with pytest.raises(Unreachable):
        await open_services(internet).server.push(SERVER, FORM, keys())


# --- revoking ----------------------------------------------------------------------


@pytest.mark.covers("LOGOUT-03", "LOGOUT-04", "CAUTH-01")
async def test_revoke_when_asked_then_names_token_and_client(
    internet: FakeAtproto,
) -> None:
    """Token, hint, proof and assertion are sent."""
    services = open_services(internet, KEY)
    await services.server.revoke(SERVER, "t", keys("key-1"), hint="refresh_token")
    [seen] = internet.sent(REVOKE)
    assert (seen.form["token"], seen.form["token_type_hint"]) == ("t", "refresh_token")
    assert seen.kid == "key-1"
    assert seen.proof["htu"] == ISSUER + REVOKE


async def test_revoke_when_server_has_no_endpoint_then_sends_nothing(
    internet: FakeAtproto,
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
    internet: FakeAtproto,
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
async def test_parts_when_shown_then_hide_keys(internet: FakeAtproto) -> None:
    """Nothing of the private keys is in a repr."""
    services = open_services(internet, KEY)
    shown = f"{keys()!r}{services!r}{services.server!r}{services.server._identity!r}"
    assert private_jwk(KEY.private_key)["d"] not in shown
