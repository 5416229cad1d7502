"""base64url without padding, in its one canonical spelling (RFC 7515 section 2)."""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64

_TO_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_FROM_URL_SAFE = bytes.maketrans(b"-_", b"+/")


def b64url(data: bytes) -> str:
    """Return bytes as base64url text without padding. Spec: RFC 4648 section 5."""
    text = b2a_base64(data, newline=False).translate(_TO_URL_SAFE, b"=")
    return text.decode("ascii")


def b64url_decode(text: str) -> bytes:
    """Return the bytes that ``b64url`` wrote as this very text.

    Padding, foreign characters and spare bits that are set are refused, so that one
    value has one spelling.

    Raises:
        ValueError: the text is not canonical. The message does not quote it.
    """
    try:
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        data = a2b_base64(padded.translate(_FROM_URL_SAFE))
    except ValueError:
        # UnicodeEncodeError would carry the text, which may be a secret.
        data = None
    # The decoder of the standard library skips what it does not know.
    if data is None or b64url(data) != text:
        message = "not canonical base64url"
        raise ValueError(message)
    return data
