"""Programs get the facts of the error pages as problem documents."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from atproto_oauth_asgi.exceptions import (
    HandleNotFound,
    LoginDenied,
    OAuthError,
    StoreError,
    TimedOut,
    TooManyLogins,
    WrongBrowser,
)
from atproto_oauth_asgi.web.pages import error_page
from atproto_oauth_asgi.web.problems import problem_response, wants_json
from atproto_oauth_asgi.web.texts import Problem
from atproto_oauth_asgi.web.words import Look
from tests.web.reading import any_text, read

PROBLEMS: list[Problem] = [
    HandleNotFound("internal detail"),
    TimedOut("internal detail"),
    WrongBrowser("internal detail"),
    StoreError("internal detail"),
    LoginDenied("internal detail", error="access_denied"),
    "csrf",
    TooManyLogins("internal detail"),
    None,
]


def document(problem: Problem, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(bytes(problem_response(problem, **options).body))
    return found


def test_problem_response_when_sent_then_is_a_problem_document() -> None:
    """Type, title, status, detail and our code, as RFC 9457 names them."""
    response = problem_response(HandleNotFound("internal detail"), incident_id="abc")
    assert response.headers["content-type"] == "application/problem+json"
    assert response.status_code == 400
    assert json.loads(bytes(response.body)) == {
        "type": "about:blank#handle_not_found",
        "title": "We could not find that handle",
        "status": 400,
        "detail": "No account answers to it. Check the spelling, and write it in full, "
        "for example alice.bsky.social.",
        "code": "handle_not_found",
        "incident_id": "abc",
    }


def test_problem_response_when_sent_then_has_protective_headers() -> None:
    """Never stored, never sniffed, never read from other origins."""
    headers = problem_response(None).headers
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert not [name for name in headers if name.startswith("access-control")]


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
@pytest.mark.covers("HTTP-08")
def test_problem_response_when_compared_with_the_page_then_says_the_same(
    problem: Problem,
) -> None:
    """Program and person learn the same facts, under the same status."""
    names: dict[str, Any] = {
        "host": "pds.example.com",
        "look": Look(client_name="Notes"),
        "incident_id": "abc",
    }
    found = document(problem, **names)
    response = error_page(problem, retry_url=None, home_url="/", **names)
    told = " ".join(read(response).text.split())
    assert found["status"] == response.status_code
    assert found["title"] in told
    assert found["detail"] in told
    assert found["incident_id"] in told
    assert "internal detail" not in told + str(found)


def test_problem_response_when_given_a_status_then_says_it_twice() -> None:
    """Status line and document never disagree."""
    response = problem_response(StoreError("x"), status_code=500)
    assert response.status_code == json.loads(bytes(response.body))["status"] == 500


@given(text=any_text())
@pytest.mark.covers("ERR-02")
def test_problem_response_when_given_any_text_then_is_ascii_json(text: str) -> None:
    """No name breaks the document, and no foreign word gets in."""
    error: OAuthError = LoginDenied(text, error=text, error_description=text)
    response = problem_response(
        error, incident_id=text, host=text, look=Look(client_name=text)
    )
    assert bytes(response.body).isascii()
    assert json.loads(bytes(response.body))["incident_id"] == text
    plain = document(LoginDenied("", error=""), host=text, look=Look(client_name=text))
    assert document(error, host=text, look=Look(client_name=text)) == plain


BROWSER = (
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,"
    "image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7"
)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (BROWSER, False),
        ("", False),
        ("*/*", False),
        ("application/*", False),
        ("text/html", False),
        ("text/plain", False),
        ("application/json", True),
        ("APPLICATION/JSON", True),
        ("application/problem+json", True),
        ("application/json, text/plain, */*", True),
        ("application/json;q=0.9, text/html", False),
        ("application/json, text/html;q=0.9", True),
        ("application/json, text/html", False),
        ("application/json;q=0", False),
        ("application/json;q=nan", False),
        ("application/json;q=9", False),
        ("application/json; charset=utf-8; q=0.5", True),
        ("text/json-not", False),
        ("application/jsonx", False),
    ],
)
@pytest.mark.covers("HTTP-08")
def test_wants_json_when_asked_by_accept_then_prefers_what_is_named(
    accept: str, expected: bool
) -> None:
    """JSON goes to those who name it; browsers and plain tools get the page."""
    assert wants_json({"accept": accept}) is expected


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("application/json", True),
        ("Application/JSON; charset=utf-8", True),
        ("application/x-www-form-urlencoded", False),
        ("multipart/form-data; boundary=application/json", False),
        ("text/plain", False),
    ],
)
@pytest.mark.covers("HTTP-08")
def test_wants_json_when_json_was_sent_then_json_comes_back(
    content_type: str, expected: bool
) -> None:
    """JSON in, JSON out, whatever else is accepted."""
    headers = Headers({"Content-Type": content_type, "Accept": BROWSER})
    assert wants_json(headers) is expected


def test_wants_json_when_there_are_no_headers_then_is_false() -> None:
    """Who says nothing gets the page."""
    assert wants_json({}) is False


@given(st.text(), st.text())
def test_wants_json_when_headers_are_anything_then_decides(a: str, b: str) -> None:
    """No header makes it fail; odd ones without JSON in them get the page."""
    found = wants_json({"accept": a, "content-type": b})
    assert found is False or "json" in (a + b).lower()
