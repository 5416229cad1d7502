"""What people meet at the authorization page, in browsers old and new: both networks."""

from __future__ import annotations

from contextlib import suppress

import pytest

from atproto_oauth_asgi.testing import SignInError as OurSignInError
from tests.contract.hosted import Hosted
from tests.contract.peers import Login, Visitor, answer_in
from tests.reference_network.sign_in import SignInError

NAVIGATION = {
    "Accept": "text/html",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Site": "cross-site",
}


def verdict(visitor: Visitor, url: str) -> str:
    """Open a page; give ``page``, ``code``, or the error that leads to the client."""
    answer = visitor.open(url)
    if answer.status_code == 200:
        return "page"
    assert answer.status_code == 303, answer.text
    found = answer_in(answer.headers["location"])
    return "code" if "code" in found else found["error"]


@pytest.mark.parametrize("site", ["cross-site", "same-site", "same-origin", "none"])
def test_page_when_browser_navigates_then_is_shown(login: Login, site: str) -> None:
    """It does not matter where somebody comes from."""
    headers = {**NAVIGATION, "Sec-Fetch-Site": site}
    visitor = login.teller.peer.visitor()
    assert visitor.send(login.auth_url(), headers).status_code == 200


@pytest.mark.parametrize(
    "change",
    [
        {"Sec-Fetch-Mode": "cors"},
        {"Sec-Fetch-Dest": "iframe"},
        {"Sec-Fetch-Site": "elsewhere"},
        {"Sec-Fetch-Mode": None},
        {"Sec-Fetch-Dest": None},
        {"Sec-Fetch-Site": None},
    ],
    ids=str,
)
def test_page_when_nobody_navigates_then_400(
    login: Login, change: dict[str, str | None]
) -> None:
    """Programs and frames are not shown the page; browsers say what they do."""
    fields = {**NAVIGATION, **change}
    headers = {name: value for name, value in fields.items() if value is not None}
    url, visitor = login.auth_url(), login.teller.peer.visitor()
    assert visitor.send(url, headers).status_code == 400
    assert visitor.open(url).status_code == 200


def test_page_when_another_browser_opened_it_then_nobody_gets_a_code(
    login: Login,
) -> None:
    """A request belongs to the first browser; the second one ends it for both."""
    url, peer = login.auth_url(), login.teller.peer
    first, second = peer.visitor(), peer.visitor()
    assert verdict(first, url) == "page"
    assert verdict(second, url) == "access_denied"
    assert first.open(url).status_code == 400


def test_page_when_request_is_unknown_then_400(login: Login) -> None:
    """What was never pushed, or was redeemed, has no page."""
    url, visitor = login.auth_url(), login.teller.peer.visitor()
    assert visitor.open(url[:-6] + "000000").status_code == 400
    code = answer_in(visitor.approve(url))["code"]
    assert login.redeem(code).status_code == 200
    assert visitor.open(url).status_code == 400


def test_deny_when_sent_then_request_is_gone(login: Login) -> None:
    """A no is final."""
    url, peer = login.auth_url(), login.teller.peer
    assert answer_in(peer.deny(url))["error"] == "access_denied"
    assert peer.visitor().open(url).status_code == 400


@pytest.mark.parametrize("prompt", [None, "login", "consent", "select_account"])
def test_public_client_when_browser_is_known_then_a_page_without_password(
    login: Login, prompt: str | None
) -> None:
    """Whoever stayed signed in is asked for their consent, and for nothing more."""
    visitor = login.teller.peer.visitor()
    visitor.approve(login.auth_url())
    again = Login(login.teller)
    url = again.auth_url(prompt=prompt)
    assert verdict(visitor, url) == "page"
    code = answer_in(visitor.go_on(url))["code"]
    assert again.redeem(code).status_code == 200


@pytest.mark.parametrize("prompt", [None, "select_account", "create"])
def test_public_client_when_browser_is_new_then_page(
    login: Login, prompt: str | None
) -> None:
    """Somebody who is not signed in is asked who they are."""
    url = login.auth_url(prompt=prompt)
    assert verdict(login.teller.peer.visitor(), url) == "page"


def test_page_when_nobody_is_signed_in_then_password_is_needed(login: Login) -> None:
    """Nobody goes on without one in a new browser."""
    visitor, found = login.teller.peer.visitor(), dict[str, str]()
    with suppress(SignInError, OurSignInError):
        found = answer_in(visitor.go_on(login.auth_url()))
    assert "code" not in found


BOB = "bob.test"


@pytest.mark.parametrize(
    ("changes", "new", "known"),
    [
        ({}, "page", "code"),
        ({"login_hint": None}, "page", "page"),
        ({"login_hint": BOB}, "page", "page"),
        ({"prompt": "none"}, "login_required", "code"),
        ({"prompt": "none", "login_hint": None}, "login_required", "login_required"),
        ({"prompt": "none", "login_hint": BOB}, "login_required", "login_required"),
        ({"prompt": "login"}, "page", "page"),
        ({"prompt": "consent"}, "page", "page"),
        ({"prompt": "select_account"}, "account_selection_required", "page"),
        ({"prompt": "create"}, "page", "page"),
        ({"scope": "atproto"}, "page", "code"),
    ],
    ids=str,
)
def test_confidential_client_when_browser_is_known_then_prompt_decides(
    hosted: Hosted, changes: dict[str, str | None], new: str, known: str
) -> None:
    """A client that proves who it is need not ask twice, if it does not wish to."""
    visitor = hosted.peer.visitor()
    assert verdict(visitor, hosted.login().auth_url(**changes)) == new
    visitor.approve(hosted.login().auth_url())
    assert verdict(visitor, hosted.login().auth_url(**changes)) == known


@pytest.mark.parametrize(
    ("prompt", "expected"), [(None, "page"), ("none", "consent_required")]
)
def test_confidential_client_when_scope_is_new_then_consent_is_asked_for(
    hosted: Hosted, prompt: str | None, expected: str
) -> None:
    """Nobody said yes to this yet."""
    visitor = hosted.peer.visitor()
    visitor.approve(hosted.login().auth_url(scope="atproto"))
    assert verdict(visitor, hosted.login().auth_url(prompt=prompt)) == expected


@pytest.mark.parametrize("prompt", ["consent", "select_account"])
def test_confidential_client_when_it_asks_then_no_password_is_needed(
    hosted: Hosted, prompt: str
) -> None:
    """Somebody who is signed in chooses, or says yes, and goes on."""
    visitor = hosted.peer.visitor()
    visitor.approve(hosted.login().auth_url())
    login = hosted.login()
    code = answer_in(visitor.go_on(login.auth_url(prompt=prompt)))["code"]
    assert login.redeem(code).status_code == 200


def test_confidential_client_when_silent_then_code_counts(hosted: Hosted) -> None:
    """What comes without a page is a whole login."""
    visitor = hosted.peer.visitor()
    visitor.approve(hosted.login().auth_url())
    login = hosted.login()
    back = visitor.open(login.auth_url(prompt="none")).headers["location"]
    answer = answer_in(back)
    assert (answer["state"], answer["iss"]) == (login.state, hosted.peer.issuer)
    tokens = login.redeem(answer["code"]).json()
    assert tokens["sub"] == hosted.peer.dids["alice.test"]


def test_confidential_client_when_silent_and_refused_then_request_is_gone(
    hosted: Hosted,
) -> None:
    """An error ends the request, as an answer does."""
    visitor = hosted.peer.visitor()
    url = hosted.login().auth_url(prompt="none")
    assert verdict(visitor, url) == "login_required"
    assert visitor.open(url).status_code == 400
