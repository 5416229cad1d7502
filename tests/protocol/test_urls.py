from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atproto_oauth_asgi.exceptions import Blocked
from atproto_oauth_asgi.protocol.urls import (
    Url,
    UrlPolicy,
    check_url,
    matches_host,
    parse_origin,
    parse_redirect,
)

STRICT = UrlPolicy()
DEVELOPMENT = UrlPolicy(
    http_hosts=("localhost", "127.0.0.1", "[::1]"),
    private_hosts=("localhost", "127.0.0.1", "[::1]"),
    test_names=True,
)


def check(text: str, policy: UrlPolicy = STRICT) -> Url:
    return check_url(text, policy, what="URL")


@pytest.mark.parametrize(
    "text",
    [
        "https://example.com/",
        "https://example.com/.well-known/did.json",
        "https://example.com/a%2Fb/~x?y=1&z=%41/?",
        "https://example.com/?",
        "https://a-b.c1.co/did:plc:abc@x!$&'()*+,;=",
        "https://xn--bcher-kva.com/",
        "https://example.com/..a/b..",
        "https://example.com/.../x",
        "https://example.com/AZ_/%2f%aF",
        "https://example.xn--p1ai/",
        "https://example.c0m/",
        f"https://{'a' * 63}.com/",
        f"https://{'.'.join(['a' * 49] * 5)}.com/",
        f"https://example.com/{'a' * (8192 - 20)}",
    ],
)
def test_check_url_when_plain_then_gives_back_the_same_text(text: str) -> None:
    """What is checked is what is connected to, letter by letter."""
    assert str(check(text)) == text


def test_check_url_when_accepted_then_gives_its_parts() -> None:
    """The parts name the host, the port and what goes over the wire."""
    url = check("http://localhost:2583/xrpc/x?a=b", DEVELOPMENT)
    assert (url.scheme, url.host, url.port) == ("http", "localhost", 2583)
    assert (url.path, url.query) == ("/xrpc/x", "a=b")
    assert url.target == "/xrpc/x?a=b"
    assert url.origin == "http://localhost:2583"
    assert check("https://example.com").origin == "https://example.com"


@pytest.mark.covers("NET-10", "SRF-08", "SRF-12", "IDN-10")
@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.com",
        "//example.com/",
        "https:example.com",
        "https:///example.com",
        "https://",
        "https:///",
        "HTTPS://example.com/",
        "https://Example.com/",
        " https://example.com/",
        "https://example.com/ ",
        "https://example.com/\n",
        "https://example.com/a\tb",
        "https://exam\tple.com/",
        "https://example.com/a b",
        "https://example.com\\@evil.com/",
        "https://example.com/\\evil",
        "https://user@example.com/",
        "https://user:pass@example.com/",
        "https://@example.com/",
        "https://example.com/#x",
        "https://example.com#@evil.com",
        "https://example.com/%zz",
        "https://example.com/%2",
        "https://example.com/\x00",
        "https://example.com/é",
        "https://bücher.com/",
        "https://ⓛocalhost/",
        "https://straße.com/",
        "https://a\u200db.com/",
        "https://example。com/",
        "https://example.com:/",
        "https://example.com:0/",
        "https://example.com:0443/",
        "https://example.com:-1/",
        "https://example.com:\uff14\uff14\uff13/",
        "https://example.com/a/../b",
        "https://example.com/..",
        "https://example.com/./x",
        "https://example.com/%2e%2E/x",
        "https://example.com/.%2e/x",
        "https://example.com/{x}",
        "https://example.com/" + "a" * (8192 - 19),
    ],
)
def test_check_url_when_readers_could_differ_then_refuses(text: str) -> None:
    """A URL that two parsers might read differently is not asked for."""
    with pytest.raises(Blocked):
        check(text)


@pytest.mark.covers("NET-13", "SRF-11", "LOGIN-11")
@pytest.mark.parametrize(
    "text",
    [
        "file:///etc/passwd",
        "ftp://example.com/",
        "gopher://example.com/",
        "unix:/run/x",
        "http+unix://%2Frun/x",
        "data:text/plain,x",
        "javascript:alert(1)",
        "ws://example.com/",
        "http://example.com/",
    ],
)
def test_check_url_when_not_https_then_refuses(text: str) -> None:
    """Only https is spoken, unless the operator names a host."""
    with pytest.raises(Blocked):
        check(text)


