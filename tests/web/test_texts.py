"""Every failure has words of its own, and only words of our own."""

from __future__ import annotations

import string
from collections.abc import Iterator

import pytest
from hypothesis import given

from atproto_oauth_asgi import exceptions
from atproto_oauth_asgi.exceptions import (
    AuthorizationServerError,
    Blocked,
    IdentityError,
    InvalidIdentifier,
    LoginDenied,
    OAuthError,
    OAuthTokenError,
    TimedOut,
    Unreachable,
    WrongBrowser,
)
from atproto_oauth_asgi.web.texts import STATUS_CODES, Text, explain, load_texts
from tests.web.reading import NASTY, any_text

OWN_CODES = {
    "csrf",
    "csrf_headers_missing",
    "bad_request",
    "unsupported_media_type",
    "not_found",
    "method_not_allowed",
    "wrong_host",
    "login_refused",
    "hook_failed",
    "unexpected",
}


def classes(root: type[OAuthError] = OAuthError) -> Iterator[type[OAuthError]]:
    """Every error class of the package."""
    if root.__module__ == exceptions.__name__:
        yield root
    for child in root.__subclasses__():
        yield from classes(child)


def words(text: Text) -> str:
    return " ".join((text.title, text.what, *text.causes, text.now, text.action))


def test_texts_when_listed_then_every_error_class_has_one() -> None:
    """No class of the tree is left to the general text."""
    assert [cls for cls in classes() if cls.code not in load_texts()] == []


def test_texts_when_listed_then_every_code_is_in_use() -> None:
    """There is no text for a code that does not exist."""
    codes = {cls.code for cls in classes()} | OWN_CODES
    assert {key.partition(":")[0] for key in load_texts()} == codes
    assert set(STATUS_CODES) == OWN_CODES


def test_texts_when_read_then_all_are_whole_sentences() -> None:
    """Each is short, ends well, and reads well whatever names are put in."""
    for code, text in load_texts().items():
        assert text.title[-1] not in ".:!", code
        assert len(text.title) <= 60, code
        for sentence in (text.what, text.now, *text.causes):
            assert sentence[0].isupper(), code
            assert sentence[-1] in ".:", code
            assert len(sentence) <= 220, code
        assert ". {" not in text.what + text.now, code


def test_texts_when_read_then_only_two_names_are_left_open() -> None:
    """Placeholders are those that ``explain`` fills, where it fills them."""
    for text in load_texts().values():
        filled = string.Formatter().parse(text.what + text.now)
        assert {name for _, name, _, _ in filled if name is not None} <= {"app", "host"}
        assert "{" not in words(text).replace("{app}", "").replace("{host}", "")
        assert "{" not in text.title + text.action + "".join(text.causes)


@pytest.mark.parametrize("error", [TimedOut("x"), Unreachable("x")])
@pytest.mark.covers("ERR-04")
def test_explain_when_the_host_is_away_then_says_whose_fault_and_that_all_is_well(
    error: OAuthError,
) -> None:
    """The person learns which server is away, and that nothing was lost."""
    found = explain(error, host="pds.example.com")
    assert "account's host" in found.text.title
    assert "pds.example.com" in found.text.what
    assert "The trouble lies there" in found.text.what
    assert "not with you" in found.text.what
    assert "Nothing was lost" in found.text.now
    assert found.status_code in {502, 504}


def test_explain_when_the_browser_is_wrong_then_names_three_causes() -> None:
    """Other browser, blocked cookies, other host name: one of them it was."""
    first, second, third = explain(WrongBrowser("x")).text.causes
    assert "another browser" in first
    assert "cookies" in second
    assert "another host name" in third


def test_explain_when_csrf_headers_are_missing_then_names_both() -> None:
    """Whoever writes a program learns what to send."""
    found = explain("csrf_headers_missing")
    assert found.status_code == 403
    assert "Sec-Fetch-Site" in words(found.text)
    assert "Origin" in words(found.text)
    assert words(found.text) != words(explain("csrf").text)


@pytest.mark.parametrize(
    "known",
    [
        "access_denied",
        "login_required",
        "consent_required",
        "interaction_required",
        "account_selection_required",
        "temporarily_unavailable",
        "server_error",
        "invalid_scope",
        "unauthorized_client",
    ],
)
@pytest.mark.covers("CB-12")
def test_explain_when_the_login_is_denied_then_known_reasons_have_words(
    known: str,
) -> None:
    """A reason that the standards name is told in words of its own."""
    found = explain(LoginDenied("x", error=known))
    assert found.code == "login_denied"
    assert found.text.title != load_texts()["login_denied"].title


