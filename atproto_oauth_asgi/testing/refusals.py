"""How the servers of the network say no."""

from __future__ import annotations

from collections.abc import Mapping

_BAD_REQUEST, _UNAUTHORIZED, _FAILED = 400, 401, 500


class Refusal(Exception):
    """An error answer; ``str()`` is its description, which names no secret.

    Attributes:
        error: the code, of RFC 6749 or of XRPC.
        status: of the answer.
    """

    def __init__(
        self, error: str, description: str, *, status: int = _BAD_REQUEST
    ) -> None:
        super().__init__(description)
        self.error = error
        self.status = status


class SentBack(Exception):
    """An error that goes to the client, by way of the browser.

    Attributes:
        form: the authorization request.
        error: the code. Spec: RFC 6749 section 4.1.2.1, OpenID Connect Core 3.1.2.6.
    """

    def __init__(
        self, form: Mapping[str, str], error: str, *, description: str
    ) -> None:
        super().__init__(description)
        self.form = form
        self.error = error


def bad_proof(description: str) -> Refusal:
    """Return the refusal of a DPoP proof. Spec: RFC 9449 section 7.1."""
    return Refusal("invalid_dpop_proof", description, status=_UNAUTHORIZED)


def bad_token(description: str) -> Refusal:
    """Return the refusal of an access token. Spec: RFC 6750 section 3.1."""
    return Refusal("invalid_token", description, status=_UNAUTHORIZED)


def bad_grant(description: str) -> Refusal:
    """Return the refusal of a code or refresh token. Spec: RFC 6749 section 5.2."""
    return Refusal("invalid_grant", description)


def bad_request(description: str) -> Refusal:
    """Return the refusal of a request as such. Spec: RFC 6749 section 5.2."""
    return Refusal("invalid_request", description)


def server_error() -> Refusal:
    """Return the answer of a server that did not foresee this."""
    return Refusal("server_error", "Server error", status=_FAILED)


def challenge_of(refusal: Refusal) -> str:
    """Return the value of ``WWW-Authenticate``. Spec: RFC 9449 section 7.1."""
    text = str(refusal).replace('"', "'")
    fields = {"algs": "ES256", "error": refusal.error, "error_description": text}
    return "DPoP " + ", ".join(f'{name}="{value}"' for name, value in fields.items())
