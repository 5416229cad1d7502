from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atproto_oauth_asgi.exceptions import (
    ConfigurationError,
    UnsupportedAuthServerError,
)
from atproto_oauth_asgi.models import AuthServerMetadata
from atproto_oauth_asgi.protocol.identifiers import Handle, HostUrl
from atproto_oauth_asgi.sessions.wish import LoginWish, check_wish, choose_prompt

HOSTED = "https://app.example.com/oauth/callback"
SECOND = "https://app.example.com/second"
LOOPBACK = ("http://127.0.0.1/oauth/callback", "http://[::1]/oauth/callback")
SCOPE = "atproto repo:com.example.post blob:image/*"
SERVER = AuthServerMetadata(
    issuer="https://as.example.com",
    authorization_endpoint="https://as.example.com/authorize",
    token_endpoint="https://as.example.com/token",
    pushed_authorization_request_endpoint="https://as.example.com/par",
)


def wish(*redirect_uris: str, **options: Any) -> LoginWish:
    return check_wish(
        options,  # type: ignore[arg-type]
        name=Handle("alice.example.com"),
        scope=SCOPE,
        redirect_uris=redirect_uris or (HOSTED, SECOND),
        kid="key-1",
    )


def test_wish_when_plain_then_asks_for_what_the_client_may() -> None:
    """The first redirect URI, the whole scope, and the account as a hint."""
    made = wish()
    assert (made.redirect_uri, made.scope, made.kid) == (HOSTED, SCOPE, "key-1")
    assert made.parameters == {"login_hint": "alice.example.com"}
    assert made.app_state is None


def test_wish_when_options_are_none_then_is_plain() -> None:
    """None means: not chosen."""
    names = ("scope", "prompt", "redirect_uri", "app_state", "ui_locales", "display")
    made = wish(**dict.fromkeys(names))
    assert (made.redirect_uri, made.scope) == (HOSTED, SCOPE)
    assert made.parameters == {"login_hint": "alice.example.com"}


@pytest.mark.covers("PAR-15")
def test_wish_when_parameters_are_chosen_then_go_along() -> None:
    """The four that an application may choose."""
    made = wish(prompt="consent", ui_locales="de fr", display="popup")
    assert made.prompts == ("consent",)
    assert made.parameters == {
        "login_hint": "alice.example.com",
        "ui_locales": "de fr",
        "display": "popup",
    }


@pytest.mark.covers("DISC-19")
def test_wish_when_a_server_is_named_then_hints_at_nobody() -> None:
    """Who signs in is not known, and the server is not told a guess."""
    made = check_wish(
        {},
        name=HostUrl(origin="https://pds.example.com"),
        scope=SCOPE,
        redirect_uris=(HOSTED,),
        kid=None,
    )
    assert made.parameters == {}


@pytest.mark.covers("PAR-15", "LGN-21")
@pytest.mark.parametrize(
    "name",
    [
        "state",
        "code_challenge",
        "client_id",
        "request",
        "request_uri",
        "response_mode",
        "login_hint",
        "login_scope",
    ],
)
def test_wish_when_option_is_not_on_the_list_then_is_refused(name: str) -> None:
    """Nothing is dropped in silence, and nothing else gets in."""
    with pytest.raises(ConfigurationError, match=name):
        wish(**{name: "x"})


@pytest.mark.covers("PAR-15")
@pytest.mark.parametrize("prompt", ["", "evil", "login consent", "LOGIN"])
def test_wish_when_prompt_is_unknown_then_is_refused(prompt: str) -> None:
    """Only the values of the specification."""
    for given_as in (prompt, [prompt], ["login", prompt]):
        with pytest.raises(ConfigurationError, match="prompt"):
            wish(prompt=given_as)


@pytest.mark.parametrize(
    ("prompts", "known", "chosen"),
    [
        ((), ("login",), None),
        (("create",), ("login", "create"), "create"),
        (("create", "login"), ("login",), "login"),
        (("create", "login"), ("login", "create"), "create"),
        (("create", "login"), (), "create"),
    ],
)
def test_prompt_when_several_are_liked_then_first_known_one_is_chosen(
    prompts: tuple[str, ...], known: tuple[str, ...], chosen: str | None
) -> None:
    """By the application's preference; a server that lists none gets the first."""
    server = dataclasses.replace(SERVER, prompt_values_supported=known)
    expected = {} if chosen is None else {"prompt": chosen}
    assert choose_prompt(prompts, server) == expected


def test_prompt_when_server_knows_none_then_is_refused() -> None:
    """Nobody is sent to a server that would ask them something else."""
    server = dataclasses.replace(SERVER, prompt_values_supported=("login",))
    with pytest.raises(UnsupportedAuthServerError, match="prompt=create"):
        choose_prompt(("create", "none"), server)


