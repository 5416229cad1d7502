"""What no proof can cost less than, here and in the environments of peers."""

from __future__ import annotations

import os
from collections.abc import Callable

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec


def bare_signature(
    key: ec.EllipticCurvePrivateKey,
) -> tuple[str, Callable[[], bytes]]:
    """Return the name and the work of one signature of a proof's length."""
    algorithm, signing_input = ec.ECDSA(hashes.SHA256()), os.urandom(430)
    return "bare P-256 signature", lambda: key.sign(signing_input, algorithm)
