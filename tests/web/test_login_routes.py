"""The beginning of a login: what the form holds, and what begins nothing."""

from __future__ import annotations

import json
import re

import anyio
import anyio.to_thread
import httpx
import pytest
from starlette.types import ASGIApp

from atproto_oauth_asgi.testing import behaviours
from tests.network.atproto import (
    ISSUER,
    METADATA,
    PAR,
    PDS,
    RESOURCE,
    Servers,
)
from tests.web.browsing import ELSEWHERE, MALFORMED, ORIGIN, OUT_OF_ORDER, WebSite
from tests.web.desk import Desk
from tests.web.reading import Page

pytestmark = pytest.mark.anyio

FORM = "application/x-www-form-urlencoded"


def hidden(response: httpx.Response) -> dict[str | None, str | None]:
    return Page(response.text).fields()


@pytest.mark.covers("LOGIN-12", "LGN-11", "LOGIN-02")
@pytest.mark.parametrize("headers", [{}, {"sec-purpose": "prefetch"}])
async def test_form_when_it_is_opened_then_prefilled_and_nothing_begins(
    site: WebSite, headers: dict[str, str]
) -> None:
    """A link may prefill the form; only a person can send it."""
    async with site.browser(**headers) as browser:
        query = {
            "identifier": "alice.example.com",
            "return_to": "/notes?page=2",
            "scope": "atproto",
            "prompt": "login",
            "other": "x",
        }
        response = await browser.http.get("/oauth/login", params=query)
        assert response.status_code == 200
        assert {k: v for k, v in query.items() if k != "other"} == hidden(response)
        assert browser.cookies == {}
        assert site.servers.seen == []


@pytest.mark.covers("RET-01", "RET-12", "LOGIN-03")
async def test_form_when_it_would_lead_elsewhere_then_it_leads_home(
    site: WebSite,
) -> None:
    """The form holds only where the person may really go."""
    async with site.browser() as browser:
        response = await browser.http.get("/oauth/login?return_to=//evil.test")
        assert hidden(response)["return_to"] == "/"
        assert "evil" not in response.text
        twice = "/oauth/login?return_to=/ok&return_to=//evil.test"
        assert (await browser.http.get(twice)).status_code == 400


@pytest.mark.covers("HTTP-14")
async def test_form_when_the_query_is_too_long_then_414(site: WebSite) -> None:
    """Nobody's link is that long."""
    async with site.browser() as browser:
        response = await browser.http.get(f"/oauth/login?x={'a' * 8192}")
        assert response.status_code == 414


@pytest.mark.covers("LOGIN-01", "LGN-01", "HTTP-04")
@pytest.mark.parametrize(
    ("origin", "fetch_site"),
    [
        ("https://evil.test", "cross-site"),
        ("https://evil.test", None),
        ("null", None),
        (ORIGIN, "cross-site"),
        ("http://127.0.0.1:8001", "same-site"),
        ("http://127.0.0.1:8001", None),
        (None, None),
    ],
)
async def test_login_when_another_page_posts_then_403_and_nothing_is_sent(
    site: WebSite, origin: str | None, fetch_site: str | None
) -> None:
    """No other site can begin a login in somebody's browser."""
    headers = {"Origin": origin, "Sec-Fetch-Site": fetch_site}
    async with site.browser(**headers) as browser:
        for path in ("/oauth/login", "/oauth/logout"):
            response = await browser.http.post(
                path, data={"identifier": "alice.example.com"}
            )
            assert response.status_code == 403
            assert response.headers["cache-control"] == "no-store"
        assert browser.cookies == {}
        assert site.servers.seen == []


@pytest.mark.covers("LOGIN-01")
@pytest.mark.parametrize(
    ("origin", "fetch_site"),
    [
        ("null", "same-origin"),
        (None, "same-origin"),
        (ORIGIN, None),
        ("https://www.example.com", "cross-site"),
    ],
)
async def test_login_when_our_page_posts_then_begins(
    servers: Servers, origin: str | None, fetch_site: str | None
) -> None:
    """Our own pages, and those that are trusted, may."""
    site = WebSite(servers, trusted_origins=["https://www.example.com"])
    headers = {"Origin": origin, "Sec-Fetch-Site": fetch_site}
    async with site.browser(**headers) as browser:
        assert (await browser.begin()).startswith(f"{ISSUER}/oauth/authorize?")


