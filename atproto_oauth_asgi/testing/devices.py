"""Browsers that the authorization server knows again, and who is signed in there."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response

_SIGN_IN_S = 7 * 86400
_COOKIE_S = 315_532_800
_DEVICE, _SECRET = "dev-id", "ses-id"


@dataclass(slots=True, kw_only=True)
class Device:
    """One browser.

    Attributes:
        device_id: which one.
        secret: shows that it is this one.
        signed_in: DIDs of those who wished to stay signed in, and since when.
    """

    device_id: str = field(default_factory=lambda: f"dev-{secrets.token_hex(16)}")
    secret: str = field(
        default_factory=lambda: f"ses-{secrets.token_hex(16)}", repr=False
    )
    signed_in: dict[str, float] = field(default_factory=dict)


class Devices:
    """Knows browsers by their cookies."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._known: dict[str, Device] = {}
        self._consents: dict[tuple[str, str], frozenset[str]] = {}

    def find(self, request: Request) -> Device:
        """Return the browser that sent a request: a new one, if it is not known."""
        found = self._known.get(request.cookies.get(_DEVICE, ""))
        if found is None or found.secret != request.cookies.get(_SECRET):
            found = Device()
            self._known[found.device_id] = found
        return found

    def remember(self, device: Device, response: Response) -> None:
        """Let a browser come back as the same one."""
        cookies = {_DEVICE: device.device_id, _SECRET: device.secret}
        for name, value in cookies.items():
            response.set_cookie(
                name, value, max_age=_COOKIE_S, httponly=True, samesite="lax"
            )

    def sign_in(self, device: Device, did: str, *, stays: bool) -> None:
        """Note that somebody gave their password, and whether they stay signed in."""
        device.signed_in.pop(did, None)
        if stays:
            device.signed_in[did] = self._clock()

    def needs_password(
        self, device: Device, did: str, *, form: Mapping[str, str]
    ) -> bool:
        """Return whether a request asks for the password of who is signed in."""
        since = device.signed_in.get(did)
        is_old = since is None or self._clock() - since > _SIGN_IN_S
        return is_old or form.get("prompt") == "login"

    def needs_consent(self, did: str, form: Mapping[str, str]) -> bool:
        """Return whether somebody has to be asked before a client gets a code."""
        known = self._consents.get((did, form["client_id"]))
        return known is None or not set(form["scope"].split(" ")) <= known

    def note_consent(self, did: str, form: Mapping[str, str]) -> None:
        """Note that somebody said yes to a client, and to what."""
        key = (did, form["client_id"])
        scopes = frozenset(form["scope"].split(" "))
        self._consents[key] = self._consents.get(key, frozenset()) | scopes
