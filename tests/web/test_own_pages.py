"""Pages of the application's own: its template, its style, its form, its ways in."""

from __future__ import annotations

import logging
import re
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from atproto_oauth_asgi import ConfigurationError, Page, Pages
from atproto_oauth_asgi.exceptions import LoginDenied, WrongBrowser
from atproto_oauth_asgi.web.login_desk import read_identifier
from atproto_oauth_asgi.web.login_form import LoginForm
from atproto_oauth_asgi.web.pages import error_page, login_page
from atproto_oauth_asgi.web.words import Look
from tests.network.atproto import ALICE, PAR, Servers
from tests.web.browsing import WebSite
from tests.web.reading import html_of


def policy_of(look: Look) -> dict[str, str]:
    response = login_page(LoginForm(action="/l"), look=look)
    parts = response.headers["content-security-policy"].split("; ")
    return {name: value for name, _, value in (part.partition(" ") for part in parts)}


class Template:
    """Renders pages, and keeps what it was given."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self.given: list[Page] = []

    def __call__(self, page: Page) -> str | None:
        self.given.append(page)
        return f"<p>{page.words['title']}</p>" if page.name in self.names else None


@pytest.mark.covers("ERR-05")
def test_render_when_it_gives_html_then_that_is_the_page() -> None:
    """Under our status and headers; styles of the site may be loaded, scripts not."""
    template = Template("error")
    look = Look(client_name="Notes", pages=Pages(render=template))
    response = error_page(
        LoginDenied("secret", error="access_denied", error_description="secret"),
        look=look,
        retry_url="/oauth/login",
        home_url="/",
        incident_id="abc",
    )
    assert html_of(response) == "<p>You declined</p>"
    assert response.status_code == 400
    assert response.headers["cache-control"] == "no-store"
    policy = response.headers["content-security-policy"]
    assert "style-src 'self'" in policy
    assert "script-src" not in policy
    assert "frame-ancestors 'none'" in policy


@pytest.mark.covers("ERR-05", "ERR-02")
def test_render_when_called_then_is_given_codes_and_texts_and_no_secret() -> None:
    """The stable code, whole sentences, links and hidden fields; nothing foreign."""
    template = Template()
    look = Look(client_name="Notes", pages=Pages(render=template))
    error_page(
        LoginDenied("secret", error="access_denied", error_description="secret"),
        look=look,
        retry_url="/oauth/login",
        home_url="/",
        incident_id="abc",
    )
    [page] = template.given
    assert (page.name, page.code, page.client_name) == (
        "error",
        "login_denied",
        "Notes",
    )
    assert page.values == {
        "retry_url": "/oauth/login",
        "home_url": "/",
        "incident_id": "abc",
    }
    assert "Notes" in page.words["what"]
    assert "secret" not in repr(page)
    error_page(WrongBrowser("x"), look=look, retry_url=None, home_url="/")
    assert len(template.given[-1].causes) == 3


@pytest.mark.parametrize("name", ["login", "error"])
def test_render_when_it_gives_nothing_then_ours(name: str) -> None:
    """An application can have a template for one page and leave the others."""
    look = Look(pages=Pages(render=Template(name)))
    login = html_of(login_page(LoginForm(action="/l"), look=look))
    error = html_of(error_page(None, look=look, retry_url=None, home_url="/"))
    assert ("<main>" in login) is (name != "login")
    assert ("<main>" in error) is (name != "error")


def test_render_when_it_raises_then_ours_and_a_line_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A broken template locks nobody out."""
    caplog.set_level(logging.ERROR, logger="atproto_oauth_asgi")

    def render(page: Page) -> str:
        return page.words["titel"]

    look = Look(pages=Pages(render=render))
    assert "<main>" in html_of(login_page(LoginForm(action="/l"), look=look))
    assert "template failed: page=login" in caplog.text


def test_policy_when_the_application_gives_one_then_for_its_own_html_only() -> None:
    """It is for what `render` gives; our pages keep theirs."""
    own = "default-src 'self'; frame-ancestors 'none'"
    pages = Pages(render=Template("error"), content_security_policy=own)
    look = Look(pages=pages)
    assert policy_of(look)["default-src"] == "'none'"
    response = error_page(None, look=look, retry_url=None, home_url="/")
    assert response.headers["content-security-policy"] == own


@pytest.mark.covers("HTTP-05")
def test_style_when_the_application_adds_to_it_then_its_hash_is_allowed() -> None:
    """Colours can be changed, and the policy stays as strict."""
    look = Look(pages=Pages(style=":root { --accent: #a0f }"))
    html = html_of(login_page(LoginForm(action="/l"), look=look))
    [style] = re.findall("<style>(.*?)</style>", html, re.DOTALL)
    assert style.endswith(":root { --accent: #a0f }")
    assert policy_of(look)["style-src"] != policy_of(Look())["style-src"]


@pytest.mark.covers("HTTP-05")
@pytest.mark.parametrize(
    ("url", "source"),
    [
        ("/handles", "'self'"),
        (
            "https://public.api.bsky.app/xrpc/app.bsky.actor.searchActorsTypeahead",
            "https://public.api.bsky.app",
        ),
    ],
)
def test_policy_when_suggestions_are_on_then_one_script_and_one_host(
    url: str, source: str
) -> None:
    """Without them there is no script at all, and nobody can be asked."""
    policy = policy_of(Look(pages=Pages(suggestions_url=url)))
    assert policy["connect-src"] == source
    assert re.fullmatch(r"'sha256-[\w+/]+='", policy["script-src"])
    assert not {"connect-src", "script-src"} & policy_of(Look()).keys()


