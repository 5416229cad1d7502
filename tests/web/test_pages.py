"""The pages hold what they should, and nothing that is put in gets out."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from starlette.responses import Response

from atproto_oauth_asgi.exceptions import (
    HandleNotFound,
    InvalidIdentifier,
    LoginDenied,
    StoreError,
    TimedOut,
    TooManyLogins,
    WrongBrowser,
)
from atproto_oauth_asgi.pages import Pages
from atproto_oauth_asgi.web.login_form import LoginForm
from atproto_oauth_asgi.web.pages import (
    error_page,
    handover_page,
    logged_out_page,
    login_page,
    logout_page,
    wrong_host_page,
)
from atproto_oauth_asgi.web.words import Look
from tests.web.reading import NASTY, any_text, html_of, read

AUTHORIZATION_URL = "https://pds.test/oauth/authorize?client_id=a&request_uri=urn%3Ab"


def look_of(text: str) -> Look:
    return Look(client_name=f"N{text}")


def login(text: str = "x") -> Response:
    form = LoginForm(
        action="/oauth/login",
        identifier=text,
        return_to=text,
        scope=text,
        prompt=text,
        problem=TimedOut(text),
    )
    return login_page(form, look=look_of(text))


def login_by_host(text: str = "x") -> Response:
    form = LoginForm(
        action="/oauth/login", host=f"h{text}", problem=InvalidIdentifier(text)
    )
    return login_page(form, look=look_of(text))


def login_again(text: str = "x") -> Response:
    form = LoginForm(
        action="/oauth/login", identifier=f"i{text}", reason="expired", return_to=text
    )
    pages = Pages(sign_up_host="bsky.social", suggestions_url="/handles")
    return login_page(form, look=Look(client_name=f"N{text}", pages=pages))


def login_twice(text: str = "x") -> Response:
    form = LoginForm(action="/oauth/login", account=f"a{text}", identifier=text)
    return login_page(form, look=look_of(text))


def handover(text: str = "x") -> Response:
    return handover_page(
        authorization_url=AUTHORIZATION_URL, host=text, look=look_of(text)
    )


def error(text: str = "x") -> Response:
    return error_page(
        WrongBrowser(text),
        look=look_of(text),
        retry_url="/oauth/login",
        home_url="/",
        incident_id=text,
        host=text,
    )


def denied(text: str = "x") -> Response:
    return error_page(
        LoginDenied(text, error=text, error_description=text),
        look=Look(),
        retry_url=None,
        home_url="/",
        host=text,
    )


def logout(text: str = "x") -> Response:
    return logout_page(
        action="/oauth/logout",
        return_to=text,
        account=f"h{text}",
        home_url="/",
        look=look_of(text),
    )


def logged_out(text: str = "x") -> Response:
    return logged_out_page(login_url="/oauth/login", home_url="/", look=look_of(text))


def wrong_host(text: str = "x") -> Response:
    return wrong_host_page(url="http://127.0.0.1:8000/", look=look_of(text))


PageMaker = Callable[..., Response]
ALL = (
    login,
    login_by_host,
    login_again,
    login_twice,
    handover,
    error,
    denied,
    logout,
    logged_out,
    wrong_host,
)
every_page = pytest.mark.parametrize("make", ALL, ids=lambda make: make.__name__)


@every_page
@given(text=any_text())
@pytest.mark.covers("ERR-01", "CB-13", "WEB-04")
def test_page_when_given_any_text_then_its_markup_stays_the_same(
    make: PageMaker, text: str
) -> None:
    """No input, from whomever, breaks out of a template."""
    assert read(make(text)).shape() == read(make("x")).shape()


@every_page
@pytest.mark.parametrize("text", NASTY)
@pytest.mark.covers("ERR-01", "WEB-04")
def test_page_when_given_nasty_text_then_holds_none_of_it_raw(
    make: PageMaker, text: str
) -> None:
    """Tags, attributes and quotes that came in appear escaped or not at all."""
    html = html_of(make(text))
    assert "<svg" not in html
    assert "<script>alert" not in html
    assert "<img" not in html
    assert "onload=alert(1)>" not in html
    assert "\u202e" not in html


@every_page
@pytest.mark.covers("HTTP-05", "WEB-05")
def test_page_when_sent_then_has_every_protective_header(make: PageMaker) -> None:
    """Not stored, not framed, not sniffed, not read across origins; no script."""
    headers = make().headers
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] in {"same-origin", "no-referrer"}
    policy = headers["content-security-policy"].split("; ")
    own = ("style-src", "script-src", "connect-src")
    assert [part for part in policy if not part.startswith(own)] == [
        "default-src 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    ]
    assert "etag" not in headers
    assert not [name for name in headers if name.startswith("access-control")]


@every_page
@pytest.mark.covers("HTTP-05")
def test_page_when_sent_then_its_policy_allows_exactly_its_style(
    make: PageMaker,
) -> None:
    """The hash in the header is that of the one style block that was sent."""
    response = make()
    [style] = re.findall(r"<style>(.*?)</style>", html_of(response), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = response.headers["content-security-policy"].split("; ")
    assert f"style-src 'sha256-{digest}'" in policy


@every_page
def test_page_when_read_then_is_well_built(make: PageMaker) -> None:
    """Language, title, viewport, one main and one heading: fit for everybody."""
    page = read(make())
    assert page.all("html") == [{"lang": "en", "dir": "ltr"}]
    assert len(page.all("main")) == len(page.all("h1")) == len(page.all("title")) == 1
    viewport = {"name": "viewport", "content": "width=device-width, initial-scale=1"}
    assert viewport in page.all("meta")
    ids = [e.attributes["id"] for e in page.elements if "id" in e.attributes]
    assert len(ids) == len(set(ids))


@pytest.mark.covers("HTTP-05")
def test_page_when_it_holds_a_form_or_a_code_then_has_the_fitting_referrer_policy() -> (
    None
):
    """Forms must tell their origin; pages on the way to and fro tell nothing."""
    for page in (login(), error(), logout(), wrong_host()):
        assert page.headers["referrer-policy"] == "same-origin"
    assert handover().headers["referrer-policy"] == "no-referrer"
    callback = error_page(
        None,
        look=Look(),
        retry_url=None,
        home_url="/",
        referrer_policy="no-referrer",
    )
    assert callback.headers["referrer-policy"] == "no-referrer"


def test_login_page_when_opened_then_has_a_form_with_one_field() -> None:
    """A person sees one field for the handle, and nothing hidden is sent."""
    form = LoginForm(action="/oauth/login")
    response = login_page(form, look=Look(client_name="Notes"))
    page = read(response)
    assert response.status_code == 200
    assert page.all("form") == [{"method": "post", "action": "/oauth/login"}] * 2
    assert page.forms() == [{"identifier": ""}, {"host": ""}]
    assert page.all("details") == [{}]
    assert "Create one" not in page.text
    assert "Notes" in page.text
    assert "Bluesky" in page.text
    assert "password" in page.text


def test_login_page_when_opened_then_its_field_suits_handles() -> None:
    """Labelled, described, and left alone by what corrects and capitalises."""
    page = read(login_page(LoginForm(action="/oauth/login"), look=Look()))
    field = page.all("input")[0]
    wanted = {
        "autocomplete": "username",
        "autocapitalize": "none",
        "spellcheck": "false",
        "inputmode": "url",
        "placeholder": "alice.bsky.social",
        "aria-describedby": "hint",
        "aria-invalid": "false",
    }
    assert wanted.items() <= field.items()
    assert {"for": field["id"]} in page.all("label")
    assert "hint" in [attributes.get("id") for attributes in page.all("p")]


def test_login_page_when_given_hidden_values_then_sends_them_on() -> None:
    """What the application asked for survives the form; an empty one too."""
    form = LoginForm(action="/l", return_to="/a?b=c&d", scope="", prompt="login")
    passed_on = {"return_to": "/a?b=c&d", "scope": "", "prompt": "login"}
    assert read(login_page(form, look=Look())).forms() == [
        {"identifier": "", **passed_on},
        {"host": "", **passed_on},
    ]


def test_login_page_when_there_is_a_problem_then_tells_it_by_the_field() -> None:
    """What was typed stays, and the field is tied to the explanation."""
    form = LoginForm(
        action="/l",
        identifier='al"ice.test',
        problem=HandleNotFound("internal detail"),
    )
    response = login_page(form, look=Look())
    page = read(response)
    field = page.all("input")[0]
    [alert] = [found for found in page.all("div") if found.get("role") == "alert"]
    assert response.status_code == 400
    assert field["value"] == 'al"ice.test'
    assert field["aria-invalid"] == "true"
    assert (field["aria-describedby"] or "").split() == [alert["id"], "hint"]
    assert "We could not find that handle" in page.text
    assert "internal detail" not in page.text


def test_login_page_when_the_problem_is_not_the_field_then_does_not_blame_it() -> None:
    """A host that is away does not make the typed handle wrong."""
    problem = TooManyLogins("x", retry_after_s=5)
    response = login_page(LoginForm(action="/l", problem=problem), look=Look())
    field = read(response).all("input")[0]
    assert response.status_code == 429
    assert field["aria-invalid"] == "false"


def test_login_page_when_the_identifier_is_huge_then_caps_it() -> None:
    """A page does not grow with what was sent."""
    form = LoginForm(action="/l", identifier="a" * 100_000)
    response = login_page(form, look=Look())
    assert len(read(response).fields()["identifier"] or "") == 2048


@pytest.mark.covers("PAR-07")
def test_handover_page_when_sent_then_leads_on_without_a_redirect() -> None:
    """The browser goes on by itself, and a link is there if it does not."""
    response = handover("pds.test")
    page = read(response)
    assert response.status_code == 200
    assert response.headers["refresh"] == f"0; url={AUTHORIZATION_URL}"
    assert "location" not in response.headers
    assert [link["href"] for link in page.all("a")] == [AUTHORIZATION_URL]
    assert "Continue to pds.test" in page.text


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "/oauth/authorize",
        "//evil.test/",
        "https://a.test/\r\nSet-Cookie: a=b",
        "https://a.test/ b",
        "https://a.test/\x7f",
        "https://a.test/\u00e4",
        "https://a.test@evil.test/",
        "https:\\\\evil.test",
        "ftp://a.test/",
        "",
    ],
)
@pytest.mark.covers("PAR-07")
def test_handover_page_when_the_url_is_unsafe_then_refuses(url: str) -> None:
    """Nobody is sent to a script, and no header is split."""
    with pytest.raises(ValueError, match=r"URL"):
        handover_page(authorization_url=url, host="a.test", look=Look())


def test_error_page_when_sent_then_tells_what_happened_and_the_ways_on() -> None:
    """Title, reason, a button to try again, a link home, the incident."""
    response = error_page(
        TimedOut("internal detail"),
        retry_url="/oauth/login?identifier=a",
        home_url="/home",
        incident_id="abc123",
        host="pds.example.com",
        look=Look(client_name="Notes"),
    )
    page = read(response)
    assert response.status_code == 504
    links = [link["href"] for link in page.all("a")]
    assert links == ["/oauth/login?identifier=a", "/home"]
    for words in ("not answering", "pds.example.com", "Back to Notes", "abc123"):
        assert words in page.text
    assert "internal detail" not in page.text


def test_error_page_when_there_are_causes_then_lists_them() -> None:
    """Three possible causes are three items of a list."""
    page = read(error())
    assert len(page.all("ul")) == 1
    assert len(page.all("li")) == 3


def test_error_page_when_nobody_foresaw_it_then_tells_only_the_incident() -> None:
    """Without an error of ours the page says sorry, and what to ask for."""
    response = error_page(
        None, look=Look(), retry_url=None, home_url="/", incident_id="abc123"
    )
    page = read(response)
    assert response.status_code == 500
    assert [link["href"] for link in page.all("a")] == ["/"]
    assert "abc123" in page.text
    assert "fault of this app" in page.text


def test_error_page_when_given_a_status_then_uses_it() -> None:
    """The caller may know better."""
    response = error_page(
        StoreError("x"), look=Look(), status_code=500, retry_url=None, home_url="/"
    )
    assert response.status_code == 500


@pytest.mark.parametrize("url", ["javascript:alert(1)", "//evil.test", "data:,x"])
@pytest.mark.covers("WEB-04")
def test_pages_when_given_a_link_that_is_none_then_refuse(url: str) -> None:
    """No page carries a link or a form target that could run or mislead."""
    look = Look()
    stay: Any = {"return_to": None, "account": "a.test", "look": look}
    makers: list[Callable[[], Response]] = [
        lambda: login_page(LoginForm(action=url), look=look),
        lambda: login_page(LoginForm(action="/", account="a", home_url=url), look=look),
        lambda: error_page(None, look=look, retry_url=url, home_url="/"),
        lambda: error_page(None, look=look, retry_url=None, home_url=url),
        lambda: logout_page(action=url, home_url="/", **stay),
        lambda: logout_page(action="/", home_url=url, **stay),
        lambda: logged_out_page(login_url=url, home_url="/", look=look),
        lambda: wrong_host_page(url=url, look=look),
    ]
    for make in makers:
        with pytest.raises(ValueError, match=r"URL"):
            make()


def test_logout_page_when_opened_then_only_asks() -> None:
    """Opening it shows who is logged in and a form; it sets and ends nothing."""
    response = logout_page(
        action="/oauth/logout",
        return_to="/bye",
        account="alice.test",
        home_url="/",
        look=Look(),
    )
    page = read(response)
    assert response.status_code == 200
    assert page.all("form") == [{"method": "post", "action": "/oauth/logout"}]
    assert page.fields() == {"return_to": "/bye"}
    assert "@alice.test" in page.text
    assert "set-cookie" not in response.headers


def test_logout_page_when_there_is_no_handle_then_shows_the_did() -> None:
    """A DID gets no @."""
    response = logout_page(
        action="/l", return_to=None, account="did:plc:abc", home_url="/", look=Look()
    )
    page = read(response)
    assert "logged in as did:plc:abc" in page.text
    assert page.fields() == {}


def test_logged_out_page_when_sent_then_leads_to_the_login_and_home() -> None:
    """Who is logged out is told so, and has two ways on."""
    page = read(logged_out())
    assert [link["href"] for link in page.all("a")] == ["/oauth/login", "/"]
    assert page.all("form") == []
    assert "You are logged out" in page.text


def test_login_page_when_a_session_has_ended_then_one_button_logs_in_again() -> None:
    """Who was there is asked for by name; somebody else can still get in."""
    form = LoginForm(
        action="/l", identifier="alice.test", reason="revoked", return_to="/notes"
    )
    response = login_page(form, look=Look())
    page = read(response)
    assert response.status_code == 200
    assert page.fields() == {"identifier": "alice.test", "return_to": "/notes"}
    for words in ("Log in again", "Continue as @alice.test", "The session was ended"):
        assert words in page.text
    assert page.forms()[1] == {"identifier": "", "return_to": "/notes"}
    assert "Use another account" in page.text


@pytest.mark.parametrize("reason", ["", "because", "<b>", "session_expired"])
def test_login_page_when_the_reason_is_unknown_then_says_nothing_of_it(
    reason: str,
) -> None:
    """A link cannot make the page say what we do not say."""
    form = LoginForm(action="/l", identifier="alice.test", reason=reason)
    assert html_of(login_page(form, look=Look())) == html_of(
        login_page(LoginForm(action="/l", identifier="alice.test"), look=Look())
    )


def test_login_page_when_somebody_is_logged_in_then_says_who_and_leads_on() -> None:
    """The back button leads here: nobody has to log in twice."""
    form = LoginForm(action="/l", account="did:plc:abc", home_url="/notes")
    page = read(login_page(form, look=Look(client_name="Notes")))
    assert "You are logged in as did:plc:abc." in page.text
    assert [link["href"] for link in page.all("a")] == ["/notes"]
    assert page.fields() == {"identifier": ""}


def test_login_page_when_the_host_was_wrong_then_tells_it_by_that_field() -> None:
    """The part with the host is open, and its field is the one to blame."""
    form = LoginForm(action="/l", host="bsky", problem=InvalidIdentifier("x"))
    page = read(login_page(form, look=Look()))
    handle, host = page.all("input")
    assert page.all("details") == [{"open": None}]
    assert (handle["aria-invalid"], host["aria-invalid"]) == ("false", "true")
    assert (handle["value"], host["value"]) == ("", "bsky")
    assert host["aria-describedby"] == "problem host-hint"


def test_login_page_when_a_sign_up_host_is_named_then_leads_to_a_new_account() -> None:
    """One button begins a login at that host, which shows its sign-up form."""
    look = Look(pages=Pages(sign_up_host="bsky.social"))
    form = LoginForm(action="/l", prompt="login", return_to="/notes")
    page = read(login_page(form, look=look))
    assert page.forms()[-1] == {
        "identifier": "https://bsky.social",
        "prompt": "create",
        "return_to": "/notes",
    }
    assert "Create one on bsky.social" in page.text


def test_wrong_host_page_when_sent_then_names_the_address_to_open() -> None:
    """421, the reason, and a link that works."""
    response = wrong_host_page(url="http://127.0.0.1:8000/oauth/login", look=Look())
    page = read(response)
    assert response.status_code == 421
    assert [link["href"] for link in page.all("a")] == [
        "http://127.0.0.1:8000/oauth/login"
    ]
    assert "development mode" in page.text
