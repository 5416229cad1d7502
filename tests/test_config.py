from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from atproto_oauth_asgi.client_keys import ClientKey
from atproto_oauth_asgi.config import OAuthConfig, OAuthOptions
from atproto_oauth_asgi.crypto.keys import (
    generate_private_key,
    private_jwk,
    public_jwk,
    thumbprint,
)
from atproto_oauth_asgi.exceptions import ConfigurationError
from atproto_oauth_asgi.network_options import Network

SECRET = "Zr8-kq3_uT1vYx5wNb7cMd9eAf2gHj4k"
KEY, OTHER_KEY = generate_private_key(), generate_private_key()
HOSTED = "https://app.example.com"


def config(**options: Any) -> OAuthConfig:
    return OAuthConfig(**{"secret_key": SECRET, **options})


def problems(**options: Any) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        config(**options)
    return caught.value.problems


# --- good ones ---------------------------------------------------------------------


@pytest.mark.covers("SCOPE-08")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"required_scopes": ["repo:com.example.note"]}, "does not ask for"),
        ({"required_scopes": ["repo:not an nsid"]}, "required_scopes"),
        (
            {
                "scope": "atproto repo:com.example.note",
                "login_scope": "atproto",
                "required_scopes": ["repo:com.example.note"],
            },
            "does not ask for",
        ),
    ],
)
def test_required_scopes_when_no_login_can_bring_them_then_is_an_error(
    options: dict[str, Any], message: str
) -> None:
    """Found at the start, and not by everybody who logs in."""
    [problem] = problems(**options)
    assert problem.startswith("required_scopes: ")
    assert message in problem


@pytest.mark.parametrize(
    "scope",
    [
        "atproto repo:com.example.note",
        "atproto repo:*",
        "atproto include:com.example.writer",
    ],
)
@pytest.mark.parametrize("as_text", [False, True])
def test_required_scopes_when_a_login_may_bring_them_then_is_fine(
    as_text: bool, scope: str
) -> None:
    """A permission set may hold them: only the server knows."""
    required = "repo:com.example.note?action=create"
    made = config(scope=scope, required_scopes=required if as_text else [required])
    assert made.client_options["required_scopes"] == made.required_scopes


@pytest.mark.covers("META-10")
@pytest.mark.parametrize(
    ("public_url", "uri"),
    [
        (HOSTED, "https://app.example.com/second"),
        (HOSTED, "https://login.other.example.com:8443/x?y=z"),
        (None, "http://127.0.0.1/second"),
        (None, "http://[::1]:5000/second"),
    ],
)
def test_redirect_uris_when_there_are_more_then_all_are_registered(
    public_url: str | None, uri: str
) -> None:
    """Ours come first; the metadata, or the development client id, names them all."""
    made = config(public_url=public_url, extra_redirect_uris=[uri])
    assert made.redirect_uris[-1] == uri
    assert made.redirect_uris[:-1] == config(public_url=public_url).redirect_uris
    assert made.client_metadata["redirect_uris"] == list(made.redirect_uris)


@pytest.mark.covers("META-10")
@pytest.mark.parametrize(
    ("public_url", "uri"),
    [
        (HOSTED, "http://app.example.com/second"),
        (HOSTED, "http://127.0.0.1/second"),
        (HOSTED, "https://app.example.com:443/second"),
        (HOSTED, "https://me@app.example.com/second"),
        (HOSTED, "https://app.example.com/second#part"),
        (HOSTED, "https://*.example.com/second"),
        (HOSTED, "https://localhost/second"),
        (HOSTED, "https://app/second"),
        (HOSTED, "https://app.test/second"),
        (HOSTED, "https://192.0.2.1/second"),
        (HOSTED, "https://[2001:db8::1]/second"),
        (HOSTED, "https://[/second"),
        (HOSTED, "com.example.app:/second"),
        (HOSTED, ""),
        (None, "http://localhost/second"),
        (None, "https://127.0.0.1/second"),
        (None, "https://app.example.com/second"),
        (None, "http://me@127.0.0.1/second"),
    ],
)
def test_redirect_uri_when_no_server_would_take_it_then_is_named(
    public_url: str | None, uri: str
) -> None:
    """At the start, not at the first login."""
    for problem in problems(public_url=public_url, extra_redirect_uris=[uri]):
        assert problem.startswith(f"extra_redirect_uris: {uri!r}: ")


def test_config_when_only_a_secret_then_is_a_development_client() -> None:
    """The first minute needs nothing else."""
    made = config()
    assert made.is_loopback
    assert made.redirect_uris == (
        "http://127.0.0.1/oauth/callback",
        "http://[::1]/oauth/callback",
    )
    assert made.client_metadata["token_endpoint_auth_method"] == "none"


