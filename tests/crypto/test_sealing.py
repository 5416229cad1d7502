"""What is sealed opens for whom it was sealed, unchanged, in time; or not at all."""

from __future__ import annotations

import base64
import pickle
import re
import tracemalloc
import zlib

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from atproto_oauth_asgi.crypto import sealing
from atproto_oauth_asgi.crypto.sealing import Sealer

SECRET = bytes(range(100, 132))
OTHER = bytes(range(50, 82))
PLAINTEXT = b'{"access_token":"at-0123456789"}'
NOW = 1_790_000_000.0
DAY_S = 86400.0

SEALER = Sealer([SECRET], purpose="session")


def seal(plaintext: bytes = PLAINTEXT, *, sealer: Sealer = SEALER) -> str:
    return sealer.seal(plaintext, context="name", now=NOW)


def unseal(
    text: str,
    *,
    sealer: Sealer = SEALER,
    context: str = "name",
    now: float = NOW,
) -> bytes | None:
    return sealer.unseal(text, context=context, now=now, max_age_s=DAY_S)


def forge(
    framed: bytes, *, version: bytes = b"\x01", bound_to: bytes = b"\x01session\0name"
) -> str:
    """A text with a good signature; what it holds is odd."""
    key = SEALER._keys[0]
    nonce = bytes(12)
    body = version + nonce + key.aead.encrypt(nonce, framed, bound_to)
    payload = base64.urlsafe_b64encode(body).rstrip(b"=")
    return key.signer.sign(payload).decode()


def frame(body: bytes, *, deflated: bool = False, at: float = NOW) -> bytes:
    return sealing._HEADER.pack(at, deflated) + body


@given(st.binary(max_size=3000), st.text(max_size=20), st.none() | st.just(10))
def test_seal_when_unsealed_then_gives_the_plaintext(
    plaintext: bytes, context: str, compress_above: int | None
) -> None:
    """Any bytes come back, compressed or not, whatever the place is called."""
    text = SEALER.seal(
        plaintext, context=context, now=NOW, compress_above=compress_above
    )
    assert unseal(text, context=context) == plaintext


@pytest.mark.covers("COOKIE-05", "CKE-01")
def test_unseal_when_any_bit_is_flipped_then_none() -> None:
    """Each bit of each character counts, spare bits of the encoding too."""
    text = seal()
    for at, character in enumerate(text):
        for bit in range(8):
            changed = text[:at] + chr(ord(character) ^ 1 << bit) + text[at + 1 :]
            assert unseal(changed) is None


@pytest.mark.covers("COOKIE-05", "CKE-02")
def test_unseal_when_spelt_otherwise_then_none() -> None:
    """One sealed value has one spelling."""
    # Of three lengths in a row two end in characters with spare bits.
    for size in range(3):
        text = seal(bytes(size))
        payload, signature = text.split(".")
        letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        variants = {
            *(f"{payload[:-1]}{letter}.{signature}" for letter in letters),
            *(f"{payload}.{signature[:-1]}{letter}" for letter in letters),
            *(f"{payload}{pad}.{signature}" for pad in ("=", "==", " ", "\n")),
            *(f"{text}{end}" for end in ("=", "==", " ", "\n", ".", "\0", "é")),
            *(f"{start}{text}" for start in (" ", ".", "=", "\ufeff")),
            f'"{text}"',
            text.replace(".", "%2E"),
            f"{payload}..{signature}",
            f"{payload}.{payload}.{signature}",
            payload,
            signature,
            f".{signature}",
            f"{payload}.",
            "".join(f"%{ord(character):02X}" for character in text),
        } - {text}
        assert unseal(text) == bytes(size)
        assert {unseal(variant) for variant in variants} == {None}


@given(st.text(max_size=200))
@pytest.mark.covers("COOKIE-05")
def test_unseal_when_given_any_text_then_none(text: str) -> None:
    """Junk never raises and never opens."""
    assert unseal(text) is None


