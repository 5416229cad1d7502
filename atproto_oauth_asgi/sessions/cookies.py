"""Cookies: names, the request's header, chunks, ``Set-Cookie`` lines (RFC 6265).

Nothing here opens or seals a value. A value that does not fit one cookie is cut into
chunks: ``name``, ``name.1``, ``name.2`` ... Every chunk says which write it belongs to,
its place and how many there are; a jar that holds anything but the chunks of one whole
write reads as empty. The chunks follow from name and value alone, so that one value
written by several responses gives the same chunks each time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from email.utils import formatdate
from hashlib import sha256
from typing import Literal

from atproto_oauth_asgi.crypto.encoding import b64url
from atproto_oauth_asgi.exceptions import ConfigurationError, CookieTooLarge
from atproto_oauth_asgi.sessions.lifetime import LONGEST_COOKIE_S

MAX_LINE_BYTES = 4096
"""The size of a whole ``Set-Cookie`` field that every browser and proxy takes."""

MAX_TOTAL_BYTES = 8192 - 1024
"""What our cookies may take of the 8 KiB of one buffered ``Cookie`` line."""

MAX_HEADER_BYTES = 65536
"""Requests with more bytes of cookies than this read as having none."""

MAX_COOKIES = 64
"""Requests with more cookies of ours than this read as having none."""

_HOST_PREFIX = "__Host-"
_TAG_CHARACTERS = 6
_NAME = re.compile(r"(?!__)[A-Za-z0-9_-]{1,64}")
_VALUE = re.compile(r"[A-Za-z0-9_.-]+")
_CHUNK = re.compile(
    r"(?P<write_id>[A-Za-z0-9_-]{8}):(?P<index>0|[1-9][0-9]?)"
    r":(?P<count>[2-9]|[1-9][0-9]):(?P<piece>[A-Za-z0-9_.-]+)"
)
_CHUNK_SUFFIX = re.compile(r"\.[A-Za-z0-9.+_-]{1,16}")
_SAFE_NAME = re.compile(r"[A-Za-z0-9.+_-]{1,200}")
_MAX_CHUNKS = 99
_CHUNK_HEAD_BYTES = len("12345678:98:99:")
_LONG_AGO = "Thu, 01 Jan 1970 00:00:00 GMT"
# The room that a line keeps for everything but `name=value`. It must not depend on the
# life of the cookie: then the chunks would.
_LINE_OVERHEAD = len(
    f"Set-Cookie: ; Path=/; Max-Age={LONGEST_COOKIE_S}; Expires={_LONG_AGO}"
    "; HttpOnly; SameSite=Lax; Secure"
)

Cookies = Mapping[str, Sequence[str]]
"""Cookie names with all the values that a request has for each."""


def cookie_name(
    client_id: str,
    *,
    purpose: Literal["session", "login"] = "session",
    secure: bool,
    port: int | None = None,
    override: str | None = None,
) -> str:
    """Return the name of a cookie; the session's is a prefix of all of ours.

    Where there are several cookies of one purpose, such as logins in progress, callers
    append ``-`` and a word of letters and digits.

    Args:
        client_id: two clients on one host get two names.
        purpose: what the cookie holds.
        secure: whether it is sent over https only: then the name has ``__Host-``,
            which keeps other hosts of the domain from setting it.
        port: of a loopback application; cookies are shared over ports. Not used when
            ``secure``.
        override: stands for ``atproto-<tag>``; prefix and port are put around it.

    Raises:
        ConfigurationError: ``override`` is not a plain word of letters, digits,
            ``-`` and ``_``.
    """
    parts = [_base_name(client_id, override)]
    if port is not None and not secure:
        parts.append(str(port))
    if purpose != "session":
        parts.append(purpose)
    return (_HOST_PREFIX if secure else "") + "-".join(parts)


def parse_cookie_header(
    headers: Iterable[tuple[bytes, bytes]], prefix: str
) -> dict[str, list[str]]:
    """Return the cookies whose names start with ``prefix``, in the order they came.

    All values of a name are kept, equal or not. Names and values are taken as they
    stand: nothing is unquoted or decoded. Never raises; requests beyond
    ``MAX_HEADER_BYTES`` or ``MAX_COOKIES`` give nothing.

    Args:
        headers: of an ASGI scope; several ``cookie`` fields count as one.
        prefix: ASCII.
    """
    wanted = prefix.encode("ascii")
    found: dict[str, list[str]] = {}
    total = count = 0
    for field, line in headers:
        if field != b"cookie":
            continue
        total += len(line)
        if total > MAX_HEADER_BYTES:
            return {}
        for name, value in _find_pairs(line, wanted):
            count += 1
            if count > MAX_COOKIES:
                return {}
            found.setdefault(name, []).append(value)
    return found


def split_value(
    name: str, value: str, *, max_total_bytes: int = MAX_TOTAL_BYTES
) -> list[tuple[str, str]]:
    """Return names and values of the cookies that hold ``value``, one or several.

    The same name and value always give the same cookies.

    Raises:
        CookieTooLarge: it would take more than ``max_total_bytes`` of a request.
        ValueError: the value is not one that ``seal`` makes.
    """
    if _VALUE.fullmatch(value) is None:
        message = "only sealed values are put into cookies"
        raise ValueError(message)
    room = MAX_LINE_BYTES - _LINE_OVERHEAD - len(f"{name}=")
    pairs = [(name, value)]
    if len(value) > room:
        room -= len(f".{_MAX_CHUNKS}") + _CHUNK_HEAD_BYTES
        pairs = list(_cut(name, value, size=room))
    if len(pairs) > _MAX_CHUNKS or _count_bytes(pairs) > max_total_bytes:
        message = (
            f"the session needs more than {max_total_bytes} bytes of cookies; "
            "pass store= so that it is kept on the server"
        )
        raise CookieTooLarge(message)
    return pairs


def join_chunks(
    cookies: Cookies, name: str, *, max_total_bytes: int = MAX_TOTAL_BYTES
) -> str | None:
    """Return the value that ``split_value`` cut, or None.

    None means that there is no such cookie, or that the cookies are not exactly those
    of one write: one is missing, too many, out of place, oddly named, of another write,
    or stands there twice with different values.
    """
    if len(cookies) == 1:
        # As nearly always: all of it in one.
        return _only_whole(cookies.get(name, ()), max_bytes=max_total_bytes - len(name))
    names = [name, *_chunk_names(cookies, name)]
    pairs = [(each, _only_value(cookies.get(each, ()))) for each in names]
    if any(not value for _, value in pairs) or _count_bytes(pairs) > max_total_bytes:
        return None
    if ":" not in pairs[0][1]:
        return pairs[0][1] if len(pairs) == 1 else None
    return _join_pieces(dict(pairs), name)


def set_cookie_lines(
    name: str,
    value: str,
    *,
    present: Iterable[str],
    max_age_s: float,
    now: float,
) -> list[bytes]:
    """Return the ``Set-Cookie`` values after which the browser holds ``value``.

    Args:
        name: from ``cookie_name``; ``__Host-`` in front makes the cookie ``Secure``.
        value: see ``split_value``.
        present: names of the cookies that the browser has now; chunks of ``name`` that
            are not written again are deleted.
        max_age_s: seconds that the browser keeps the cookies.
        now: Unix seconds.

    Raises:
        CookieTooLarge: see ``split_value``.
    """
    pairs = split_value(name, value)
    age = int(max(0, min(max_age_s, LONGEST_COOKIE_S)))
    expires = formatdate(now + age, usegmt=True)
    lines = [_build_line(*pair, age=age, expires=expires) for pair in pairs]
    written = {chunk for chunk, _ in pairs}
    leftovers = [each for each in _chunk_names(present, name) if each not in written]
    return lines + _build_deletions(leftovers)


def clear_cookie_lines(name: str, *, present: Iterable[str]) -> list[bytes]:
    """Return the ``Set-Cookie`` values that delete a cookie and all its chunks.

    The arguments are those of ``set_cookie_lines``; the attributes are the same, or
    browsers would keep the cookie. A name that comes from a browser may be anything:
    one that has no place in a header gives no line.
    """
    return _build_deletions([name, *_chunk_names(present, name)])


def _base_name(client_id: str, override: str | None) -> str:
    if override is None:
        tag = sha256(client_id.encode()).hexdigest()[:_TAG_CHARACTERS]
        return f"atproto-{tag}"
    word = override.removeprefix(_HOST_PREFIX)
    if _NAME.fullmatch(word) is None:
        message = "cookie_name: letters, digits, - and _ only, at most 64"
        raise ConfigurationError(message)
    return word


def _find_pairs(line: bytes, wanted: bytes) -> list[tuple[str, str]]:
    """Return the pairs that begin with ``wanted``, touching no byte more than twice."""
    found = []
    start = line.find(wanted)
    while start >= 0:
        end = line.find(b";", start)
        end = len(line) if end < 0 else end
        if _begins_pair(line, start):
            name, equals, value = line[start:end].decode("latin-1").partition("=")
            if equals:
                found.append((name, value))
        start = line.find(wanted, end)
    return found


def _begins_pair(line: bytes, start: int) -> bool:
    before = start - 1
    while before >= 0 and line[before] in b" \t":
        before -= 1
    return before < 0 or line[before] == ord(";")


def _only_whole(values: Sequence[str], *, max_bytes: int) -> str | None:
    """Return the one value, which is no piece of one; None if there is no such."""
    value = values[0] if len(values) == 1 else _only_value(values)
    is_whole = value and ":" not in value and len(f"=; {value}") <= max_bytes
    return value if is_whole else None


def _only_value(values: Sequence[str]) -> str:
    """Return the one value, or nothing if there are none or different ones."""
    return values[0] if len(set(values)) == 1 else ""


def _chunk_names(names: Iterable[str], name: str) -> list[str]:
    """Return the names that a chunk could have, or pretends to have."""
    return [
        each
        for each in names
        if each.startswith(name) and _CHUNK_SUFFIX.fullmatch(each, len(name))
    ]


def _count_bytes(pairs: Iterable[tuple[str, str]]) -> int:
    return sum(len(f"{name}={value}; ") for name, value in pairs)


def _write_id(value: str) -> str:
    return b64url(sha256(value.encode()).digest()[:6])


def _cut(name: str, value: str, *, size: int) -> Iterator[tuple[str, str]]:
    pieces = [value[at : at + size] for at in range(0, len(value), size)]
    head = f"{_write_id(value)}:%d:{len(pieces)}:"
    for index, piece in enumerate(pieces):
        yield (f"{name}.{index}" if index else name), head % index + piece


def _join_pieces(chunks: Mapping[str, str], name: str) -> str | None:
    count = len(chunks)
    expected = [name, *(f"{name}.{index}" for index in range(1, count))]
    found = [_CHUNK.fullmatch(chunks.get(each, "")) for each in expected]
    matches = [match for match in found if match is not None]
    value = "".join(match["piece"] for match in matches)
    heads = [match.group("write_id", "index", "count") for match in matches]
    write_id = _write_id(value)
    whole = [(write_id, str(index), str(count)) for index in range(count)]
    return value if heads == whole else None


def _build_line(name: str, value: str, *, age: int, expires: str) -> bytes:
    line = f"{name}={value}; Path=/; Max-Age={age}; Expires={expires}"
    line += "; HttpOnly; SameSite=Lax"
    if name.startswith(_HOST_PREFIX):
        line += "; Secure"
    return line.encode("ascii")


def _build_deletions(names: Iterable[str]) -> list[bytes]:
    return [
        _build_line(name, "", age=0, expires=_LONG_AGO)
        for name in names
        if _SAFE_NAME.fullmatch(name)
    ]
