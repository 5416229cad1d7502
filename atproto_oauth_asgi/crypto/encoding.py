"""base64url without padding, in its one canonical spelling (RFC 7515 section 2)."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode


def b64url(data: bytes) -> str:
    """Return bytes as base64url text without padding. Spec: RFC 4648 section 5."""
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def b64url_decode(text: str) -> bytes:
    """Return the bytes that ``b64url`` wrote as this very text.

    Padding, foreign characters and spare bits that are set are refused, so that one
    value has one spelling.

    Raises:
        ValueError: the text is not canonical. The message does not quote it.
    """
    try:
        data = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    except ValueError:
        # UnicodeEncodeError would carry the text, which may be a secret.
        data = None
    # The decoder of the standard library skips what it does not know.
    if data is None or b64url(data) != text:
        message = "not canonical base64url"
        raise ValueError(message)
    return data
