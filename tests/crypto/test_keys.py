"""P-256 keys come in and out unharmed, and sign what others can verify."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws, jwt
from joserfc.jwk import ECKey

from atproto_oauth_asgi.crypto import keys
from atproto_oauth_asgi.crypto.encoding import b64url, b64url_decode
from atproto_oauth_asgi.crypto.keys import (
    JwtSigner,
    PrivateKey,
    Signer,
    check_private_key,
    export_private_key,
    generate_private_key,
    import_private_key,
    load_client_key,
    private_jwk,
    public_jwk,
    thumbprint,
)
from atproto_oauth_asgi.exceptions import ConfigurationError

# RFC 7515, appendix A.3.
RFC_KEY = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    "d": "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI",
}
# The number of points of P-256, from SEC 2 section 2.4.2.
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
CLAIMS = {"jti": "1", "htm": "GET", "htu": "https://pds.example/ü", "iat": 1}


def key_with_short(coordinate: str) -> PrivateKey:
    """The first key whose coordinate begins with a zero byte."""
    for scalar in count(1):
        key = ec.derive_private_key(scalar, ec.SECP256R1())
        point = key.public_key().public_numbers()
        if getattr(point, coordinate) < 2**248:
            return key
    raise AssertionError


def pem(key: Any, *, password: bytes | None = None) -> bytes:
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password:
        encryption = serialization.BestAvailableEncryption(password)
    made: bytes = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )
    return made


def of_another_curve(key: PrivateKey) -> str:
    """The PEM of a key whose curve is one that nobody uses (prime239v3)."""
    der = key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    name = bytes.fromhex("2a8648ce3d0301")
    body = b64encode(der.replace(name + b"\7", name + b"\6")).decode()
    return f"-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n"


def public_pem(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def verify(token: str, key: PrivateKey) -> jwt.Token:
    """What an independent library reads, once it has verified the signature."""
    return jwt.decode(token, ECKey.import_key(dict(public_jwk(key))), ["ES256"])


@pytest.fixture
def key() -> PrivateKey:
    return generate_private_key()


@given(st.integers(min_value=1, max_value=2**255) | st.just(ORDER - 1))
def test_private_key_when_exported_and_imported_then_is_the_same(scalar: int) -> None:
    """A stored session gets back the very key that its tokens are bound to."""
    key = ec.derive_private_key(scalar, ec.SECP256R1())
    text = export_private_key(key)
    assert len(text) == 128
    assert import_private_key(text).private_numbers() == key.private_numbers()


@given(st.text() | st.binary(max_size=120).map(b64url))
def test_import_private_key_when_given_anything_then_raises_only_value_error(
    text: str,
) -> None:
    """What was not exported is refused in the one way that callers expect."""
    with pytest.raises(ValueError, match=r"."):
        import_private_key(text)


def test_import_private_key_when_parts_do_not_belong_then_refuses() -> None:
    """Scalar and point are checked against each other, and the scalar's range."""
    parts = b64url_decode(export_private_key(generate_private_key()))
    other = b64url_decode(export_private_key(generate_private_key()))
    scalar, point = parts[:32], parts[32:]
    order = ORDER.to_bytes(32, "big")
    # OpenSSL itself takes this one for the key with the scalar 1.
    smallest = ec.derive_private_key(1, ec.SECP256R1())
    beyond = (ORDER + 1).to_bytes(32, "big")
    for forged in (
        scalar + other[32:],
        scalar + bytes(64),
        scalar + point[:32] + other[64:],
        bytes(32) + point,
        order + point,
        beyond + b64url_decode(export_private_key(smallest))[32:],
        b"\xff" * 32 + point,
        parts + b"\0",
        parts[:-1],
    ):
        with pytest.raises(ValueError, match=r"."):
            import_private_key(b64url(forged))
    for scalar in (bytes(32), order, beyond):
        with pytest.raises(ValueError, match="out of range"):
            import_private_key(b64url(scalar + point))


@pytest.mark.parametrize("coordinate", ["x", "y"])
@pytest.mark.covers("DPOP-03")
def test_public_jwk_when_coordinate_is_short_then_keeps_its_length(
    coordinate: str,
) -> None:
    """Leading zeros stay, and others can verify with such a key."""
    key = key_with_short(coordinate)
    jwk = public_jwk(key)
    assert b64url_decode(jwk[coordinate])[0] == 0
    assert [len(jwk["x"]), len(jwk["y"])] == [43, 43]
    assert import_private_key(export_private_key(key)).private_numbers() == (
        key.private_numbers()
    )
    token = JwtSigner(key, {"typ": "dpop+jwt", "jwk": jwk}).sign(CLAIMS)
    assert verify(token, key).claims == CLAIMS


