"""Which clients the servers take, and how those prove who they are: both networks."""

from __future__ import annotations

import secrets
from typing import Any

import pytest
from starlette.responses import JSONResponse, RedirectResponse, Response

from atproto_oauth_asgi.crypto.keys import (
    generate_private_key,
    private_jwk,
    public_jwk,
    thumbprint,
)
from tests.contract.hosted import ORIGIN, Hosted, named
from tests.contract.peers import Login, outcome

REFUSED = (400, "invalid_client_metadata")
BAD_URI = (400, "invalid_redirect_uri")
NAMELESS = public_jwk(generate_private_key())
SECRET = private_jwk(generate_private_key(), "x")


# --- documents -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"client_name": None},
        {"client_uri": ORIGIN},
        {"logo_uri": "https://cdn.notes.net/logo.png"},
        {"redirect_uris": [f"{ORIGIN}/callback", "https://other.internal/callback"]},
        {"application_type": None},
        {"response_types": None},
        {"grant_types": ["authorization_code"]},
        {"an": "unknown member"},
    ],
    ids=str,
)
def test_document_when_it_is_right_then_client_is_taken(
    hosted: Hosted, changes: dict[str, Any]
) -> None:
    """What may be left out or added is not refused."""
    hosted.publish(**changes)
    assert outcome(hosted.push()) == (201, None)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"client_id": f"{ORIGIN}/other.json"}, REFUSED),
        ({"client_id": None}, REFUSED),
        ({"scope": None}, REFUSED),
        ({"scope": "repo:com.example.note"}, REFUSED),
        ({"scope": "atproto atproto"}, REFUSED),
        ({"dpop_bound_access_tokens": None}, REFUSED),
        ({"dpop_bound_access_tokens": False}, REFUSED),
        ({"dpop_bound_access_tokens": "true"}, REFUSED),
        ({"redirect_uris": None}, REFUSED),
        ({"redirect_uris": []}, REFUSED),
        ({"redirect_uris": "https://notes.internal/callback"}, REFUSED),
        ({"redirect_uris": ["http://notes.internal/callback"]}, REFUSED),
        ({"redirect_uris": ["http://localhost/callback"]}, REFUSED),
        ({"redirect_uris": ["https://localhost/callback"]}, REFUSED),
        ({"redirect_uris": ["https://app.test/callback"]}, BAD_URI),
        ({"redirect_uris": ["http://127.0.0.1/callback"]}, BAD_URI),
        ({"redirect_uris": ["https://me:x@notes.internal/callback"]}, BAD_URI),
        ({"redirect_uris": ["internal.notes:/callback"]}, BAD_URI),
        ({"redirect_uris": ["https://["]}, REFUSED),
        ({"response_types": ["token"]}, REFUSED),
        ({"grant_types": None}, (201, None)),
        ({"grant_types": ["refresh_token"]}, REFUSED),
        ({"grant_types": ["authorization_code", "implicit"]}, REFUSED),
        ({"grant_types": ["authorization_code", "authorization_code"]}, REFUSED),
        ({"token_endpoint_auth_method": None}, REFUSED),
        ({"token_endpoint_auth_method": "client_secret_basic"}, REFUSED),
        ({"token_endpoint_auth_method": "none"}, REFUSED),
        ({"token_endpoint_auth_signing_alg": None}, REFUSED),
        ({"application_type": "native"}, REFUSED),
        ({"application_type": "desktop"}, REFUSED),
        ({"client_uri": "https://other.internal"}, REFUSED),
        ({"client_uri": f"{ORIGIN}/deeper"}, REFUSED),
        ({"client_uri": "http://notes.internal"}, REFUSED),
        ({"logo_uri": "http://notes.internal/logo.png"}, REFUSED),
        ({"jwks": None}, REFUSED),
        ({"jwks": {"keys": []}}, REFUSED),
        pytest.param({"jwks": {"keys": [NAMELESS]}}, REFUSED, id="key-without-id"),
        pytest.param({"jwks": {"keys": [SECRET]}}, REFUSED, id="private-key"),
        ({"jwks_uri": f"{ORIGIN}/keys.json"}, REFUSED),
        ({"default_max_age": 60}, REFUSED),
    ],
    ids=lambda value: str(value)[:60],
)
def test_document_when_a_member_is_wrong_then_is_refused(
    hosted: Hosted, changes: dict[str, Any], expected: tuple[int, str | None]
) -> None:
    """A document is read strictly, with the same error for the same mistake."""
    hosted.publish(**changes)
    assert outcome(hosted.push()) == expected


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("internal.notes:/callback", (201, None)),
        ("internal.other:/callback", BAD_URI),
    ],
)
def test_redirect_when_it_leads_to_an_app_then_bears_the_clients_name(
    hosted: Hosted, uri: str, expected: tuple[int, str | None]
) -> None:
    """No app of a phone gets answers that are for somebody else's."""
    hosted.redirect_uri = uri
    hosted.publish_public(redirect_uris=[uri], application_type="native")
    form = hosted.login().form(client_assertion=None, client_assertion_type=None)
    assert outcome(hosted.teller.post_twice("/oauth/par", form)) == expected


