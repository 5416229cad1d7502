"""RFC 3986, read narrowly: the URLs that this client may ask for.

One strict expression decides, and the value it gives is the one that is connected
to, so that no two parsers can disagree about the host.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from typing_extensions import override

from atproto_oauth_asgi.exceptions import Blocked

# The handle specification, "Additional Non-Syntax Restrictions".
RESERVED_TLDS = frozenset(
    {
        "alt",
        "arpa",
        "example",
        "internal",
        "invalid",
        "local",
        "localhost",
        "onion",
    }
)
# Not reserved for handles, but never delegated: names of somebody's own network.
_LOCAL_TLDS = frozenset(
    {"corp", "home", "intranet", "lan", "localdomain", "private", "svc"}
)

_MAX_URL_LENGTH = 8192
_MAX_HOST_LENGTH = 253
_DEFAULT_PORTS = {"https": 443, "http": 80}
_MAX_PORT = 65535

_PLAIN = r"[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-Fa-f]{2}"
_URL = re.compile(
    r"(?P<scheme>https?)://"
    r"(?P<host>\[[0-9a-f:.]+\]|[a-z0-9.-]+)"
    r"(?::(?P<port>[1-9][0-9]{0,4}))?"
    rf"(?P<path>/(?:{_PLAIN})*)?"
    rf"(?:\?(?P<query>(?:{_PLAIN}|\?)*))?"
)
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"(?:{_LABEL}\.)*{_LABEL}")
# Browsers read the encoded forms as dots too, so a path could mean two things.
_DOT_SEGMENT = re.compile(r"/(?:\.|%2[Ee]){1,2}(?=/|\Z)")


@dataclass(frozen=True, slots=True, kw_only=True)
class UrlPolicy:
    """Which URLs may be asked for, before any name is resolved.

    Host lists take exact names or ``.suffix``es.

    Attributes:
        allowed_ports: ports of https URLs besides 443.
        http_hosts: hosts that may be reached by plain http, and on any port.
        private_hosts: hosts that may be local names or addresses, on any port.
        test_names: whether names below ``.test`` count as ordinary names.
    """

    allowed_ports: tuple[int, ...] = (443,)
    http_hosts: tuple[str, ...] = ()
    private_hosts: tuple[str, ...] = ()
    test_names: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Url:
    """An absolute URL that passed ``check_url``, in parts.

    ``host`` is lower case, an IPv6 address in brackets. ``path`` is ``/`` at least.
    """

    scheme: str
    host: str
    port: int
    path: str
    query: str | None

    @property
    def authority(self) -> str:
        """The host, and the port if it is not the scheme's own."""
        if self.port == _DEFAULT_PORTS[self.scheme]:
            return self.host
        return f"{self.host}:{self.port}"

    @property
    def origin(self) -> str:
        """Scheme, host and port, as ``https://host``. Spec: RFC 6454 section 6.2."""
        return f"{self.scheme}://{self.authority}"

    @property
    def target(self) -> str:
        """Path and query, as they go over the wire."""
        return self.path if self.query is None else f"{self.path}?{self.query}"

    @override
    def __str__(self) -> str:
        return self.origin + self.target


def matches_host(host: str, patterns: Sequence[str]) -> bool:
    """Return whether a host is one of the names or below one of the ``.suffix``es."""
    return any(
        (host.endswith(pattern) and host != pattern)
        if pattern.startswith(".")
        else host == pattern
        for pattern in patterns
    )


def check_url(text: str, policy: UrlPolicy, *, what: str) -> Url:
    """Return the parts of a URL that may be asked for.

    ``what`` says in the error message what the text is.

    Raises:
        Blocked: it is not a plain URL, or not one that the policy allows.
    """
    found = _URL.fullmatch(text) if len(text) <= _MAX_URL_LENGTH else None
    if found is None or _DOT_SEGMENT.search(found["path"] or ""):
        raise Blocked(f"{what}: not a plain https URL")
    url = Url(
        scheme=found["scheme"],
        host=found["host"],
        port=int(found["port"] or _DEFAULT_PORTS[found["scheme"]]),
        path=found["path"] or "/",
        query=found["query"],
    )
    if found["port"] and int(found["port"]) == _DEFAULT_PORTS[url.scheme]:
        raise Blocked(f"{what}: the port of {url.scheme} must not be written out")
    _check_reachable(url, policy, what=what)
    return url


def parse_origin(text: str, policy: UrlPolicy, *, what: str) -> str:
    """Return the text if it is a bare origin such as ``https://example.com``.

    There is no path, not even ``/``, and no default port.

    Raises:
        Blocked: it is more than an origin, or not one that the policy allows.
    """
    url = check_url(text, policy, what=what)
    if text != url.origin:
        raise Blocked(f"{what}: not a bare origin such as https://example.com")
    return text


def parse_redirect(location: str, base: Url, policy: UrlPolicy, *, what: str) -> Url:
    """Return where a redirect leads: an https URL on port 443, or a path at home.

    Other relative forms, such as ``//host``, are not read.

    Raises:
        Blocked: it leads to a URL that the policy does not allow, or elsewhere.
    """
    is_path = location.startswith("/") and not location.startswith("//")
    text = base.origin + location if is_path else location
    url = check_url(text, policy, what=what)
    if (url.scheme, url.port) != ("https", _DEFAULT_PORTS["https"]):
        raise Blocked(f"{what}: the redirect leads away from https and its port")
    return url


def find_host_problem(host: str, policy: UrlPolicy) -> str | None:
    """Return why a host is not one to connect to, or None if nothing is wrong."""
    if matches_host(host, policy.private_hosts + policy.http_hosts):
        return None if _is_name(host) or host.startswith("[") else "not a host name"
    tld = host.rpartition(".")[2]
    if not tld[:1].isalpha():
        return "an IP address or a number is not a host name"
    if not _is_name(host) or "." not in host:
        return "not a full host name"
    if tld in RESERVED_TLDS | _LOCAL_TLDS or (tld == "test" and not policy.test_names):
        return "the name is reserved and means nothing on the Internet"
    return None


def _check_reachable(url: Url, policy: UrlPolicy, *, what: str) -> None:
    is_http_host = matches_host(url.host, policy.http_hosts)
    if url.scheme != "https" and not is_http_host:
        raise Blocked(f"{what}: not an https URL")
    if problem := find_host_problem(url.host, policy):
        raise Blocked(f"{what}: {problem}")
    any_port = is_http_host or matches_host(url.host, policy.private_hosts)
    if url.port > _MAX_PORT or not (
        any_port or url.port in {_DEFAULT_PORTS["https"], *policy.allowed_ports}
    ):
        raise Blocked(f"{what}: the port is not one we connect to")


def _is_name(host: str) -> bool:
    return (
        len(host) <= _MAX_HOST_LENGTH
        and _NAME.fullmatch(host) is not None
        and all(map(_is_sound_label, host.split(".")))
    )


def _is_sound_label(label: str) -> bool:
    """Whether a label is what it says: an ``xn--`` one must stand for something."""
    if not label.startswith("xn--"):
        return True
    encoded = label.removeprefix("xn--")
    try:
        decoded = encoded.encode("ascii").decode("punycode")
        again = decoded.encode("punycode").decode("ascii")
    except UnicodeError:
        return False
    return again == encoded and decoded.isprintable()
