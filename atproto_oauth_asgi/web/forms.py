"""The bodies of our own POST routes: a form, or one flat JSON object of strings."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import aclosing
from typing import TypeVar
from urllib.parse import parse_qsl

import anyio
from starlette.requests import ClientDisconnect, Request

from atproto_oauth_asgi.exceptions import OAuthError

_V = TypeVar("_V")

_MAX_BODY_BYTES = 8192
_MAX_FIELDS = 20
_READ_BUDGET_S = 10.0
_UNSUPPORTED = 415
_FORM, _JSON = "application/x-www-form-urlencoded", "application/json"


class BadForm(OAuthError):
    """The body of a request to one of our routes cannot be used."""

    code: str = "bad_request"
    status_hint: int = 400

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.status_hint = status
        if status == _UNSUPPORTED:
            self.code = "unsupported_media_type"

    @classmethod
    def of(cls, error: OAuthError) -> BadForm:
        """Return the error that says that another one is the form's fault."""
        return error if isinstance(error, cls) else cls(str(error))


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of a request's body.

    Raises:
        BadForm: it is too large or too slow (413, 408), of another type (415), or
            malformed (400).
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip()
    body = await _read_body(request)
    if media_type.lower() == _JSON:
        return _parse_json(body)
    if media_type.lower() == _FORM or not body:
        return unique(_parse_fields(body))
    raise BadForm("the body must be a form or JSON", status=415)


def unique(fields: Iterable[tuple[str, _V]]) -> dict[str, _V]:
    """Return the fields by name.

    Raises:
        BadForm: one is given twice.
    """
    found: dict[str, _V] = {}
    for name, value in fields:
        if name in found:
            raise BadForm("a field is given twice")
        found[name] = value
    return found


def parse_query(query: bytes) -> list[tuple[str, str]]:
    """Return the parameters of a query string.

    Raises:
        BadForm: it is too long (414) or malformed.
    """
    if len(query) > _MAX_BODY_BYTES:
        raise BadForm("the query is too long", status=414)
    return _parse_fields(query)


async def _read_body(request: Request) -> bytes:
    body = bytearray()
    try:
        with anyio.fail_after(_READ_BUDGET_S):
            async with aclosing(request.stream()) as chunks:
                async for chunk in chunks:
                    body += chunk
                    if len(body) > _MAX_BODY_BYTES:
                        raise BadForm("the body is too large", status=413)
    except TimeoutError as error:
        raise BadForm("the body came too slowly", status=408) from error
    except ClientDisconnect as error:
        raise BadForm("the body did not arrive") from error
    return bytes(body)


def _parse_fields(text: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(
            text.decode("ascii"),
            keep_blank_values=True,
            max_num_fields=_MAX_FIELDS,
            errors="strict",
        )
    except ValueError as error:
        raise BadForm("the parameters are malformed") from error


def _parse_json(body: bytes) -> dict[str, str]:
    try:
        members = json.loads(body, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise BadForm("the body is not JSON") from error
    if not isinstance(members, dict) or len(members) > _MAX_FIELDS:
        raise BadForm("the body must be one flat JSON object")
    given = {name: value for name, value in members.items() if value is not None}
    if not all(isinstance(value, str) for value in given.values()):
        raise BadForm("the members of the JSON object must be strings")
    return given