def test_redirect_when_there_are_several_then_one_has_to_be_named(
    hosted: Hosted,
) -> None:
    """A server does not choose where an answer goes."""
    uris = [hosted.redirect_uri, f"{ORIGIN}/other"]
    hosted.publish(redirect_uris=uris)
    assert outcome(hosted.push(redirect_uri=None)) == (400, "invalid_request")
    assert outcome(hosted.push(redirect_uri=uris[1])) == (201, None)


JSON_TYPES = {
    "application/json; charset=utf-8": 201,
    "application/ld+json": 400,
    "text/html": 400,
}


@pytest.mark.parametrize(("kind", "status"), JSON_TYPES.items())
def test_document_when_its_type_is_odd_then_decides(
    hosted: Hosted, kind: str, status: int
) -> None:
    """The document says that it is JSON."""
    headers = {"Content-Type": kind}
    hosted.answer(JSONResponse(hosted.document, headers=headers))
    assert hosted.push().status_code == status


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (lambda c: JSONResponse(c.document, 201), 201),
        (lambda c: JSONResponse(c.document, 404), 400),
        (lambda c: JSONResponse(c.document, 503), 400),
        (lambda _: RedirectResponse(f"{ORIGIN}/elsewhere.json"), 400),
        (lambda _: Response("{", media_type="application/json"), 400),
        (lambda _: JSONResponse([]), 400),
        (lambda c: JSONResponse({**c.document, "x": "x" * 400_000}), 201),
        (lambda c: JSONResponse({**c.document, "x": "x" * 600_000}), 400),
    ],
    ids=["201", "404", "503", "redirect", "broken", "list", "long", "too long"],
)
def test_document_when_answered_oddly_then_decides(
    hosted: Hosted, answer: Any, status: int
) -> None:
    """It comes at once, with a good status, in no more than 512 kB."""
    hosted.answer(answer(hosted))
    hosted.answer(JSONResponse(hosted.document), "/elsewhere.json")
    assert hosted.push().status_code == status


def test_document_when_changed_then_counts_after_ten_minutes_only(
    hosted: Hosted,
) -> None:
    """What was fetched is kept; what was wrong is fetched again."""
    hosted.publish(scope="nothing")
    assert outcome(hosted.push()) == REFUSED
    hosted.publish()
    assert outcome(hosted.push()) == (201, None)
    hosted.publish(scope="nothing")
    assert outcome(hosted.push()) == (201, None)
    hosted.peer.forget_clients()
    assert outcome(hosted.push()) == REFUSED