@pytest.mark.covers("LOGIN-02", "DOS-A11", "RET-12", "ERR-04")
@pytest.mark.parametrize(
    ("content", "media_type", "status"),
    [
        ("identifier=alice.example.com&identifier=bob.example.com", FORM, 400),
        ("identifier=alice.example.com&return_to=/ok&return_to=//evil", FORM, 400),
        ("identifier=alice.example.com&prompt=steal", FORM, 400),
        ("identifier=alice.example.com&scope=atproto%20transition:generic", FORM, 400),
        ("identifier=alice.example.com&scope=other", FORM, 400),
        ("identifier=" + "a" * 9000, FORM, 413),
        ("identifier=alice.example.com", "multipart/form-data; boundary=x", 415),
        ("identifier=alice.example.com", "text/plain", 415),
        (
            '{"identifier": "alice.example.com", "identifier": "bob.example.com"}',
            "application/json",
            400,
        ),
        ('["alice.example.com"]', "application/json", 400),
        ("{", "application/json", 400),
    ],
)
async def test_login_when_the_body_is_wrong_then_its_status_and_nothing_is_sent(
    site: WebSite, content: str, media_type: str, status: int
) -> None:
    """What cannot be meant is refused before anybody is asked."""
    async with site.browser() as browser:
        headers = {"content-type": media_type}
        response = await browser.http.post(
            "/oauth/login", content=content, headers=headers
        )
        assert response.status_code == status
        assert browser.cookies == {}
        assert site.servers.sent(PAR) == []