@pytest.mark.parametrize(
    ("fields", "typed"),
    [
        ({"identifier": "alice"}, "alice.bsky.social"),
        ({"identifier": " @alice\u200b "}, "alice.bsky.social"),
        ({"identifier": "alice.test"}, "alice.test"),
        ({"identifier": "did:plc:abc"}, "did:plc:abc"),
        ({"identifier": "alice@example.com"}, "alice@example.com"),
        ({"identifier": ""}, ""),
        ({"identifier": "@"}, "@"),
        ({"host": "bsky.social", "identifier": "x"}, "https://bsky.social"),
        ({"host": " https://bsky.social "}, "https://bsky.social"),
        ({}, ""),
    ],
)
def test_identifier_when_typed_then_completed_as_the_application_says(
    fields: dict[str, str], typed: str
) -> None:
    """A bare name gets the suffix, a host its scheme; the rest stays as it is."""
    pages = Pages(default_handle_suffix="bsky.social")
    assert read_identifier(fields, pages) == typed


def test_identifier_when_there_is_no_suffix_then_as_typed() -> None:
    """Nobody is sent to a host that they have not named."""
    assert read_identifier({"identifier": "alice"}, Pages()) == "alice"


@pytest.mark.anyio
async def test_own_form_when_it_is_named_then_people_are_sent_there(
    servers: Servers,
) -> None:
    """With what it should hold; and again with the code of what went wrong."""
    site = WebSite(servers, pages=Pages(login_url="/welcome?a=b"))
    async with site.browser() as browser:
        query = {"identifier": "alice.test", "return_to": "//evil.test", "x": "y"}
        response = await browser.http.get("/oauth/login", params=query)
        assert response.status_code == 303
        found = dict(parse_qsl(urlsplit(response.headers["location"]).query))
        assert found == {"a": "b", "identifier": "alice.test", "return_to": "/"}
        data = {"identifier": "nobody", "return_to": "/notes"}
        response = await browser.http.post("/oauth/login", data=data)
        location = urlsplit(response.headers["location"])
        assert location.path == "/welcome"
        assert dict(parse_qsl(location.query)) == {
            "a": "b",
            **data,
            "error": "invalid_identifier",
        }
        assert (await browser.log_in()).headers["location"] == "/"
        assert await browser.who() == ALICE


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("identifier", "is_again"),
    [("alice.test", True), (ALICE, True), ("", True), ("you have won", False)],
)
async def test_login_page_when_a_link_says_log_in_again_then_only_for_somebody(
    servers: Servers, identifier: str, is_again: bool
) -> None:
    """No link puts words of its own on a button."""
    site = WebSite(servers)
    async with site.browser() as browser:
        query = {"identifier": identifier, "reason": "expired"}
        page = (await browser.http.get("/oauth/login", params=query)).text
        assert ("Log in again" in page) is is_again
        assert "Continue as @you" not in page


@pytest.mark.anyio
async def test_login_when_a_host_is_sent_then_nobody_is_named_there(
    servers: Servers,
) -> None:
    """The authorization server asks who it is."""
    site = WebSite(servers)
    async with site.browser() as browser:
        data = {"host": "as.example.com"}
        response = await browser.http.post("/oauth/login", data=data)
        assert response.status_code == 200
        [pushed] = servers.taken(PAR)
        assert "login_hint" not in pushed.form


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"sign_up_host": "bsky"}, None),
        ({"sign_up_host": "http://localhost:2583"}, None),
        ({"sign_up_host": "https://bsky.social/x"}, "sign_up_host"),
        ({"sign_up_host": "Bsky Social"}, "sign_up_host"),
        ({"default_handle_suffix": ".bsky.social"}, "default_handle_suffix"),
        ({"default_handle_suffix": 5}, "default_handle_suffix"),
        ({"suggestions_url": "//evil.test/x"}, "suggestions_url"),
        ({"suggestions_url": "javascript:x"}, "suggestions_url"),
        ({"suggestions_url": "https://a.test/x; script-src *"}, "suggestions_url"),
        ({"suggestions_url": "/a;b"}, None),
        ({"login_url": "https://a.test/"}, "login_url"),
        ({"login_url": "//a.test/"}, "login_url"),
        ({"language": "english!"}, "not a language tag"),
        ({"translations": {"<b>": {}}}, "not a language tag"),
        ({"style": "</style><script>"}, "style"),
        ({"render": "page.html"}, "render"),
        ({"content_security_policy": "x"}, "content_security_policy"),
        (
            {"content_security_policy": "a\r\nb", "render": str},
            "content_security_policy",
        ),
    ],
)
def test_pages_when_an_option_cannot_work_then_refused_at_the_start(
    options: dict[str, Any], problem: str | None
) -> None:
    """Every problem is told with the option's name."""
    if problem is None:
        Pages(**options)
        return
    with pytest.raises(ConfigurationError, match=re.escape(problem)):
        Pages(**options)
