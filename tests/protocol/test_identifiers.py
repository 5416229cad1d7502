from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atproto_oauth_asgi.exceptions import (
    AmbiguousHandle,
    IdentityError,
    InvalidIdentifier,
)
from atproto_oauth_asgi.protocol.identifiers import (
    Did,
    HostUrl,
    did_web_origin,
    find_handle,
    is_did,
    normalize_identifier,
    parse_did,
    parse_did_records,
    parse_handle,
    parse_well_known_did,
)
from atproto_oauth_asgi.protocol.urls import UrlPolicy

STRICT = UrlPolicy()
TEST_NAMES = UrlPolicy(test_names=True)
DEVELOPMENT = UrlPolicy(
    http_hosts=("localhost",), private_hosts=("localhost",), test_names=True
)
ALICE = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
BOB = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"


@pytest.mark.covers("ID-05", "IDN-12")
@pytest.mark.parametrize(
    "tld",
    ["alt", "arpa", "example", "internal", "invalid", "local", "localhost", "onion"],
)
def test_parse_handle_when_tld_is_reserved_then_refuses(tld: str) -> None:
    """Names that mean nothing on the Internet cannot log in, in any case."""
    for text in (f"x.{tld}", f"X.{tld.upper()}", f"handle.{tld}"):
        with pytest.raises(InvalidIdentifier):
            parse_handle(text, policy=TEST_NAMES)


@pytest.mark.covers("ID-05")
def test_parse_handle_when_test_tld_then_needs_the_switch() -> None:
    """``.test`` is for development alone."""
    assert parse_handle("alice.test", policy=TEST_NAMES) == "alice.test"
    with pytest.raises(InvalidIdentifier):
        parse_handle("alice.test", policy=STRICT)


def test_parse_handle_when_ordinary_then_needs_no_switch() -> None:
    """A handle of the public network is taken as it is, in lower case."""
    for text in ("alice.com", "Alice.Example.COM", "alice.xn--p1ai", "a.b.c0-9m"):
        assert parse_handle(text, policy=STRICT) == text.lower()


@pytest.mark.covers("ID-08")
@pytest.mark.parametrize(
    "text",
    [
        ALICE,
        BOB,
        "did:web:example.com",
        "did:web:a-b.example.co",
        "did:web:localhost%3A3000",
    ],
)
def test_parse_did_when_supported_then_returns_it(text: str) -> None:
    """The two methods of atproto are known."""
    assert parse_did(text) == text
    assert is_did(text)


@pytest.mark.covers("ID-08", "ID-09", "ID-10", "IDN-11")
@pytest.mark.parametrize(
    "text",
    [
        "",
        "did",
        "did:",
        "did::x",
        "did:plc",
        "did:plc:",
        "DID:plc:ewvi7nxzyoun6zhxrhs64oiz",
        "did:PLC:ewvi7nxzyoun6zhxrhs64oiz",
        "did:plc:EWVI7NXZYOUN6ZHXRHS64OIZ",
        "did:plc:ewvi7nxzyoun6zhxrhs64oi",
        "did:plc:ewvi7nxzyoun6zhxrhs64oizz",
        "did:plc:0189777777777777777777aa",
        "did:plc:ewvi7nxzyoun6zhxrhs64oiz\n",
        "did:plc:ewvi7nxzyoun6zhxrhs64oiz#x",
        "did:plc:ewvi7nxzyoun6zhxrhs64oiz?x",
        "did:plc:ewvi7nxzyoun6zhxrhs64oiz/x",
        " did:plc:ewvi7nxzyoun6zhxrhs64oiz",
        "did:web:",
        "did:web:h.com:user",
        "did:web:h.com%3A8443",
        "did:web:h.com%3a8443",
        "did:web:h.com%2F..",
        "did:web:exa%6Dple.com",
        "did:web:127.0.0.1",
        "did:web:0x7f000001",
        "did:web:2130706433",
        "did:web:[::1]",
        "did:web:localhost",
        "did:web:localhost%3a3000",
        "did:web:localhost%3A0",
        "did:web:localhost%3A3000:x",
        "did:web:example",
        "did:web:example.com.",
        "did:web:Example.com",
        "did:web:a_b.com",
        "did:web:" + "a." * 1100 + "com",
        "did:plc:" + "a" * 3000,
    ],
)
def test_parse_did_when_malformed_then_refuses(text: str) -> None:
    """Nothing but a bare DID of a supported method passes."""
    with pytest.raises(InvalidIdentifier):
        parse_did(text)


@pytest.mark.covers("ID-08")
def test_parse_did_when_method_is_unknown_then_says_so() -> None:
    """A DID of another kind is told apart from something that is no DID."""
    for text in (
        "did:key:zQ3shunBKsXixLxKtC5qeSG9E4J5RkGN57im31pcTzbNQnm5w",
        "did:x:y",
    ):
        with pytest.raises(InvalidIdentifier, match="not supported"):
            parse_did(text)


