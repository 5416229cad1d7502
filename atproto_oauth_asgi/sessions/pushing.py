"""The beginning of a login at its server: what is wished for, pushed."""

from __future__ import annotations

from atproto_oauth_asgi.dpop import ProofSigner
from atproto_oauth_asgi.models import AuthServerMetadata, OAuthState
from atproto_oauth_asgi.network.auth_server import AuthServerClient, SessionKeys
from atproto_oauth_asgi.pkce import PKCEManager
from atproto_oauth_asgi.protocol.par import (
    AuthorizationParameters,
    build_authorization_url,
    build_par_form,
)
from atproto_oauth_asgi.sessions.pending import with_server
from atproto_oauth_asgi.sessions.wish import LoginWish, choose_prompt


async def push_login(
    client: AuthServerClient,
    pending: OAuthState,
    wish: LoginWish,
    *,
    server: AuthServerMetadata,
) -> tuple[str, OAuthState]:
    """Push the authorization request of a login.

    Returns:
        Where the browser goes, and the login with what is known of the server now.

    Raises:
        UnsupportedAuthServerError: the server does not know what is asked for.
        AuthorizationServerError: it refused.
        TransportError: it did not answer.

    Spec: RFC 9126, RFC 9449 section 10.
    """
    parameters = AuthorizationParameters(
        client_id=client.client_id,
        redirect_uri=pending.redirect_uri,
        scope=pending.scope,
        state=pending.state,
        code_challenge=PKCEManager.generate_challenge(pending.pkce_verifier),
        extra={**wish.parameters, **choose_prompt(wish.prompts, server)},
    )
    keys = SessionKeys(ProofSigner(pending.dpop_private_key), wish.kid)
    request_uri = await client.push(server, build_par_form(parameters), keys)
    auth_url = build_authorization_url(
        server.authorization_endpoint,
        client_id=client.client_id,
        request_uri=request_uri,
    )
    dpop_nonce = client.newest_nonce(server)
    return auth_url, with_server(pending, server, dpop_nonce=dpop_nonce)
