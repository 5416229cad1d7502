"""The authorization server's pages show what they are given, and nothing else."""

from __future__ import annotations

import re

import pytest

from atproto_oauth_asgi.testing import Account
from atproto_oauth_asgi.testing.pages import (
    build_page,
    build_passwords,
    build_scopes,
)

HOSTILE = "\"><script>alert('x')</script>"


def text_of(title: str, content: str) -> str:
    return bytes(build_page(title, content).body).decode()


@pytest.mark.parametrize(
    "page",
    [
        text_of(HOSTILE, ""),
        text_of("", build_scopes([HOSTILE, f"repo:{HOSTILE}"])),
        text_of(
            "",
            build_passwords([Account(did="x", handle=HOSTILE, password=HOSTILE)]),
        ),
    ],
)
def test_page_when_given_markup_then_shows_it_as_text(page: str) -> None:
    """What a client or a test makes up cannot become part of the page."""
    assert "<script" not in page
    assert "&quot;&gt;&lt;script&gt;" in page


def test_page_when_sent_then_runs_no_script_and_is_in_no_frame() -> None:
    """A page that asks for a password cannot be framed, cached or extended."""
    response = build_page("Authorize", "", status=400)
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "frame-ancestors 'none'" in policy
    assert response.headers["Cache-Control"] == "no-store"
    assert response.status_code == 400


@pytest.mark.parametrize(
    ("scope", "meaning"),
    [
        ("atproto", "Know who you are"),
        ("transition:generic", "Do nearly everything in your name"),
        ("repo:com.example.note", "Write records into your repository"),
        ("repo?collection=com.example.note", "Write records into your repository"),
        ("transition:email", "See your email address"),
        ("something:new", "Other"),
    ],
)
def test_scopes_when_shown_then_tell_what_they_mean(scope: str, meaning: str) -> None:
    """A person reads what is asked for, beside the scope as it was asked."""
    (shown,) = re.findall(r"<span>(.+?)<small>(.+?)</small>", build_scopes([scope]))
    assert shown == (meaning, scope)


def test_scopes_when_shown_then_all_but_the_identity_can_be_unticked() -> None:
    """Who somebody is belongs to every login."""
    boxes = re.findall(r"<input[^>]*>", build_scopes(["atproto", "blob:*/*"]))
    assert [("disabled" in box, "checked" in box) for box in boxes] == [
        (True, True),
        (False, True),
    ]
