"""Two networks behind one face, and an OAuth client that can do everything wrong."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import httpx

from atproto_oauth_asgi.crypto.encoding import b64url
from atproto_oauth_asgi.crypto.keys import PrivateKey, generate_private_key
from atproto_oauth_asgi.dpop import DPoPManager
from atproto_oauth_asgi.testing import AtprotoNetwork
from atproto_oauth_asgi.testing import approve as approve_in_process
from atproto_oauth_asgi.testing import deny as deny_in_process
from tests.reference_network.process import ReferenceNetwork
from tests.reference_network.sign_in import approve, deny

REDIRECT_URI = "http://127.0.0.1:8000/callback"
COLLECTION = "com.example.note"
SCOPE = f"atproto repo:{COLLECTION}"
CLIENT_ID = (
    "http://localhost?redirect_uri="
    + quote("http://127.0.0.1/callback", safe="")
    + "&scope="
    + quote(SCOPE, safe="")
)


@dataclass(kw_only=True)
class Peer:
    """A network: where it is, who is there, and what only its owner can do."""

    issuer: str
    pds_url: str
    dids: Mapping[str, str]
    send: Callable[..., httpx.Response]
    approve: Callable[[str, str | None], str]
    deny: Callable[[str], str]
    sessions: Callable[[], list[dict[str, Any]]]
    revoke: Callable[[], int]
    rotate_nonces: Callable[[], None]
    set_token_lifetime_s: Callable[[int], None]


def in_process(network: AtprotoNetwork) -> Peer:
    return Peer(
        issuer=network.issuer,
        pds_url=network.pds_url,
        dids={handle: each.did for handle, each in network.accounts.items()},
        send=network.request,
        approve=lambda url, scope: approve_in_process(url, "alice.test", scope=scope),
        deny=deny_in_process,
        sessions=network.sessions,
        revoke=network.revoke,
        rotate_nonces=network.rotate_nonces,
        set_token_lifetime_s=network.set_token_lifetime,
    )


def reference(network: ReferenceNetwork, http: httpx.Client) -> Peer:
    alice = network.accounts["alice.test"]
    return Peer(
        issuer=network.issuer,
        pds_url=network.pds_url,
        dids={handle: each.did for handle, each in network.accounts.items()},
        send=http.request,
        approve=lambda url, scope: approve(url, alice, scope=scope),
        deny=deny,
        sessions=network.sessions,
        revoke=network.revoke,
        rotate_nonces=network.rotate_nonces,
        set_token_lifetime_s=lambda s: network.set_token_lifetime(s * 1000),
    )


@dataclass
class Teller:
    """A client, in the hand of a test; each one has a DPoP key of its own."""

    peer: Peer
    key: PrivateKey = field(default_factory=generate_private_key)
    nonce: str | None = None

    def proof(self, method: str, url: str, token: str | None = None) -> str:
        return DPoPManager.create_proof(method, url, self.key, self.nonce, token)

    def post(
        self, path: str, form: Mapping[str, str], *, proof: str | None = None
    ) -> httpx.Response:
        """Send a form, with a proof made now unless one is given; "" is none."""
        url = self.peer.issuer + path
        made = self.proof("POST", url) if proof is None else proof
        headers = {"DPoP": made} if made else {}
        answer = self.peer.send("POST", url, data=dict(form), headers=headers)
        self.nonce = answer.headers.get("dpop-nonce", self.nonce)
        return answer

    def post_twice(self, path: str, form: Mapping[str, str]) -> httpx.Response:
        """Send a form as clients do: once more if a nonce was wanted."""
        answer = self.post(path, form)
        if answer.json().get("error") == "use_dpop_nonce":
            answer = self.post(path, form)
        return answer

    def call(
        self, method: str, nsid: str, token: str = "", **options: Any
    ) -> httpx.Response:
        """Call the PDS as somebody, as clients do."""
        url = f"{self.peer.pds_url}/xrpc/{nsid}"

        def send() -> httpx.Response:
            proof = self.proof(method, url, token)
            headers = {"Authorization": f"DPoP {token}", "DPoP": proof}
            answer = self.peer.send(method, url, headers=headers, **options)
            self.nonce = answer.headers.get("dpop-nonce", self.nonce)
            return answer

        answer = send()
        is_challenged = answer.json().get("error") == "use_dpop_nonce"
        return send() if is_challenged else answer

    def whoami(self, token: str) -> httpx.Response:
        return self.call("GET", "com.atproto.server.getSession", token)

    def create_note(self, token: str, text: str) -> httpx.Response:
        did = self.peer.dids["alice.test"]
        record = {"$type": COLLECTION, "text": text}
        body = {"repo": did, "collection": COLLECTION, "record": record}
        return self.call("POST", "com.atproto.repo.createRecord", token, json=body)


@dataclass
class Login:
    """One login, step by step."""

    teller: Teller
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    state: str = field(default_factory=lambda: secrets.token_urlsafe(16))

    def form(self, **changes: str | None) -> dict[str, str]:
        challenge = b64url(hashlib.sha256(self.verifier.encode()).digest())
        fields = {
            "client_id": CLIENT_ID,
            "response_type": "code",
            "redirect_uri": REDIRECT_URI,
            "scope": SCOPE,
            "state": self.state,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            "login_hint": "alice.test",
            **changes,
        }
        return {name: text for name, text in fields.items() if text is not None}

    def push(self, **changes: str | None) -> httpx.Response:
        return self.teller.post_twice("/oauth/par", self.form(**changes))

    def auth_url(self, client_id: str = CLIENT_ID) -> str:
        pushed = self.push()
        assert pushed.status_code == 201, pushed.text
        query = {"client_id": client_id, "request_uri": pushed.json()["request_uri"]}
        url = httpx.URL(f"{self.teller.peer.issuer}/oauth/authorize", params=query)
        return str(url)

    def approve(self, scope: str | None = None) -> dict[str, str]:
        return answer_in(self.teller.peer.approve(self.auth_url(), scope))

    def redeem(self, code: str, **changes: str | None) -> httpx.Response:
        fields = {
            "grant_type": "authorization_code",
            "client_id": CLIENT_ID,
            "code": code,
            "redirect_uri": REDIRECT_URI,
            "code_verifier": self.verifier,
            **changes,
        }
        form = {name: text for name, text in fields.items() if text is not None}
        return self.teller.post_twice("/oauth/token", form)

    def refresh(self, refresh_token: str) -> httpx.Response:
        form = {
            "grant_type": "refresh_token",
            "client_id": CLIENT_ID,
            "refresh_token": refresh_token,
        }
        return self.teller.post_twice("/oauth/token", form)

    def revoke(self, token: str) -> httpx.Response:
        form = {"client_id": CLIENT_ID, "token": token}
        return self.teller.post_twice("/oauth/revoke", form)

    def tokens(self, scope: str | None = None) -> dict[str, Any]:
        answer = self.redeem(self.approve(scope)["code"])
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


def answer_in(redirect_url: str) -> dict[str, str]:
    assert redirect_url.startswith(REDIRECT_URI)
    return dict(parse_qsl(urlsplit(redirect_url).query))
