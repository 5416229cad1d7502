"""RFC 9126: the authorization request goes to the server before the browser does."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from atproto_oauth_asgi.exceptions import AuthorizationServerError
from atproto_oauth_asgi.protocol.documents import parse_json_object
from atproto_oauth_asgi.protocol.oauth_error import parse_refusal

# Opaque, but it goes into a URL: no blanks, no controls, ASCII.
_REQUEST_URI = re.compile(r"[\x21-\x7e]{1,2048}")
_ACCEPTED = (200, 201)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationParameters:
    """What one login asks for.

    ``extra`` holds the parameters an application may choose: ``prompt``,
    ``login_hint``, ``ui_locales``, ``display``.
    """

    client_id: str
    redirect_uri: str
    scope: str
    state: str
    code_challenge: str
    extra: Mapping[str, str]


def build_par_form(parameters: AuthorizationParameters) -> dict[str, str]:
    """Return the form of the pushed request, without client authentication.

    Spec: RFC 9126 section 2.1, RFC 7636 section 4.3.
    """
    return {
        **parameters.extra,
        "client_id": parameters.client_id,
        "response_type": "code",
        "redirect_uri": parameters.redirect_uri,
        "scope": parameters.scope,
        "state": parameters.state,
        "code_challenge": parameters.code_challenge,
        "code_challenge_method": "S256",
    }


def parse_par_response(status: int, body: bytes) -> str:
    """Return the ``request_uri``: opaque, to be sent on, never fetched.

    Raises:
        AuthorizationServerError: the server refused, or its answer is malformed.
    """
    if status not in _ACCEPTED:
        refusal = parse_refusal(status, body)
        message = f"the authorization server refused the login ({refusal.error})"
        raise AuthorizationServerError(
            message,
            error=refusal.error,
            error_description=refusal.error_description,
        )
    members = parse_json_object(body, what="PAR answer", error=_malformed)
    request_uri = members.get("request_uri")
    if not isinstance(request_uri, str) or not _REQUEST_URI.fullmatch(request_uri):
        raise _malformed("the PAR answer has no usable request_uri")
    _check_lifetime(members.get("expires_in", 1))
    return request_uri


def build_authorization_url(
    authorization_endpoint: str, *, client_id: str, request_uri: str
) -> str:
    """Return where the browser goes: nothing but client_id and request_uri is added.

    Spec: RFC 9126 section 4, RFC 6749 section 3.1 (the endpoint's query is kept).
    """
    parts = urlsplit(authorization_endpoint)
    ours = {"client_id": client_id, "request_uri": request_uri}
    kept = parse_qsl(parts.query, keep_blank_values=True)
    query = [(name, value) for name, value in kept if name not in ours]
    return urlunsplit(parts._replace(query=urlencode([*query, *ours.items()])))


def _check_lifetime(expires_in: object) -> None:
    if type(expires_in) is not int or expires_in <= 0:
        raise _malformed("the PAR answer has an impossible expires_in")


def _malformed(message: str) -> AuthorizationServerError:
    return AuthorizationServerError(message, error="malformed_response")
