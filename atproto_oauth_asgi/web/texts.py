"""What a person is told when something went wrong, by the error's stable code.

The texts themselves are in ``templates/texts.toml``. None comes from another server
and none from an exception: the code alone decides, so nothing foreign or secret can
slip onto a page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any

from atproto_oauth_asgi.exceptions import (
    AuthorizationServerError,
    InvalidIdentifier,
    LoginDenied,
    OAuthError,
)
from atproto_oauth_asgi.web.templates import read_file

Problem = OAuthError | str | None
"""An error; or the code of one that has no class; or None, for the unforeseen."""

_MAX_NAME_CHARS = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """One explanation, in plain text.

    Attributes:
        title: what happened, as a heading, without a full stop.
        what: what happened, in one or two sentences.
        now: what the person can do.
        causes: where several things may have happened, one sentence each.
        action: the label of the button that leads to the login.
    """

    title: str
    what: str
    now: str
    causes: tuple[str, ...] = ()
    action: str = "Log in again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What an answer says about a problem.

    Attributes:
        code: the stable code.
        status_code: the HTTP status.
        text: the text, with all names filled in.
    """

    code: str
    status_code: int
    text: Text


@cache
def _load_entries() -> dict[str, dict[str, Any]]:
    import tomllib  # noqa: PLC0415 - many processes never explain anything

    return tomllib.loads(read_file("texts.toml"))


@cache
def load_texts() -> Mapping[str, Text]:
    """Return every text by its code, or by ``code:detail``.

    The detail is what a server said, or what a person meant. A code may borrow the
    text of another one. Two names are left open in them, see ``explain``.
    """
    entries = _load_entries()
    texts = {}
    for code, entry in entries.items():
        fields = entries[entry.get("same_as", code)]
        causes = tuple(fields.get("causes", ()))
        texts[code] = Text(**{**fields, "causes": causes})
    return MappingProxyType(texts)


@cache
def load_borrowers() -> Mapping[str, str]:
    """Return the codes that have no text of their own, and whose they borrow."""
    entries = _load_entries().items()
    return MappingProxyType({k: v["same_as"] for k, v in entries if "same_as" in v})


STATUS_CODES: Mapping[str, int] = MappingProxyType(
    {
        "bad_request": 400,
        "csrf": 403,
        "csrf_headers_missing": 403,
        "not_found": 404,
        "method_not_allowed": 405,
        "unsupported_media_type": 415,
        "wrong_host": 421,
        "login_refused": 403,
        "hook_failed": 500,
        "unexpected": 500,
    }
)
"""HTTP statuses of the codes that no exception class stands for."""


def _build_keys(error: OAuthError) -> list[str]:
    """Return the keys that may have a text for an error, the most telling first."""
    codes = [error.code]
    codes += [c.code for c in type(error).__mro__ if issubclass(c, OAuthError)]
    if isinstance(error, AuthorizationServerError | LoginDenied):
        return [f"{code}:{error.error}" for code in codes] + codes
    if isinstance(error, InvalidIdentifier):
        return [f"{code}:{error.meant}" for code in codes] + codes
    return codes


def _find_text(problem: Problem, texts: Mapping[str, Text]) -> Text:
    """Return the text for a problem, the general one where there is no other."""
    if isinstance(problem, OAuthError):
        keys = _build_keys(problem)
    else:
        keys = [problem or "unexpected"]
    return next((texts[key] for key in keys if key in texts), texts["oauth_error"])


def _fill_names(text: Text, *, host: str | None, client_name: str | None) -> Text:
    """Return a text with the names of application and host in place."""
    names = {
        "app": (client_name or "this app")[:_MAX_NAME_CHARS],
        "host": "the server that hosts your account",
    }
    if host:
        names["host"] += f" ({host[:_MAX_NAME_CHARS]})"
    # What a name holds is not looked through for placeholders again.
    return Text(
        title=text.title.format_map(names),
        what=text.what.format_map(names),
        now=text.now.format_map(names),
        causes=tuple(cause.format_map(names) for cause in text.causes),
        action=text.action.format_map(names),
    )


def explain(
    problem: Problem,
    *,
    host: str | None = None,
    client_name: str | None = None,
    texts: Mapping[str, Text] | None = None,
) -> Explanation:
    """Return what to tell a person or a program about a problem.

    A code without a text of its own is told as the nearest class that has one.

    Args:
        problem: an error, or a code such as ``"csrf"``, or None.
        host: name of the server that hosts the account, where it is known.
        client_name: name of the application.
        texts: by code; None means ours.
    """
    found = _find_text(problem, load_texts() if texts is None else texts)
    text = _fill_names(found, host=host, client_name=client_name)
    if isinstance(problem, OAuthError):
        code, status_code = problem.code, problem.status_hint
    else:
        code = problem or "unexpected"
        status_code = STATUS_CODES.get(code, 500)
    return Explanation(code=code, status_code=status_code, text=text)