@pytest.mark.covers("ID-06", "ID-10", "IDN-12")
@pytest.mark.parametrize(
    "host", ["foo.internal", "x.local", "x.localhost", "x.test", "localhost%3A3000"]
)
def test_parse_did_when_web_host_is_local_then_policy_refuses(host: str) -> None:
    """The host of a ``did:web`` is held to the rules of all hosts."""
    with pytest.raises(InvalidIdentifier):
        parse_did(f"did:web:{host}", policy=STRICT)


@pytest.mark.covers("ID-08")
def test_parse_did_when_web_host_is_public_then_policy_accepts() -> None:
    """The rules of all hosts let a public one pass."""
    assert parse_did("did:web:alice.com", policy=STRICT) == "did:web:alice.com"


def test_did_web_origin_when_local_then_is_http_else_https() -> None:
    """Only the development form with a port is asked by http."""
    local = parse_did("did:web:localhost%3A3000", policy=DEVELOPMENT)
    assert did_web_origin(local) == "http://localhost:3000"
    assert did_web_origin(Did("did:web:example.com")) == "https://example.com"


@pytest.mark.covers("ID-01", "ID-02", "IDN-18")
@pytest.mark.parametrize(
    "text",
    [
        "alice.test",
        "Alice.Test",
        "@alice.test",
        "  alice.test\t\n",
        "\u202a@alice.test\u202c",
        "@\u2066alice.test\u2069",
        "\ufeffalice.test\u200b",
        "\u2028alice.test\u2028",
        "\u2029alice.test\u2029",
        "at://alice.test",
        "at://@alice.test",
        "AT://Alice.test",
        "at://alice.test/app.bsky.feed.post/1",
        "https://bsky.app/profile/alice.test/post/1",
        "bsky.app/profile/@alice.test",
        "HTTPS://Deer.Social/Profile/Alice.test?tab=likes",
        "http://localhost:3000/profile/alice.test#top",
        "https://bsky.app/profile/alice.test",
        "https://bsky.app/profile/alice.test/ ",
    ],
)
def test_normalize_identifier_when_pasted_then_is_the_handle(text: str) -> None:
    """What copying brings along does not matter; all spellings are one name."""
    assert normalize_identifier(text, policy=TEST_NAMES) == "alice.test"


@pytest.mark.parametrize(
    "text",
    [
        ALICE,
        f" {ALICE} ",
        f"@{ALICE}",
        f"at://{ALICE}",
        f"https://bsky.app/profile/{ALICE}",
    ],
)
def test_normalize_identifier_when_did_then_is_the_did(text: str) -> None:
    """A DID can be pasted in the same ways."""
    assert normalize_identifier(text, policy=STRICT) == ALICE


@pytest.mark.covers("ID-01")
@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://bsky.social", "https://bsky.social"),
        (" https://BSKY.social/ ", "https://bsky.social"),
    ],
)
def test_normalize_identifier_when_server_then_is_its_origin(
    text: str, origin: str
) -> None:
    """A server is told apart from accounts by its https address."""
    found = normalize_identifier(text, policy=STRICT)
    assert found == HostUrl(origin=origin)


@pytest.mark.covers("ID-01", "ID-02", "IDN-13", "IDN-14")
@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "@",
        "@@alice.test",
        "alice",
        "alice@example.com",
        "al\u200bice.test",
        "did:key:zQ3shunBKsXixLxKtC5qeSG9E4J5RkGN57im31pcTzbNQnm5w",
        "DID:PLC:EWVI7NXZYOUN6ZHXRHS64OIZ",
        "did:web:x.internal",
        "did:web:localhost%3A3000",
        "ftp://alice.test",
        "http://example.com",
        "https://example.com/x",
        "https://example.com?x",
        "https://u@example.com",
        "https://10.0.0.1",
        "https://as\\@evil",
        "https://bsky.app/profile/",
        "https://u@example.com/profile/alice.test",
        "alice.test\r\nHost: x",
        "a" * 1_000_000,
    ],
)
def test_normalize_identifier_when_anything_else_then_refuses(text: str) -> None:
    """Whatever is neither handle nor DID nor server is the person's mistake."""
    with pytest.raises(InvalidIdentifier):
        normalize_identifier(text, policy=TEST_NAMES)


@pytest.mark.covers("DOS-11")
def test_normalize_identifier_when_longer_than_4096_then_refuses() -> None:
    """The length is looked at before anything else is, also that of blanks."""
    text = "alice.test".rjust(4096)
    assert normalize_identifier(text, policy=TEST_NAMES) == "alice.test"
    with pytest.raises(InvalidIdentifier, match="too long"):
        normalize_identifier(" " + text, policy=TEST_NAMES)


