"""What one login is asked to be, checked before anything is sent."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from atproto_oauth_asgi.exceptions import (
    ConfigurationError,
    UnsupportedAuthServerError,
)
from atproto_oauth_asgi.models import AuthServerMetadata
from atproto_oauth_asgi.protocol.identifiers import Did, Handle, HostUrl

_PROMPTS = ("none", "login", "consent", "select_account", "create")
_LOOPBACK_PORT = re.compile(
    r"\A(http://(?:127\.0\.0\.1|\[::1\])):[0-9]{1,5}(?=[/?]|\Z)"
)


class LoginOptions(TypedDict, total=False):
    """What may be chosen for one login.

    Keys:
        scope: less than the client's scope; must hold ``atproto``.
        prompt: ``none``, ``login``, ``consent``, ``select_account`` or ``create``
            (OpenID Connect Core section 3.1.2.1); or several, of which the first one
            that the server knows is taken.
        redirect_uri: one of the registered ones.
        app_state: comes back on the session, or on the error.
        ui_locales: languages for the server's pages.
        display: how the server should show them.
    """

    scope: str | None
    prompt: str | Sequence[str] | None
    redirect_uri: str | None
    app_state: str | None
    ui_locales: str | None
    display: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginWish:
    """The same, checked.

    Attributes:
        prompts: by preference; see ``choose_prompt``.
        parameters: what else goes into the authorization request.
    """

    scope: str
    redirect_uri: str
    app_state: str | None = field(repr=False)
    binding: str = field(repr=False)
    kid: str | None
    prompts: Sequence[str]
    parameters: Mapping[str, str]


def check_wish(
    options: LoginOptions,
    *,
    name: Handle | Did | HostUrl,
    scope: str,
    redirect_uris: Sequence[str],
    kid: str | None,
) -> LoginWish:
    """Return the wish; ``scope`` and ``redirect_uris`` are what the client may use.

    Who names a server, not an account, is asked there who they are.

    Raises:
        ConfigurationError: an option is not one that this client may use.
    """
    # Applications pass on what people send them, whatever the types say.
    if unknown := options.keys() - LoginOptions.__annotations__.keys():
        raise ConfigurationError(f"{min(unknown)}: not an option of a login")
    parameters = {
        "login_hint": None if isinstance(name, HostUrl) else name,
        "ui_locales": options.get("ui_locales"),
        "display": options.get("display"),
    }
    return LoginWish(
        scope=_check_scope(options.get("scope") or scope, allowed=scope),
        redirect_uri=_check_redirect_uri(options.get("redirect_uri"), redirect_uris),
        app_state=_check_app_state(options.get("app_state")),
        binding=secrets.token_urlsafe(32),
        kid=kid,
        prompts=_check_prompts(options.get("prompt")),
        parameters={k: v for k, v in parameters.items() if v is not None},
    )


def choose_prompt(prompts: Sequence[str], server: AuthServerMetadata) -> dict[str, str]:
    """Return the parameter that asks for the first of the prompts a server knows.

    Raises:
        UnsupportedAuthServerError: it knows none of them.

    Spec: Initiating User Registration via OpenID Connect, section 4.
    """
    if not prompts:
        return {}
    # A server that does not say what it knows is asked for what is liked best.
    known = server.prompt_values_supported or prompts
    for prompt in prompts:
        if prompt in known:
            return {"prompt": prompt}
    message = f"the authorization server does not know prompt={prompts[0]}"
    raise UnsupportedAuthServerError(message)


def _check_prompts(prompt: str | Sequence[str] | None) -> Sequence[str]:
    prompts = (prompt,) if isinstance(prompt, str) else tuple(prompt or ())
    if not set(prompts) <= set(_PROMPTS):
        raise ConfigurationError(f"prompt: one of {', '.join(_PROMPTS)}")
    return prompts


def _check_app_state(app_state: object) -> str | None:
    if app_state is None or isinstance(app_state, str):
        return app_state
    raise ConfigurationError("app_state: it is text; json.dumps makes text of the rest")


def _check_scope(scope: str, *, allowed: str) -> str:
    values = scope.split(" ")
    wanted = set(values)
    if len(wanted) != len(values) or not (
        {"atproto"} <= wanted <= set(allowed.split(" "))
    ):
        message = "scope: it must hold 'atproto' and nothing twice or undeclared"
        raise ConfigurationError(message)
    return scope


def _check_redirect_uri(redirect_uri: str | None, registered: Sequence[str]) -> str:
    if redirect_uri is None:
        return registered[0]
    if {redirect_uri, _without_loopback_port(redirect_uri)}.isdisjoint(registered):
        raise ConfigurationError("redirect_uri: it is not a registered one")
    return redirect_uri


def _without_loopback_port(uri: str) -> str:
    """Return the URI as it is registered: a loopback one without port matches any.

    Spec: RFC 8252 section 7.3.
    """
    return _LOOPBACK_PORT.sub(r"\1", uri)
