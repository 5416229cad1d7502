"""What dependencies do that this package relies on, or protects itself from.

An update that changes one of these fails here, before it changes a login.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import urllib.parse
import zlib
from collections.abc import Callable
from typing import Any

import httpx
import itsdangerous
import pytest
import starlette.requests
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc.errors import JoseError
from joserfc.jwk import ECKey
from starlette.requests import Request

from atproto_oauth_asgi.client_keys import ClientKey
from atproto_oauth_asgi.crypto.encoding import b64url, b64url_decode
from atproto_oauth_asgi.crypto.keys import generate_private_key, public_jwk, thumbprint
from atproto_oauth_asgi.crypto.sealing import Sealer
from atproto_oauth_asgi.dpop import DPoPManager
from atproto_oauth_asgi.exceptions import ConfigurationError, OAuthTokenError
from atproto_oauth_asgi.protocol.documents import parse_json_object
from atproto_oauth_asgi.protocol.identifiers import is_nsid
from atproto_oauth_asgi.sessions.cookies import parse_cookie_header
from atproto_oauth_asgi.web.return_to import safe_return_to

HERE, THERE = "https://a.example.com", "https://b.example.com"


# --- httpx ---------------------------------------------------------------------------


def redirected(*, follow: bool) -> list[httpx.Request]:
    """What a client sends when a token endpoint redirects it to another origin."""
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        if request.url.host == "a.example.com":
            return httpx.Response(307, headers={"Location": f"{THERE}/token"})
        return httpx.Response(200)

    options: dict[str, Any] = {"follow_redirects": True} if follow else {}
    with httpx.Client(transport=httpx.MockTransport(answer), **options) as http:
        headers = {"Authorization": "DPoP token", "DPoP": "proof"}
        http.post(f"{HERE}/token", data={"refresh_token": "r"}, headers=headers)
    return seen


def check_redirects() -> None:
    [only] = redirected(follow=False)
    assert only.url.host == "a.example.com"
    _, there = redirected(follow=True)
    assert there.url.host == "b.example.com"
    assert "authorization" not in there.headers
    # So a redirect must never be followed with a proof or with tokens in the body.
    assert there.headers.get("dpop") == "proof"
    assert there.content == b"refresh_token=r"


@pytest.mark.covers("SUP-06")
def test_httpx_when_redirected_then_follows_only_if_asked_and_keeps_the_proof() -> None:
    """No redirect by default; a 307 carries proof and body to another origin."""
    check_redirects()


@pytest.mark.covers("SUP-06", "DPOP-16")
def test_httpx_when_a_header_comes_twice_then_joined_and_no_nonce_of_ours() -> None:
    """Two nonces become one text with a blank in it, which no nonce has."""
    fields = [("DPoP-Nonce", "one"), ("DPoP-Nonce", "two")]
    answer = httpx.Response(401, headers=fields)
    assert answer.headers["dpop-nonce"] == "one, two"
    assert answer.headers.get_list("dpop-nonce") == ["one", "two"]
    assert DPoPManager.extract_nonce_from_response(answer) is None
    once = httpx.Response(401, headers=fields[:1])
    assert DPoPManager.extract_nonce_from_response(once) == "one"


@pytest.mark.covers("SUP-06")
def test_httpx_when_given_an_absolute_url_then_the_base_url_does_not_hold() -> None:
    """The check of the origin has to be behind the client, as ours is."""
    with httpx.Client(base_url=f"{HERE}/x/") as http:
        for url in ("//b.example.com/y", "///b.example.com/y", "/y", "y"):
            assert http.build_request("GET", url).url.host == "a.example.com"
        for url in (f"{THERE}/y", "http://a.example.com/y", f"{HERE}:8443/y"):
            assert str(http.build_request("GET", url).url) == url


def check_cookie_jar() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        del request
        return httpx.Response(200, headers={"Set-Cookie": "sid=1; Path=/"})

    with httpx.Client(transport=httpx.MockTransport(answer)) as http:
        http.get(HERE)
        assert dict(http.cookies) == {"sid": "1"}
        assert http.build_request("GET", HERE).headers["cookie"] == "sid=1"


@pytest.mark.covers("SUP-06")
def test_httpx_when_a_server_sets_a_cookie_then_the_client_keeps_it() -> None:
    """So cookies of servers have to be taken away below the client."""
    check_cookie_jar()


# --- starlette -----------------------------------------------------------------------


def check_cookies() -> None:
    raw = b'sid=1; sid=2; quoted="x\\073y"'
    scope = {"type": "http", "headers": [(b"cookie", raw)]}
    assert Request(scope).cookies == {"sid": "2", "quoted": "x;y"}
    # Ours keeps both, so that two different ones count as none, and unquotes nothing.
    assert parse_cookie_header([(b"cookie", raw)], "sid") == {"sid": ["1", "2"]}
    assert parse_cookie_header([(b"cookie", raw)], "quoted") == {
        "quoted": ['"x\\073y"']
    }


@pytest.mark.covers("SUP-06")
def test_starlette_when_a_cookie_comes_twice_then_the_last_wins() -> None:
    """And quoted values are changed: so our cookies are read without its parser."""
    check_cookies()


@pytest.mark.covers("SUP-06")
def test_starlette_when_header_names_are_given_then_ignores_case_keeps_all() -> None:
    """The checks of our routes read headers this way."""
    raw = [(b"origin", b"a"), (b"origin", b"b")]
    headers = Request({"type": "http", "headers": raw}).headers
    assert headers.get("Origin") == "a"
    assert headers.getlist("ORIGIN") == ["a", "b"]


# --- itsdangerous, joserfc, cryptography ---------------------------------------------


def check_signer() -> None:
    usual = itsdangerous.Signer(b"k" * 32)
    signed = usual.sign(b"text")
    assert usual.digest_method().name == "sha1"
    # One signature, several spellings, so an unsigned text says nothing of its own.
    others = [signed[:-1] + bytes([last]) for last in b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"]
    accepted = [each for each in [*others, signed + b"="] if usual.validate(each)]
    assert set(accepted) - {signed}
    exact = itsdangerous.Signer(
        b"k" * 32, salt="x", key_derivation="none", digest_method=hashlib.sha256
    )
    expected = hmac.digest(b"k" * 32, b"text", "sha256")
    assert exact.get_signature(b"text") == b64url(expected).encode()


@pytest.mark.covers("SUP-06", "ASG-18")
def test_itsdangerous_when_nothing_is_said_then_signs_with_sha1() -> None:
    """So digest and key derivation are named, and are plain HMAC-SHA256 then."""
    check_signer()


@pytest.mark.covers("SUP-06")
def test_seal_when_the_signature_is_spelt_otherwise_then_refused() -> None:
    """What the signer of a dependency forgives, ours does not."""
    sealer = Sealer((b"s" * 32,), purpose="test")
    sealed = sealer.seal(b"text", context="here", now=0.0)
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    spelt = [sealed[:-1] + chr(last) for last in alphabet] + [f"{sealed}="]
    opened = [
        text
        for text in spelt
        if sealer.unseal(text, context="here", now=0.0, max_age_s=1) is not None
    ]
    assert opened == [sealed]


@pytest.mark.covers("SUP-06")
def test_joserfc_when_a_key_is_exported_then_members_are_those_of_the_rfc() -> None:
    """Public output has no ``d``; thumbprint and numbers are the ones we compute."""
    key = generate_private_key()
    theirs = ECKey.import_key(key)
    public = theirs.as_dict(private=False)
    assert {name: public[name] for name in ("kty", "crv", "x", "y")} == public_jwk(key)
    assert "d" not in public
    private = theirs.as_dict(private=True)
    assert len(str(private["d"])) == len(str(private["x"])) == 43
    assert theirs.thumbprint() == thumbprint(key)
    again = ECKey.import_key(private).private_key
    assert isinstance(again, ec.EllipticCurvePrivateKey)
    assert again.private_numbers() == key.private_numbers()


@pytest.mark.covers("SUP-06")
@pytest.mark.parametrize("changes", [{"x": "AA"}, {"d": "?"}, {"y": None}, {"d": 1}])
def test_joserfc_when_a_key_is_broken_then_raises_what_we_expect(
    changes: dict[str, Any],
) -> None:
    """One of four kinds of error, or we would let a foreign one through."""
    members: Any = ECKey.import_key(generate_private_key()).as_dict(private=True)
    broken = {**members, **changes}
    with pytest.raises((JoseError, ValueError, TypeError, KeyError)):
        _ = ECKey.import_key(broken).private_key
    with pytest.raises(ConfigurationError):
        ClientKey(json.dumps(broken))


# --- the standard library ------------------------------------------------------------


@pytest.mark.covers("SUP-06")
def test_json_when_it_is_hostile_then_loads_more_than_json_and_we_do_not() -> None:
    """``NaN``, infinity, a member twice; other errors than one would think."""
    assert json.loads('{"a": NaN}')["a"] != json.loads('{"a": NaN}')["a"]
    assert json.loads('{"a": 1e999}') == {"a": float("inf")}
    assert json.loads('{"a": 1, "a": 2}') == {"a": 2}
    with pytest.raises(RecursionError):
        json.loads("[" * 100_000)
    with pytest.raises(ValueError, match="digits"):
        json.loads("1" * 5000)
    nested = '{"a": ' + "[" * 100_000
    for body in ('{"a": NaN}', '{"a": 1e999}', '{"a": 1, "a": 2}', nested):
        with pytest.raises(OAuthTokenError):
            parse_json_object(body.encode(), what="it", error=_error)
    with pytest.raises(OAuthTokenError):
        parse_json_object(b'{"a": %s}' % (b"1" * 5000), what="it", error=_error)


def _error(message: str) -> OAuthTokenError:
    return OAuthTokenError(message, error="invalid_request")


@pytest.mark.covers("SUP-06")
def test_compare_digest_when_text_is_not_ascii_then_raises() -> None:
    """So what comes from outside is compared as bytes."""
    with pytest.raises(TypeError):
        hmac.compare_digest("\u00fc", "u")
    assert not hmac.compare_digest("\u00fc".encode(), b"u")


@pytest.mark.covers("SUP-06")
def test_pattern_when_text_ends_with_a_newline_then_only_fullmatch_refuses() -> None:
    """``$`` matches before a last newline, so that our patterns are full matches."""
    assert re.match("^[a-z.]+$", "alice.test\n")
    assert not re.fullmatch("[a-z.]+", "alice.test\n")
    assert is_nsid("com.example.post")
    assert not is_nsid("com.example.post\n")


@pytest.mark.covers("SUP-06")
@pytest.mark.parametrize(
    ("text", "netloc"),
    [
        ("/\t/evil.test", "evil.test"),
        ("\x00//evil.test", "evil.test"),
        ("/\n/evil.test", "evil.test"),
        ("/\\evil.test", ""),
        ("///evil.test", ""),
        ("https:evil.test", ""),
    ],
)
def test_urlsplit_when_text_is_odd_then_reads_it_unlike_browsers(
    text: str, netloc: str
) -> None:
    """It strips what it should refuse: so the way back is not decided by it."""
    assert urllib.parse.urlsplit(text).netloc == netloc
    assert safe_return_to(text, default="/home", own_paths=()) == "/home"


@pytest.mark.covers("SUP-06")
def test_base64_when_text_is_not_canonical_then_decodes_it_and_we_do_not() -> None:
    """Foreign characters and spare bits are ignored by the standard library."""
    for text in ("YQ\n", "Y!Q", "YR"):
        assert base64.urlsafe_b64decode(f"{text}==") == b"a"
        with pytest.raises(ValueError, match="canonical"):
            b64url_decode(text)
    assert b64url_decode("YQ") == b"a"


@pytest.mark.covers("SUP-06")
def test_parse_qsl_when_there_are_too_many_fields_then_raises() -> None:
    """The cap on the number of fields of a form is its own."""
    with pytest.raises(ValueError, match="fields"):
        urllib.parse.parse_qsl("a=1&b=2&c=3", max_num_fields=2)


@pytest.mark.covers("SUP-06")
def test_zlib_when_output_is_capped_then_stops_there() -> None:
    """A bomb in a cookie is not inflated beyond the cap."""
    inflater = zlib.decompressobj()
    assert len(inflater.decompress(zlib.compress(b"0" * 10_000_000), 1000)) == 1000
    assert not inflater.eof


# --- an update that changes one of these ---------------------------------------------


class Careless(httpx.Client):
    """A client of another release: it follows redirects by itself."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"follow_redirects": True, **options})