HOSTS_OF_NOBODY = [
    "127.0.0.1",
    "8.8.8.8",
    "[::1]",
    "[2606:4700::1111]",
    "[fe80::1%25eth0]",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0x7f.0x1",
    "0177.0.0.1",
    "127.1",
    "0",
    "①②⑦.0.0.1",
    "localhost",
    "localhost.",
    "foo.localhost",
    "metadata",
    "metadata.google.internal",
    "host.docker.internal",
    "kubernetes.default.svc",
    "x.svc.cluster.local",
    "router.home.arpa",
    "nas.lan",
    "x.corp",
    "x.home",
    "x.intranet",
    "x.localdomain",
    "x.private",
    "example.com.",
    ".example.com",
    "a..com",
    "-a.com",
    "a-.com",
    "a_b.com",
    "a%00.com",
    "exa%6dple.com",
    "a" * 64 + ".com",
    ".".join(["a" * 60] * 5) + ".com",
    ".".join(["a" * 49] * 5) + ".info",
    "xn--a.com",
    "xn--99999999.com",
    "xn--abc-.com",
    "xn--rhlw.com",
    "xn--1b7o.com",
    "xn---qia9cn.com",
    "a.1com",
    "pds.test",
    "x.example",
    "x.invalid",
    "x.onion",
    "x.alt",
    "x.arpa",
]


@pytest.mark.covers("NET-07", "NET-09", "SRF-03", "SRF-09", "DISC-13")
@pytest.mark.parametrize("host", HOSTS_OF_NOBODY)
def test_check_url_when_host_is_no_public_name_then_refuses(host: str) -> None:
    """Addresses, numbers and local names are refused before any lookup."""
    with pytest.raises(Blocked):
        check(f"https://{host}/")


@pytest.mark.covers("NET-08", "SRF-07")
@pytest.mark.parametrize(
    "port", [1, 22, 80, 442, 443, 444, 6379, 8443, 65535, 65536, 99999]
)
def test_check_url_when_port_is_not_allowed_then_refuses(port: int) -> None:
    """Only the default port is used, and it is not written out."""
    with pytest.raises(Blocked):
        check(f"https://example.com:{port}/")


@pytest.mark.covers("NET-08")
def test_check_url_when_port_is_added_then_accepts_it_besides_443() -> None:
    """``allowed_ports`` adds to 443, and to nothing else."""
    policy = UrlPolicy(allowed_ports=(8443,))
    assert check("https://example.com:8443/", policy).port == 8443
    assert check("https://example.com/", policy).port == 443
    with pytest.raises(Blocked):
        check("https://example.com:8444/", policy)


@pytest.mark.parametrize(
    "text",
    [
        "http://localhost:2583/",
        "http://127.0.0.1:1/",
        "http://[::1]:8000/",
        "https://localhost:65535/",
        "https://pds.test/",
    ],
)
def test_check_url_when_development_then_accepts_this_machine(text: str) -> None:
    """The development network reaches loopback by http on any port."""
    assert str(check(text, DEVELOPMENT)) == text


@pytest.mark.covers("NET-20")
@pytest.mark.parametrize(
    "text",
    [
        "http://10.0.0.1/",
        "http://127.0.0.2/",
        "http://[0:0:0:0:0:0:0:1]/",
        "http://localhost.evil.com/",
        "http://pds.test/",
        "http://localhost:65536/",
        "http://localhost:80/",
    ],
)
def test_check_url_when_development_then_refuses_other_hosts(text: str) -> None:
    """A switch for some hosts opens these hosts and no other."""
    with pytest.raises(Blocked):
        check(text, DEVELOPMENT)


def test_check_url_when_private_host_then_name_rules_are_lifted_but_not_https() -> None:
    """``unsafe_private_hosts`` allows local names; plain http needs its own word."""
    policy = UrlPolicy(private_hosts=("pds", ".internal"))
    assert check("https://pds/", policy).host == "pds"
    assert check("https://a.b.internal:3000/", policy).port == 3000
    for text in ("http://pds/", "https://other/", "https://internal/"):
        with pytest.raises(Blocked):
            check(text, policy)
    for host in ("a..internal", "-a.internal", "xn--a.internal"):
        with pytest.raises(Blocked, match="not a host name"):
            check(f"https://{host}/", policy)


@pytest.mark.parametrize("host", ["a", "[::]", "[fe80::a1]", "[::ffff:10.0.0.1]"])
def test_check_url_when_http_host_then_any_port_is_open(host: str) -> None:
    """A host for plain http needs no second word for its port."""
    policy = UrlPolicy(http_hosts=(host,))
    for text in (f"http://{host}:3000/", f"https://{host}:3000/", f"http://{host}/"):
        assert str(check(text, policy)) == text