def test_keys_when_changed_then_count_after_ten_minutes_only(hosted: Hosted) -> None:
    """A name that nobody knows does not make the server ask again."""
    path = f"/{secrets.token_hex(8)}-keys.json"
    hosted.publish(jwks=None, jwks_uri=ORIGIN + path)
    hosted.answer(JSONResponse({"keys": [named(hosted.key)]}), path)
    assert outcome(hosted.push()) == (201, None)
    hosted.key = generate_private_key()
    hosted.answer(JSONResponse({"keys": [named(hosted.key)]}), path)
    assert outcome(hosted.push()) == (400, "invalid_client")
    hosted.peer.forget_clients()
    assert outcome(hosted.push()) == (201, None)


def test_keys_when_they_cannot_be_had_then_client_is_refused(hosted: Hosted) -> None:
    """No keys, no client; an empty set is one that has not the right key."""
    path = f"/{secrets.token_hex(8)}-keys.json"
    hosted.publish(jwks=None, jwks_uri=ORIGIN + path)
    assert outcome(hosted.push()) == REFUSED
    hosted.answer(JSONResponse({"keys": []}), path)
    assert outcome(hosted.push()) == (400, "invalid_client")


@pytest.mark.parametrize(
    ("client_id", "error"),
    [
        ("https://app.test/client.json", "invalid_client_id"),
        ("https://app.localhost/client.json", "invalid_client_id"),
        ("https://app.invalid/client.json", "invalid_client_id"),
        ("https://app.example/client.json", "invalid_client_id"),
        ("https://app.local/client.json", "invalid_client_metadata"),
        ("https://localhost/client.json", "invalid_client_metadata"),
        ("https://app/client.json", "invalid_client_metadata"),
        ("https://93.184.216.34/client.json", "invalid_client_metadata"),
        ("https://[2001:db8::1]/client.json", "invalid_client_metadata"),
        ("https://example.com/client.json", "invalid_client_metadata"),
        ("https://app.example.com/client.json", "invalid_client_metadata"),
        ("https://app.example.org/client.json", "invalid_client_metadata"),
        ("notes", "invalid_client_metadata"),
    ],
)
def test_client_id_when_no_client_can_have_it_then_is_refused(
    hosted: Hosted, client_id: str, error: str
) -> None:
    """An id is the plain https URL of a document, on a public host name."""
    assert outcome(hosted.push(client_id=client_id)) == (400, error)


@pytest.mark.parametrize(
    ("client_id", "expected"),
    [
        ("https://notes.internal/id.json?version=2", (201, None)),
        ("https://notes.internal", REFUSED),
        ("https://notes.internal/", REFUSED),
        ("https://notes.internal/folder/", REFUSED),
        ("https://notes.internal/a/../b.json", REFUSED),
        ("https://notes.internal/b.json#part", REFUSED),
        ("https://me:x@notes.internal/b.json", REFUSED),
        ("http://notes.internal/b.json", REFUSED),
    ],
)
def test_client_id_when_it_is_no_plain_url_then_its_document_does_not_help(
    hosted: Hosted, client_id: str, expected: tuple[int, str | None]
) -> None:
    """There is one spelling of an id; what else leads to a document is none."""
    hosted.publish_public(client_id=client_id)
    document = hosted.site.answers[hosted.path]
    for path in ("/", "/id.json", "/folder/", "/b.json", "/a/../b.json"):
        hosted.answer(document, path)
    form = hosted.login().form(
        client_id=client_id, client_assertion=None, client_assertion_type=None
    )
    assert outcome(hosted.teller.post_twice("/oauth/par", form)) == expected


# --- assertions ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "claims",
    [{}, {"exp": None}, {"exp_in_s": 3600}, {"iat_in_s": -50}],
    ids=str,
)
def test_assertion_when_it_is_right_then_counts(
    hosted: Hosted, claims: dict[str, Any]
) -> None:
    """The assertion of a published key authenticates."""
    assert outcome(hosted.push_as(claims)) == (201, None)


def test_assertion_when_audience_is_in_a_list_then_counts(hosted: Hosted) -> None:
    """One audience may stand in a list. Spec: RFC 7519 section 4.1.3."""
    assert outcome(hosted.push_as({"aud": [hosted.peer.issuer]})) == (201, None)