@given(st.binary(max_size=9))
def test_seal_when_made_then_is_text_for_a_cookie(plaintext: bytes) -> None:
    """Letters, digits, ``_``, ``-`` and one dot: nothing that needs quotes."""
    assert re.fullmatch(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{43}", seal(plaintext))


def test_seal_when_context_is_not_unicode_then_is_a_place_like_others() -> None:
    """The context may be a text that was decoded from any bytes."""
    text = SEALER.seal(b"x", context="a\udcff", now=NOW)
    assert unseal(text, context="a\udcff") == b"x"
    assert unseal(text, context="a\udcfe") is None


@pytest.mark.covers("COOKIE-03")
def test_seal_when_decoded_then_shows_nothing() -> None:
    """Signing is not hiding: the plaintext is nowhere in the sealed value."""
    text = seal(PLAINTEXT * 5)
    payload = text.partition(".")[0]
    decoded = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    assert b"at-0123456789" not in decoded
    assert "at-0123456789" not in text


@pytest.mark.covers("COOKIE-04", "CKE-07", "CRYPT-04")
def test_unseal_when_made_for_another_place_then_none() -> None:
    """Purpose, context and secret each have to be the same."""
    text = seal()
    assert unseal(text, context="name2") is None
    assert unseal(text, context="") is None
    assert unseal(text, sealer=Sealer([SECRET], purpose="login")) is None
    assert unseal(text, sealer=Sealer([SECRET], purpose="session ")) is None
    assert unseal(text, sealer=Sealer([OTHER], purpose="session")) is None
    assert unseal(text, sealer=Sealer([SECRET], purpose="session")) == PLAINTEXT


def test_sealer_when_purposes_differ_then_keys_do() -> None:
    """Encryption and signature have keys of their own, for every purpose."""
    signers = [
        Sealer([SECRET], purpose=purpose)._keys[0].signer
        for purpose in ("session", "login")
    ]
    keys = [signer.secret_key for signer in signers]
    assert len({SECRET, *keys}) == 3
    assert len({signer.salt for signer in signers}) == 2
    assert [len(signer.get_signature(b"")) for signer in signers] == [43, 43]
    decoded = base64.urlsafe_b64decode(seal().partition(".")[0] + "==")
    for key in (SECRET, *keys):
        with pytest.raises(InvalidTag):
            AESGCM(key).decrypt(decoded[1:13], decoded[13:], b"\x01session\0name")


@pytest.mark.covers("COOKIE-06", "CKE-17")
@pytest.mark.parametrize(
    ("age_s", "opens"),
    [
        (0.0, True),
        (DAY_S, True),
        (DAY_S + 1, False),
        (-30.0, True),
        (-60.0, True),
        (-61.0, False),
        (-600.0, False),
        (float("nan"), False),
        (float("inf"), False),
    ],
)
def test_unseal_when_time_has_passed_then_opens_within_bounds(
    age_s: float, opens: bool
) -> None:
    """Expired values do not open, those of a clock set back by a minute do."""
    assert (unseal(seal(), now=NOW + age_s) is not None) is opens


@pytest.mark.covers("COOKIE-13", "CKE-13", "CRYPT-07")
def test_unseal_when_secrets_rotate_then_old_values_open_until_removed() -> None:
    """The newest secret seals, all open, a removed one opens nothing."""
    old = Sealer([SECRET], purpose="session")
    both = Sealer([OTHER, SECRET], purpose="session")
    new = Sealer([OTHER], purpose="session")
    assert unseal(seal(sealer=old), sealer=both) == PLAINTEXT
    assert unseal(seal(sealer=both), sealer=new) == PLAINTEXT
    assert unseal(seal(sealer=both), sealer=old) is None
    assert unseal(seal(sealer=old), sealer=new) is None


def test_is_current_when_secrets_rotate_then_tells_the_newest_from_the_rest() -> None:
    """What an older secret has sealed can be sealed anew; what is current stays."""
    both = Sealer([OTHER, SECRET], purpose="session")
    assert both.is_current(seal(sealer=both))
    assert both.is_current(seal(sealer=Sealer([OTHER], purpose="session")))
    assert not both.is_current(seal(sealer=SEALER))
    assert not both.is_current(seal(sealer=both) + "é")


@pytest.mark.covers("CRYPT-03")
def test_seal_when_repeated_then_never_uses_a_nonce_twice() -> None:
    """Each value has its own nonce, also from two sealers with one secret."""
    sealers = [SEALER, Sealer([SECRET], purpose="session")]
    texts = {seal(sealer=sealers[number % 2])[:18] for number in range(20_000)}
    assert len(texts) == 20_000


@pytest.mark.covers("COOKIE-04", "CRYPT-06")
def test_unseal_when_version_is_unknown_then_none() -> None:
    """The version byte stands in front and is authenticated."""
    assert unseal(forge(frame(b"x"))) == b"x"
    assert unseal(forge(frame(b"x"), version=b"\x02")) is None
    assert unseal(forge(b"")) is None


@pytest.mark.parametrize("payload", [b"", b"A", b"AQ", b"AQAA", b"AQ" + b"A" * 14])
def test_unseal_when_a_signed_payload_is_cut_then_none(payload: bytes) -> None:
    """A good signature over too little opens nothing, and breaks nothing."""
    signed = SEALER._keys[0].signer.sign(payload)
    assert unseal(signed.decode()) is None


@pytest.mark.covers("COOKIE-04")
@pytest.mark.parametrize(
    "bound_to",
    [
        b"",
        b"\x02session\0name",
        b"\x01login\0name",
        b"\x01session\0name2",
        b"\x01sessio\0nname",
        b"\x01sessionname",
        b"\0name",
    ],
)
def test_unseal_when_bound_to_anything_else_then_none(bound_to: bytes) -> None:
    """Version, purpose and context are each under the encryption's own tag."""
    assert unseal(forge(frame(b"x"), bound_to=bound_to)) is None


@pytest.mark.covers("COOKIE-20", "CKE-20")
def test_unseal_when_it_holds_a_bomb_then_stops_early() -> None:
    """Even an authentic value is inflated up to the cap only."""
    bomb = forge(frame(zlib.compress(bytes(50_000_000)), deflated=True))
    tracemalloc.start()
    try:
        assert unseal(bomb) is None
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.covers("COOKIE-20")
def test_unseal_when_not_authentic_then_nothing_is_inflated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Decompression is for our own data only."""
    inflated: list[bytes] = []
    monkeypatch.setattr(sealing, "_inflate", inflated.append)
    text = SEALER.seal(bytes(5000), context="name", now=NOW, compress_above=0)
    unseal(text[:-1] + ("A" if text[-1] != "A" else "B"))
    unseal(text, context="other")
    unseal(text, now=NOW - DAY_S)
    assert inflated == []
    unseal(text)
    assert len(inflated) == 1


@pytest.mark.parametrize(
    "body",
    [b"", b"no zlib", zlib.compress(b"x" * 100)[:-1], zlib.compress(b"x") + b"y"],
)
def test_unseal_when_compressed_data_is_broken_then_none(body: bytes) -> None:
    """Cut, trailing and foreign data do not open in part."""
    assert unseal(forge(frame(body, deflated=True))) is None


def test_seal_when_compression_is_asked_for_then_saves_room_where_it_can() -> None:
    """Long repetitive data shrinks, short or huge data is left alone."""
    text = b"scope " * 500

    def size(plaintext: bytes, above: int | None) -> int:
        sealed = SEALER.seal(plaintext, context="name", now=NOW, compress_above=above)
        assert unseal(sealed) == plaintext
        return len(sealed)

    assert size(text, 2999) < size(text, None) / 10
    assert size(text, 3000) == size(text, None)
    assert size(b"ab", 0) == size(b"ab", None)
    large, huge = bytes(65536), bytes(65537)
    assert size(large, 0) < size(large, None) / 10
    assert size(huge, 0) == size(huge, None)


def test_seal_when_session_is_typical_then_grows_by_two_fifths_at_most() -> None:
    """1.6 KB of session take at most 1.4 times as many characters."""
    assert len(seal(bytes(1632))) <= 1.40 * 1632


def test_sealer_when_printed_or_pickled_then_shows_no_secret() -> None:
    """A sealer in a log gives nothing away."""
    for text in (repr(SEALER), repr(SEALER._keys)):
        assert repr(SECRET)[2:-1] not in text
        assert "signer" not in text
    with pytest.raises(TypeError):
        pickle.dumps(SEALER)


def test_sealer_when_it_has_no_secret_then_refuses() -> None:
    """There is no such thing as sealing without a secret, nor an unclear purpose."""
    with pytest.raises(ValueError, match="secret"):
        Sealer([], purpose="session")
    with pytest.raises(ValueError, match="NUL"):
        Sealer([SECRET], purpose="a\0b")
