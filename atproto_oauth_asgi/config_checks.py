"""What can be wrong with the options of ``OAuthConfig``: values in, problems out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import get_args
from urllib.parse import SplitResult, urlsplit

from atproto_oauth_asgi.config_options import SessionMode
from atproto_oauth_asgi.exceptions import ConfigurationError
from atproto_oauth_asgi.protocol.client_metadata import (
    find_client_id_problems,
    find_redirect_problems,
)
from atproto_oauth_asgi.scopes import ScopesSet

_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+(?: [\x21\x23-\x5b\x5d-\x7e]+)*")
_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._~-]+)+")
_COOKIE_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_HOST = r"(?:[a-z0-9-]+(?:\.[a-z0-9-]+)*|\[[0-9a-f:]+\])"
_ORIGIN = re.compile(rf"https?://{_HOST}(?::[1-9][0-9]{{0,4}})?")
_PUBLIC_URL = re.compile(rf"{_ORIGIN.pattern}(?:{_PATH.pattern})?/?")
_HERE = re.compile(r"/(?!/)[\x21-\x5b\x5d-\x7e]*")


def is_origin(text: str) -> bool:
    """Return whether this is a bare origin in lower case."""
    return _ORIGIN.fullmatch(text) is not None


def is_path_here(text: str) -> bool:
    """Return whether this is a path on this site, maybe with a query."""
    return _HERE.fullmatch(text) is not None


def split_url(url: str) -> SplitResult:
    """Return the parts of a URL, all empty if it is none."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def find_public_url_problems(public_url: str | None) -> Iterator[str]:
    """Give what is wrong with the URL of the application."""
    if public_url is None:
        return
    parts = split_url(public_url)
    if parts.scheme == "http" and parts.hostname not in {"127.0.0.1", "::1"}:
        hint = " (use 127.0.0.1)" if parts.hostname == "localhost" else ""
        yield f"public_url: http is for loopback addresses only{hint}; else https"
    if parts.scheme == "https":
        for problem in find_client_id_problems(public_url):
            yield f"public_url: {problem}"
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        yield "public_url: it is an absolute https URL"
    if parts.query or parts.fragment:
        yield "public_url: it has no query and no fragment"
    elif not _PUBLIC_URL.fullmatch(public_url):
        yield "public_url: a plain URL in lower case, such as https://app.example.com"


def find_scope_problems(
    scope: str, *, login_scope: str | None, required_scopes: str | Sequence[str]
) -> Iterator[str]:
    """Give what is wrong with the scopes, each by itself and among them."""
    if not _SCOPE.fullmatch(scope):
        yield "scope: values of printable ASCII, one blank between them"
    scopes = scope.split(" ")
    if "atproto" not in scopes:
        yield "scope: it must hold 'atproto'"
    if len(set(scopes)) != len(scopes):
        yield "scope: a value is there twice"
    wanted = scopes if login_scope is None else login_scope.split(" ")
    is_part = {"atproto"} <= set(wanted) <= set(scopes)
    if login_scope is not None and not (is_part and len(set(wanted)) == len(wanted)):
        yield "login_scope: it must hold 'atproto' and nothing that scope lacks"
    try:
        verdict = ScopesSet(wanted).check(required_scopes)
    except ConfigurationError as error:
        yield f"required_scopes: {error}"
    else:
        if verdict == "no":
            yield "required_scopes: a plain login does not ask for all of it"


def find_presentation_problems(
    uris: Mapping[str, str | None], *, client_id: str, is_loopback: bool
) -> Iterator[str]:
    """Give what is wrong with the links that authorization servers show."""
    for name, value in uris.items():
        if value is not None and not (
            split_url(value).scheme == "https" and split_url(value).hostname
        ):
            yield f"{name}: it is an https URL"
    # The reference server wants the origin and a parent path of the client id.
    home = (uris["client_uri"] or client_id).removesuffix("/")
    if not (is_loopback or f"{client_id}/".startswith(f"{home}/")):
        yield "client_uri: it is public_url, or a parent of it on the same host"


def find_path_problems(paths: Mapping[str, str], *, return_to: str) -> Iterator[str]:
    """Give what is wrong with the paths of the routes, by the options' names."""
    for name, path in paths.items():
        if not _PATH.fullmatch(path):
            yield f"{name}: a path such as /oauth/login, no slash at its end"
    if len(set(paths.values())) != len(paths):
        yield "paths: two routes have the same path"
    if not is_path_here(return_to):
        yield "return_to: it is a path on this site"


def find_address_problems(
    redirect_uris: Sequence[str], *, trusted_origins: Sequence[str], is_loopback: bool
) -> Iterator[str]:
    """Give what is wrong with other addresses that belong to the application."""
    for uri in redirect_uris:
        for problem in find_redirect_problems(uri, is_loopback=is_loopback):
            yield f"extra_redirect_uris: {uri!r}: {problem}"
    for origin in trusted_origins:
        if not is_origin(origin):
            yield f"trusted_origins: {origin!r} is not a bare origin in lower case"


def find_session_problems(
    mode: str, *, has_store: bool, max_age_s: float, idle_timeout_s: float | None
) -> Iterator[str]:
    """Give what is wrong with where sessions are, and how long."""
    if max_age_s <= 0:
        yield "max_age_s: it is a number of seconds above 0"
    if idle_timeout_s is not None and idle_timeout_s <= 0:
        yield "idle_timeout_s: it is a number of seconds above 0, or None"
    if mode not in get_args(SessionMode):
        yield f"session: one of {', '.join(get_args(SessionMode))}"
    if mode == "server" and not has_store:
        yield "session: 'server' needs a store, such as SQLiteStore(path)"


def find_cookie_problems(cookie_name: str | None) -> Iterator[str]:
    """Give what is wrong with the name of the cookies."""
    if cookie_name is not None and not _COOKIE_NAME.fullmatch(cookie_name):
        yield "cookie_name: letters, digits, - and _ only; the prefix is ours"
