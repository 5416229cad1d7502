"""The parts of the session floor, put together for one client."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from atproto_oauth_asgi.config import SecretKey
from atproto_oauth_asgi.crypto.secret_keys import load_secrets
from atproto_oauth_asgi.dpop import Clock
from atproto_oauth_asgi.exceptions import ConfigurationError
from atproto_oauth_asgi.models import OAuthSession
from atproto_oauth_asgi.network.concerning import concerning
from atproto_oauth_asgi.network.services import NetworkServices
from atproto_oauth_asgi.sessions.exchange import CodeExchange
from atproto_oauth_asgi.sessions.keeper import (
    KeptSessions,
    OnePerAccount,
    OnSessionUpdated,
    SessionKeeper,
)
from atproto_oauth_asgi.sessions.lifetime import Lifetime
from atproto_oauth_asgi.sessions.own_tokens import OwnTokens
from atproto_oauth_asgi.sessions.record_sealer import RecordSealer
from atproto_oauth_asgi.sessions.recorded_states import RecordedStates
from atproto_oauth_asgi.sessions.records import RecordedSessions
from atproto_oauth_asgi.sessions.renewing import SharedRenewal
from atproto_oauth_asgi.sessions.tokens import TokenRenewal
from atproto_oauth_asgi.stores.base import RecordStore, SessionStore, StateStore


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionServices:
    """What a client needs to make, keep and renew sessions.

    Attributes:
        states: keeps logins that have begun.
        keeper: keeps sessions.
        records: the same place, where it is a ``RecordStore``.
        exchange: ends logins.
        tokens: renews and revokes.
        renewals: renews what is kept.
        unkept: renews sessions that somebody else keeps.
        lifetime: how long sessions last.
        clock: gives Unix seconds.
    """

    states: StateStore | None
    keeper: SessionKeeper
    records: RecordedSessions | None
    exchange: CodeExchange
    tokens: TokenRenewal
    renewals: SharedRenewal
    unkept: SharedRenewal
    lifetime: Lifetime
    clock: Clock

    async def begin(self, session: OAuthSession) -> None:
        """Keep a new session; one that cannot be kept is revoked."""
        with concerning(did=session.did, app_state=session.app_state):
            await self.keeper.begin(session, revoke=self.tokens.revoke)

    def own_tokens(self, session: OAuthSession) -> OwnTokens:
        """Return the tokens of a client that renews them by itself."""
        return OwnTokens(
            session,
            refresh=self.renewals.renew,
            keeper=self.keeper,
            clock=self.clock,
        )


def build_session_services(  # noqa: PLR0913 - what an application names
    net: NetworkServices,
    *,
    states: StateStore | RecordStore | None,
    sessions: SessionStore | RecordStore | None,
    on_session_updated: OnSessionUpdated | None,
    sealer: RecordSealer | None,
    required_scopes: str | Sequence[str],
    lifetime: Lifetime,
    clock: Clock,
) -> SessionServices:
    """Return the services of one client.

    Raises:
        ConfigurationError: there is a ``RecordStore`` and nothing to seal with.
    """
    kept = _kept_sessions(sessions, sealer, lifetime)
    keeper = SessionKeeper(kept, on_session_updated)
    tokens = TokenRenewal(net.accounts, net.server, clock=clock)
    return SessionServices(
        states=_state_store(states, sealer),
        keeper=keeper,
        records=kept if isinstance(kept, RecordedSessions) else None,
        exchange=CodeExchange(
            net.accounts, net.server, required_scopes=required_scopes, clock=clock
        ),
        tokens=tokens,
        renewals=SharedRenewal(tokens, keeper, clock=clock),
        unkept=SharedRenewal(tokens, SessionKeeper(None, None), clock=clock),
        lifetime=lifetime,
        clock=clock,
    )


def build_sealer(
    secret_key: SecretKey | None, *, client_id: str, clock: Clock
) -> RecordSealer | None:
    """Return what seals the records of a client, if it has a secret.

    Raises:
        ConfigurationError: the secret is weak.
    """
    if secret_key is None:
        return None
    secrets = load_secrets(secret_key).reveal()
    return RecordSealer(secrets, client_id=client_id, clock=clock)


def _state_store(
    store: StateStore | RecordStore | None, sealer: RecordSealer | None
) -> StateStore | None:
    if store is None or isinstance(store, StateStore):
        return store
    return RecordedStates(_check(store, "state_store"), _require(sealer))


def _kept_sessions(
    store: SessionStore | RecordStore | None,
    sealer: RecordSealer | None,
    lifetime: Lifetime,
) -> KeptSessions | None:
    if store is None:
        return None
    if isinstance(store, SessionStore):
        return OnePerAccount(store)
    checked = _check(store, "session_store")
    return RecordedSessions(checked, _require(sealer), lifetime=lifetime)


def _check(store: RecordStore, name: str) -> RecordStore:
    methods = ("load", "save", "take", "delete", "keys", "lock")
    if not all(hasattr(store, method) for method in methods):
        kind = "StateStore" if name == "state_store" else "SessionStore"
        raise ConfigurationError(f"{name}: a subclass of {kind}, or a RecordStore")
    return store


def _require(sealer: RecordSealer | None) -> RecordSealer:
    if sealer is None:
        message = "secret_key: a RecordStore needs one, which seals what it keeps"
        raise ConfigurationError(message)
    return sealer