@pytest.mark.covers("CAUTH-02")
@pytest.mark.parametrize(
    "claims",
    [
        {"aud": None},
        {"aud": "https://pds.test/"},
        {"aud": "https://pds.test/oauth/token"},
        {"aud": "https://pds.test/oauth/par"},
        {"iss": "https://other.internal/x.json"},
        {"iss": None},
        {"sub": "https://other.internal/x.json"},
        {"sub": None},
        {"jti": None},
        {"iat": None},
        {"iat_in_s": 5},
        {"iat_in_s": -70},
        {"nbf_in_s": 30},
        {"exp_in_s": -5},
    ],
    ids=str,
)
def test_assertion_when_a_claim_is_wrong_then_invalid_client(
    hosted: Hosted, claims: dict[str, Any]
) -> None:
    """An assertion is for this server, from this client, and from the recent past."""
    assert outcome(hosted.push_as(claims)) == (400, "invalid_client")


def test_assertion_when_key_is_another_then_invalid_client(hosted: Hosted) -> None:
    """Only the keys of the client's own document count, each by its name."""
    other = generate_private_key()
    for claims in ({"key": other}, {"key": other, "kid": thumbprint(hosted.key)}):
        assert outcome(hosted.push_as(claims)) == (400, "invalid_client")
    answer = hosted.push_as({"kid": "unknown"})
    assert outcome(answer) == (400, "invalid_client")


@pytest.mark.parametrize(
    "change",
    [
        {"client_assertion": None},
        {"client_assertion": ""},
        {"client_assertion": "no assertion"},
        {"client_assertion_type": None},
        {"client_assertion_type": "jwt"},
    ],
    ids=str,
)
def test_assertion_when_it_is_missing_then_invalid_request(
    hosted: Hosted, change: dict[str, str | None]
) -> None:
    """A client that has a key shows it, each time."""
    assert outcome(hosted.push(**change)) == (400, "invalid_request")


def test_assertion_when_used_twice_then_refused(hosted: Hosted) -> None:
    """Each one counts once, but what ended at the nonce does not count."""
    assertion = hosted.assertion()
    hosted.teller.nonce = None
    challenged = hosted.teller.post(
        "/oauth/par", hosted.login().form(client_assertion=assertion)
    )
    assert outcome(challenged) == (400, "use_dpop_nonce")
    assert outcome(hosted.push(client_assertion=assertion)) == (201, None)
    again = hosted.push(client_assertion=assertion)
    assert outcome(again) == (400, "invalid_grant")


def test_assertion_when_client_is_public_then_is_ignored(hosted: Hosted) -> None:
    """A client that says it has no key needs none."""
    hosted.publish_public()
    assert outcome(hosted.push()) == (201, None)
    assert outcome(hosted.push(client_assertion=None)) == (201, None)


# --- sessions of clients with keys ---------------------------------------------------


def test_session_when_client_has_a_key_then_holds(hosted: Hosted) -> None:
    """Redeem, refresh, revoke, each with an assertion of its own."""
    login = hosted.login()
    tokens = login.tokens()
    (session,) = hosted.peer.sessions()
    assert session["clientAuthMethod"] == "private_key_jwt"
    new = login.refresh(tokens["refresh_token"]).json()
    login.revoke(new["refresh_token"])
    assert hosted.peer.sessions() == []


def test_refresh_when_assertion_is_missing_then_session_stays(hosted: Hosted) -> None:
    """Who cannot show the key does no harm."""
    login = hosted.login()
    token = login.tokens()["refresh_token"]
    answer = login.refresh(token, client_assertion=None)
    assert outcome(answer) == (400, "invalid_request")
    assert login.refresh(token).status_code == 200


def with_two_keys(hosted: Hosted) -> Any:
    """Publish a second key; give what signs with it."""
    other = generate_private_key()
    hosted.publish(jwks={"keys": [named(hosted.key), named(other)]})
    return lambda: hosted.assertion(key=other)


