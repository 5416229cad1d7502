"""The package's own test network, with hosts below ``example.com``.

So that the policy for names is the one of production. What clients sent is taken
apart here, and can be asked for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from joserfc.jwk import ECKey
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from atproto_oauth_asgi.client_keys import ClientKey
from atproto_oauth_asgi.crypto.keys import (
    generate_private_key,
    public_jwk,
    thumbprint,
)
from atproto_oauth_asgi.models import OAuthSession
from atproto_oauth_asgi.network_options import Network
from atproto_oauth_asgi.testing import AtprotoNetwork, behaviours
from atproto_oauth_asgi.testing.sessions import Grant, Pushed
from tests.network.seen import Seen
from tests.sessions.making import HOUR_S, NOW, Clock

ALICE = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"
BOB = "did:plc:bbbbbbbbbbbbbbbbbbbbbbbb"
HANDLE = "alice.example.com"
PLC = "https://plc.example.com"
RESOLVER = "https://resolver.example.com"
PDS = "https://pds.example.com"
PDS2 = "https://pds2.example.com"
ISSUER = "https://as.example.com"
OTHER_ISSUER = "https://eve.example.net"
# The official server takes no client below ``example.com``.
CLIENT_ID = "https://app.notes.internal/oauth-client-metadata.json"
REDIRECT_URI = "https://app.notes.internal/oauth/callback"
SECOND_URI = "https://app.notes.internal/second"
SCOPE = "atproto repo:com.example.post"

PAR, TOKEN, REVOKE = "/oauth/par", "/oauth/token", "/oauth/revoke"
RESOURCE = "/.well-known/oauth-protected-resource"
METADATA = "/.well-known/oauth-authorization-server"

_AS, _APP = "as.example.com", "app.notes.internal"


class Servers:
    """A directory, two PDSs, an authorization server, and two people.

    Attributes:
        net: the network; its knobs are for the tests.
        clock: the one of all servers.
        signs_in: who signs in when a login is approved.
        issued: every token that was given out, in order: access, then refresh.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.net = AtprotoNetwork(accounts={}, clock=self.clock, as_host=_AS)
        self.reset()

    def reset(self) -> None:
        self.clock.now = NOW
        self.net.reset()
        self.signs_in = ALICE
        self.issued: list[str] = []
        self.client_keys: dict[str, ECKey] = {}
        self.know_keys()
        self.net.add_host("plc.example.com", self.net.directory.site)
        # A PDS resolves handles, too; here it does nothing else.
        for origin in (PDS, PDS2, RESOLVER):
            self.net.add_pds(origin.removeprefix("https://"))
        self.create_account(HANDLE, ALICE)
        self.create_account("bob.example.com", BOB)
        issuing = self.net.internet.sites[_AS]
        self.net.add_host(_AS, _noting_tokens(issuing, self.issued))

    # --- what tests ask for ----------------------------------------------------

    @property
    def seen(self) -> list[Seen]:
        """Every request of the client; the servers' own to the client are left out."""
        traffic = self.net.traffic
        return [Seen(each, self.client_keys) for each in traffic if each.host != _APP]

    def paths(self) -> list[str]:
        """The paths asked for at the authorization server's endpoints, in order."""
        return [seen.path for seen in self.seen if seen.path.startswith("/oauth/")]

    def sent(self, path: str) -> list[Seen]:
        """The requests to a path."""
        return [seen for seen in self.seen if seen.path == path]

    def taken(self, path: str) -> list[Seen]:
        """The requests to a path that were not refused, nor challenged first."""
        return [seen for seen in self.sent(path) if seen.is_taken]

    def revoked(self) -> list[str]:
        """The tokens that were revoked: the server said yes."""
        return [seen.form["token"] for seen in self.taken(REVOKE)]

    def approve(self, auth_url: str) -> dict[str, str]:
        """Sign in and say yes; the parameters of the callback."""
        query = dict(parse_qsl(urlsplit(auth_url).query))
        assert query.keys() == {"client_id", "request_uri"}
        pushed = self.net.ledger.pushed[query["request_uri"]]
        assert query["client_id"] == pushed.client_id
        state = pushed.form["state"]
        return {"code": self.code_for(state), "state": state, "iss": ISSUER}

    def code_for(self, state: str) -> str:
        """What approving the open login with this state gives."""
        ledger = self.net.ledger
        [pushed] = [p for p in ledger.pushed.values() if p.form["state"] == state]
        return ledger.approve(pushed, did=self.signs_in, scope=pushed.form["scope"])

    def expect_code(self, form: dict[str, str], *, dpop_thumbprint: str) -> str:
        """A code, as if somebody had approved a request with this form and key."""
        pushed = Pushed(
            request_uri="urn:example:request",
            client_id=CLIENT_ID,
            client_key=None,
            thumbprint=dpop_thumbprint,
            form=form,
            expires_at=self.clock() + HOUR_S,
        )
        return self.net.ledger.approve(pushed, did=self.signs_in, scope=SCOPE)

    def session(self, **changes: Any) -> OAuthSession:
        """A session as this server would have made it, an hour before its end."""
        key, number = generate_private_key(), len(self.issued)
        grant = Grant(
            did=ALICE,
            client_id=CLIENT_ID,
            scope=SCOPE,
            client_key=None,
            thumbprint=thumbprint(key),
            code="",
            created_at=self.clock(),
            updated_at=self.clock(),
            expires_at=self.clock() + HOUR_S,
            access_token=f"acc-of-the-login-{number}",
            refresh_token=f"ref-of-the-login-{number}",
        )
        self.net.ledger.grants.append(grant)
        self.issued += [grant.access_token, grant.refresh_token]
        made = OAuthSession(
            did=ALICE,
            pds_url=PDS,
            authserver_iss=ISSUER,
            access_token=grant.access_token,
            refresh_token=grant.refresh_token,
            dpop_private_key=key,
            scope=SCOPE,
            session_id="session-1",
        )
        return made.replace(**changes)

    def network(self, **options: Any) -> Network:
        """The options that lead here over sockets, with the names of production."""
        leading_here = {"plc_url": PLC, "unsafe_test_handles": False, **options}
        return replace(self.net.network, **leading_here)

    # --- how they behave -------------------------------------------------------

    def create_account(self, handle: str, did: str) -> None:
        """An account at the first PDS, published on the handle's own host."""
        self.net.create_account(handle, "password", did=did)
        self.net.move(did, PDS)

    def claim(self, did: str, *handles: str) -> None:
        """Let an account's document name these handles."""
        names = [f"at://{handle}" for handle in handles]
        self.net.directory.documents[did]["alsoKnownAs"] = names

    def on(self, url: str, program: ASGIApp) -> None:
        """Let a program answer at an origin, or at one path of it."""
        self.net.on(*_parts(url), program)

    def off(self, url: str) -> None:
        """Take back what was done there."""
        self.net.off(*_parts(url))

    def alter(
        self, url: str, members: Mapping[str, Any], *, without: tuple[str, ...] = ()
    ) -> None:
        """Let a host lie: its answer, with some members changed or left out."""
        self.on(url, behaviours.altered(members, without=without))

    def lead(self, pds: str, issuer: str) -> None:
        """Let a PDS name an authorization server."""
        self.alter(pds + RESOURCE, {"authorization_servers": [issuer]})

    def cut(self, origin: str) -> None:
        """Let nobody reach a host; ``off`` mends that."""
        self.on(origin, behaviours.drop())

    def know_keys(self, *keys: ClientKey) -> None:
        """Let the client publish these keys too; without any it is a public one."""
        for key in keys:
            jwk: dict[str, Any] = {**public_jwk(key.private_key), "kid": key.kid}
            self.client_keys[key.kid] = ECKey.import_key(jwk)
        published = [key.as_dict(private=False) for key in self.client_keys.values()]
        document = {
            "client_id": CLIENT_ID,
            "redirect_uris": [REDIRECT_URI, SECOND_URI],
            "scope": SCOPE,
            "response_types": ["code"],
            "grant_types": ["authorization_code", "refresh_token"],
            "application_type": "web",
            "dpop_bound_access_tokens": True,
            "token_endpoint_auth_method": "private_key_jwt" if published else "none",
        }
        if published:
            document["token_endpoint_auth_signing_alg"] = "ES256"
            document["jwks"] = {"keys": published}
        path = urlsplit(CLIENT_ID).path
        self.net.serve_client(_APP, {path: document})
        self.net.forget_clients()


def assert_given_back(servers: Servers) -> None:
    """Tokens were given out once, and the server keeps no session of them."""
    _, refresh_token = servers.issued
    assert servers.revoked() == [refresh_token]
    assert servers.net.sessions() == []


def _parts(url: str) -> tuple[str, str | None]:
    host, slash, path = url.removeprefix("https://").partition("/")
    return host, slash + path if slash else None


def _noting_tokens(site: ASGIApp, issued: list[str]) -> ASGIApp:
    """The authorization server, whose tokens are written down."""

    async def program(scope: Scope, receive: Receive, send: Send) -> None:
        async def note(message: Message) -> None:
            if scope["path"] == TOKEN and message["type"] == "http.response.body":
                tokens = json.loads(message["body"])
                names = ("access_token", "refresh_token")
                issued.extend(tokens[name] for name in names if name in tokens)
            await send(message)

        await site(scope, receive, note)

    return program
