"""A browser's jar holds exactly one write of a value, or reads as empty."""

from __future__ import annotations

import time
from collections.abc import Iterable
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atproto_oauth_asgi.exceptions import ConfigurationError, CookieTooLarge
from atproto_oauth_asgi.sessions.cookies import (
    MAX_COOKIES,
    MAX_HEADER_BYTES,
    MAX_TOTAL_BYTES,
    clear_cookie_lines,
    cookie_name,
    join_chunks,
    parse_cookie_header,
    set_cookie_lines,
    split_value,
)

NAME = "__Host-atproto-0a1b2c"
NOW = 1_790_000_000.0
AGE_S = 14 * 86400.0
BIG = 100_000

sealed_values = st.from_regex(r"[A-Za-z0-9_-]{1,40}\.[A-Za-z0-9_-]{43}", fullmatch=True)


def value_of(size: int, *, mark: str = "a") -> str:
    """A value as it is sealed, all of whose parts differ."""
    text = "".join(f"{mark}{number:06d}" for number in range(size // 7 + 1))
    return text[:size]


class Jar:
    """A browser, as far as one host and one path go."""

    def __init__(self) -> None:
        self.cookies: dict[str, str] = {}

    def receive(self, lines: Iterable[bytes]) -> None:
        for line in lines:
            pair, *attributes = line.decode("ascii").split("; ")
            name, _, value = pair.partition("=")
            if "Max-Age=0" in attributes:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value

    def headers(self) -> list[tuple[bytes, bytes]]:
        line = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return [(b"host", b"app.example"), (b"cookie", line.encode())]

    def read(self) -> str | None:
        return join_chunks(parse_cookie_header(self.headers(), NAME), NAME)

    def write(self, value: str) -> list[bytes]:
        lines = set_cookie_lines(
            NAME, value, present=list(self.cookies), max_age_s=AGE_S, now=NOW
        )
        self.receive(lines)
        return lines


def chunks_of(value: str) -> dict[str, list[str]]:
    return {
        name: [text] for name, text in split_value(NAME, value, max_total_bytes=BIG)
    }


def join(cookies: dict[str, list[str]]) -> str | None:
    return join_chunks(cookies, NAME, max_total_bytes=BIG)


def parse(*lines: bytes, prefix: str = NAME) -> dict[str, list[str]]:
    return parse_cookie_header([(b"cookie", line) for line in lines], prefix)


# --- names ---------------------------------------------------------------------


@pytest.mark.covers("COOKIE-01", "CKE-10")
def test_cookie_name_when_secure_then_has_host_prefix() -> None:
    """No other host of the domain can set a cookie of this name."""
    client_id = "https://app.example/oauth-client-metadata.json"
    name = cookie_name(client_id, secure=True, port=8000)
    assert name.startswith("__Host-atproto-")
    assert len(name) == len("__Host-atproto-") + 6
    assert cookie_name(client_id, secure=True, override="sid") == "__Host-sid"
    assert cookie_name(client_id, secure=True, override="__Host-sid") == "__Host-sid"


def test_cookie_name_when_on_loopback_then_has_the_port() -> None:
    """Cookies are shared over ports: two apps in development keep theirs apart."""
    client_id = "http://localhost?scope=atproto"
    names = {cookie_name(client_id, secure=False, port=port) for port in (1, 8000)}
    assert len(names) == 2
    assert all(name.startswith("atproto-") for name in names)
    assert cookie_name("a", secure=False, port=80, override="sid") == "sid-80"
    assert cookie_name("a", secure=False, override="__Host-sid") == "sid"


@pytest.mark.covers("COOKIE-04")
def test_cookie_name_when_client_or_purpose_differs_then_does_the_name() -> None:
    """Two clients, and the cookies of a login and a session, do not meet."""
    session = cookie_name("https://a.example/c.json", secure=True)
    login = cookie_name("https://a.example/c.json", purpose="login", secure=True)
    assert cookie_name("https://b.example/c.json", secure=True) != session
    assert login == f"{session}-login"


@pytest.mark.parametrize(
    "override", ["", "a b", "a;b", "a=b", "ä", "a.1", "a" * 65, "__Secure-a", "__Host-"]
)
def test_cookie_name_when_override_is_no_plain_word_then_refuses(override: str) -> None:
    """A chosen name cannot break the header, nor look like a chunk."""
    with pytest.raises(ConfigurationError, match="cookie_name"):
        cookie_name("https://a.example/c.json", secure=True, override=override)


# --- the header ----------------------------------------------------------------


def test_parse_when_other_cookies_are_there_then_finds_ours() -> None:
    """Only names that begin with the prefix count, wherever they stand."""
    line = f"x={NAME}=1; a{NAME}=2; {NAME}=3;{NAME}.1=4 ;\t {NAME}-login-x==5=; b=6"
    assert parse(line.encode()) == {
        NAME: ["3"],
        f"{NAME}.1": ["4 "],
        f"{NAME}-login-x": ["=5="],
    }
    assert parse(b"a=1; b=2") == {}
    for before in "aX_-.!":
        assert parse(f"{before}{NAME}=1; {before}{NAME}=2".encode()) == {}
    assert parse_cookie_header([(b"x-cookie", line.encode())], NAME) == {}
    assert parse_cookie_header([], NAME) == {}


@pytest.mark.covers("COOKIE-12", "CKE-18")
def test_parse_when_header_came_in_parts_then_joins_them() -> None:
    """HTTP/2 may send each cookie as a field of its own."""
    value = value_of(6000)
    lines = [f"{name}={text}".encode() for name, text in split_value(NAME, value)]
    assert len(lines) == 2
    assert join_chunks(parse(*lines), NAME) == value
    assert join_chunks(parse(*reversed(lines)), NAME) == value


@pytest.mark.covers("COOKIE-11", "CKE-10", "CKE-11")
def test_join_when_name_is_there_twice_then_reads_nothing() -> None:
    """Neither the first nor the last of two values wins; equal ones are one."""
    one, two = f"{NAME}=one".encode(), f"{NAME}=two".encode()
    for lines in ([one, two], [two, one], [one + b"; " + two], [one, one, two]):
        found = parse(*lines)
        assert len(found[NAME]) >= 2
        assert join_chunks(found, NAME) is None
    assert join_chunks(parse(one, one), NAME) == "one"
    assert join_chunks(parse(one, f"{NAME}=\xe9".encode("latin-1")), NAME) is None
    chunks = chunks_of(value_of(6000))
    chunks[f"{NAME}.1"].append("other")
    assert join(chunks) is None


@given(
    st.lists(
        st.binary(max_size=60)
        | st.from_regex(rb"[; \t]*__Host-atproto-0a1b2c[.0-9]*[ =;]*[^;]*[;=]*"),
        max_size=8,
    )
)
@pytest.mark.covers("COOKIE-21", "CKE-12")
def test_parse_when_given_junk_then_never_raises(lines: list[bytes]) -> None:
    """Whatever a header holds, reading it is safe and loses no pair of ours."""
    found = parse(*lines)
    expected: dict[str, list[str]] = {}
    for pair in b";".join(lines).split(b";"):
        name, equals, value = pair.lstrip(b" \t").decode("latin-1").partition("=")
        if equals and name.startswith(NAME):
            expected.setdefault(name, []).append(value)
    assert found == expected
    assert join_chunks(found, NAME) is None or NAME in found


@pytest.mark.covers("DOS-09", "COOKIE-21", "CKE-12")
@pytest.mark.parametrize(
    "unit",
    [
        f"{NAME}=x; ".encode(),
        f"{NAME} ".encode(),
        NAME.encode(),
        b"; ",
        b"=",
        b" ",
        b"\xff",
        f"{NAME}{' ' * 900};".encode(),
        f"; {' ' * 900}{NAME}".encode(),
    ],
)
def test_parse_when_header_is_huge_then_is_quick(unit: bytes) -> None:
    """The work is linear in the header: 64 KiB of the worst take milliseconds."""
    line = (unit * MAX_HEADER_BYTES)[:MAX_HEADER_BYTES]
    start = time.process_time()
    for _ in range(5):
        found = parse(line)
        assert join_chunks(found, NAME) is None or len(found) == 1
    assert (time.process_time() - start) / 5 < 0.02


@pytest.mark.covers("DOS-09", "CKE-12")
def test_parse_when_beyond_the_caps_then_reads_nothing() -> None:
    """Too many bytes or cookies of ours: no work is done on any of them."""
    ours = f"{NAME}=x".encode()
    padding = b"a=" + b"b" * (MAX_HEADER_BYTES - len(ours) - 2)
    assert parse(padding, ours) == {NAME: ["x"]}
    assert parse(padding + b"b", ours) == {}
    assert len(parse(b";".join([ours] * MAX_COOKIES))[NAME]) == MAX_COOKIES
    assert parse(b";".join([ours] * (MAX_COOKIES + 1))) == {}


# --- chunks --------------------------------------------------------------------


@given(st.integers(min_value=1, max_value=60_000))
@pytest.mark.covers("COOKIE-09", "CKE-05")
def test_split_when_joined_then_gives_the_value(size: int) -> None:
    """Any size comes back, also where chunk 10 follows chunk 9."""
    value = value_of(size)
    pairs = split_value(NAME, value, max_total_bytes=BIG)
    assert join(dict((name, [text]) for name, text in sorted(pairs))) == value  # noqa: C402


@given(sealed_values)
def test_split_when_value_is_small_then_is_one_plain_cookie(value: str) -> None:
    """One cookie holds the value as it is."""
    assert split_value(NAME, value) == [(NAME, value)]
    assert join({NAME: [value]}) == value


@pytest.mark.covers("COOKIE-08")
@pytest.mark.parametrize("size", [100, 6000])
def test_cap_when_it_just_holds_then_is_split_and_joined(size: int) -> None:
    """The cap counts every byte that the cookies take of a request, and no more."""
    value = value_of(size)
    pairs = split_value(NAME, value, max_total_bytes=BIG)
    cookies = {name: [text] for name, text in pairs}
    total = sum(len(f"{name}={text}; ") for name, text in pairs)
    assert split_value(NAME, value, max_total_bytes=total) == pairs
    assert join_chunks(cookies, NAME, max_total_bytes=total) == value
    with pytest.raises(CookieTooLarge):
        split_value(NAME, value, max_total_bytes=total - 1)
    assert join_chunks(cookies, NAME, max_total_bytes=total - 1) is None


def test_split_when_there_are_99_chunks_then_there_are_no_more() -> None:
    """Places have two digits."""
    _, (_, last) = split_value(NAME, value_of(6000), max_total_bytes=BIG)
    room = 6000 - len(last.rpartition(":")[2])
    assert len(split_value(NAME, value_of(99 * room), max_total_bytes=10**6)) == 99
    with pytest.raises(CookieTooLarge):
        split_value(NAME, value_of(99 * room + 1), max_total_bytes=10**6)


def test_join_when_other_cookies_of_ours_are_there_then_gives_the_value() -> None:
    """A login that is under way does not log anybody out."""
    assert join({NAME: ["a.b"], f"{NAME}-login-x": ["c.d"]}) == "a.b"


def test_split_when_one_cookie_will_just_do_then_is_not_cut() -> None:
    """Up to the last byte that a line may have, with the longest life there is."""
    sizes = [size for size in range(3500, 4096) if len(chunks_of(value_of(size))) == 1]
    (line,) = set_cookie_lines(
        NAME, value_of(max(sizes)), present=[], max_age_s=400 * 86400, now=NOW
    )
    assert len(b"Set-Cookie: " + line) == 4096


def test_split_when_repeated_then_gives_identical_chunks() -> None:
    """Late responses that write the same value cannot make a mix of chunks."""
    value = value_of(6500)
    first = set_cookie_lines(NAME, value, present=[], max_age_s=AGE_S, now=NOW)
    later = set_cookie_lines(NAME, value, present=[], max_age_s=9.0, now=NOW + 99)
    assert len(first) == 2
    assert [line.partition(b";")[0] for line in first] == [
        line.partition(b";")[0] for line in later
    ]


@pytest.mark.parametrize("value", ["", "a;b", "a b", 'a"b', "a:b", "ä", "a\nb", "a,b"])
def test_split_when_value_is_not_sealed_then_refuses(value: str) -> None:
    """Only what the sealer makes goes into a cookie."""
    with pytest.raises(ValueError, match="sealed"):
        split_value(NAME, value)


@pytest.mark.covers("COOKIE-09", "CKE-03", "CKE-05")
def test_join_when_chunks_are_not_one_whole_write_then_reads_nothing() -> None:
    """Missing, extra, reordered and oddly named chunks all end in nothing."""
    chunks = chunks_of(value_of(45_000))
    assert len(chunks) == 12
    names = list(chunks)
    assert all(join({**chunks, name: []}) is None for name in names)
    assert all(
        join({each: chunks[each] for each in names if each != name}) is None
        for name in names
    )
    assert all(
        join({**chunks, a: chunks[b], b: chunks[a]}) is None
        for a in names
        for b in names
        if a < b
    )
    for odd in ("12", "01", "-1", "1e1", "999999999", "0", "x", "1.1", "+1"):
        assert join({**chunks, f"{NAME}.{odd}": chunks[f"{NAME}.1"]}) is None
        assert join({NAME: ["plain"], f"{NAME}.{odd}": ["x"]}) is None
    # Whole, but under another name than the one it would be written to.
    first, second = chunks_of(value_of(6000)).values()
    assert join({NAME: first, f"{NAME}.1": second}) == value_of(6000)
    assert join({NAME: first}) is None
    for odd in ("0", "2", "01", "x"):
        assert join({NAME: first, f"{NAME}.{odd}": second}) is None
    assert join({}) is None
    assert join({f"{NAME}-login": ["x"]}) is None


@given(st.data())
@pytest.mark.covers("COOKIE-09", "CKE-04")
def test_join_when_two_writes_are_mixed_then_reads_nothing(data: st.DataObject) -> None:
    """A jar with chunks of two writes is neither of them, whatever their sizes."""
    sizes = st.integers(min_value=5000, max_value=15_000)
    monday = chunks_of(value_of(data.draw(sizes)))
    tuesday = chunks_of(value_of(data.draw(sizes), mark="b"))
    names = sorted({*monday, *tuesday})
    mixed = {
        name: (monday if data.draw(st.booleans()) else tuesday).get(name, [])
        for name in names
    }
    whole = [
        {name: write.get(name, []) for name in names} for write in (monday, tuesday)
    ]
    read = join({name: values for name, values in mixed.items() if values})
    assert (read is None) is (mixed not in whole)


@given(st.data())
@pytest.mark.covers("COOKIE-05", "COOKIE-09", "CKE-01")
def test_join_when_any_character_changes_then_never_gives_the_value(
    data: st.DataObject,
) -> None:
    """Chunk heads have one spelling, and pieces are checked as a whole."""
    value = value_of(9000)
    chunks = chunks_of(value)
    name = data.draw(st.sampled_from(sorted(chunks)))
    text = chunks[name][0]
    at = data.draw(st.integers(0, 20) | st.integers(0, len(text) - 1))
    put = data.draw(st.sampled_from([*"09azAZ:._- %=\xe9", ""]))
    changed = text[:at] + put + text[at + 1 :]
    read = join({**chunks, name: [changed]})
    assert read == (value if changed == text else None)


# --- Set-Cookie ----------------------------------------------------------------


@pytest.mark.covers("COOKIE-01", "CKE-21")
@pytest.mark.parametrize("secure", [True, False])
def test_lines_when_written_or_deleted_then_have_all_attributes(secure: bool) -> None:
    """Each line, deletions too, has the attributes that browsers ask for."""
    name = cookie_name("c", secure=secure, port=8000)
    stale = [name, f"{name}.1", f"{name}.2", "other", f"{name}-login"]
    lines = [
        *set_cookie_lines(name, "value", present=stale, max_age_s=60.0, now=NOW),
        *clear_cookie_lines(name, present=stale),
    ]
    assert len(lines) == 1 + 2 + 3
    for line in lines:
        pair, *attributes = line.decode().split("; ")
        names = [attribute.partition("=")[0] for attribute in attributes]
        expected = ["Path", "Max-Age", "Expires", "HttpOnly", "SameSite"]
        assert names == expected + ["Secure"] * secure
        assert "Path=/" in attributes
        assert "SameSite=Lax" in attributes
        assert pair.split("=")[0].startswith(name)


def test_lines_when_written_then_say_how_long_they_live() -> None:
    """Max-Age and Expires name the same end, 400 days at most; the date is HTTP's."""
    for max_age_s, expected in ((60.9, 60), (1e12, 400 * 86400), (-5.0, 0)):
        (line,) = set_cookie_lines(NAME, "v", present=[], max_age_s=max_age_s, now=NOW)
        attributes = dict(
            part.partition("=")[::2] for part in line.decode().split("; ")[1:]
        )
        assert int(attributes["Max-Age"]) == expected
        expires = parsedate_to_datetime(attributes["Expires"]).timestamp()
        assert expires == NOW + expected
        assert attributes["Expires"].endswith(" GMT")


@pytest.mark.covers("COOKIE-15")
def test_clear_when_applied_then_jar_holds_nothing_of_ours() -> None:
    """Deletions are in the past on both clocks, and other cookies stay."""
    jar = Jar()
    jar.write(value_of(6000))
    jar.cookies["theirs"] = "1"
    lines = clear_cookie_lines(NAME, present=list(jar.cookies))
    assert all(b"; Max-Age=0; Expires=Thu, 01 Jan 1970 " in line for line in lines)
    jar.receive(lines)
    assert jar.cookies == {"theirs": "1"}
    assert clear_cookie_lines(NAME, present=[]) == lines[:1]


@given(st.integers(1, MAX_TOTAL_BYTES - 200), st.integers(1, 64))
@pytest.mark.covers("COOKIE-07", "CKE-16")
def test_lines_when_of_any_size_then_fit_every_proxy(size: int, name_size: int) -> None:
    """A whole Set-Cookie field, attributes included, has 4096 bytes at most."""
    name = cookie_name("c", secure=True, override="n" * name_size)
    lines = set_cookie_lines(name, value_of(size), present=[], max_age_s=1e9, now=NOW)
    assert all(len(b"Set-Cookie: " + line) <= 4096 for line in lines)


def test_lines_when_session_is_typical_then_one_cookie_will_do() -> None:
    """2.9 KB of plaintext fit one cookie once they are sealed."""
    sealed_size = (2895 + 38) * 4 // 3 + 1 + 44
    assert len(split_value(NAME, value_of(sealed_size))) == 1


@pytest.mark.covers("COOKIE-08", "CKE-16")
def test_split_when_value_is_too_large_then_names_the_remedy() -> None:
    """Beyond the cap nothing is written, and the error says what to do."""
    largest = max(
        size
        for size in range(MAX_TOTAL_BYTES - 200, MAX_TOTAL_BYTES)
        if fits(value_of(size))
    )
    pairs = split_value(NAME, value_of(largest))
    line = "; ".join(f"{name}={value}" for name, value in pairs)
    assert MAX_TOTAL_BYTES - 4 <= len(line) <= MAX_TOTAL_BYTES
    with pytest.raises(CookieTooLarge, match="store="):
        set_cookie_lines(
            NAME, value_of(largest + 1), present=[], max_age_s=1.0, now=NOW
        )
    with pytest.raises(CookieTooLarge, match="store="):
        split_value(NAME, value_of(500_000), max_total_bytes=10**9)


def fits(value: str) -> bool:
    try:
        split_value(NAME, value)
    except CookieTooLarge:
        return False
    return True


def test_join_when_beyond_the_cap_then_reads_nothing() -> None:
    """What could not have been written is not read, before any cryptography."""
    chunks = chunks_of(value_of(9000))
    assert join_chunks(chunks, NAME) is None
    assert join(chunks) == value_of(9000)


@given(st.lists(st.integers(1, 6500), min_size=1, max_size=6))
@pytest.mark.covers("COOKIE-10", "CKE-06")
def test_lines_when_size_changes_then_jar_holds_exactly_the_current_ones(
    sizes: list[int],
) -> None:
    """However a session grows and shrinks, no chunk of an older one is left."""
    jar = Jar()
    for number, size in enumerate(sizes):
        value = value_of(size, mark="abcdef"[number])
        jar.write(value)
        assert jar.read() == value
        assert jar.cookies == dict(split_value(NAME, value))


@pytest.mark.covers("COOKIE-10", "CKE-03", "CKE-05")
def test_lines_when_jar_holds_odd_chunks_then_next_write_cleans_it() -> None:
    """Whatever makes a jar unreadable is deleted by the next login."""
    jar = Jar()
    for odd in ("01", "-1", "1e1", "999999999", "7", "x"):
        jar.cookies[f"{NAME}.{odd}"] = "junk"
    jar.cookies[f"{NAME}.\r\nSet-Cookie: a"] = "junk"
    jar.cookies[f"{NAME}.{'9' * 5000}"] = "junk"
    value = value_of(6000)
    lines = jar.write(value)
    assert all(b"\r" not in line and len(line) < 4096 for line in lines)
    assert len(lines) == 2 + 6
    assert jar.read() == value


@given(st.text(max_size=20) | st.just("x" * 5000))
@pytest.mark.covers("COOKIE-21", "CKE-12")
def test_clear_when_name_comes_from_the_browser_then_lines_are_clean(
    suffix: str,
) -> None:
    """A made-up name is deleted if it can be, and never breaks a header."""
    for line in clear_cookie_lines(f"{NAME}-login-{suffix}", present=[]):
        name = line.decode("ascii").partition("=")[0]
        assert name == f"{NAME}-login-{suffix}"
        assert not set(name) & set(" ;,=\r\n\0\t")
        assert len(line) <= 4096
    (line,) = clear_cookie_lines(f"{NAME}-login-a1", present=[])
    assert line.startswith(f"{NAME}-login-a1=; Path=/".encode())