@pytest.mark.covers("DEV-01", "DEV-02")
def test_client_id_when_loopback_then_says_redirect_uris_and_scope() -> None:
    """The client id can be read back, whatever stands in the scope."""
    scope = "atproto rpc:com.example.get?aud=did:web:api.example.com%23x"
    made = config(public_url="http://127.0.0.1:8000/app/", scope=scope)
    parts = urlsplit(made.client_id)
    assert (parts.scheme, parts.netloc, parts.path) == ("http", "localhost", "")
    assert parse_qs(parts.query, strict_parsing=True) == {
        "redirect_uri": [
            "http://127.0.0.1/app/oauth/callback",
            "http://[::1]/app/oauth/callback",
        ],
        "scope": [scope],
    }


@pytest.mark.covers("META-03", "META-05", "META-11")
@pytest.mark.parametrize(
    ("public_url", "base"),
    [
        (HOSTED, HOSTED),
        (f"{HOSTED}/", HOSTED),
        (f"{HOSTED}/a/b.c", f"{HOSTED}/a/b.c"),
        (f"{HOSTED}/a/", f"{HOSTED}/a"),
    ],
)
def test_urls_when_hosted_then_lie_below_the_public_url(
    public_url: str, base: str
) -> None:
    """Client id, redirect URI and document follow from the configuration alone."""
    made = config(public_url=public_url, client_name="Notes")
    assert made.client_id == f"{base}/oauth-client-metadata.json"
    assert made.redirect_uris == (f"{base}/oauth/callback",)
    assert made.client_metadata["client_id"] == made.client_id
    assert made.client_metadata["application_type"] == "web"
    assert made.client_metadata["client_name"] == "Notes"
    assert made.base_path == urlsplit(base).path


@pytest.mark.covers("META-14", "META-15", "META-16", "META-17", "WEB-12")
def test_jwks_when_keys_rotate_then_holds_public_halves_of_those_in_use() -> None:
    """Signing and published keys are there, retired ones are not; all are bare."""
    keys = [
        ClientKey(KEY, kid="new"),
        ClientKey(OTHER_KEY, "publish"),
        ClientKey(generate_private_key(), "retired"),
    ]
    made = config(public_url=HOSTED, client_keys=keys)
    assert made.jwks == {
        "keys": [
            {**public_jwk(KEY), "kid": "new", "alg": "ES256", "use": "sig"},
            {**public_jwk(OTHER_KEY), "kid": keys[1].kid, "alg": "ES256", "use": "sig"},
        ]
    }
    assert made.client_metadata["jwks_uri"] == f"{HOSTED}/oauth/jwks.json"
    assert "jwks" not in made.client_metadata


def test_options_when_compared_then_are_the_fields() -> None:
    """The typed options of the middleware and the fields are the same names."""
    names = {item.name for item in fields(OAuthConfig)}
    assert names == OAuthOptions.__annotations__.keys()
    for name, annotation in OAuthOptions.__annotations__.items():
        assert annotation.__forward_arg__ == OAuthConfig.__annotations__[name], name


def test_secrets_when_several_then_are_kept_in_order() -> None:
    """Newest first, as bytes."""
    old = "Kw2-pl7_qA9zXs4dCv6fBg8hNj1mMk3l"
    assert config(secret_key=[SECRET, old]).secrets == (SECRET.encode(), old.encode())


@pytest.mark.covers("LOG-01", "META-24")
def test_config_when_shown_then_hides_its_secrets() -> None:
    """Neither the secret nor a key is in repr, asdict or an error."""
    shown = repr(config(public_url=HOSTED, client_keys=[ClientKey(KEY)]))
    shown += repr(asdict(config()))
    shown += "".join(problems(secret_key="Zr8-kq3_uT1vYx", public_url="Zr8"))
    assert "Zr8-kq3" not in shown
    assert private_jwk(KEY)["d"] not in shown


# --- bad ones ----------------------------------------------------------------------


