"""base64url has one spelling for each value."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atproto_oauth_asgi.crypto.encoding import b64url, b64url_decode


@given(st.binary(max_size=100))
def test_b64url_when_decoded_then_gives_the_same_bytes(data: bytes) -> None:
    """Whatever is encoded comes back, and the text needs no escaping anywhere."""
    text = b64url(data)
    assert b64url_decode(text) == data
    assert set(text) <= set(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    )


@given(st.text(max_size=40) | st.from_regex(r"[A-Za-z0-9_=+/ -]*", fullmatch=True))
def test_b64url_decode_when_it_accepts_then_the_text_is_canonical(text: str) -> None:
    """No two texts decode to the same bytes; all others are a ValueError."""
    try:
        data = b64url_decode(text)
    except ValueError:
        return
    assert b64url(data) == text


@pytest.mark.parametrize(
    "text",
    ["QQ==", "QQ=", "QR", "Q", "QQ\n", " QQ", "+/+/", "Q!Q", "é", "\ud800", "QUJD="],
)
def test_b64url_decode_when_spelt_otherwise_then_refuses(text: str) -> None:
    """Padding, spare bits, blanks, the other alphabet and non-ASCII are refused."""
    with pytest.raises(ValueError, match=r"^not canonical base64url$"):
        b64url_decode(text)
