from __future__ import annotations

import re

import pytest

from atproto_oauth_asgi.pkce import PKCEManager


@pytest.mark.covers("PAR-08")
def test_challenge_when_given_the_example_then_is_the_rfcs() -> None:
    """RFC 7636, appendix B."""
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    expected = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    assert PKCEManager.generate_challenge(verifier) == expected


@pytest.mark.covers("PAR-08")
def test_verifier_when_generated_then_is_long_unreserved_and_new() -> None:
    """A thousand verifiers are a thousand different ones of the right form."""
    verifiers = {PKCEManager.generate_verifier() for _ in range(1000)}
    assert len(verifiers) == 1000
    for verifier in verifiers:
        assert re.fullmatch(r"[A-Za-z0-9._~-]{64}", verifier)


def test_pair_when_generated_then_belongs_together() -> None:
    """The challenge is that of the verifier, and is no verifier itself."""
    verifier, challenge = PKCEManager.generate_pair()
    assert challenge == PKCEManager.generate_challenge(verifier)
    assert challenge != verifier
    assert "=" not in challenge
