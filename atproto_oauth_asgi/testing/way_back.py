"""How the answer to a login gets to the client: in a query, a fragment or a form."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Mapping
from html import escape
from urllib.parse import urlencode

from starlette.responses import HTMLResponse, RedirectResponse, Response

_SCRIPT = "document.forms[0].submit()"
_HASH = b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode("ascii")
_HEADERS = {"Cache-Control": "no-store", "Referrer-Policy": "same-origin"}
_POLICY = {
    "Content-Security-Policy": f"default-src 'none'; script-src 'sha256-{_HASH}'"
}
_FORM = """<!doctype html><html lang="en"><title>Back to the application</title>
<form method="post" action="{uri}">{fields}<button>Continue</button></form>
<script>{script}</script>"""
_FIELD = '<input type="hidden" name="{name}" value="{value}">'


def send_back(
    form: Mapping[str, str], answer: Mapping[str, str], *, issuer: str
) -> Response:
    """Return what leads a browser back to the client that asked.

    Spec: RFC 6749 section 4.1.2, RFC 9207, OAuth 2.0 Multiple Response Types,
    OAuth 2.0 Form Post Response Mode.
    """
    fields = {"iss": issuer, **answer}
    if "state" in form:
        fields["state"] = form["state"]
    uri, mode = form["redirect_uri"], form.get("response_mode", "query")
    if mode == "form_post":
        return _post(uri, fields)
    mark = "#" if mode == "fragment" else "&" if "?" in uri else "?"
    return RedirectResponse(f"{uri}{mark}{urlencode(fields)}", 303, _HEADERS)


def _post(uri: str, fields: Mapping[str, str]) -> Response:
    inputs = "".join(
        _FIELD.format(name=name, value=escape(value)) for name, value in fields.items()
    )
    page = _FORM.format(uri=escape(uri), fields=inputs, script=_SCRIPT)
    return HTMLResponse(page, headers={**_HEADERS, **_POLICY})