@pytest.mark.covers("META-04", "META-10", "DEV-02", "DEV-05")
@pytest.mark.parametrize(
    "public_url",
    [
        "",
        "app.example.com",
        "//app.example.com",
        "ftp://app.example.com",
        "https://",
        "https:///x",
        "https://[",
        "http://[",
        "http://app.example.com",
        "http://localhost:8000",
        "http://127.0.0.2",
        "HTTP://127.0.0.1",
        "https://localhost",
        "https://app",
        "https://127.0.0.1",
        "https://[::1]",
        "https://app.example.com:443",
        "https://app.example.com:8443",
        "https://user@app.example.com",
        "https://user:pass@app.example.com",
        "https://App.example.com",
        "https://app.example.com/?a=b",
        "https://app.example.com/#a",
        "https://app.example.com/a/../b",
        "https://app.example.com/.",
        "https://app.example.com//a",
        "https://app.example.com/a b",
        "https://app.example.com/%61",
        "https://app.example.com\\@evil.example",
        "https://app.exam\nple.com",
        "https://app.example.com\n",
        " https://app.example.com",
        "https://bücher.example",
        "https://app.example.com.",
        "https://app.test",
        "https://app.local",
    ],
)
def test_public_url_when_wrong_then_is_named(public_url: str) -> None:
    """Whatever cannot be a client id, or means two things, is refused."""
    assert {each.partition(":")[0] for each in problems(public_url=public_url)} == {
        "public_url"
    }


@pytest.mark.covers("DEV-02")
def test_public_url_when_localhost_then_says_what_to_use() -> None:
    """The common mistake gets a hint."""
    assert "127.0.0.1" in problems(public_url="http://localhost:8000")[0]


BAD: list[tuple[str, dict[str, Any]]] = [
    ("secret_key", {"secret_key": "short"}),
    ("secret_key", {"secret_key": "changeme" * 8}),
    ("secret_key", {"secret_key": []}),
    ("scope", {"scope": ""}),
    ("scope", {"scope": "transition:generic"}),
    ("scope", {"scope": "atproto atproto"}),
    ("scope", {"scope": "atproto  x"}),
    ("scope", {"scope": "atproto\nx"}),
    ("scope", {"scope": 'atproto "x"'}),
    ("login_scope", {"login_scope": ""}),
    ("login_scope", {"login_scope": "atproto x"}),
    ("login_scope", {"login_scope": "atproto atproto"}),
    ("login_scope", {"login_scope": "x", "scope": "atproto x"}),
    ("client_keys", {"client_keys": [ClientKey(KEY)]}),
    ("client_keys", {"client_keys": KEY, "public_url": HOSTED}),
    ("client_keys", {"client_keys": ["no key"], "public_url": HOSTED}),
    ("client_uri", {"client_uri": "http://app.example.com", "public_url": HOSTED}),
    ("client_uri", {"client_uri": "https://other.example", "public_url": HOSTED}),
    ("client_uri", {"client_uri": f"{HOSTED}/home", "public_url": HOSTED}),
    ("client_uri", {"client_uri": f"{HOSTED}.evil.example", "public_url": HOSTED}),
    ("logo_uri", {"logo_uri": "http://app.example.com/logo.png"}),
    ("tos_uri", {"tos_uri": "https:///tos"}),
    ("policy_uri", {"policy_uri": "javascript:alert(1)"}),
    ("policy_uri", {"policy_uri": "https://["}),
    ("trusted_origins", {"trusted_origins": ["https://a.example/"]}),
    ("trusted_origins", {"trusted_origins": ["https://A.example"]}),
    ("trusted_origins", {"trusted_origins": ["https://u@a.example"]}),
    ("trusted_origins", {"trusted_origins": ["ftp://a.example"]}),
    ("trusted_origins", {"trusted_origins": ["a.example"]}),
    ("trusted_origins", {"trusted_origins": ["null"]}),
    ("trusted_origins", {"trusted_origins": ["*"]}),
    ("max_age_s", {"max_age_s": 0}),
    ("max_age_s", {"max_age_s": -1}),
    ("cookie_name", {"cookie_name": "__Host-a;b"}),
    ("cookie_name", {"cookie_name": ""}),
    ("cookie_name", {"cookie_name": "a" * 65}),
    ("login_path", {"login_path": "oauth/login"}),
    ("login_path", {"login_path": "/oauth/login/"}),
    ("login_path", {"login_path": "/"}),
    ("jwks_path", {"jwks_path": "//evil.example"}),
    ("metadata_path", {"metadata_path": "/a/../b"}),
    ("metadata_path", {"metadata_path": "/a/."}),
    ("callback_path", {"callback_path": "/a?b"}),
    ("logout_path", {"logout_path": "/a\n"}),
    ("paths", {"logout_path": "/oauth/login"}),
    ("return_to", {"return_to": "home"}),
    ("return_to", {"return_to": "//evil.example"}),
    ("return_to", {"return_to": "/\\evil.example"}),
    ("return_to", {"return_to": "/\t/evil.example"}),
    ("return_to", {"return_to": "https://evil.example"}),
    ("network", {"network": Network.development(plc_url="http://localhost:1")}),
]


