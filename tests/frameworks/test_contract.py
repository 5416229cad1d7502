"""The middleware in every framework, under real servers: one contract for all."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from atproto_oauth_asgi.testing import AtprotoNetwork, login_as
from tests.frameworks.apps.behaviour import LINES, NOTE, PHOTOS
from tests.serving import served_in_process

UVICORN = ("uvicorn", ())
HYPERCORN = ("hypercorn", ())
ON_TRIO = ("hypercorn", ("--worker-class", "trio"))

# Those that run on anything but asyncio are run there as well.
SERVED = [
    ("bare", *UVICORN),
    ("bare", *ON_TRIO),
    ("starlette_app", *UVICORN),
    ("starlette_app", *ON_TRIO),
    ("fastapi_app", *UVICORN),
    ("fastapi_app", *HYPERCORN),
    ("quart_app", *UVICORN),
    ("quart_app", *HYPERCORN),
    ("litestar_app", *UVICORN),
    ("litestar_app", *HYPERCORN),
    ("django_app", *UVICORN),
    ("django_app", *HYPERCORN),
    ("django_plain_app", *UVICORN),
    ("falcon_app", *UVICORN),
    ("blacksheep_app", *UVICORN),
    ("sanic_app", *UVICORN),
    ("flask_app", *UVICORN),
]


@dataclass(frozen=True, kw_only=True)
class Site:
    """An application of one framework, served, and a browser at it."""

    network: AtprotoNetwork
    browser: httpx.Client

    def who(self) -> dict[str, str | None]:
        answer = self.browser.get("/")
        assert answer.status_code == 200, answer.text
        told: dict[str, str | None] = answer.json()
        return told

    def post(self) -> tuple[int, dict[str, str]]:
        answer = self.browser.post("/notes")
        return answer.status_code, answer.json()


@pytest.fixture(scope="module")
def network() -> Iterator[AtprotoNetwork]:
    """An atproto network on loopback, for all of them."""
    with AtprotoNetwork(localhost_port=0) as made:
        yield made


@pytest.fixture(
    scope="module",
    params=SERVED,
    ids=lambda each: "-".join((each[0], each[1], *each[2][1:])),
)
def served(request: pytest.FixtureRequest, network: AtprotoNetwork) -> Iterator[str]:
    """One application, in a process of its own; its origin."""
    module, server, options = request.param
    settings = {
        "ATPROTO_PLC_URL": network.plc_url,
        "ATPROTO_HANDLE_RESOLVER_URL": network.pds_url,
    }
    app = f"tests.frameworks.apps.{module}:app"
    with served_in_process(
        app, settings=settings, server=server, options=list(options)
    ) as origin:
        yield origin


@pytest.fixture
def site(served: str, network: AtprotoNetwork) -> Iterator[Site]:
    network.revoke()
    network.reset_token_lifetime()
    with httpx.Client(
        base_url=served, headers={"Origin": served}, trust_env=False, timeout=20
    ) as browser:
        yield Site(network=network, browser=browser)


@pytest.mark.covers("ASGI-01", "ASGI-03", "ASGI-09")
def test_framework_when_nobody_is_there_then_anonymous_and_untouched(
    site: Site,
) -> None:
    """The application answers as it would without us."""
    answer = site.browser.get("/")
    assert answer.json() == {"did": None, "handle": None, "reason": None}
    assert not {"set-cookie", "cache-control"} & set(answer.headers)
    assert site.post() == (401, {"code": "not_authenticated"})
    assert site.browser.get("/nowhere").status_code == 404


@pytest.mark.covers("ASGI-01", "ASGI-02", "SESS-08")
def test_framework_when_logged_in_then_knows_the_person_and_writes(site: Site) -> None:
    """From the form to a record in the person's own repository."""
    alice = site.network.accounts["alice.test"]
    assert login_as(site.browser, alice).status_code == 303
    told = {"did": alice.did, "handle": "alice.test", "reason": None}
    assert site.who() == told
    status, body = site.post()
    assert status == 200
    notes = site.network.list_records(alice.did, NOTE)
    assert body["uri"] in {note["uri"] for note in notes}


@pytest.mark.covers("REF-01", "REF-21", "COOKIE-16")
def test_framework_when_tokens_end_then_renewed_and_the_cookie_follows(
    site: Site,
) -> None:
    """The answer to the first request after their end brings it, to the next nothing."""
    alice = site.network.accounts["alice.test"]
    site.network.set_token_lifetime(1)
    login_as(site.browser, alice)
    [before] = site.browser.cookies.values()
    site.network.reset_token_lifetime()
    time.sleep(1.1)
    assert site.post()[0] == 200
    [after] = site.browser.cookies.values()
    assert site.post()[0] == 200
    assert before != after
    assert list(site.browser.cookies.values()) == [after]
    assert len(site.network.sessions(alice.did)) == 1


