"""The secrets that an operator configures: strong enough, or refused at the start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from typing_extensions import override

from atproto_oauth_asgi.exceptions import ConfigurationError

MIN_SECRET_BYTES = 32
"""Shorter secrets are refused."""

_MIN_DISTINCT_BYTES = 8
# Compared with letters and digits only, in lower case.
_PLACEHOLDERS = (
    "changeme",
    "changethis",
    "changeit",
    "donotuse",
    "insecure",
    "mysecret",
    "placeholder",
    "replaceme",
    "replacethis",
    "supersecret",
    "yoursecret",
    # From the documentation of other frameworks, copied into many programs.
    "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",
    "192b9bdd22ab9ed4d12e236c78afcb9a393ec15f71bbf5dc987d54727823bcbf",
)
_REMEDY = "make one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'"


class SecretKeys:
    """Loaded secrets, newest first; they show in no repr, asdict or pickle."""

    __slots__ = ("_values",)

    def __init__(self, values: tuple[bytes, ...]) -> None:
        self._values = values

    def reveal(self) -> tuple[bytes, ...]:
        """Return the secrets."""
        return self._values

    @override
    def __repr__(self) -> str:
        return "SecretKeys(...)"

    def __deepcopy__(self, memo: object) -> SecretKeys:
        return self

    @override
    def __reduce_ex__(self, protocol: object) -> NoReturn:
        message = "secrets are not pickled"
        raise TypeError(message)


def load_secrets(
    secret_key: str | bytes | Sequence[str | bytes] | SecretKeys,
) -> SecretKeys:
    """Return the configured secrets, newest first.

    Raises:
        ConfigurationError: there is none, or one is weak; names the rules that are
            broken, never a value.
    """
    if isinstance(secret_key, SecretKeys):
        return secret_key
    values: object = secret_key
    if isinstance(values, str | bytes):
        values = [values]
    if not isinstance(values, Sequence) or not values:
        message = f"secret_key: a secret is needed, as str or bytes; {_REMEDY}"
        raise ConfigurationError(message)
    problems = [problem for value in values for problem in _find_problems(value)]
    if problems:
        raise ConfigurationError(problems)
    return SecretKeys(tuple(_to_bytes(value) for value in values))


def _to_bytes(value: str | bytes) -> bytes:
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value


def _find_problems(value: object) -> list[str]:
    if not isinstance(value, str | bytes):
        return ["secret_key: every secret must be str or bytes"]
    secret = _to_bytes(value)
    if len(secret) < MIN_SECRET_BYTES:
        rule = f"secret_key: at least {MIN_SECRET_BYTES} bytes are needed"
        return [f"{rule}; {_REMEDY}"]
    if _is_repetitive(secret):
        return [f"secret_key: this repeats itself and can be guessed; {_REMEDY}"]
    if _is_placeholder(secret):
        return [f"secret_key: this is a known placeholder; {_REMEDY}"]
    return []


def _is_repetitive(secret: bytes) -> bool:
    repeats_a_block = secret in (secret + secret)[1:-1]
    return repeats_a_block or len(set(secret)) < _MIN_DISTINCT_BYTES


def _is_placeholder(secret: bytes) -> bool:
    text = secret.decode("latin-1").lower()
    letters = "".join(filter(str.isalnum, text))
    return any(placeholder in letters for placeholder in _PLACEHOLDERS)
