"""RFC 6749 sections 4.1.3 to 6, RFC 7009: codes and refresh tokens for tokens."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from atproto_oauth_asgi.exceptions import IdentityError, OAuthTokenError
from atproto_oauth_asgi.models import TokenResponse
from atproto_oauth_asgi.protocol.documents import parse_json_object
from atproto_oauth_asgi.protocol.identifiers import parse_did
from atproto_oauth_asgi.protocol.oauth_error import parse_refusal

_OK = 200
_REFUSALS = (400, 401)
# RFC 6749 appendix A.12 allows blanks; in a header they would be an injection.
_TOKEN = re.compile(r"[\x21-\x7e]{1,32768}")
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+(?: [\x21\x23-\x5b\x5d-\x7e]+)*")
_TOKEN_MEMBER = re.compile(
    rb'"(?P<hint>refresh_token|access_token)"\s*:\s*"(?P<token>[\x21\x23-\x5b\x5d-\x7e]+)"'
)
_MAX_REVOKED = 4
_MAX_SCOPE = 65536
_LONGEST_LIFETIME_S = 400 * 24 * 3600


def build_code_form(
    *, code: str, redirect_uri: str, code_verifier: str
) -> dict[str, str]:
    """Return the form that trades a code. Spec: RFC 6749 section 4.1.3, RFC 7636."""
    return {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri,
        "code_verifier": code_verifier,
    }


def build_refresh_form(refresh_token: str) -> dict[str, str]:
    """Return the form that trades a refresh token. Spec: RFC 6749 section 6."""
    return {"grant_type": "refresh_token", "refresh_token": refresh_token}


def build_revocation_form(token: str, *, hint: str) -> dict[str, str]:
    """Return the form that ends a token. Spec: RFC 7009 section 2.1."""
    return {"token": token, "token_type_hint": hint}


def parse_token_response(status: int, body: bytes) -> TokenResponse:
    """Return the tokens of an answer, each member checked.

    Raises:
        OAuthTokenError: the server refused, or the answer must not be used.

    Spec: RFC 6749 section 5.1, RFC 9449 section 5, atproto OAuth "Tokens".
    """
    if status != _OK:
        raise _refused(status, body)
    members = parse_json_object(body, what="token answer", error=_unusable)
    if str(members.get("token_type")).lower() != "dpop":
        raise _unusable("the token is not bound to our key (token_type is not DPoP)")
    return TokenResponse(
        access_token=_token(members, "access_token"),
        refresh_token=_optional_token(members, "refresh_token"),
        sub=_subject(members),
        scope=_scope(members),
        expires_in=_lifetime(members),
    )


def read_tokens_to_revoke(body: bytes) -> list[tuple[str, str]]:
    """Return the (hint, token) pairs in an answer that was refused, best first.

    An answer can be unusable, as JSON too, and hold live tokens all the same.
    """
    found = [
        (match["hint"].decode("ascii"), match["token"].decode("ascii"))
        for match in _TOKEN_MEMBER.finditer(body)
    ]
    return sorted(found, reverse=True)[:_MAX_REVOKED]


def _refused(status: int, body: bytes) -> OAuthTokenError:
    refusal = parse_refusal(status, body)
    return OAuthTokenError(
        f"the token endpoint refused ({refusal.error})",
        # Under any other status it is not the token endpoint that speaks.
        error=refusal.error if status in _REFUSALS else f"http_{status}",
        error_description=refusal.error_description,
    )


def _unusable(message: str) -> OAuthTokenError:
    return OAuthTokenError(message, error="malformed_response")


def _token(members: Mapping[str, Any], name: str) -> str:
    value = members.get(name)
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise _unusable(f"the token answer has no usable {name}")
    return value


def _optional_token(members: Mapping[str, Any], name: str) -> str | None:
    return None if members.get(name) is None else _token(members, name)


def _subject(members: Mapping[str, Any]) -> str:
    value = members.get("sub")
    try:
        return parse_did(value) if isinstance(value, str) else parse_did("")
    except IdentityError as error:
        raise _unusable("the token answer names no account (sub)") from error


def _scope(members: Mapping[str, Any]) -> str:
    value = members.get("scope")
    if (
        not isinstance(value, str)
        or len(value) > _MAX_SCOPE
        or not _SCOPE.fullmatch(value)
        or "atproto" not in value.split()
    ):
        raise _unusable("the granted scope does not hold atproto")
    return value


def _lifetime(members: Mapping[str, Any]) -> int | None:
    value = members.get("expires_in")
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return int(value) if 1 <= value <= _LONGEST_LIFETIME_S else None
