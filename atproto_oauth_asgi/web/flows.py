"""Logins that have begun: each sealed in a cookie of its own, ended at most once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from atproto_oauth_asgi.crypto.sealing import Sealer
from atproto_oauth_asgi.exceptions import OAuthStateError, StoreError, WrongBrowser
from atproto_oauth_asgi.models import (
    OAuthState,
    deserialize_oauth_state,
    serialize_oauth_state,
)
from atproto_oauth_asgi.sessions.cookies import (
    Cookies,
    clear_cookie_lines,
    join_chunks,
    set_cookie_lines,
)
from atproto_oauth_asgi.sessions.lifecycle import record_key
from atproto_oauth_asgi.sessions.pending import LOGIN_LIFETIME_S, UNKNOWN_LOGIN
from atproto_oauth_asgi.stores.locks import Lease, lock_within
from atproto_oauth_asgi.web.site import Site

# The cookie outlives the login, so that "too late" is told as what it is.
_COOKIE_LIFETIME_S = 3600.0
_SECOND_HIT_S = 60.0
# A login that is older is refused by its age; a minute more is for clocks.
_USED_UP_S = LOGIN_LIFETIME_S + 60.0
_LEASE_S = 90.0
_LONGEST_WAIT_S = 30.0
_MAX_FLOWS = 3
_KIND = "login"


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowOutcome:
    """What became of a login, for a second hit of the same callback.

    Attributes:
        location: where the person goes.
        cookie: the exact value of the session cookie.
    """

    location: str
    cookie: str = field(repr=False)


class LoginFlows:
    """Keeps pending logins in the browser and their outcomes, shortly, in the store.

    The cookie is what binds a login to its browser: it is sealed, holds the state it
    is for, and a callback without it is refused before anything is taken or sent.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._clock = site.config.clock
        self._sealer = Sealer(site.config.secrets, purpose="login")
        self._outcomes = Sealer(site.config.secrets, purpose="login outcome")

    def cookie_lines(
        self, pending: OAuthState, *, prefix: str, present: Sequence[str]
    ) -> list[bytes]:
        """Return the lines that keep a login; the oldest make room beyond three."""
        name = _cookie_name(prefix, pending.state)
        value = self._sealer.seal(
            serialize_oauth_state(pending).encode(),
            context=self._context(pending.state),
            now=self._clock(),
        )
        lines = set_cookie_lines(
            name,
            value,
            present=present,
            max_age_s=_COOKIE_LIFETIME_S,
            now=self._clock(),
        )
        others = [each for each in present if each.startswith(f"{prefix}-")]
        # A login that needs several cookies is still one.
        others = list(dict.fromkeys(each.partition(".")[0] for each in others))
        for old in others[: max(0, len(others) - _MAX_FLOWS + 1)]:
            lines += clear_cookie_lines(old, present=present)
        return lines

    def clear_lines(self, state: str, *, prefix: str, cookies: Cookies) -> list[bytes]:
        """Return the lines that take a login out of the browser."""
        name = _cookie_name(prefix, state)
        if name not in cookies:
            return []
        return clear_cookie_lines(name, present=cookies)

    def open(self, state: str, *, prefix: str, cookies: Cookies) -> OAuthState:
        """Return the login that this browser began under this state.

        Raises:
            WrongBrowser: this browser has no such login.
        """
        value = join_chunks(cookies, _cookie_name(prefix, state))
        sealed = value and self._sealer.unseal(
            value,
            context=self._context(state),
            now=self._clock(),
            max_age_s=_COOKIE_LIFETIME_S,
        )
        if not sealed:
            raise WrongBrowser("this browser has not begun this login")
        try:
            return deserialize_oauth_state(sealed.decode())
        except StoreError as error:
            raise OAuthStateError(UNKNOWN_LOGIN) from error

    def lock(self, state: str) -> AbstractAsyncContextManager[Lease]:
        """Return a context in which one callback of this login is handled.

        Raises:
            StoreError: another one has not come to its end in half a minute.
        """
        lock = self._site.logins.lock(record_key(_KIND, state), _LEASE_S)
        return lock_within(_LONGEST_WAIT_S, lock)

    async def outcome(self, state: str) -> FlowOutcome | None:
        """Return what a login has become, None if it has not ended yet.

        Raises:
            OAuthStateError: it failed, or ended too long ago for a second hit.
            StoreError: the store does not answer.
        """
        record = await self._site.logins.load(_KIND, record_key(_KIND, state))
        if record is None:
            return None
        sealed = self._outcomes.unseal(
            record.value.decode("ascii"),
            context=self._context(state),
            now=self._clock(),
            max_age_s=_SECOND_HIT_S,
        )
        members = json.loads(sealed or b"null")
        if members is None:
            raise OAuthStateError(UNKNOWN_LOGIN)
        location, cookie = members
        return FlowOutcome(location=location, cookie=cookie)

    async def keep_outcome(self, state: str, outcome: FlowOutcome | None) -> None:
        """Remember what a login has become, until it would be too old anyway.

        None stands for a failure: the login is used up all the same.

        Raises:
            StoreError: the store does not answer.
        """
        members = outcome and [outcome.location, outcome.cookie]
        value = self._outcomes.seal(
            json.dumps(members).encode(),
            context=self._context(state),
            now=self._clock(),
        )
        await self._site.logins.save(
            _KIND,
            record_key(_KIND, state),
            value.encode("ascii"),
            expires_at=self._clock() + _USED_UP_S,
        )

    def _context(self, state: str) -> str:
        return f"{self._site.config.client_id} {state}"


def _cookie_name(prefix: str, state: str) -> str:
    return f"{prefix}-{record_key('cookie', state)[:10]}"