def test_explain_when_the_person_declined_then_says_so() -> None:
    """Somebody who said no reads that they said no."""
    found = explain(LoginDenied("x", error="access_denied"), client_name="Notes")
    assert found.text.title == "You declined"
    assert "Notes" in found.text.what


@pytest.mark.parametrize("error", ["<script>", "configuration", "x" * 100_000, *NASTY])
@pytest.mark.covers("CB-12", "CB-13", "ERR-02", "WEB-04")
def test_explain_when_a_server_says_anything_then_none_of_it_is_told(
    error: str,
) -> None:
    """Foreign codes and descriptions choose no text and appear in none."""
    foreign = "FOREIGN <b>words</b>"
    denied = LoginDenied(foreign, error=error, error_description=foreign)
    refused = AuthorizationServerError(foreign, error=error, error_description=foreign)
    assert explain(denied).text == explain(LoginDenied("", error="")).text
    nothing = AuthorizationServerError("", error="")
    assert explain(refused).text == explain(nothing).text
    assert "FOREIGN" not in words(explain(denied).text) + words(explain(refused).text)


def test_explain_when_a_token_error_has_a_reason_then_tells_it() -> None:
    """What the token endpoint said counts, for it and for its parent's codes."""
    late = OAuthTokenError("x", error="invalid_grant")
    assert explain(late).text == explain("login_expired").text
    scope = OAuthTokenError("x", error="invalid_scope")
    assert explain(scope).text == explain("login_denied:invalid_scope").text


@pytest.mark.covers("LOGIN-08")
def test_explain_when_an_address_is_blocked_then_tells_no_more_than_unreachable() -> (
    None
):
    """Nobody learns from a page which names lead into our own network."""
    assert explain(Blocked("10.0.0.1")).text == explain(Unreachable("x")).text


def test_explain_when_a_server_was_meant_then_speaks_of_servers() -> None:
    """Whoever has typed an address is not told how handles look, or not alone."""
    account = explain(InvalidIdentifier("x"))
    server = explain(InvalidIdentifier("x", meant="server"))
    assert account.code == server.code == "invalid_identifier"
    assert "server" not in words(account.text)
    assert "https://bsky.social" in server.text.what
    assert "handle" in server.text.now


class _HouseRule(IdentityError):
    """An error that an application has made."""

    code = "house_rule"
    status_hint = 403


class _Strange(OAuthError):
    """An error of an application, like none of ours."""

    code = "strange"


def test_explain_when_a_class_is_unknown_then_its_nearest_parent_speaks() -> None:
    """An application's own error is told as the kind of error that it is."""
    found = explain(_HouseRule("secret"))
    assert (found.code, found.status_code) == ("house_rule", 403)
    assert found.text == explain(IdentityError("x")).text
    assert explain(_Strange("secret")).text == explain("oauth_error").text


@pytest.mark.covers("ERR-04")
def test_explain_when_the_code_is_unknown_then_is_general_and_a_500() -> None:
    """An unknown code gets the general text, and none at all is our fault."""
    found = explain("no_such_code")
    assert (found.status_code, found.text) == (500, explain("oauth_error").text)
    unforeseen = explain(None)
    assert (unforeseen.code, unforeseen.status_code) == ("unexpected", 500)


@pytest.mark.covers("ERR-04")
def test_explain_when_statuses_are_listed_then_each_fits() -> None:
    """Input 4xx, forgery 403, rate 429, other servers 502 and 504, store 503."""
    made: dict[str, OAuthError] = {
        cls.code: cls("x")
        for cls in classes()
        if not issubclass(cls, AuthorizationServerError | LoginDenied)
    }
    found = {code: explain(error).status_code for code, error in made.items()}
    assert found["handle_not_found"] == found["login_expired"] == 400
    assert found["unreachable"] == found["discovery"] == found["too_large"] == 502
    assert found["timed_out"] == 504
    assert found["store"] == 503
    assert explain("csrf").status_code == 403
    assert found["too_many_logins"] == 429
    ours = {code for code, status in found.items() if status == 500}
    assert ours == {"oauth_error", "configuration", "cookie_too_large"}


@given(any_text(), any_text())
def test_explain_when_names_are_anything_then_fills_them_in_once(
    host: str, name: str
) -> None:
    """Names may hold braces: they are put in, not read."""
    refused = AuthorizationServerError("x", error="invalid_scope")
    found = explain(refused, host=host, client_name=name)
    assert host[:255] in found.text.what
    assert name[:255] in found.text.what
