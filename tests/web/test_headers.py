"""What was made for one person is not fit for caches that others share."""

from __future__ import annotations

import pytest

from atproto_oauth_asgi.web.headers import (
    is_navigation,
    wants_fresh_tokens,
    with_private_headers,
)
from tests.web.driving import values


@pytest.mark.covers("COOKIE-17", "CKE-15")
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], "private"),
        (["public, max-age=600"], "private, max-age=600"),
        (["max-age=60, s-maxage=600"], "private, max-age=60"),
        (["Public", "S-MaxAge=1"], "private"),
        (["no-cache"], "private, no-cache"),
        (["no-store"], "no-store"),
        (["private, max-age=0"], "private, max-age=0"),
        (["No-Store, public"], "No-Store"),
        (['private="x-field", max-age=1'], 'private, private="x-field", max-age=1'),
        ([""], "private"),
    ],
)
def test_private_headers_when_caching_is_allowed_then_it_is_for_one_browser(
    given: list[str], expected: str
) -> None:
    """Shared caches are excluded; what was said more strictly stays."""
    headers = [(b"Cache-Control", value.encode()) for value in given]
    assert values(with_private_headers(headers), "cache-control") == [expected]


@pytest.mark.covers("COOKIE-17")
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], "Cookie"),
        (["Accept"], "Accept, Cookie"),
        (["Accept", "Origin"], "Accept, Origin, Cookie"),
        (["accept, cookie"], "accept, cookie"),
        (["*"], "*"),
    ],
)
def test_private_headers_when_answers_vary_then_by_cookie_too(
    given: list[str], expected: str
) -> None:
    """The cookie is named once among what the answer depends on."""
    headers = [(b"vary", value.encode()) for value in given]
    assert values(with_private_headers(headers), "vary") == [expected]


@pytest.mark.covers("COOKIE-18", "ASGI-18", "ASG-10")
def test_private_headers_when_there_are_others_then_they_stay_in_order() -> None:
    """Fields of the application are kept, doubles too; any iterable will do."""
    own = [(b"set-cookie", b"a=1"), (b"X-One", b"1"), (b"set-cookie", b"b=2")]
    given = [own[0], (b"cache-control", b"no-store"), *own[1:]]
    for headers in (given, tuple(given), [list(pair) for pair in given], iter(given)):
        result = with_private_headers(headers)  # type: ignore[arg-type]
        assert [tuple(pair) for pair in result[:3]] == own
        assert values(result, "cache-control") == ["no-store"]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], True),
        ([(b"sec-fetch-dest", b"document")], True),
        ([(b"sec-fetch-dest", b"empty")], True),
        ([(b"sec-fetch-dest", b"websocket")], True),
        ([(b"sec-fetch-dest", b"image")], False),
        ([(b"sec-fetch-dest", b"style")], False),
        ([(b"sec-fetch-dest", b"script")], False),
        ([(b"sec-fetch-dest", b"font")], False),
        ([(b"sec-purpose", b"prefetch")], False),
        ([(b"sec-purpose", b"prefetch;prerender")], False),
        ([(b"purpose", b"prefetch")], False),
    ],
)
def test_fresh_tokens_when_a_page_part_or_a_guess_is_loaded_then_not_wanted(
    headers: list[tuple[bytes, bytes]], expected: bool
) -> None:
    """Pictures and pages that nobody may ever look at renew nothing."""
    assert wants_fresh_tokens(headers) is expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"sec-fetch-mode": "navigate"}, True),
        ({"sec-fetch-mode": "cors", "accept": "text/html"}, False),
        ({"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}, True),
        ({"accept": "*/*"}, False),
        ({}, False),
    ],
)
def test_navigation_when_asked_for_then_only_pages_count(
    headers: dict[str, str], expected: bool
) -> None:
    """A program is no browser that opens a page."""
    assert is_navigation(headers) is expected
