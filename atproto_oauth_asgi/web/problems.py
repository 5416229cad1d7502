"""Errors for programs: problem documents (RFC 9457), and who gets them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from starlette.responses import Response

from atproto_oauth_asgi.exceptions import ScopeMissingError
from atproto_oauth_asgi.web.texts import Problem, explain
from atproto_oauth_asgi.web.words import Look

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}
_JSON_TYPE = re.compile(r"application/(?:[a-z0-9.+-]+\+)?json\Z")
_HTML_TYPES = frozenset({"text/html", "application/xhtml+xml"})
_WEIGHT = re.compile(r"q=((?:0(?:\.\d{0,3})?)|(?:1(?:\.0{0,3})?))\Z")


def problem_response(
    error: Problem,
    *,
    status_code: int | None = None,
    incident_id: str | None = None,
    host: str | None = None,
    look: Look | None = None,
) -> Response:
    """Return a problem document that says what the error page would say.

    Its members are ``type``, ``title``, ``status``, ``detail``, ``code``, and
    ``incident_id`` where there is one; ``missing`` and ``ask_for`` where a permission
    is missing.

    Args:
        error: an error, or a code such as ``"csrf"``, or None for the unforeseen.
        status_code: None means the one that fits the error.
        incident_id: what finds this failure in the log.
        host: name of the server that hosts the account, where it is known.
        look: whose texts are told; None: ours.

    Spec: RFC 9457 §3
    """
    look = look or Look()
    explanation = explain(
        error, host=host, client_name=look.client_name, texts=look.texts
    )
    text = explanation.text
    document: dict[str, str | int | list[str] | None] = {
        "type": f"about:blank#{explanation.code}",
        "title": text.title,
        "status": status_code or explanation.status_code,
        "detail": " ".join((text.what, *text.causes, text.now)),
        "code": explanation.code,
    }
    if isinstance(error, ScopeMissingError) and error.missing:
        document |= {"missing": [*error.missing], "ask_for": error.ask_for}
    if incident_id is not None:
        document["incident_id"] = incident_id
    return Response(
        json.dumps(document),
        status_code=status_code or explanation.status_code,
        headers=_HEADERS,
        media_type="application/problem+json",
    )


def wants_json(headers: Mapping[str, str]) -> bool:
    """Return whether the sender of these headers wants JSON and not a page.

    It does if it sent JSON itself, or if its ``Accept`` names JSON and prefers it to
    HTML. A wildcard names nothing: browsers and simple tools get the page.

    Args:
        headers: of the request, with lower-case names or ignoring case.

    Spec: RFC 9110 §12.5.1
    """
    content_type = _split_type(headers.get("content-type", ""))[0]
    if _JSON_TYPE.match(content_type):
        return True
    json_weight = html_weight = 0.0
    for item in headers.get("accept", "").split(","):
        media_type, weight = _split_type(item)
        if _JSON_TYPE.match(media_type):
            json_weight = max(json_weight, weight)
        elif media_type in _HTML_TYPES:
            html_weight = max(html_weight, weight)
    return json_weight > html_weight


def _split_type(item: str) -> tuple[str, float]:
    """Return media type and weight; a weight that makes no sense counts as 0."""
    media_type, *parameters = (part.strip().lower() for part in item.split(";"))
    for parameter in parameters:
        if parameter.startswith("q="):
            match = _WEIGHT.match(parameter)
            return media_type, float(match[1]) if match else 0.0
    return media_type, 1.0