def test_refresh_when_client_key_is_another_then_session_is_ended(
    hosted: Hosted,
) -> None:
    """A session stays tied to the client key that it began with."""
    sign = with_two_keys(hosted)
    login = hosted.login()
    token = login.tokens()["refresh_token"]
    answer = login.refresh(token, client_assertion=sign())
    assert outcome(answer) == (400, "invalid_grant")
    assert hosted.peer.sessions() == []


def test_code_when_client_key_is_another_then_is_burnt(hosted: Hosted) -> None:
    """The client key that pushed the request is the one that gets the tokens."""
    sign = with_two_keys(hosted)
    login = hosted.login()
    code = login.approve()["code"]
    answer = login.redeem(code, client_assertion=sign())
    assert outcome(answer) == (400, "invalid_grant")
    assert outcome(login.redeem(code)) == (400, "invalid_grant")


def test_revocation_when_client_key_is_another_then_nothing_ends(
    hosted: Hosted,
) -> None:
    """The answer is 200 to anything, also to who has the wrong key or none."""
    sign = with_two_keys(hosted)
    login = hosted.login()
    form = {**hosted.credentials(), "token": login.tokens()["refresh_token"]}
    for assertion in (sign(), "no assertion"):
        form["client_assertion"] = assertion
        answer = hosted.teller.post_twice("/oauth/revoke", form)
        assert (answer.status_code, len(hosted.peer.sessions())) == (200, 1)


def test_session_when_client_does_not_refresh_then_has_no_token_for_it(
    hosted: Hosted,
) -> None:
    """A client that did not ask for refresh tokens gets none."""
    hosted.publish(grant_types=["authorization_code"])
    assert "refresh_token" not in hosted.login().tokens()


def test_refresh_when_client_does_so_no_more_then_refused_and_session_stays(
    hosted: Hosted,
) -> None:
    """What a client declares now counts, not what it declared at the login."""
    login = hosted.login()
    token = login.tokens()["refresh_token"]
    hosted.publish(grant_types=["authorization_code"])
    hosted.peer.forget_clients()
    assert outcome(login.refresh(token)) == (400, "invalid_grant")
    hosted.publish()
    hosted.peer.forget_clients()
    assert login.refresh(token).status_code == 200


def test_session_when_client_is_public_then_has_no_key(hosted: Hosted) -> None:
    """A hosted client without a key is known by its id alone."""
    hosted.publish_public()
    hosted.login().tokens()
    (session,) = hosted.peer.sessions()
    assert (session["clientAuthMethod"], session["clientId"]) == (
        "none",
        hosted.client_id,
    )


def test_session_when_client_gets_a_key_then_goes_on_with_it(hosted: Hosted) -> None:
    """A public client may become a confidential one; from then on it needs the key."""
    hosted.publish_public()
    login = hosted.login()
    token = login.tokens()["refresh_token"]
    hosted.publish()
    hosted.peer.forget_clients()
    new = login.refresh(token).json()["refresh_token"]
    (session,) = hosted.peer.sessions()
    assert session["clientAuthMethod"] == "private_key_jwt"
    answer = login.refresh(new, client_assertion=None)
    assert outcome(answer) == (400, "invalid_request")


def test_session_when_client_loses_its_key_then_is_ended(hosted: Hosted) -> None:
    """What began with a key does not go on without one."""
    login = hosted.login()
    token = login.tokens()["refresh_token"]
    hosted.publish_public()
    hosted.peer.forget_clients()
    assert outcome(login.refresh(token)) == (400, "invalid_grant")
    assert hosted.peer.sessions() == []


def test_login_when_token_is_long_then_is_so_on_both(hosted: Hosted) -> None:
    """The token of a hosted client holds its id, whatever the scope."""
    login: Login = hosted.login()
    token = login.tokens()["access_token"]
    assert len(token) == pytest.approx(470, abs=30)
