"""Only a page of this site, or one that is trusted, may post to our routes."""

from __future__ import annotations

import pytest

from atproto_oauth_asgi.web.csrf import (
    CROSS_SITE,
    HEADERS_MISSING,
    find_csrf_problem,
)

OWN = "https://app.example.com"
TRUSTED = "https://www.example.com"
EVIL = "https://evil.test"


def problem_of(*, site: str | None, origin: str | None) -> str | None:
    headers = {"sec-fetch-site": site, "origin": origin}
    given = {name: value for name, value in headers.items() if value is not None}
    return find_csrf_problem(given, own_origin=OWN, trusted_origins=(TRUSTED,))


@pytest.mark.covers("LOGIN-01", "LOGOUT-01")
@pytest.mark.parametrize(
    ("site", "origin"),
    [
        ("same-origin", OWN),
        # A page with `Referrer-Policy: no-referrer` says null of its own site.
        ("same-origin", "null"),
        ("same-origin", None),
        (None, OWN),
        (None, TRUSTED),
        ("same-site", TRUSTED),
        ("cross-site", TRUSTED),
    ],
)
def test_csrf_when_the_page_is_ours_or_trusted_then_goes_on(
    site: str | None, origin: str | None
) -> None:
    """The browser's own word decides, whatever else the origin says."""
    assert problem_of(site=site, origin=origin) is None


@pytest.mark.covers("LOGIN-01", "LGN-01", "OUT-01", "LOGOUT-01")
@pytest.mark.parametrize(
    ("site", "origin"),
    [
        ("cross-site", EVIL),
        ("cross-site", None),
        ("cross-site", "null"),
        # The browser knows better than the field that says where it comes from.
        ("cross-site", OWN),
        ("same-site", OWN),
        ("same-site", "https://evil.app.example.com"),
        ("none", OWN),
        ("", OWN),
        ("SAME-ORIGIN", EVIL),
        (None, EVIL),
        (None, "null"),
        (None, ""),
        (None, "http://app.example.com"),
        (None, f"{OWN}:8443"),
        (None, f"{OWN}/"),
        (None, f"{OWN}.evil.test"),
        (None, f"{OWN}, {EVIL}"),
    ],
)
def test_csrf_when_the_page_is_another_then_refused(
    site: str | None, origin: str | None
) -> None:
    """No other page can start a login or log somebody out."""
    assert problem_of(site=site, origin=origin) == CROSS_SITE


@pytest.mark.covers("LOGIN-01")
def test_csrf_when_nothing_tells_where_it_comes_from_then_refused() -> None:
    """Without both fields nobody knows, so that the answer is no, with a reason."""
    assert problem_of(site=None, origin=None) == HEADERS_MISSING