@given(st.text() | st.from_regex(r"(@|at://|did:web:|https://)?[a-zA-Z0-9.:-]+"))
def test_normalize_identifier_when_given_anything_then_raises_only_ours(
    text: str,
) -> None:
    """Any text is refused, or gives something that stays as it is when given again."""
    try:
        found = normalize_identifier(text, policy=TEST_NAMES)
    except IdentityError:
        return
    again = found.origin if isinstance(found, HostUrl) else found
    assert normalize_identifier(again, policy=TEST_NAMES) == found
    assert again.isascii()


@pytest.mark.covers("DOS-11", "DOS-A12")
@pytest.mark.parametrize("part", ["a-", "a.", "\u200b", "did:", "@"])
def test_identifiers_when_huge_then_are_refused_at_once(part: str) -> None:
    """A megabyte of nearly right text costs nothing."""
    text = part * 500_000
    started = time.process_time()
    assert find_handle(text) is None
    for parse in (parse_did, lambda it: normalize_identifier(it, policy=STRICT)):
        with pytest.raises(InvalidIdentifier):
            parse(text)
    assert time.process_time() - started < 1


@pytest.mark.covers("ID-13", "ID-15", "ID-16", "IDN-04")
@pytest.mark.parametrize(
    "records",
    [
        [f"did={ALICE}"],
        ["v=spf1 -all", f" did={BOB}", f"DID={BOB}", f"did ={BOB}", f"did={ALICE}"],
        [f"did={ALICE}", f"did={ALICE}"],
        ["did=", "did=foo", f"did={ALICE}", f"did={BOB} ", f"did={BOB} extra"],
        [f"did={ALICE}", f"did={BOB}\x00", "did=did:key:abc", f"did=did={BOB}"],
    ],
)
def test_parse_did_records_when_one_is_valid_then_gives_it(records: list[str]) -> None:
    """Only exact ``did=`` records count, and junk beside one does not harm it."""
    assert parse_did_records(records, policy=STRICT) == ALICE


def test_parse_did_records_when_its_host_may_not_be_asked_then_gives_none() -> None:
    """The host of a ``did:web`` is a stranger's word, as a URL of theirs would be."""
    record = "did=did:web:localhost%3A2583"
    assert parse_did_records([record], policy=STRICT) is None
    open_policy = UrlPolicy(http_hosts=("localhost",))
    assert parse_did_records([record], policy=open_policy) == record[4:]


@pytest.mark.parametrize("records", [[], ["x"], [ALICE], [f"did={ALICE} "], ["did="]])
def test_parse_did_records_when_none_is_valid_then_gives_none(
    records: list[str],
) -> None:
    """No valid record is the same as no record."""
    assert parse_did_records(records, policy=STRICT) is None


@pytest.mark.covers("ID-14", "IDN-02")
@pytest.mark.parametrize("order", [1, -1])
def test_parse_did_records_when_they_disagree_then_refuses(order: int) -> None:
    """Two accounts for one handle are never resolved by picking one."""
    records = ["x", f"did={ALICE}", f"did={BOB}"][::order]
    with pytest.raises(AmbiguousHandle):
        parse_did_records(records, policy=STRICT)


@pytest.mark.covers("ID-19", "IDN-16")
def test_parse_well_known_did_when_blanks_around_then_gives_the_did() -> None:
    """Blanks and line ends around the DID are harmless."""
    assert parse_well_known_did(f" \r\n{ALICE}\n".encode(), policy=STRICT) == ALICE


@pytest.mark.covers("ID-19", "IDN-16")
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xef\xbb\xbf" + ALICE.encode(),
        ALICE.encode("utf-16"),
        f"{ALICE}\n{BOB}".encode(),
        f"{ALICE}\n<html>".encode(),
        f"{ALICE}\x00".encode(),
        f"<p>{ALICE}</p>".encode(),
        f"\u00a0{ALICE}".encode(),
        b"did:web:x.internal",
        b"\xff\xfe",
    ],
)
def test_parse_well_known_did_when_more_than_a_did_then_gives_none(
    body: bytes,
) -> None:
    """One DID and nothing else is an answer."""
    assert parse_well_known_did(body, policy=STRICT) is None


@given(st.binary(), st.lists(st.text()))
def test_publications_when_anything_then_raise_only_ours(
    body: bytes, records: list[str]
) -> None:
    """Whatever a stranger publishes gives a DID, nothing, or our error."""
    assert parse_well_known_did(body, policy=STRICT) is None
    assert parse_did_records([f"did={text}" for text in records], policy=STRICT) is None