@pytest.mark.covers("DPOP-02", "META-15")
def test_public_jwk_when_made_then_is_bare(key: PrivateKey) -> None:
    """Nothing but the four public members leaves the process."""
    assert set(public_jwk(key)) == {"kty", "crv", "x", "y"}
    loaded = load_client_key(RFC_KEY)
    assert public_jwk(loaded) == {name: RFC_KEY[name] for name in public_jwk(loaded)}


def test_private_jwk_when_loaded_then_is_the_same_key(key: PrivateKey) -> None:
    """The JWK that a person stores is the key, its name kept if it has one."""
    assert private_jwk(load_client_key(RFC_KEY)) == RFC_KEY
    assert private_jwk(key, "2026")["kid"] == "2026"
    assert load_client_key(private_jwk(key, "2026")).private_numbers() == (
        key.private_numbers()
    )


def test_thumbprint_when_computed_then_is_that_of_the_rfcs() -> None:
    """The examples of RFC 7638 section 3.1 and RFC 9449 section 6.1 come out."""
    rsa_members = {
        "kty": "RSA",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPF"
        "FxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_"
        "RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL"
        "5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBni"
        "Iqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
        "e": "AQAB",
    }
    ec_members = {
        "kty": "EC",
        "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
        "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA",
        "crv": "P-256",
    }
    assert keys._thumbprint_of(rsa_members) == (
        "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    )
    assert keys._thumbprint_of(ec_members) == (
        "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
    )


def test_thumbprint_when_compared_with_joserfc_then_agrees(key: PrivateKey) -> None:
    """An independent library computes the same."""
    assert thumbprint(key) == ECKey.import_key(dict(public_jwk(key))).thumbprint()


@pytest.mark.covers("DPOP-03")
def test_signer_when_it_signs_then_gives_64_bytes_that_verify(key: PrivateKey) -> None:
    """A signature is r and s at full length; some of 600 have leading zeros."""
    signer = Signer(key)
    public = ECKey.import_key(dict(public_jwk(key)))
    algorithm = jws.JWSRegistry().get_alg("ES256")
    for number in range(600):
        signed = b"%d" % number
        signature = signer.sign(signed)
        assert len(signature) == 64
        assert algorithm.verify(signed, signature, public)


@pytest.mark.covers("DPOP-02", "CRYPT-05")
def test_jwt_signer_when_it_signs_then_others_can_verify(key: PrivateKey) -> None:
    """Header and claims arrive as given; the algorithm is always ES256."""
    signer = JwtSigner(key, {"typ": "dpop+jwt", "jwk": public_jwk(key)})
    token = verify(signer.sign(CLAIMS), key)
    expected = {"alg": "ES256", "typ": "dpop+jwt", "jwk": public_jwk(key)}
    assert token.header == expected
    assert token.claims == CLAIMS
    assert verify(signer.sign({"jti": "2"}), key).header == expected


def test_jwt_signer_when_header_is_text_then_takes_it_as_it_is(key: PrivateKey) -> None:
    """A header that was encoded once, as that of proofs, is not encoded again."""
    token = verify(JwtSigner(key, '{"alg":"ES256","typ":"x"}').sign(CLAIMS), key)
    assert token.header == {"alg": "ES256", "typ": "x"}


def test_jwt_signer_when_header_is_wrong_then_refuses(key: PrivateKey) -> None:
    """No other algorithm, no private member, no value that is not JSON."""
    with pytest.raises(ValueError, match="only signature algorithm"):
        JwtSigner(key, {"alg": "none"})
    with pytest.raises(ValueError, match="bare public key"):
        JwtSigner(key, {"jwk": private_jwk(key)})
    with pytest.raises(ValueError, match=r"."):
        JwtSigner(key, {}).sign({"iat": float("nan")})


def test_signers_when_printed_then_show_no_key(key: PrivateKey) -> None:
    """A signer in a log or a traceback gives nothing away."""
    secret = private_jwk(key)["d"]
    for value in (Signer(key), JwtSigner(key, {"kid": "1"})):
        assert secret not in repr(value)
        assert str(key.private_numbers().private_value) not in repr(value)
        with pytest.raises(TypeError):
            vars(value)


def test_check_private_key_when_not_p256_then_refuses(key: PrivateKey) -> None:
    """Only private keys on P-256 pass."""
    check_private_key(key)
    for wrong in (
        None,
        "key",
        key.public_key(),
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP256K1()),
        ed25519.Ed25519PrivateKey.generate(),
    ):
        with pytest.raises(ConfigurationError, match="P-256"):
            check_private_key(wrong)
        with pytest.raises(ConfigurationError, match="P-256"):
            Signer(wrong)  # type: ignore[arg-type]


