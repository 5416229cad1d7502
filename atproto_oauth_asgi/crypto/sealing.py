"""Sealing: encrypted with AES-256-GCM, then signed with itsdangerous.

A sealed text is ``payload.signature``. The payload is base64url of a version byte, a
random AEAD nonce and the ciphertext; inside lie the time of issue, a flag byte and the
plaintext. Purpose, version and context (the name of the cookie, the key of the record)
are authenticated with it, so that a sealed text opens in the one place it was made for.

The signature covers the payload as text, and it is compared as text: one sealed value
has one spelling, whatever lenient base64 decoders would accept.
"""

from __future__ import annotations

import os
import struct
import zlib
from base64 import urlsafe_b64encode
from binascii import a2b_base64
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest

import itsdangerous
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MAX_CLOCK_STEP_S = 60.0
"""How far in the future a sealed time may lie: clocks are set back now and then."""

MAX_INFLATED_BYTES = 65536
"""More than this is never compressed, nor inflated."""

_VERSION = b"\x01"
_NONCE_BYTES = 12
_HEADER = struct.Struct(">d?")
_TO_STANDARD_ALPHABET = bytes.maketrans(b"-_", b"+/")
_HKDF_SALT = b"atproto-oauth-asgi sealing"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class _SealingKey:
    """What is derived from one secret for one purpose."""

    aead: AESGCM
    signer: itsdangerous.Signer


class Sealer:
    """Seals and unseals for one purpose.

    Args:
        secrets: what ``load_secrets`` gives, newest first. The first seals, all unseal.
        purpose: what the texts are for, for example ``"session https://app.example"``.
            Texts of another purpose do not open.
    """

    __slots__ = ("_bound_to", "_keys")

    def __init__(self, secrets: Sequence[bytes], *, purpose: str) -> None:
        if not secrets or "\0" in purpose:
            message = "a sealer needs a secret, and a purpose without NUL"
            raise ValueError(message)
        self._bound_to = _VERSION + purpose.encode() + b"\0"
        self._keys = tuple(_derive_key(secret, purpose) for secret in secrets)

    def seal(
        self,
        plaintext: bytes,
        *,
        context: str,
        now: float,
        compress_above: int | None = None,
    ) -> str:
        """Return the plaintext encrypted and signed, as ASCII (``A-Za-z0-9_-.``).

        Args:
            plaintext: what is kept secret.
            context: the place that the text is for; ``unseal`` must name the same.
            now: Unix seconds; the time of issue.
            compress_above: number of bytes beyond which the plaintext is compressed,
                if that makes it shorter. Never where an attacker chooses a part of a
                plaintext and sees its length.
        """
        key = self._keys[0]
        nonce = os.urandom(_NONCE_BYTES)
        framed = _frame(plaintext, issued_at=now, compress_above=compress_above)
        ciphertext = key.aead.encrypt(nonce, framed, self._associate(context))
        payload = urlsafe_b64encode(_VERSION + nonce + ciphertext).rstrip(b"=")
        return key.signer.sign(payload).decode("ascii")

    def unseal(
        self, text: str, *, context: str, now: float, max_age_s: float
    ) -> bytes | None:
        """Return the plaintext, or None for anything that is not authentic.

        Args:
            text: what ``seal`` returned, from an untrusted place.
            context: as it was given to ``seal``.
            now: Unix seconds.
            max_age_s: seconds since the time of issue; older texts give None, as do
                those more than ``MAX_CLOCK_STEP_S`` in the future.
        """
        payload, _, signature = text.encode("ascii", "replace").rpartition(b".")
        for key in self._keys:
            # Both sides are text: no other spelling of a signature will do.
            if compare_digest(key.signer.get_signature(payload), signature):
                framed = _decrypt(key.aead, payload, self._associate(context))
                return _unframe(framed, now=now, max_age_s=max_age_s)
        return None

    def is_current(self, text: str) -> bool:
        """Return whether the newest secret has sealed a text that was unsealed."""
        payload, _, signature = text.encode("ascii", "replace").rpartition(b".")
        return compare_digest(self._keys[0].signer.get_signature(payload), signature)

    def _associate(self, context: str) -> bytes:
        return self._bound_to + context.encode("utf-8", "surrogatepass")


def _derive_key(secret: bytes, purpose: str) -> _SealingKey:
    return _SealingKey(
        aead=AESGCM(_hkdf(secret, f"encrypt {purpose}")),
        signer=itsdangerous.Signer(
            _hkdf(secret, f"sign {purpose}"),
            salt=f"atproto-oauth-asgi {purpose}",
            # HKDF has derived this key from the purpose already; deriving once more
            # from the salt would cost a tenth of every seal.
            key_derivation="none",
            digest_method=sha256,
        ),
    )


def _hkdf(secret: bytes, info: str) -> bytes:
    return HKDF(SHA256(), 32, _HKDF_SALT, info.encode()).derive(secret)


def _frame(plaintext: bytes, *, issued_at: float, compress_above: int | None) -> bytes:
    size = len(plaintext)
    if compress_above is not None and compress_above < size <= MAX_INFLATED_BYTES:
        deflated = zlib.compress(plaintext)
        if len(deflated) < size:
            return _HEADER.pack(issued_at, True) + deflated  # noqa: FBT003
    return _HEADER.pack(issued_at, False) + plaintext  # noqa: FBT003


def _decrypt(aead: AESGCM, payload: bytes, bound_to: bytes) -> bytes | None:
    # The signature vouches for the spelling: nobody else wrote this text.
    standard = payload.translate(_TO_STANDARD_ALPHABET)
    start = len(_VERSION) + _NONCE_BYTES
    try:
        sealed = a2b_base64(standard + b"=" * (-len(payload) % 4))
        if not sealed.startswith(_VERSION):
            return None
        return aead.decrypt(sealed[len(_VERSION) : start], sealed[start:], bound_to)
    except (InvalidTag, ValueError):
        return None


def _unframe(framed: bytes | None, *, now: float, max_age_s: float) -> bytes | None:
    if framed is None or len(framed) < _HEADER.size:
        return None
    issued_at, is_deflated = _HEADER.unpack_from(framed)
    # Written so that NaN is refused.
    if not -MAX_CLOCK_STEP_S <= now - issued_at <= max_age_s:
        return None
    body = framed[_HEADER.size :]
    return _inflate(body) if is_deflated else body


def _inflate(body: bytes) -> bytes | None:
    inflater = zlib.decompressobj()
    try:
        plaintext = inflater.decompress(body, MAX_INFLATED_BYTES)
    except zlib.error:
        return None
    return plaintext if inflater.eof and not inflater.unused_data else None
