"""What the authorization server saw of each refresh token, and what came of it."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

# Tokens are renewed after nine tenths of their life, which clients count from before
# they ask for them; a slow answer makes that earlier.
_DUE_AFTER = 0.5
_OK = 200


@dataclass(frozen=True, slots=True)
class Ask:
    """A refresh token that came.

    Attributes:
        at: when, by the monotonic clock.
        pid: the worker that sent it.
        answer: what the server said to it.
    """

    at: float
    pid: int
    answer: str


@dataclass(slots=True)
class Grant:
    """New tokens that the server gave.

    Attributes:
        at: when it had answered, by the monotonic clock.
        pid: the worker they were for.
        did: whose they are.
        arrived: whether the answer was passed on.
    """

    at: float
    pid: int
    did: str
    arrived: bool = True


@dataclass(frozen=True, slots=True)
class _Token:
    issued_at: float
    lifetime_s: float


@dataclass(slots=True)
class Ledger:
    """The books of one case.

    Attributes:
        logins: codes that were redeemed.
        granted: by refresh token, what it was traded for.
        asked: by refresh token, the requests that the server answered, whatever it
            said, unless it only wanted another nonce. One per token is right.
        too_early: refreshes of access tokens that were still good.
        answers: how often the server said what at the token endpoint.
    """

    logins: int = 0
    granted: dict[str, Grant] = field(default_factory=dict)
    asked: dict[str, list[Ask]] = field(default_factory=dict)
    too_early: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    _tokens: dict[str, _Token] = field(default_factory=dict)

    def note(
        self,
        form: bytes,
        status: int,
        body: bytes,
        *,
        pid: int,
        at: float,
        answered_at: float,
    ) -> Grant | None:
        """Enter an answer of the token endpoint; return what was granted, if it was.

        Args:
            form: of the request.
            status: of the answer.
            body: of the answer.
            pid: of the worker that asked.
            at: when the request came, by the monotonic clock.
            answered_at: when it was answered.
        """
        asked, said = dict(parse_qsl(form.decode())), _read(body)
        error = said.get("error")
        self.answers[str(error or status)] += 1
        if error == "use_dpop_nonce":
            return None
        if asked.get("grant_type") != "refresh_token":
            return self._note_login(status, said, pid=pid, at=at)
        old = asked["refresh_token"]
        self.asked.setdefault(old, []).append(Ask(at, pid, str(error or status)))
        if status != _OK:
            return None
        known = self._tokens.get(old)
        if known and at - known.issued_at < _DUE_AFTER * known.lifetime_s:
            self.too_early += 1
        self.granted[old] = grant = Grant(answered_at, pid, said["sub"])
        self._issue(said, at)
        return grant

    def _note_login(
        self, status: int, said: dict[str, Any], *, pid: int, at: float
    ) -> Grant | None:
        if status != _OK:
            return None
        self.logins += 1
        self._issue(said, at)
        return Grant(at, pid, said["sub"])

    def _issue(self, said: dict[str, Any], at: float) -> None:
        token = _Token(issued_at=at, lifetime_s=float(said["expires_in"]))
        self._tokens[said["refresh_token"]] = token


def _read(body: bytes) -> dict[str, Any]:
    try:
        said = json.loads(body)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