@pytest.mark.covers("REF-14", "SESS-10")
def test_framework_when_the_session_was_ended_then_says_why(site: Site) -> None:
    """The application is told with the first call, and the next page knows."""
    login_as(site.browser, "alice.test")
    site.network.revoke()
    assert site.post() == (401, {"code": "session_revoked"})
    assert site.who() == {"did": None, "handle": None, "reason": "revoked"}


@pytest.mark.covers("ASGI-10", "COOKIE-17")
def test_framework_when_it_streams_then_every_part_arrives_for_the_person(
    site: Site,
) -> None:
    """What is sent bit by bit is not held up, and is private."""
    alice = site.network.accounts["alice.test"]
    login_as(site.browser, alice)
    answer = site.browser.get("/stream")
    expected = "".join(f"{number} {alice.did}\n" for number in range(LINES))
    assert (answer.text, answer.headers["cache-control"]) == (expected, "private")


@pytest.mark.covers("LOGOUT-06", "COOKIE-15")
@pytest.mark.parametrize("path", ["/leave", "/oauth/logout"])
def test_framework_when_logged_out_then_here_and_at_the_server(
    site: Site, path: str
) -> None:
    """By the application's own code, and by our route."""
    login_as(site.browser, "alice.test")
    assert site.browser.post(path).status_code in {200, 303}
    assert dict(site.browser.cookies) == {}
    assert site.who()["did"] is None
    assert site.network.sessions() == []


@pytest.mark.covers("HTTP-01", "ERR-01")
def test_framework_when_a_program_asks_wrongly_then_a_problem_document(
    site: Site,
) -> None:
    """Our routes answer in every framework alike."""
    answer = site.browser.post("/oauth/login", json={"identifier": "not a handle"})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "invalid_identifier"
    metadata = site.browser.get("/oauth-client-metadata.json")
    assert metadata.json()["client_id"].startswith("http://localhost")


PAGES = {
    "starlette_app": ("/page",),
    "fastapi_app": ("/page",),
    "quart_app": ("/page", "/plain-page"),
    "litestar_app": ("/page",),
    "django_app": ("/page", "/plain-page"),
    "django_plain_app": ("/page", "/plain-page"),
}
"""What is for people who are logged in, by the glue of the framework."""


@pytest.mark.parametrize(
    ("served", "pages"),
    [((name, *UVICORN), pages) for name, pages in PAGES.items()],
    ids=PAGES,
    indirect=["served"],
)
def test_glue_when_a_page_is_for_people_then_nobody_is_sent_to_log_in_and_back(
    site: Site, pages: tuple[str, ...]
) -> None:
    """A browser goes by the login page, a program gets 401, a person gets the page."""
    for path in pages:
        asked = f"{path}?a=1&b=%C3%A9"
        sent = site.browser.get(asked, headers={"Sec-Fetch-Mode": "navigate"})
        assert sent.status_code == 303
        location = urlsplit(sent.headers["location"])
        assert location.path == "/oauth/login"
        assert parse_qs(location.query) == {"return_to": [asked]}
        assert site.browser.get(path).status_code == 401
    answer = login_as(site.browser, "alice.test", return_to=pages[0])
    assert answer.headers["location"] == pages[0]
    for path in pages:
        did = site.network.accounts["alice.test"].did
        assert site.browser.get(path).text == did


@pytest.mark.parametrize(
    "served", [(name, *UVICORN) for name in PAGES], ids=PAGES, indirect=True
)
def test_glue_when_a_permission_is_missing_then_asked_for_or_403(site: Site) -> None:
    """A browser goes by the page that asks, a program is told, and then it works."""
    assert site.browser.get("/photos").status_code == 401
    login_as(site.browser, "alice.test", scope="atproto")
    sent = site.browser.get("/photos", headers={"Sec-Fetch-Mode": "navigate"})
    assert sent.status_code == 303
    assert "One more permission" in site.browser.get(sent.headers["location"]).text
    refused = site.browser.get("/photos")
    assert refused.status_code == 403
    told = refused.json()
    assert told.get("extra", told)["missing"] == [PHOTOS]
    form = site.browser.post("/photos", headers={"Sec-Fetch-Mode": "navigate"})
    assert form.status_code == 403
    assert "permission" in form.text
    login_as(site.browser, "alice.test")
    did = site.network.accounts["alice.test"].did
    assert site.browser.get("/photos").text == did