def _keep_all(_: Any, request: httpx.Request, *__: Any) -> httpx.Headers:
    return httpx.Headers(request.headers)


def _drop_all(*_: Any) -> httpx.Headers:
    return httpx.Headers({"Host": "b.example.com"})


def _first_wins(header: str) -> dict[str, str]:
    pairs = (item.strip().partition("=") for item in header.split(";"))
    return {name: value for name, _, value in reversed(list(pairs))}


@pytest.mark.covers("SUP-06", "ASG-18")
@pytest.mark.parametrize(
    ("check", "owner", "name", "changed"),
    [
        (check_redirects, httpx, "Client", Careless),
        (check_redirects, httpx.Client, "_redirect_headers", _keep_all),
        (check_redirects, httpx.Client, "_redirect_headers", _drop_all),
        (check_cookie_jar, httpx.Cookies, "extract_cookies", lambda *_: None),
        (check_cookies, starlette.requests, "cookie_parser", _first_wins),
        (
            check_signer,
            itsdangerous.Signer,
            "default_digest_method",
            staticmethod(hashlib.sha512),
        ),
    ],
    ids=["follows", "keeps", "drops", "no-jar", "first-wins", "digest"],
)
def test_contract_when_an_update_changes_it_then_fails_loudly(
    monkeypatch: pytest.MonkeyPatch,
    check: Callable[[], None],
    owner: Any,
    name: str,
    changed: Any,
) -> None:
    """The contracts above can fail: each notices a release that behaves otherwise."""
    check()
    monkeypatch.setattr(owner, name, changed)
    with pytest.raises((AssertionError, ValueError)):
        check()
