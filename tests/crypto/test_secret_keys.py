"""A secret that can be guessed is refused before anything is sealed with it."""

from __future__ import annotations

import copy
import pickle

import pytest

from atproto_oauth_asgi.crypto.secret_keys import load_secrets
from atproto_oauth_asgi.exceptions import ConfigurationError

SECRET = bytes(range(100, 132))

WEAK: list[str | bytes] = [
    "",
    "changeme",
    b"8 bytes!",
    "x" * 31,
    "x" * 64,
    "change-me-" * 5,
    "ChangeMe! ChangeMe! and some more of it, 123",
    "django-insecure-f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9u",
    "abcdefghijklmnopqrstuvwxyz" * 2,
    bytes(32),
    "abcd" * 4 + "dcba" * 4 + "abab",
    "kS9vJ0m2Zq7Wb4Tn8Rx1Lc5Yp3Hd6Gf",
    "abcdefg" * 4 + "gfedcba",
    "192b9bdd22ab9ed4d12e236c78afcb9a393ec15f71bbf5dc987d54727823bcbf",
    "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",
]


@pytest.mark.covers("COOKIE-14", "CKE-14")
@pytest.mark.parametrize("weak", WEAK)
def test_load_secrets_when_weak_then_refuses_without_showing_it(
    weak: str | bytes,
) -> None:
    """A guessable secret ends the program at the start, alone or among others."""
    with pytest.raises(ConfigurationError) as caught:
        load_secrets(weak)
    shown = weak if isinstance(weak, str) else weak.decode("latin-1")
    assert not shown or shown not in str(caught.value)
    assert "secret_key" in str(caught.value)
    with pytest.raises(ConfigurationError):
        load_secrets(weak)
    with pytest.raises(ConfigurationError):
        load_secrets([SECRET, weak])


@pytest.mark.covers("COOKIE-14", "CKE-14")
@pytest.mark.parametrize(
    "words",
    [
        "change me",
        "change this",
        "CHANGE_IT",
        "django-insecure",
        "do not use",
        "insecure",
        "my-secret",
        "placeholder",
        "replace-me",
        "replace this",
        "super_secret",
        "your secret",
    ],
)
def test_load_secrets_when_it_is_a_placeholder_then_says_so(words: str) -> None:
    """What examples say is known to everybody, whatever is written around it."""
    with pytest.raises(ConfigurationError, match="known placeholder"):
        load_secrets(f"Zq7Wb4Tn8Rx1 {words} Lc5Yp3Hd6Gf0kS9vJ0m2")


@pytest.mark.covers("LOG-01")
def test_secrets_when_shown_or_copied_then_stay_hidden() -> None:
    """Loaded secrets can be handed on, and end up in no log and no file."""
    loaded = load_secrets(SECRET)
    assert load_secrets(loaded) is loaded
    assert copy.deepcopy(loaded) is loaded
    assert repr(loaded) == str(loaded) == "SecretKeys(...)"
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(loaded)


def test_load_secrets_when_several_are_weak_then_reports_all() -> None:
    """All problems are told at once."""
    with pytest.raises(ConfigurationError) as caught:
        load_secrets(["short", SECRET, "x" * 40])
    assert len(caught.value.problems) == 2


def test_load_secrets_when_strong_then_gives_bytes_in_order() -> None:
    """Text or bytes, one or several, newest first."""
    text = "kS9vJ0m2Zq7Wb4Tn8Rx1Lc5Yp3Hd6Gf0ü"
    assert load_secrets(SECRET).reveal() == (SECRET,)
    assert load_secrets(f"{text[:32]}\udcff").reveal()[0].endswith(b"\xed\xb3\xbf")
    assert load_secrets(text[:32]).reveal() == (text[:32].encode(),)
    assert load_secrets("abcdefgh" * 3 + "hgfedcba").reveal()
    assert load_secrets(text).reveal() == (text.encode(),)
    assert load_secrets([text, SECRET]).reveal() == (text.encode(), SECRET)


@pytest.mark.parametrize("wrong", [None, [], (), 5, {SECRET}, [None], [[SECRET]]])
def test_load_secrets_when_of_another_type_then_refuses(wrong: object) -> None:
    """Nothing is turned into a secret by accident."""
    with pytest.raises(ConfigurationError, match="secret_key"):
        load_secrets(wrong)  # type: ignore[arg-type]