def test_check_url_when_refused_then_says_what_it_was() -> None:
    """The message names the role of the URL and shows nothing of its text."""
    with pytest.raises(Blocked, match=r"^token_endpoint: ") as caught:
        check_url("https://secret.internal/x", STRICT, what="token_endpoint")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "patterns", "expected"),
    [
        ("a.test", ("a.test",), True),
        ("b.a.test", ("a.test",), False),
        ("a.test", (".test",), True),
        ("test", (".test",), False),
        (".test", (".test",), False),
        ("atest", (".test",), False),
        ("a.test", (), False),
        ("a.test.com", ("a.test", ".test"), False),
    ],
)
def test_matches_host_when_compared_then_exact_or_below(
    host: str, patterns: tuple[str, ...], expected: bool
) -> None:
    """A name matches itself, a ``.suffix`` what lies below it."""
    assert matches_host(host, patterns) is expected


@pytest.mark.covers("DISC-04")
@pytest.mark.parametrize(
    "text",
    [
        "https://as.example.com/",
        "https://as.example.com/x",
        "https://as.example.com?",
        "https://as.example.com?x",
        "https://as.example.com#",
        "https://as.example.com:443",
        "https://AS.example.com",
        "https://u@as.example.com",
        "http://as.example.com",
        "https://bücher.com",
        "https://as.example.com\n",
    ],
)
def test_parse_origin_when_more_than_an_origin_then_refuses(text: str) -> None:
    """An issuer is scheme, host and port, and not one character more."""
    with pytest.raises(Blocked):
        parse_origin(text, STRICT, what="issuer")


@pytest.mark.covers("DISC-04")
def test_parse_origin_when_bare_then_returns_it() -> None:
    """A bare origin comes back as it is, with an allowed port as well."""
    policy = UrlPolicy(allowed_ports=(443, 8443))
    for text in ("https://as.example.com", "https://as.example.com:8443"):
        assert parse_origin(text, policy, what="issuer") == text


@given(st.text() | st.from_regex(r"https?://[^/]*(/.*)?", fullmatch=True))
def test_check_url_when_given_anything_then_refuses_or_keeps_it(text: str) -> None:
    """Every text is refused, or is a public https URL that stays as it is."""
    try:
        url = check(text)
    except Blocked:
        return
    assert str(url) in {text, text.replace(url.authority, url.authority + "/", 1)}
    assert (url.scheme, url.port) == ("https", 443)
    assert url.host == url.host.lower()
    assert url.host.isascii()


@pytest.mark.covers("DOS-11", "DOS-A12")
@pytest.mark.parametrize("part", ["a-", "a.", "%41", "/.", "-"])
def test_check_url_when_huge_then_is_refused_at_once(part: str) -> None:
    """A megabyte of nearly right text costs nothing."""
    started = time.process_time()
    for text in (f"https://{part * 500_000}", f"https://a.com/{part * 500_000}"):
        with pytest.raises(Blocked):
            check(text)
    assert time.process_time() - started < 1


@pytest.mark.covers("ID-20")
@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("https://b.example.com/x?y", "https://b.example.com/x?y"),
        ("https://b.example.com", "https://b.example.com/"),
        ("/x", "https://a.example.com/x"),
        ("/", "https://a.example.com/"),
    ],
)
def test_parse_redirect_when_plain_then_gives_the_target(
    location: str, target: str
) -> None:
    """A whole URL, or a path on the host that redirects."""
    base = check("https://a.example.com/from?q")
    assert str(parse_redirect(location, base, STRICT, what="handle")) == target


@pytest.mark.covers("ID-20", "IDN-15", "NET-11")
@given(st.text() | st.from_regex(r"(https?:)?//?[^/]*(/.*)?", fullmatch=True))
def test_parse_redirect_when_given_anything_then_refuses_or_stays_public(
    location: str,
) -> None:
    """Whatever a server says, the target is https on port 443, or there is none."""
    policy = UrlPolicy(
        allowed_ports=(443, 8443), http_hosts=(".com", "b"), private_hosts=(".com",)
    )
    base = check("https://a.example.com/from")
    try:
        url = parse_redirect(location, base, policy, what="handle")
    except Blocked:
        return
    assert (url.scheme, url.port) == ("https", 443)
    assert location.startswith("https://") or url.host == base.host


@pytest.mark.covers("ID-20", "IDN-15", "NET-11")
@pytest.mark.parametrize(
    "location",
    [
        "http://b.example.com/x",
        "http://b.example.com:443/x",
        "https://b.example.com:8443/x",
        "//b.example.com/x",
        "/../x",
        "x",
        "",
    ],
)
def test_parse_redirect_when_it_leads_off_https_then_is_refused(location: str) -> None:
    """What the network's options allow elsewhere does not hold for a redirect."""
    policy = UrlPolicy(allowed_ports=(443, 8443), http_hosts=("b.example.com",))
    with pytest.raises(Blocked):
        parse_redirect(location, check("https://a.example.com/"), policy, what="x")
