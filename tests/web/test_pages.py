"""The pages hold what they should, and nothing that is put in gets out."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from starlette.responses import Response

from atproto_oauth_asgi.exceptions import (
    HandleNotFound,
    LoginDenied,
    StoreError,
    TimedOut,
    WrongBrowser,
)
from atproto_oauth_asgi.web.pages import (
    error_page,
    handover_page,
    login_page,
    logout_page,
    wrong_host_page,
)
from tests.web.reading import NASTY, any_text, html_of, read

AUTHORIZATION_URL = "https://pds.test/oauth/authorize?client_id=a&request_uri=urn%3Ab"


def login(text: str = "x") -> Response:
    return login_page(
        action="/oauth/login",
        client_name=f"N{text}",
        identifier=text,
        return_to=text,
        scope=text,
        prompt=text,
        problem=TimedOut(text),
        host=text,
    )


def handover(text: str = "x") -> Response:
    return handover_page(
        authorization_url=AUTHORIZATION_URL, host=text, client_name=f"N{text}"
    )


def error(text: str = "x") -> Response:
    return error_page(
        WrongBrowser(text),
        retry_url="/oauth/login",
        home_url="/",
        incident_id=text,
        host=text,
        client_name=f"N{text}",
    )


def denied(text: str = "x") -> Response:
    return error_page(
        LoginDenied(text, error=text, error_description=text),
        retry_url=None,
        home_url="/",
        host=text,
    )


def logout(text: str = "x") -> Response:
    return logout_page(
        action="/oauth/logout",
        return_to=text,
        handle=f"h{text}",
        client_name=f"N{text}",
    )


def wrong_host(text: str = "x") -> Response:
    return wrong_host_page(url="http://127.0.0.1:8000/", client_name=f"N{text}")


PageMaker = Callable[..., Response]
ALL = (login, handover, error, denied, logout, wrong_host)
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
    assert "<script" not in html
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
    assert [part for part in policy if not part.startswith("style-src")] == [
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
    assert page.all("html") == [{"lang": "en"}]
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
        None, retry_url=None, home_url="/", referrer_policy="no-referrer"
    )
    assert callback.headers["referrer-policy"] == "no-referrer"


def test_login_page_when_opened_then_has_a_form_with_one_field() -> None:
    """A person sees a field for the handle, and nothing hidden is sent."""
    response = login_page(action="/oauth/login", client_name="Notes")
    page = read(response)
    assert response.status_code == 200
    assert page.all("form") == [{"method": "post", "action": "/oauth/login"}]
    assert page.fields() == {"identifier": ""}
    assert "Notes" in page.text
    assert "Bluesky" in page.text
    assert "password" in page.text


def test_login_page_when_opened_then_its_field_suits_handles() -> None:
    """Labelled, described, and left alone by what corrects and capitalises."""
    page = read(login_page(action="/oauth/login", client_name=None))
    [field] = page.all("input")
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
    response = login_page(
        action="/l", client_name=None, return_to="/a?b=c&d", scope="", prompt="login"
    )
    assert read(response).fields() == {
        "identifier": "",
        "return_to": "/a?b=c&d",
        "scope": "",
        "prompt": "login",
    }


def test_login_page_when_there_is_a_problem_then_tells_it_by_the_field() -> None:
    """What was typed stays, and the field is tied to the explanation."""
    response = login_page(
        action="/l",
        client_name=None,
        identifier='al"ice.test',
        problem=HandleNotFound("internal detail"),
    )
    page = read(response)
    [field] = page.all("input")
    [alert] = [found for found in page.all("div") if found.get("role") == "alert"]
    assert response.status_code == 400
    assert field["value"] == 'al"ice.test'
    assert field["aria-invalid"] == "true"
    assert (field["aria-describedby"] or "").split() == [alert["id"], "hint"]
    assert "We could not find that handle" in page.text
    assert "internal detail" not in page.text


def test_login_page_when_the_problem_is_not_the_field_then_does_not_blame_it() -> None:
    """A host that is away does not make the typed handle wrong."""
    response = login_page(
        action="/l", client_name=None, problem="too_many_logins", status_code=503
    )
    [field] = read(response).all("input")
    assert response.status_code == 503
    assert field["aria-invalid"] == "false"


def test_login_page_when_the_identifier_is_huge_then_caps_it() -> None:
    """A page does not grow with what was sent."""
    response = login_page(action="/l", client_name=None, identifier="a" * 100_000)
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
        handover_page(authorization_url=url, host="a.test")


def test_error_page_when_sent_then_tells_what_happened_and_the_ways_on() -> None:
    """Title, reason, a button to try again, a link home, the incident."""
    response = error_page(
        TimedOut("internal detail"),
        retry_url="/oauth/login?identifier=a",
        home_url="/home",
        incident_id="abc123",
        host="pds.example.com",
        client_name="Notes",
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
    response = error_page(None, retry_url=None, home_url="/", incident_id="abc123")
    page = read(response)
    assert response.status_code == 500
    assert [link["href"] for link in page.all("a")] == ["/"]
    assert "abc123" in page.text
    assert "fault of this app" in page.text


def test_error_page_when_given_a_status_then_uses_it() -> None:
    """The caller may know better."""
    response = error_page(
        StoreError("x"), status_code=500, retry_url=None, home_url="/"
    )
    assert response.status_code == 500


@pytest.mark.parametrize("url", ["javascript:alert(1)", "//evil.test", "data:,x"])
@pytest.mark.covers("WEB-04")
def test_pages_when_given_a_link_that_is_none_then_refuse(url: str) -> None:
    """No page carries a link or a form target that could run or mislead."""
    makers: list[Callable[[], Response]] = [
        lambda: login_page(action=url, client_name=None),
        lambda: error_page(None, retry_url=url, home_url="/"),
        lambda: error_page(None, retry_url=None, home_url=url),
        lambda: logout_page(action=url, return_to=None, handle=None),
        lambda: logout_page(action="/", return_to=None, handle=None, home_url=url),
        lambda: wrong_host_page(url=url),
    ]
    for make in makers:
        with pytest.raises(ValueError, match=r"URL"):
            make()


def test_logout_page_when_opened_then_only_asks() -> None:
    """Opening it shows who is logged in and a form; it sets and ends nothing."""
    response = logout_page(
        action="/oauth/logout", return_to="/bye", handle="alice.test"
    )
    page = read(response)
    assert response.status_code == 200
    assert page.all("form") == [{"method": "post", "action": "/oauth/logout"}]
    assert page.fields() == {"return_to": "/bye"}
    assert "@alice.test" in page.text
    assert "set-cookie" not in response.headers


def test_logout_page_when_the_name_is_unknown_or_a_did_then_copes() -> None:
    """A DID gets no @, and an unknown name no sentence."""
    unknown = read(logout_page(action="/l", return_to=None, handle=None))
    assert "logged in as" not in unknown.text
    assert unknown.fields() == {}
    did = read(logout_page(action="/l", return_to=None, handle="did:plc:abc"))
    assert "logged in as did:plc:abc" in did.text


def test_wrong_host_page_when_sent_then_names_the_address_to_open() -> None:
    """421, the reason, and a link that works."""
    response = wrong_host_page(url="http://127.0.0.1:8000/oauth/login")
    page = read(response)
    assert response.status_code == 421
    assert [link["href"] for link in page.all("a")] == [
        "http://127.0.0.1:8000/oauth/login"
    ]
    assert "development mode" in page.text