@pytest.mark.covers("ERR-04", "LOGIN-08", "ID-01", "ERR-01", "WEB-04", "LOG-04")
@pytest.mark.parametrize(
    "identifier",
    [
        "nobody.example.com",
        "",
        "not a handle",
        "did:key:abc",
        '"><svg onload=alert(1)>',
        "alice.example.com\r\nHost: evil",
        "\x1b[31m",
    ],
)
async def test_login_when_there_is_no_such_account_then_the_form_keeps_the_text(
    site: WebSite, identifier: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A typing mistake is corrected where it was made; nothing of it is markup."""
    async with site.browser() as browser:
        response = await browser.http.post(
            "/oauth/login",
            data={"identifier": identifier, "return_to": "/notes", "scope": "atproto"},
        )
        assert response.status_code == 400
        # A page holds no control characters.
        kept = re.sub(r"[\x00-\x1f]", "\ufffd", identifier)
        expected = {"identifier": kept, "return_to": "/notes", "scope": "atproto"}
        assert hidden(response) == expected
        assert "<svg" not in response.text
        assert browser.cookies == {}
    assert all(line.isprintable() for line in caplog.messages)


@pytest.mark.covers("HTTP-08", "PAR-07")
async def test_login_when_json_is_sent_then_json_comes_back(site: WebSite) -> None:
    """A page of the application's own gets the URL, and facts instead of pages."""
    async with site.browser() as browser:
        members = {
            "identifier": "alice.example.com",
            "return_to": "/notes",
            "scope": None,
        }
        response = await browser.http.post("/oauth/login", json=members)
        assert response.status_code == 200
        assert list(response.json()) == ["authorization_url"]
        url = response.json()["authorization_url"]
        assert url.startswith(f"{ISSUER}/oauth/authorize?")
        assert response.headers["cache-control"] == "no-store"
        back = await browser.come_back()
        assert (back.status_code, back.headers["location"]) == (303, "/notes")
        for identifier, status in (("nobody.example.com", 400), (1, 400)):
            members = {"identifier": identifier}  # type: ignore[dict-item]
            problem = await browser.http.post("/oauth/login", json=members)
            assert problem.status_code == status
            assert problem.headers["content-type"] == "application/problem+json"
            assert problem.json()["status"] == status


@pytest.mark.covers("LOGIN-03", "LOGIN-07")
@pytest.mark.parametrize("text", ["/\ud800", "/" + "ß" * 2000, "//evil.test"])
async def test_login_when_the_way_back_is_odd_then_it_leads_home(
    site: WebSite, text: str
) -> None:
    """No text that JSON can carry ends in an error, or elsewhere."""
    async with site.browser() as browser:
        body = json.dumps({"identifier": "alice.example.com", "return_to": text})
        response = await browser.http.post(
            "/oauth/login", content=body, headers={"content-type": "application/json"}
        )
        # A body may also be too large.
        assert response.status_code in {200, 413}
        if response.status_code == 200:
            assert (await browser.come_back()).headers["location"] == "/"


@pytest.mark.covers("LOGIN-10", "LGN-14", "LOGIN-14", "LGN-13", "COOKIE-08")
@pytest.mark.parametrize("return_to", ["/", "/" + "x" * 2000])
async def test_login_when_begun_many_times_then_three_can_be_finished(
    site: WebSite, return_to: str
) -> None:
    """The newest three are kept, whole, and each can be ended in any order."""
    async with site.browser() as browser:
        for _ in range(6):
            await browser.begin(return_to=return_to)
        flows = {name.partition(".")[0] for name in browser.login_cookies}
        assert len(flows) == 3
        statuses = {}
        for number in (3, 5, 4, 2, 0):
            state = site.states[number]
            response = await browser.come_back(state=state)
            statuses[number] = response.status_code
        assert statuses == {3: 303, 5: 303, 4: 303, 2: 400, 0: 400}
        assert browser.login_cookies == {}


@pytest.mark.covers("ERR-04", "LOGIN-08", "ASGI-20")
@pytest.mark.parametrize(
    ("url", "program"),
    [
        (PDS + RESOURCE, OUT_OF_ORDER),
        (ISSUER + METADATA, MALFORMED),
        (ISSUER + PAR, behaviours.status(503, "out of order")),
        (ISSUER + PAR, MALFORMED),
        (ISSUER + PAR, ELSEWHERE),
    ],
)
async def test_login_when_a_host_is_broken_then_it_is_not_our_failure(
    site: WebSite, url: str, program: ASGIApp
) -> None:
    """Somebody else's misbehaviour is a 502, told in the form, with nothing kept."""
    site.servers.on(url, program)
    async with site.browser() as browser:
        response = await browser.http.post(
            "/oauth/login", data={"identifier": "alice.example.com"}
        )
        assert response.status_code == 502
        assert hidden(response)["identifier"] == "alice.example.com"
        assert "out of order" not in response.text
        assert browser.cookies == {}


@pytest.mark.covers("LOGIN-13", "DOS-01")
async def test_login_when_a_host_hangs_then_gives_up_in_time(servers: Servers) -> None:
    """All steps together have one budget."""
    site = WebSite(servers, network=servers.network(login_budget_s=0.2))
    servers.on(ISSUER + PAR, behaviours.hang())
    async with site.browser() as browser:
        with anyio.fail_after(5):
            response = await browser.http.post(
                "/oauth/login", data={"identifier": "alice.example.com"}
            )
        assert response.status_code == 504


@pytest.mark.covers("DEV-04")
async def test_login_when_posted_to_localhost_then_421(site: WebSite) -> None:
    """A login that began there would end without its cookie."""
    headers = {"Host": "localhost:8000", "Origin": "http://localhost:8000"}
    async with site.browser(**headers) as browser:
        response = await browser.http.post(
            "/oauth/login", data={"identifier": "alice.example.com"}
        )
        assert response.status_code == 421
        assert site.servers.seen == []


async def test_form_when_it_asks_for_a_scope_that_we_cannot_compare_then_400() -> None:
    """A server may know more scopes than we do; whether one is missing is not guessed."""
    desk = Desk(scope="atproto x:unknown")
    asked = {"query_string": b"scope=x%3Aunknown&reason=scope"}
    assert (await desk.get("/oauth/login", desk.cookie(), **asked)).status == 400
    assert (await desk.get("/oauth/login", **asked)).status == 200