def test_load_client_key_when_given_any_form_then_is_the_key(key: PrivateKey) -> None:
    """Objects, JWKs and PEM are all taken, as text or bytes."""
    text = json.dumps(private_jwk(key, "kid"))
    forms: list[object] = [
        key,
        private_jwk(key),
        {**private_jwk(key), "use": "sig", "alg": "ES256"},
        text,
        f"\n {text}\n",
        text.encode(),
        pem(key),
        pem(key).decode(),
    ]
    for form in forms:
        assert load_client_key(form).private_numbers() == key.private_numbers()


@pytest.mark.covers("CAUTH-10")
@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"crv": "P-384"}, "must have crv P-256"),
        ({"kty": "RSA"}, "must have kty EC"),
        ({"alg": "RS256"}, "must have alg ES256"),
        ({"use": "enc"}, "must have use sig"),
        ({"x": "AAAA"}, "is not valid"),
        ({"d": ...}, "must be private"),
        ({"crv": ...}, "must have crv P-256"),
        ({"kty": ...}, "must have kty EC"),
    ],
)
def test_load_client_key_when_a_jwk_is_unusable_then_names_the_rule(
    key: PrivateKey, changes: dict[str, Any], rule: str
) -> None:
    """Whoever configures a key learns what is wrong with it."""
    jwk = {k: v for k, v in {**private_jwk(key), **changes}.items() if v is not ...}
    with pytest.raises(ConfigurationError, match=f"a client key's JWK {rule}"):
        load_client_key(jwk)


@pytest.mark.parametrize("text", ["", "{", "[]", "x", "-----BEGIN PRIVATE KEY-----"])
def test_load_client_key_when_text_is_no_key_then_says_what_is_one(text: str) -> None:
    """The two forms that are taken as text are named."""
    with pytest.raises(ConfigurationError, match="private JWK or unencrypted"):
        load_client_key(text)


def wrong_keys() -> Iterator[object]:
    key = generate_private_key()
    jwk = private_jwk(key)
    p384 = ec.generate_private_key(ec.SECP384R1())
    yield from ({**jwk, name: value} for name, value in [
        ("crv", "P-384"), ("kty", "oct"), ("kty", "RSA"), ("use", "enc"),
        ("alg", "RS256"), ("d", None), ("d", 5), ("d", "AAAA"), ("d", jwk["x"]),
        ("x", "é"), ("x", jwk["d"]), ("y", ""), ("x", [1]),
    ])  # fmt: skip
    yield from ({name: jwk[name] for name in jwk if name != left} for left in jwk)
    yield {"kty": "oct", "k": jwk["d"]}
    yield {"keys": [jwk]}
    yield json.dumps([jwk])
    yield json.dumps(jwk)[:-1]
    yield '{"d":' * 100_000
    yield json.dumps(public_jwk(key))
    yield pem(p384)
    yield pem(rsa.generate_private_key(65537, 2048))
    yield pem(ed25519.Ed25519PrivateKey.generate())
    yield pem(key, password=b"password")
    yield of_another_curve(key)
    yield public_pem(key)
    yield pem(key)[:-60]
    yield export_private_key(key)
    yield from ("", b"", None, 5, b"\xff\xfe", "\ud800", key.public_key(), p384)


WRONG_KEYS = list(wrong_keys())


@pytest.mark.covers("CAUTH-10", "META-15")
@pytest.mark.parametrize("wrong", WRONG_KEYS, ids=map(str, range(len(WRONG_KEYS))))
def test_load_client_key_when_unusable_then_refuses_without_showing_it(
    wrong: object,
) -> None:
    """What cannot sign is refused at the start; no message shows key material."""
    with pytest.raises(ConfigurationError) as caught:
        load_client_key(wrong)
    error = caught.value
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None
    values = wrong.values() if isinstance(wrong, dict) else [wrong]
    for value in values:
        if isinstance(value, str) and len(value) > 10:
            assert value not in str(error)
