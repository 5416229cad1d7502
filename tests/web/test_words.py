"""The texts of pages: replaced, translated, chosen by the browser's languages."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atproto_oauth_asgi import ConfigurationError, OAuthConfig, Pages
from atproto_oauth_asgi.exceptions import Blocked, HandleNotFound, Unreachable
from atproto_oauth_asgi.pages import Texts
from atproto_oauth_asgi.web.login_form import LoginForm
from atproto_oauth_asgi.web.pages import error_page, logged_out_page, login_page
from atproto_oauth_asgi.web.site import Site
from atproto_oauth_asgi.web.texts import load_texts
from atproto_oauth_asgi.web.words import Look, Looks, load_words
from tests.sessions.making import SECRET
from tests.web.driving import answering, ask, http_scope, make_middleware
from tests.web.reading import html_of, read

GERMAN: Texts = {
    "login_page": {"title": "Anmelden", "label": "Dein Handle", "go_on": "Zu {app}"},
    "handle_not_found": {"title": "Dieses Handle gibt es nicht"},
    "unreachable": {"what": "{host} antwortet {app} nicht."},
    "wrong_browser": {"causes": ["Ein anderer Browser."]},
}
HEBREW = {"login_page": {"title": "כניסה"}}


def looks(**options: Any) -> Looks:
    return Looks(Pages(**options), client_name="Notes")


def heading(look: Look) -> str:
    html = html_of(login_page(LoginForm(action="/l"), look=look))
    [found] = re.findall("<h1>(.*)</h1>", html)
    return str(found)


def test_words_when_read_then_all_are_short_and_name_only_what_is_known() -> None:
    """Labels and sentences, with no name left open that nobody fills."""
    for words in load_words().values():
        for text in words.values():
            names = set(re.findall(r"\{(.*?)\}", text))
            assert names <= {"app", "host", "account"}
            assert len(text) < 200
    assert load_words().keys().isdisjoint(load_texts())


def test_texts_when_replaced_then_the_rest_stays() -> None:
    """One word can be changed without writing the page anew."""
    look = looks(texts={"login_page": {"title": "Enter {app}"}}).choose(None)
    assert heading(look) == "Enter Notes"
    page = read(login_page(LoginForm(action="/l"), look=look))
    assert "Your handle" in page.text


def test_texts_when_they_name_what_a_page_does_not_know_then_nothing_stands_there() -> (
    None
):
    """A page that knows no account shows no braces to a person."""
    look = looks(texts={"logged_out_page": {"text": "Bye{account}!"}}).choose(None)
    page = logged_out_page(login_url="/oauth/login", home_url="/", look=look)
    assert "Bye!" in html_of(page)


@pytest.mark.covers("ERR-05")
def test_texts_when_an_error_is_replaced_then_told_that_way() -> None:
    """Everywhere: on the form, on the error page, and for codes that borrow it."""
    look = looks(texts=GERMAN).choose(None)
    form = LoginForm(action="/l", problem=HandleNotFound("x"))
    assert "Dieses Handle gibt es nicht." in html_of(login_page(form, look=look))
    for error in (Unreachable("x"), Blocked("x")):
        page = error_page(error, look=look, retry_url=None, home_url="/", host="a.test")
        assert "(a.test) antwortet Notes nicht." in html_of(page)


@pytest.mark.parametrize(
    ("accept", "language"),
    [
        (None, "en"),
        ("", "en"),
        ("de", "de"),
        ("de-AT, en;q=0.8", "de"),
        ("en-GB, de;q=0.9", "en"),
        ("fr, de;q=0.5, en;q=0.4", "de"),
        ("fr, en;q=0.5, de;q=0.4", "en"),
        ("DE-de", "de"),
        ("de;q=0", "en"),
        ("*", "en"),
        ("he-IL", "he"),
        ("de;q=x, he", "he"),
    ],
)
def test_language_when_the_browser_prefers_one_then_that_if_it_is_there(
    accept: str | None, language: str
) -> None:
    """Region and weight count as the standard says; English is ours."""
    found = looks(translations={"de": GERMAN, "he": HEBREW}).choose(accept)
    assert found.language == language
    assert heading(found) == {"en": "Log in", "de": "Anmelden", "he": "כניסה"}[language]


@given(accept=st.text())
def test_language_when_the_header_is_anything_then_copes(accept: str) -> None:
    """A header is what a stranger sends."""
    found = looks(translations={"de": GERMAN}).choose(accept)
    assert found.language in {"en", "de"}


def test_page_when_a_language_is_written_to_the_left_then_says_so() -> None:
    """Browsers turn the page round."""
    look = looks(language="he", texts=HEBREW).choose(None)
    page = read(login_page(LoginForm(action="/l"), look=look))
    assert page.all("html") == [{"lang": "he", "dir": "rtl"}]


@pytest.mark.anyio
async def test_routes_when_a_browser_prefers_a_language_then_its_pages_and_problems() -> (
    None
):
    """Every answer goes by it, JSON too."""
    app = make_middleware(answering(), pages=Pages(translations={"de": GERMAN}))
    language = ("accept-language", "de")
    page = await ask(app, http_scope("/oauth/login", headers=[language]))
    assert "Dein Handle" in page.body.decode()
    assert '<html lang="de"' in page.body.decode()


@pytest.mark.parametrize(
    ("texts", "problem"),
    [
        ({"logn_page": {}}, "neither a page nor a code"),
        ({"login_page": {"titel": "x"}}, "has no text 'titel'"),
        ({"csrf": {"button": "x"}}, "has no text 'button'"),
        ({"login_page": {"title": 1}}, "others are text"),
        ({"login_page": {"title": "{name}"}}, "the only names in it are"),
        ({"login_page": {"title": "{"}}, "braces"),
        ({"csrf": {"what": "{account}"}}, "the only names in it are app, host"),
        ({"wrong_browser": {"causes": "one"}}, "causes are a list"),
        ({"wrong_browser": {"title": ["one"]}}, "causes are a list"),
        ({"wrong_browser": {"causes": [1]}}, "braces"),
        ({"wrong_browser": {"causes": 1}}, "causes: it is text"),
    ],
)
@pytest.mark.parametrize("option", ["texts", "translations"])
def test_texts_when_they_cannot_be_shown_then_refused_at_the_start(
    texts: Any, problem: str, option: str
) -> None:
    """A slip of the pen is told to the developer, not shown to a person."""
    options: Any = {option: texts if option == "texts" else {"de": texts}}
    pages = Pages(**options)
    config = OAuthConfig(secret_key=SECRET, pages=pages)
    with pytest.raises(ConfigurationError, match=re.escape(problem)):
        Site(config)
