"""What sessions have become in this process: a used refresh token is never sent again."""

from __future__ import annotations

from atproto_oauth_asgi.exceptions import RefreshUnavailable, SessionError
from atproto_oauth_asgi.models import OAuthSession
from atproto_oauth_asgi.sessions.lifecycle import record_key
from atproto_oauth_asgi.stores.recent import Recent

# Each holds a session, some kilobytes.
_KEPT = 2000
_LONGEST_CHAIN = 1000


class Lineage:
    """Leads from the tokens of a session to its newest ones, or to its end.

    Bounded in number, not in time: who holds an old session holds it for as long as
    they like, and clocks are set back.
    """

    def __init__(self) -> None:
        self._became: Recent[str, OAuthSession | SessionError] = Recent(_KEPT)

    def newest(self, session: OAuthSession) -> OAuthSession:
        """Return what the session is by now.

        Raises:
            SessionError: it has ended, or was renewed too often to be followed.
        """
        for _ in range(_LONGEST_CHAIN):
            later = self._became.get(tokens_key(session))
            if later is None:
                return session
            if isinstance(later, SessionError):
                raise type(later)(str(later))
            session = later
        raise RefreshUnavailable("these tokens were renewed too often already")

    def note(self, session: OAuthSession, became: OAuthSession | SessionError) -> None:
        """Remember what has become of a session."""
        key = tokens_key(session)
        if isinstance(became, OAuthSession) and tokens_key(became) == key:
            return
        self._became[key] = became


def tokens_key(session: OAuthSession) -> str:
    """Return what a session's tokens are known by."""
    return record_key(session.did, session.access_token, session.refresh_token or "")