@pytest.mark.covers(
    "META-08",
    "META-14",
    "META-18",
    "META-19",
    "COOKIE-14",
    "CKE-14",
    "DEV-03",
    "ASG-16",
)
@pytest.mark.parametrize(("name", "options"), BAD, ids=range(len(BAD)))
def test_option_when_wrong_then_is_named(name: str, options: dict[str, Any]) -> None:
    """The error begins with the option, and with no other."""
    if name == "network":
        options = {"public_url": HOSTED, **options}
    assert {each.partition(":")[0] for each in problems(**options)} == {name}


@pytest.mark.parametrize("as_text", [False, True])
def test_key_when_the_jwk_has_a_name_then_keeps_it(as_text: bool) -> None:
    """Who publishes the JWKS elsewhere has named it there."""
    jwk = {**private_jwk(KEY), "kid": "mine"}
    material = json.dumps(jwk) if as_text else jwk
    assert ClientKey(material).kid == "mine"
    assert ClientKey(material, kid="other").kid == "other"
    del jwk["kid"]
    assert ClientKey(jwk).kid == ClientKey(KEY).kid == thumbprint(KEY)


@pytest.mark.covers("META-16")
@pytest.mark.parametrize(
    "keys",
    [
        [ClientKey(KEY, "publish")],
        [ClientKey(KEY), ClientKey(OTHER_KEY)],
        [ClientKey(KEY, kid="a"), ClientKey(OTHER_KEY, "publish", kid="a")],
        [ClientKey(KEY), ClientKey(KEY, "publish")],
        [ClientKey(KEY), ClientKey(OTHER_KEY, "retierd")],  # type: ignore[arg-type]
    ],
    ids=range(5),
)
def test_keys_when_they_do_not_go_together_then_are_refused(
    keys: list[ClientKey],
) -> None:
    """Exactly one signs, and every name is there once."""
    found = problems(public_url=HOSTED, client_keys=keys)
    assert {each.partition(":")[0] for each in found} == {"client_keys"}


def test_problems_when_several_then_are_told_together() -> None:
    """One start shows everything that is wrong."""
    found = problems(
        secret_key="x",
        public_url="ftp://x.example",
        scope="x",
        max_age_s=0,
        client_keys=[ClientKey(KEY), ClientKey(KEY)],
        login_path="x",
    )
    names = {each.partition(":")[0] for each in found}
    assert names >= {"secret_key", "public_url", "scope", "max_age_s", "login_path"}
    assert "client_keys" in names
    with pytest.raises(ValueError, match=r"secret_key.*max_age_s"):
        config(secret_key="x", max_age_s=0)


# --- keys --------------------------------------------------------------------------


def pem(key: Any) -> bytes:
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    data: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return data


@pytest.mark.parametrize(
    "key", [KEY, private_jwk(KEY), pem(KEY), pem(KEY).decode()], ids=range(4)
)
def test_key_when_in_any_form_then_is_the_same_key(
    key: Mapping[str, Any] | str | bytes,
) -> None:
    """An object, a JWK and PEM make one key with one name."""
    loaded = ClientKey(key)
    assert public_jwk(loaded.private_key) == public_jwk(KEY)
    assert loaded.kid == ClientKey(KEY).kid
    assert ClientKey(key, kid="mine").kid == "mine"


@pytest.mark.covers("CAUTH-10", "META-15")
@pytest.mark.parametrize(
    "key",
    [
        public_jwk(KEY),
        {"kty": "oct", "k": "c2VjcmV0"},
        pem(ec.generate_private_key(ec.SECP384R1())),
        pem(ed25519.Ed25519PrivateKey.generate()),
        pem(rsa.generate_private_key(65537, 2048)),
        "not a key",
        "",
        None,
    ],
    ids=["public", "oct", "p384", "ed25519", "rsa", "text", "empty", "none"],
)
def test_key_when_not_a_p256_private_key_then_is_refused_at_once(key: Any) -> None:
    """A wrong key fails at the start, and is not shown."""
    with pytest.raises(ConfigurationError) as caught:
        ClientKey(key)
    assert "c2VjcmV0" not in str(caught.value)


@pytest.mark.covers("LOG-01", "META-24")
def test_key_when_shown_then_hides_itself() -> None:
    """The repr has the name and the use."""
    shown = repr(ClientKey(private_jwk(KEY), kid="k"))
    assert shown == "ClientKey(use='sign', kid='k')"
