"""Where a person is sent afterwards is always on this site."""

from __future__ import annotations

import re
from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from atproto_oauth_asgi.web.return_to import safe_return_to

ORIGIN = "https://app.example"
DEFAULT = "/start"
OWN_PATHS = frozenset({"/oauth/login", "/oauth/logout", "/oauth/callback"})

FOREIGN = [
    # RET-01, scheme-relative
    "//evil.test",
    "///evil.test",
    "////evil",
    "//evil.test/%2f..",
    # RET-02, backslashes
    "/\\evil.test",
    "\\\\evil.test",
    "/\\/evil.test",
    "\\/evil.test",
    "/ok\\..\\..//evil.test",
    # RET-03, schemes without slashes
    "https:evil.test",
    "https:/evil.test",
    "https:///evil.test",
    "HTTP:evil",
    # RET-04, control characters
    "/\t/evil.test",
    "/\n/evil",
    "\x00//evil",
    " //evil",
    " /ok",
    "\x0b//evil",
    "/\x7f/evil",
    # RET-07, user names and look-alikes
    "https://app.example@evil.test",
    "https://app.example.evil.test",
    "https://app.example:443@evil",
    "https://app.example/",
    # RET-08, dot segments
    "/.//evil.test",
    "/..//evil.test",
    "/x/..//evil.test",
    "/%2e/%2e%2e//evil.test",
    "/%2E%2e/evil",
    "/./x",
    # RET-09, dangerous schemes
    "javascript:alert(1)",
    "data:text/html,x",
    "vbscript:x",
    "java\nscript:alert(1)",
    # RET-10, header splitting
    "/x\r\nSet-Cookie: a=b",
    # RET-11, our own routes
    "/oauth/logout",
    "/oauth/logout?return_to=/x",
    "/oauth/callback?code=1",
    "/oauth/login#x",
    "/oauth/log%6fut",
    # no text that can be a header at all
    "",
    "?x",
    "#x",
    "ok",
    "/\ud800",
    "/" + "x" * 3000,
    "/" + "ß" * 1000,
]

ALLOWED = [
    ("/", "/"),
    ("/ok", "/ok"),
    ("/a/b/?x=1&y=%20#z", "/a/b/?x=1&y=%20#z"),
    ("/search?q=https://other.example//x", "/search?q=https://other.example//x"),
    ("/x:y@z", "/x:y@z"),
    # RET-05, encoded: browsers keep it as it is, so it is a path of this site
    ("/%2f/evil", "/%2f/evil"),
    ("/%5cevil", "/%5cevil"),
    ("/%09/evil", "/%09/evil"),
    ("/%252f/evil", "/%252f/evil"),
    ("/%0d%0aSet-Cookie:x", "/%0d%0aSet-Cookie:x"),
    # RET-06, slashes and dots of Unicode
    ("/\u2215evil.test", "/%E2%88%95evil.test"),
    ("/\uff0fevil\u3002test", "/%EF%BC%8Fevil%E3%80%82test"),
    ("/\u29f8x", "/%E2%A7%B8x"),
    ('/"<>`{}|^', "/%22%3C%3E%60%7B%7D%7C%5E"),
    ("/oauth/logout/later", "/oauth/logout/later"),
]


def resolve(location: str) -> str:
    """Where a browser goes from our origin. Spec: WHATWG URL, "basic URL parser"."""
    text = re.sub(r"[\t\r\n]", "", location.strip("".join(map(chr, range(0x21)))))
    end = re.search(r"[?#]|\Z", text)
    assert end is not None
    path, rest = text[: end.start()].replace("\\", "/"), text[end.start() :]
    path = re.sub("(?i)%2e", ".", path)
    # Any number of slashes is as good as the two in front of a host.
    path = re.sub(r"(?i)\A(https?:/*|//+)", lambda found: _slashes(found[0]), path)
    return urljoin(f"{ORIGIN}/oauth/callback", path + rest)


def _slashes(text: str) -> str:
    return text.rstrip("/") + "//"


def origin_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def go(text: str | None) -> str:
    return safe_return_to(text, default=DEFAULT, own_paths=OWN_PATHS)


@pytest.mark.covers(
    *("RET-01", "RET-02", "RET-03", "RET-04", "RET-07", "RET-08", "RET-09"),
    *("RET-10", "RET-11", "LOGIN-03", "LOGIN-06", "LOGIN-07"),
)
@pytest.mark.parametrize("text", FOREIGN)
def test_return_to_when_it_could_lead_elsewhere_then_default(text: str) -> None:
    """What a browser might read as another place is replaced by the default page."""
    assert go(text) == DEFAULT


def test_return_to_when_nothing_is_asked_then_default() -> None:
    """Nobody has to say where to go."""
    assert go(None) == DEFAULT


@pytest.mark.covers("RET-05", "RET-06", "LOGIN-07")
@pytest.mark.parametrize(("text", "location"), ALLOWED)
def test_return_to_when_it_is_a_path_then_kept_as_ascii(
    text: str, location: str
) -> None:
    """A path on this site is kept; what is not ASCII is encoded once."""
    assert go(text) == location
    assert go(location) == location
    assert origin_of(resolve(location)) == ORIGIN


@pytest.mark.parametrize("text", ["//evil.test", "/\\evil.test", "/\t/evil.test"])
def test_resolve_when_a_browser_would_leave_then_leaves(text: str) -> None:
    """The oracle of these tests knows the tricks that browsers know."""
    assert origin_of(resolve(text)) == "https://evil.test"


_PARTS = st.sampled_from(
    [
        *"/\\?#:@%.\t\n\x00 ß\uff0f\ud800",
        "..",
        "//",
        "%2e",
        "%2f",
        "%5c",
        "ok",
        "evil.test",
        "https:",
    ]
)


@pytest.mark.covers("LOGIN-03", "LOGIN-04", "LOGIN-07")
@given(
    st.text(max_size=40) | st.lists(_PARTS, max_size=12).map("".join),
    st.sampled_from(["", "/"]),
)
@example("/.//evil.test", "")
@example("/x\r\n", "")
def test_return_to_when_anything_is_asked_then_stays_on_this_origin(
    text: str, prefix: str
) -> None:
    """Whatever is asked for, a browser that follows the answer stays here."""
    location = go(prefix + text)
    assert origin_of(resolve(location)) == ORIGIN
    assert re.fullmatch(r"/[\x21-\x7e]*", location)
    assert not location.startswith("//")
    assert urlsplit(location).path not in OWN_PATHS
    assert go(location) == location
