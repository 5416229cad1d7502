"""The core: the files that are mutated, and the fast tests that are about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.packaging.project import PACKAGE, ROOT


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Files that share their tests.

    Attributes:
        name: of the part, also on the command line.
        patterns: files of the package.
        tests: files and folders below ``tests``.
    """

    name: str
    patterns: tuple[str, ...]
    tests: tuple[str, ...]

    @property
    def files(self) -> list[str]:
        """Its files, as paths from the root."""
        found = [path for each in self.patterns for path in _package().glob(each)]
        names = [str(path.relative_to(ROOT)) for path in sorted(found)]
        return [name for name in names if not name.endswith("__init__.py")]


CORE = (
    Part(
        name="crypto",
        patterns=("crypto/*.py",),
        tests=("crypto",),
    ),
    Part(
        name="proofs",
        patterns=("dpop.py", "pkce.py"),
        tests=("test_dpop.py", "test_pkce.py"),
    ),
    Part(
        name="protocol",
        patterns=("protocol/*.py",),
        tests=("protocol", "test_config.py"),
    ),
    Part(
        name="tokens",
        patterns=(
            "sessions/lifetime.py",
            "sessions/lineage.py",
            "sessions/marks.py",
            "sessions/outcomes.py",
            "sessions/own_tokens.py",
            "sessions/refresh.py",
            "sessions/tokens.py",
            "sessions/tombstones.py",
        ),
        tests=(
            "sessions/test_confirmations.py",
            "sessions/test_lifetime.py",
            "sessions/test_lineage.py",
            "sessions/test_marks.py",
            "sessions/test_outcomes.py",
            "sessions/test_refresh.py",
            "sessions/test_tokens.py",
            "sessions/test_tombstones.py",
        ),
    ),
    Part(
        name="addresses",
        patterns=("network/addresses.py",),
        tests=("network/test_addresses.py", "network/test_addresses_more.py"),
    ),
    Part(
        name="fetch",
        patterns=("network/fetch.py",),
        tests=("network/test_fetch.py", "network/test_fetch_more.py"),
    ),
    Part(
        name="login",
        patterns=(
            "sessions/cookies.py",
            "sessions/exchange.py",
            "sessions/pending.py",
            "sessions/record_sealer.py",
        ),
        tests=(
            "sessions/test_cookies.py",
            "sessions/test_exchange.py",
            "sessions/test_pending.py",
            "sessions/test_records.py",
        ),
    ),
)
"""Each file is in one part."""


def chosen(words: Sequence[str]) -> list[tuple[Part, list[str]]]:
    """Return the parts and files that words choose: names of parts, bits of paths.

    Raises:
        LookupError: a word chooses nothing.
    """
    for word in words:
        if not any(_chooses(word, part, each) for part in CORE for each in part.files):
            message = f"not of the core: {word}"
            raise LookupError(message)
    found = [
        (part, [file for file in part.files if _is_chosen(file, part, words)])
        for part in CORE
    ]
    return [(part, files) for part, files in found if files]


def _is_chosen(file: str, part: Part, words: Sequence[str]) -> bool:
    return not words or any(_chooses(word, part, file) for word in words)


def _chooses(word: str, part: Part, file: str) -> bool:
    return word == part.name or f"/{word}" in file


def _package() -> Path:
    return ROOT / PACKAGE