@pytest.mark.parametrize("scope", ["atproto", "repo:com.example.post atproto", SCOPE])
def test_wish_when_scope_is_smaller_then_is_asked_for(scope: str) -> None:
    """Less than the client may is fine, in any order."""
    assert wish(scope=scope).scope == scope


@pytest.mark.covers("META-08", "SCOPE-01", "SCOPE-02")
@pytest.mark.parametrize(
    "scope",
    [
        "repo:com.example.post",
        "atproto transition:generic",
        "atproto atproto",
        "atproto  repo:com.example.post",
        " atproto",
        "atproto\nrepo:com.example.post",
        "ATPROTO",
    ],
)
def test_wish_when_scope_is_wider_or_odd_then_is_refused(scope: str) -> None:
    """Never more than is declared, never without atproto, never twice."""
    with pytest.raises(ConfigurationError, match="scope"):
        wish(scope=scope)


@pytest.mark.covers("PAR-14", "DEV-02")
@pytest.mark.parametrize(
    ("registered", "redirect_uri"),
    [
        ((HOSTED, SECOND), SECOND),
        (LOOPBACK, "http://127.0.0.1/oauth/callback"),
        (LOOPBACK, "http://127.0.0.1:8000/oauth/callback"),
        (LOOPBACK, "http://[::1]:65535/oauth/callback"),
        (("http://127.0.0.1:5000/cb",), "http://127.0.0.1:5000/cb"),
    ],
)
def test_redirect_uri_when_registered_then_is_used(
    registered: tuple[str, ...], redirect_uri: str
) -> None:
    """Exactly, or on loopback with any port. RFC 8252 section 7.3."""
    assert wish(*registered, redirect_uri=redirect_uri).redirect_uri == redirect_uri


@pytest.mark.covers("PAR-15", "LGN-21")
@pytest.mark.parametrize(
    ("registered", "redirect_uri"),
    [
        ((HOSTED,), "https://evil.example/oauth/callback"),
        ((HOSTED,), f"{HOSTED}/"),
        ((HOSTED,), f"{HOSTED}?a=b"),
        ((HOSTED,), "https://app.example.com:443/oauth/callback"),
        ((HOSTED,), ""),
        (LOOPBACK, "http://localhost:8000/oauth/callback"),
        (LOOPBACK, "https://127.0.0.1:8000/oauth/callback"),
        (LOOPBACK, "http://127.0.0.1:8000/other"),
        (LOOPBACK, "http://127.0.0.1:x/oauth/callback"),
        (LOOPBACK, "http://127.0.0.1:/oauth/callback"),
        (LOOPBACK, "http://127.0.0.1:123456/oauth/callback"),
        (LOOPBACK, "http://u@127.0.0.1:8000/oauth/callback"),
        (LOOPBACK, "http://127.0.0.1:1@evil.example/oauth/callback"),
        (LOOPBACK, "http://127.0.0.1:1:2/oauth/callback"),
        (LOOPBACK, "http://[::1/oauth/callback"),
        (LOOPBACK, " http://127.0.0.1:1/oauth/callback"),
    ],
)
def test_redirect_uri_when_not_registered_then_is_refused(
    registered: tuple[str, ...], redirect_uri: str
) -> None:
    """Nothing near enough is enough."""
    with pytest.raises(ConfigurationError, match="redirect_uri"):
        wish(*registered, redirect_uri=redirect_uri)


@given(st.text() | st.from_regex(r"http://(127\.0\.0\.1|\[::1\])[:0-9@/?#]*"))
def test_redirect_uri_when_anything_then_is_refused_or_at_home(
    redirect_uri: str,
) -> None:
    """No text leads elsewhere."""
    try:
        used = wish(*LOOPBACK, redirect_uri=redirect_uri).redirect_uri
    except ConfigurationError:
        return
    assert used.startswith(("http://127.0.0.1", "http://[::1]"))
    assert used.endswith("/oauth/callback")
    assert "@" not in used


def test_binding_when_made_then_is_new_and_long() -> None:
    """Every login has a secret of its own for the browser."""
    bindings = {wish().binding for _ in range(50)}
    assert len(bindings) == 50
    assert min(map(len, bindings)) == 43


@pytest.mark.parametrize("app_state", [{"to": "/"}, b"x", 1])
def test_wish_when_app_state_is_no_text_then_is_refused(app_state: object) -> None:
    """Before anybody has said yes, and not by blaming the store afterwards."""
    with pytest.raises(ConfigurationError, match="app_state"):
        wish(app_state=app_state)
