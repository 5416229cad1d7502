"""RFC 6749 section 4.1.2, RFC 9207: the answer that a browser brings back."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from atproto_oauth_asgi.exceptions import (
    CallbackError,
    IssuerMismatch,
    LoginDenied,
    OAuthStateError,
)

_STATE = re.compile(r"[A-Za-z0-9_-]{22,128}")
_ERROR = re.compile(r"[\x20\x21\x23-\x5b\x5d-\x7e]{1,64}")
_CODE = re.compile(r"[\x20-\x7e]{1,4096}")
_MAX_DESCRIPTION = 500
_KNOWN = ("state", "code", "iss", "error", "error_description")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackAnswer:
    """The parameters of a callback, each given once and of a possible form."""

    state: str = field(repr=False)
    code: str | None = field(default=None, repr=False)
    iss: str | None = None
    error: str | None = None
    error_description: str | None = None


def parse_callback(parameters: Iterable[tuple[str, str]]) -> CallbackAnswer:
    """Return the answer held by a callback's query.

    Raises:
        CallbackError: a parameter is missing, doubled, or of an impossible form.
    """
    values: dict[str, str] = {}
    for name, value in parameters:
        if name == "response":
            raise CallbackError("the answer is a JWT, which was not asked for")
        if name in _KNOWN and name in values:
            raise CallbackError(f"the answer holds more than one {name}")
        values[name] = value
    return check_callback(**{name: values.get(name) for name in _KNOWN})


def check_callback(
    *,
    state: str | None,
    code: str | None,
    iss: str | None,
    error: str | None,
    error_description: str | None,
) -> CallbackAnswer:
    """Return the answer that these parameters make.

    Raises:
        OAuthStateError: the state is missing or of an impossible form.
        CallbackError: another parameter is.
    """
    if state is None or not _STATE.fullmatch(state):
        raise OAuthStateError("the answer has no usable state")
    if error is not None:
        code = None
    elif code is None:
        raise CallbackError("the answer has neither a code nor an error")
    if code is not None and not _CODE.fullmatch(code):
        raise CallbackError("the code has an impossible form")
    return CallbackAnswer(
        state=state,
        code=code,
        iss=iss,
        error=error,
        error_description=error_description,
    )


def check_issuer(answer: CallbackAnswer, issuer: str) -> None:
    """Check that the server that answers is the one that was asked.

    It comes before the code is sent anywhere and before an error is believed.

    Raises:
        IssuerMismatch: it is not, or does not say.

    Spec: RFC 9207 section 2.4: a comparison of strings, nothing else.
    """
    if answer.iss != issuer:
        raise IssuerMismatch("the answer comes from another server than was asked")


def check_not_denied(answer: CallbackAnswer) -> str:
    """Return the code.

    Raises:
        LoginDenied: the answer is an error.
    """
    if answer.code is not None:
        return answer.code
    error = answer.error or ""
    known = error if _ERROR.fullmatch(error) else "unknown"
    description = answer.error_description
    raise LoginDenied(
        f"the authorization server answered {known}",
        error=known,
        error_description=description and description[:_MAX_DESCRIPTION],
    )
