"""Request and response headers that have to do with being logged in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

RawHeaders = Iterable[tuple[bytes, bytes]]

# Parts of a page never need tokens; the page's own request renews them.
_PARTS_OF_PAGES = frozenset({b"image", b"style", b"script", b"font"})
_PREFETCH = (b"sec-purpose", b"purpose")


def wants_fresh_tokens(headers: RawHeaders) -> bool:
    """Return whether a request is worth a refresh before it is answered."""
    for name, value in headers:
        if name == b"sec-fetch-dest" and value in _PARTS_OF_PAGES:
            return False
        if name in _PREFETCH and b"prefetch" in value:
            return False
    return True


def is_navigation(headers: Mapping[str, str]) -> bool:
    """Return whether a browser opens a page with this request.

    Browsers say so; older ones ask for HTML. Programs do neither.
    """
    mode = headers.get("sec-fetch-mode")
    if mode is not None:
        return mode == "navigate"
    return "text/html" in headers.get("accept", "")


def with_private_headers(headers: RawHeaders) -> list[tuple[bytes, bytes]]:
    """Return a response's headers, made unfit for caches that others share.

    What the application said more strictly stays as it is.

    Spec: RFC 9111 section 5.2.2.7, RFC 9110 section 12.5.5.
    """
    items = list(headers)
    if _REPLACED.isdisjoint([name.lower() for name, _ in items]):
        return [*items, *_PRIVATE]
    kept = [item for item in items if item[0].lower() not in _REPLACED]
    given = [item for item in items if item[0].lower() in _REPLACED]
    caching = _values(given, b"cache-control")
    vary = _values(given, b"vary")
    return [
        *kept,
        (b"cache-control", b", ".join(_private(caching))),
        (b"vary", b", ".join(_varied(vary))),
    ]


_REPLACED = frozenset({b"cache-control", b"vary"})
# What most responses get, as they say nothing of either.
_PRIVATE = ((b"cache-control", b"private"), (b"vary", b"Cookie"))


def _values(headers: RawHeaders, wanted: bytes) -> list[bytes]:
    lines = [value for name, value in headers if name.lower() == wanted]
    return [part.strip() for part in b",".join(lines).split(b",") if part.strip()]


def _private(directives: list[bytes]) -> list[bytes]:
    kept = [each for each in directives if not _is_for_shared_caches(each.lower())]
    if any(each.lower() in {b"private", b"no-store"} for each in kept):
        return kept
    return [b"private", *kept]


def _is_for_shared_caches(directive: bytes) -> bool:
    return directive == b"public" or directive.startswith(b"s-maxage")


def _varied(fields: list[bytes]) -> list[bytes]:
    if any(each.lower() in {b"cookie", b"*"} for each in fields):
        return fields
    return [*fields, b"Cookie"]
