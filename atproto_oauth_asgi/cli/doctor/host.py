"""Checks over the host: TLS, clock, and what stands in front of the application.

Spec: RFC 8446; RFC 6797; RFC 9110 section 6.6.1.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial

from atproto_oauth_asgi.cli.doctor.finding import (
    NO_CONNECTION,
    Check,
    Finding,
    bad,
    good,
    hint,
    over_answer,
    over_document,
    over_seen,
    skipped,
)
from atproto_oauth_asgi.cli.doctor.seen import Answer, Document, Seen

_DAY_S = 86400
_RENEW_S = 14 * _DAY_S
_ODD_S, _WRONG_S = 5.0, 30.0
_CODES_THAT_REFUSE = range(400, 500)
_WRITTEN_PORT = re.compile(r"https?://[^/?#]*:[0-9]+(?:[/?#]|\Z)")
_FORGED_HOST = b"doctor.invalid"


def _certificate(seen: Seen) -> Finding:
    if isinstance(seen.certificate, str):
        remedy = (
            "let the name lead to the server, let port 443 be open, and show a"
            " certificate of a public authority, for this name, with its whole chain;"
            " a host of your own network needs --private, an authority --ca"
        )
        return bad(seen.certificate, remedy)
    return good(seen.certificate.tls_version)


def _certificate_end(seen: Seen, *, clock: Callable[[], float]) -> Finding:
    if isinstance(seen.certificate, str):
        return skipped("there is no certificate to look at")
    ends_at, left_s = seen.certificate.ends_at, seen.certificate.ends_at - clock()
    days = int(left_s // _DAY_S)
    text = f"{datetime.fromtimestamp(ends_at, UTC):%Y-%m-%d}, in {days} days"
    # Some live for six days only, and are renewed every third.
    life_s = ends_at - seen.certificate.starts_at
    if left_s < min(_RENEW_S, life_s / 4):
        return bad(text, "renew it; let something renew it by itself")
    return good(text)


def _hsts(answer: Answer) -> Finding:
    found = answer.header("strict-transport-security")
    if re.search(r"max-age=\"?[1-9]", found.lower()):
        return good(found)
    remedy = "let the proxy send Strict-Transport-Security: max-age=31536000"
    return hint("browsers may ask by plain http the next time", remedy)


def _clock(answer: Answer) -> Finding:
    try:
        date = parsedate_to_datetime(answer.header("date"))
    except ValueError:
        return hint("the answer has no Date", "let the server send one")
    apart_s = date.replace(tzinfo=UTC).timestamp() - answer.at
    text = f"{abs(apart_s):.0f} s {'ahead of' if apart_s > 0 else 'behind'} this one"
    if abs(apart_s) < _ODD_S:
        return good(f"less than {_ODD_S:.0f} s from this one")
    remedy = "set both clocks by NTP: signatures are dated, and servers look at it"
    return bad(text, remedy) if abs(apart_s) >= _WRONG_S else hint(text, remedy)


def _forwarded(seen: Seen) -> Finding:
    if seen.metadata.problem:
        return skipped(NO_CONNECTION)
    if seen.metadata.status != seen.forwarded.status:
        if seen.forwarded.status in _CODES_THAT_REFUSE:
            return good("requests with forged headers are refused")
        remedy = "let the proxy overwrite X-Forwarded-* and Forwarded of requests"
        return bad(f"with forged headers: {seen.forwarded.told}", remedy)
    if seen.metadata.body != seen.forwarded.body:
        remedy = "make nothing of X-Forwarded-* into the document; set public_url"
        return bad("forged X-Forwarded-* headers change the document", remedy)
    return good("forged X-Forwarded-* headers change nothing")


def _plain_links(document: Document) -> Finding:
    found = [url for url in _urls(document) if url.startswith("http://")]
    if found:
        remedy = "set public_url to the https address: the proxy ends TLS"
        return bad(f"by plain http: {', '.join(found)}", remedy)
    return good("none in the metadata")


def _ports(document: Document) -> Finding:
    found = [url for url in _urls(document) if _WRITTEN_PORT.match(url)]
    if found:
        remedy = "set public_url without the port that the server listens on"
        return bad(f"with a port: {', '.join(found)}", remedy)
    return good("none in the metadata")


def _urls(document: Document) -> Iterator[str]:
    yield from document.texts("redirect_uris")
    for name in document.members:
        if name == "client_id" or name.endswith("_uri"):
            yield document.text(name)


def _redirects(seen: Seen) -> Finding:
    if not seen.answers:
        return skipped(NO_CONNECTION)
    for answer in seen.answers:
        location = answer.header("location")
        if location.startswith("http://"):
            remedy = "let the proxy pass https on, and redirect to https or to paths"
            return bad(f"{answer.url} leads to {location}", remedy)
    return good("no answer leads to plain http")


def _host_header(seen: Seen) -> Finding:
    if not seen.answers:
        return skipped(NO_CONNECTION)
    told = [each.url for each in seen.answers if _mentions_forged_host(each)]
    if told:
        remedy = "build no address from headers of the request"
        return bad(f"a forged host comes back from {', '.join(told)}", remedy)
    return good("a forged host comes back nowhere")


def _mentions_forged_host(answer: Answer) -> bool:
    # In the body, and in headers; not in what we wrote into the query.
    headers = json.dumps(dict(answer.headers)).encode()
    return _FORGED_HOST in answer.body or _FORGED_HOST in headers


def make_checks(clock: Callable[[], float]) -> tuple[Check, ...]:
    """Return the checks, in the order in which they are shown."""
    return (
        over_seen("certificate", _certificate),
        over_seen("certificate-end", partial(_certificate_end, clock=clock)),
        over_answer("hsts", lambda seen: seen.login_page, _hsts),
        over_answer("clock", lambda seen: seen.login_page, _clock),
        over_seen("forwarded-headers", _forwarded),
        over_seen("forged-host", _host_header),
        over_document("plain-links", _plain_links),
        over_document("ports", _ports),
        over_seen("redirects", _redirects),
    )
