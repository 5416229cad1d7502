"""What a check is, and what it finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from atproto_oauth_asgi.cli.doctor.seen import Answer, Document, KeySet, Seen

NO_CONNECTION = "there is no connection to the host"

Verdict = Literal["ok", "hint", "failed", "skipped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check found.

    Attributes:
        verdict: ``hint`` is not good, but nothing fails by it.
        text: what is there.
        remedy: what to do about it.
    """

    verdict: Verdict
    text: str
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that can be right or wrong, by a stable name."""

    name: str
    look: Callable[[Seen], Finding]


def good(text: str) -> Finding:
    """Return that all is well."""
    return Finding(verdict="ok", text=text)


def hint(text: str, remedy: str) -> Finding:
    """Return that something could be better."""
    return Finding(verdict="hint", text=text, remedy=remedy)


def bad(text: str, remedy: str) -> Finding:
    """Return that something is wrong."""
    return Finding(verdict="failed", text=text, remedy=remedy)


def skipped(why: str) -> Finding:
    """Return that there was nothing to look at."""
    return Finding(verdict="skipped", text=why)


def over_seen(name: str, look: Callable[[Seen], Finding]) -> Check:
    """Return a check over everything that was seen."""
    return Check(name=name, look=look)


def over_document(name: str, look: Callable[[Document], Finding]) -> Check:
    """Return a check over the client metadata document, if there is one."""

    def look_if_there(seen: Seen) -> Finding:
        if seen.document is None:
            return skipped("there is no metadata document to look at")
        return look(seen.document)

    return Check(name=name, look=look_if_there)


def over_keys(name: str, look: Callable[[KeySet], Finding]) -> Check:
    """Return a check over the keys of a confidential client."""

    def look_if_there(seen: Seen) -> Finding:
        if seen.keys is None:
            return skipped("the client publishes no keys")
        if seen.keys.entries is None:
            return skipped("the keys cannot be read")
        return look(seen.keys)

    return Check(name=name, look=look_if_there)


def over_answer(
    name: str,
    choose: Callable[[Seen], Answer | None],
    look: Callable[[Answer], Finding],
) -> Check:
    """Return a check over one answer, if it came."""

    def look_if_there(seen: Seen) -> Finding:
        answer = choose(seen)
        if answer is None or answer.problem:
            return skipped("there was no answer to look at")
        return look(answer)

    return Check(name=name, look=look_if_there)
