"""The OAuth client of the atproto profile, without any web framework.

A login reads from top to bottom: ``begin_login`` until the browser leaves,
``complete_login`` when it comes back.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Self, Unpack

from atproto_oauth_asgi.client_keys import ClientKey, KeyMaterial, load_client_keys
from atproto_oauth_asgi.config import OAuthConfig, SecretKey
from atproto_oauth_asgi.dpop import Clock
from atproto_oauth_asgi.exceptions import ConfigurationError, OAuthStateError
from atproto_oauth_asgi.models import OAuthSession, OAuthState
from atproto_oauth_asgi.network.beside import run_shielded, time_limit
from atproto_oauth_asgi.network.client_identity import ClientIdentity
from atproto_oauth_asgi.network.concerning import concerning
from atproto_oauth_asgi.network.pds import PDSClient, Response, SessionTokens
from atproto_oauth_asgi.network.services import build_services
from atproto_oauth_asgi.network_options import Network
from atproto_oauth_asgi.protocol.callback import (
    CallbackAnswer,
    check_callback,
    check_issuer,
    check_not_denied,
)
from atproto_oauth_asgi.protocol.client_metadata import build_loopback_client_id
from atproto_oauth_asgi.protocol.identifiers import normalize_identifier
from atproto_oauth_asgi.sessions import services
from atproto_oauth_asgi.sessions.keeper import OnSessionUpdated
from atproto_oauth_asgi.sessions.lifetime import Lifetime
from atproto_oauth_asgi.sessions.pending import (
    UNKNOWN_LOGIN,
    AuthorizationRequest,
    check_age,
    check_binding,
    new_pending,
    read_extra,
)
from atproto_oauth_asgi.sessions.pushing import push_login
from atproto_oauth_asgi.sessions.tokens import BeforeSend, nothing_to_do
from atproto_oauth_asgi.sessions.wish import LoginOptions, check_wish
from atproto_oauth_asgi.stores.base import RecordStore, SessionStore, StateStore

_BARE_LOOPBACK = ("http://localhost", "http://localhost/")


class OAuthClient:
    """Logs people in with their atproto accounts and keeps their sessions working.

    Args:
        client_id: URL of the client metadata document, or ``http://localhost`` for
            development (completed with the redirect URI and the scope).
        redirect_uri: where authorization servers send the browser back to.
        scope: what may be asked for; must hold ``atproto``.
        login_scope: what a plain login asks for; ``scope`` unless given.
        required_scopes: a login that was granted less is refused.
        state_store: keeps logins that have begun.
        session_store: keeps sessions: new ones, renewed ones, and none that ended. A
            ``SessionStore`` keeps the last one of each account, a ``RecordStore`` all.
        client_secret_key: makes the client confidential: what
            ``DPoPManager.generate_keypair()`` gives, a JWK, or PEM.
        client_secret_kid: its ``kid``; the RFC 7638 thumbprint unless given.
        client_keys: several keys instead of the former two; a bare one signs.
        secret_key: seals what a ``RecordStore`` keeps; or several, newest first.
        redirect_uris: further ones that a login may use.
        on_session_updated: awaited with a refreshed session before its tokens are
            used; without it and a store a ``pds_client`` refuses to refresh.
        lifetime: how long a ``RecordStore`` keeps sessions; else it is their server's.
        clock: gives Unix seconds.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the signature is fixed
        self,
        client_id: str,
        redirect_uri: str,
        scope: str,
        state_store: StateStore | RecordStore | None = None,
        session_store: SessionStore | RecordStore | None = None,
        client_secret_key: KeyMaterial | None = None,
        client_secret_kid: str | None = None,
        *,
        client_keys: Sequence[ClientKey | KeyMaterial] = (),
        secret_key: SecretKey | None = None,
        redirect_uris: Sequence[str] = (),
        login_scope: str | None = None,
        required_scopes: str | Sequence[str] = (),
        network: Network | None = None,
        on_session_updated: OnSessionUpdated | None = None,
        lifetime: Lifetime | None = None,
        clock: Clock = time.time,  # noqa: TID251 - the real clock
    ) -> None:
        if client_id in _BARE_LOOPBACK:
            client_id = build_loopback_client_id([redirect_uri, *redirect_uris], scope)
        if client_secret_key is not None:
            key = ClientKey(client_secret_key, kid=client_secret_kid or "")
            client_keys = (key, *client_keys)
        self._scope, self._login_scope = scope, login_scope or scope
        self._redirect_uris = (redirect_uri, *redirect_uris)
        self._clock = clock
        self._network = network or Network()
        self._identity = ClientIdentity(
            client_id, load_client_keys(client_keys), clock=clock
        )
        net = self._net = build_services(self._network, self._identity, clock=clock)
        self.sessions: services.SessionServices = services.build_session_services(
            net,
            states=state_store,
            sessions=session_store,
            on_session_updated=on_session_updated,
            sealer=services.build_sealer(secret_key, client_id=client_id, clock=clock),
            required_scopes=required_scopes,
            lifetime=lifetime or Lifetime(),
            clock=clock,
        )

    @classmethod
    def from_config(
        cls,
        config: OAuthConfig,
        *,
        state_store: StateStore | RecordStore | None = None,
        session_store: SessionStore | RecordStore | None = None,
        on_session_updated: OnSessionUpdated | None = None,
    ) -> Self:
        """Return the client of a middleware: ``restore`` finds its sessions."""
        if session_store is None and config.session_mode == "server":
            session_store = config.store
        return cls(
            **config.client_options,
            state_store=state_store,
            session_store=session_store,
            on_session_updated=on_session_updated,
            lifetime=Lifetime(
                limit_s=config.max_age_s, idle_timeout_s=config.idle_timeout_s
            ),
        )

    async def start_authorization(
        self, identifier: str, **options: Unpack[LoginOptions]
    ) -> AuthorizationRequest:
        """Begin a login and remember it in the state store.

        Arguments and errors are those of ``begin_login``.
        """
        store = self._require_state_store()
        request, pending = await self.begin_login(identifier, **options)
        await store.save_state(pending)
        return request

    async def begin_login(
        self, identifier: str, **options: Unpack[LoginOptions]
    ) -> tuple[AuthorizationRequest, OAuthState]:
        """Begin a login and give back what to remember, for a keeper of one's own.

        Args:
            identifier: a handle, a DID or the https origin of a server, as typed.
            options: see ``LoginOptions``.

        Raises:
            IdentityError: no account can be found for the identifier.
            DiscoveryError: its host does not offer a usable OAuth.
            AuthorizationServerError: its server refused the request.
            TransportError: a host on the way did not answer in time.
            ConfigurationError: an option is not one that this client may use.
        """
        name = normalize_identifier(identifier, policy=self._network.url_policy)
        options["scope"] = options.get("scope") or self._login_scope
        wish = check_wish(
            options,
            name=name,
            scope=self._scope,
            redirect_uris=self._redirect_uris,
            kid=self._identity.signing_kid,
        )
        with time_limit(self._network.login_budget_s, what="finding the account"):
            account = await self._net.accounts.find(name)
            pending = new_pending(
                wish,
                identity=account.identity,
                issuer=account.server.issuer,
                now=self._clock(),
            )
            with concerning(did=pending.did, issuer=pending.authserver_iss):
                server = account.server
                auth_url, pending = await push_login(
                    self._net.server, pending, wish, server=server
                )
        return AuthorizationRequest(auth_url, pending.state, wish.binding), pending

    async def handle_callback(  # noqa: PLR0913 - the parameters of a callback
        self,
        code: str | None = None,
        state: str | None = None,
        iss: str | None = None,
        *,
        error: str | None = None,
        error_description: str | None = None,
        browser_binding: str | None = None,
    ) -> OAuthSession:
        """End a login: take it from the state store and return the new session.

        The parameters are those of the callback, and ``browser_binding`` what
        ``start_authorization`` gave, from the browser's cookie. WITHOUT IT NOTHING SHOWS
        THAT THE LOGIN ENDS IN THE BROWSER WHERE IT BEGAN: see to that then.

        Raises:
            OAuthStateError: the login is not known, has ended, or is too old.
            WrongBrowser: the binding is another login's.
            OAuthError: as ``complete_login``.
        """
        store = self._require_state_store()
        answer = check_callback(
            state=state,
            code=code,
            iss=iss,
            error=error,
            error_description=error_description,
        )
        if browser_binding is not None:
            check_binding(await store.get_state(answer.state), browser_binding)
        pending = await store.take_state(answer.state)
        if pending is None:
            raise OAuthStateError(UNKNOWN_LOGIN)
        return await run_shielded(lambda: self._complete_and_keep(pending, answer))

    async def _complete_and_keep(
        self, pending: OAuthState, answer: CallbackAnswer
    ) -> OAuthSession:
        session = await self.complete_login(pending, answer)
        await self.sessions.begin(session)
        return session

    async def complete_login(
        self, pending: OAuthState, answer: CallbackAnswer
    ) -> OAuthSession:
        """End a login that the caller has kept; each must be ended only once.

        The code is exchanged while the account is looked up anew: the DID must be
        the one the login began with, and must still lead to the same server. If it
        does not, the new tokens are revoked.

        Raises:
            OAuthStateError: the login began too long ago.
            IssuerMismatch: another server answers.
            LoginDenied: the answer is a refusal.
            SubjectMismatch: another account signed in.
            AccountMoved: the account lives behind another server now.
            ScopeMissingError: ``required_scopes`` were not granted.
            OAuthTokenError, IdentityError, DiscoveryError, TransportError: a step
                failed. All carry ``app_state``, ``did`` and ``issuer``.

        Spec: atproto OAuth, "Callback" and "Identity Authentication".
        """
        extra = read_extra(pending)
        with concerning(
            did=pending.did, issuer=pending.authserver_iss, app_state=extra.app_state
        ):
            check_age(pending, now=self._clock())
            check_issuer(answer, pending.authserver_iss)
            code = check_not_denied(answer)
            # Half an exchange would leave tokens behind that nobody knows.
            session = await run_shielded(
                lambda: self.sessions.exchange.redeem(pending, code=code)
            )
        return session.replace(app_state=extra.app_state)

    async def refresh_session(
        self, session: OAuthSession, *, before_send: BeforeSend = nothing_to_do
    ) -> OAuthSession:
        """Return the session with new tokens; the old refresh token is used up.

        Several calls with the same session make one request. A ``session_store`` holds
        the new session, too; one that another process has renewed is given back without
        a request. ``before_send`` is awaited right before the refresh token goes out;
        what it raises keeps the token here.

        Raises:
            SessionExpired, SessionRevoked, AccountMoved, ClientKeyRetired: it ended.
            RefreshUnavailable: not now; the session lives, and so do its tokens.
            StoreError: the store does not answer; try again with the same session.

        Spec: RFC 6749 section 6.
        """
        return await self.sessions.renewals.renew(session, before_send)

    async def restore(self, did: str, session_id: str | None = None) -> OAuthSession:
        """Return a session from the session store, for work without a browser.

        Args:
            did: whose.
            session_id: which one; the one that was renewed last unless given.

        Raises:
            SessionExpired, SessionRevoked, AccountMoved, ClientKeyRetired: why there
                is none.
            StoreError: the store does not answer.
        """
        session = await self.sessions.keeper.find(
            did, session_id, is_usable=lambda each: self._identity.has_key(each.kid)
        )
        self._identity.check_key(session.kid)
        return session

    async def revoke_session(self, session: OAuthSession) -> None:
        """End the session at its authorization server.

        Raises:
            AuthorizationServerError: the server refused.
            ClientKeyRetired, DiscoveryError, TransportError: it could not be asked.

        Spec: RFC 7009.
        """
        await self.sessions.renewals.end(session)

    def pds_client(
        self, session: OAuthSession, *, tokens: SessionTokens | None = None
    ) -> PDSClient:
        """Return a client that speaks to the session's PDS, as that person.

        It renews by itself if ``session_store`` or ``on_session_updated`` was given,
        and else raises ``RefreshUnavailable`` before anything is sent. ``tokens`` is a
        keeper of one's own.
        """
        tokens = tokens or self.sessions.own_tokens(session)
        transport = self._net.session_transport(session, tokens, clock=self._clock)
        return PDSClient(transport)

    async def make_authenticated_request(
        self, session: OAuthSession, method: str, url: str, **options: Any
    ) -> Response:
        """Send one request to the session's PDS; ``options`` are those of httpx.

        Raises:
            Blocked: the URL does not lead there.
            SessionError, TransportError: as the requests of a ``pds_client``.
        """
        return await self.pds_client(session).request(method, url, **options)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._net.transport.aclose()

    def _require_state_store(self) -> StateStore:
        if self.sessions.states is None:
            raise ConfigurationError("state_store: it must keep logins that have begun")
        return self.sessions.states
