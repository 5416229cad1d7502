"""What a client may ask for: the parameters of an authorization request, checked."""

from __future__ import annotations

import re
from collections.abc import Mapping

from atproto_oauth_asgi.exceptions import ConfigurationError
from atproto_oauth_asgi.scopes import parse_scope
from atproto_oauth_asgi.testing.refusals import Refusal, bad_request
from atproto_oauth_asgi.testing.sessions import Sender

RESPONSE_MODES = ("query", "fragment", "form_post")
PROMPTS = ("none", "login", "consent", "select_account", "create")

_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_HINT = re.compile(
    r"did:plc:[a-z2-7]{24}|did:web:[a-z0-9.%-]+|([a-z0-9-]+\.)+[a-z][a-z0-9-]*"
)
_SHAPES = {
    "display": re.compile(r"page|popup|touch|wap"),
    "max_age": re.compile(r"[0-9]+"),
    "ui_locales": re.compile(r"[a-z]{2,3}(-[A-Z]{2})?( [a-z]{2,3}(-[A-Z]{2})?)*"),
}
_UNSUPPORTED = ("claims", "id_token_hint", "nonce", "request", "request_uri")


def read_request(form: Mapping[str, str], sender: Sender) -> Mapping[str, str]:
    """Return the request as the server will treat it.

    Raises:
        Refusal: this client may not ask for that.

    Spec: RFC 6749 section 4.1.1, RFC 7636, RFC 9126 section 2, atproto OAuth.
    """
    if form.get("response_type") != "code":
        raise Refusal("unsupported_response_type", "response_type must be code")
    for name in _UNSUPPORTED:
        if name in form:
            raise bad_request(f'Unsupported "{name}" parameter')
    _check_choices(form)
    found = dict(form)
    found["redirect_uri"] = _redirect_of(form, sender)
    found["scope"] = _scope_of(form, sender)
    is_s256 = form.get("code_challenge_method") == "S256"
    if not is_s256 or not _CHALLENGE.fullmatch(form.get("code_challenge", "")):
        raise bad_request('atproto requires use of "S256" code_challenge_method')
    if "login_hint" in form:
        found["login_hint"] = _hint_of(form["login_hint"])
    if sender.client.is_public:
        found["prompt"] = _public_prompt(form.get("prompt"))
    if sender.thumbprint and form.get("dpop_jkt", sender.thumbprint) != (
        sender.thumbprint
    ):
        raise Refusal("invalid_token", "Invalid DPoP key binding", status=401)
    return found


def _check_choices(form: Mapping[str, str]) -> None:
    for name, choices in {"prompt": PROMPTS, "response_mode": RESPONSE_MODES}.items():
        if form.get(name, choices[0]) not in choices:
            raise bad_request(f"{name}: one of {', '.join(choices)}")
    for name, shape in _SHAPES.items():
        if name in form and not shape.fullmatch(form[name]):
            raise bad_request(f"{name}: it is malformed")


def _redirect_of(form: Mapping[str, str], sender: Sender) -> str:
    registered = sender.client.redirect_uris
    if "redirect_uri" not in form:
        if len(registered) != 1:
            raise bad_request("redirect_uri is required")
        return registered[0]
    if not sender.client.allows_redirect(form["redirect_uri"]):
        raise bad_request("Invalid redirect_uri")
    return form["redirect_uri"]


def _scope_of(form: Mapping[str, str], sender: Sender) -> str:
    """Return the scope without what is there twice, or means nothing to the server."""
    scopes = form.get("scope", "").split(" ")
    if "scope" in form and "" in scopes:
        raise bad_request("Invalid OAuth scope")
    if "scope" in form and not set(scopes) <= sender.client.scopes:
        raise Refusal("invalid_scope", "Scope is not declared in the client metadata")
    if "atproto" not in scopes:
        raise Refusal("invalid_scope", 'The "atproto" scope is required')
    return " ".join(each for each in dict.fromkeys(scopes) if _is_known(each))


def _is_known(scope: str) -> bool:
    try:
        parse_scope(scope)
    except ConfigurationError:
        return False
    return True


def _hint_of(hint: str) -> str:
    found = hint.lower()
    if not _HINT.fullmatch(found):
        raise bad_request("Invalid login_hint: it is a handle or a DID")
    return found


def _public_prompt(prompt: str | None) -> str:
    # Nobody can tell who holds the id of a public client, so people are always asked.
    if prompt == "none":
        raise bad_request("Public clients are not allowed to use silent-sign-on")
    return "create" if prompt == "create" else "consent"
