"""Two networks behind one face, and an OAuth client that can do everything wrong."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import parse_qsl, quote, urlsplit

import httpx

from atproto_oauth_asgi.crypto.encoding import b64url
from atproto_oauth_asgi.crypto.keys import PrivateKey, generate_private_key
from atproto_oauth_asgi.dpop import DPoPManager
from atproto_oauth_asgi.testing import AtprotoNetwork
from atproto_oauth_asgi.testing import Browser as BrowserInProcess
from atproto_oauth_asgi.testing import approve as approve_in_process
from atproto_oauth_asgi.testing import deny as deny_in_process
from atproto_oauth_asgi.testing.sign_in import COMING_BACK
from tests.reference_network.process import Account, ReferenceNetwork
from tests.reference_network.sign_in import Browser, approve, deny, go_on

REDIRECT_URI = "http://127.0.0.1:8000/callback"
COLLECTION = "com.example.note"
SCOPE = f"atproto repo:{COLLECTION}"
CLIENT_ID = (
    "http://localhost?redirect_uri="
    + quote("http://127.0.0.1/callback", safe="")
    + "&scope="
    + quote(SCOPE, safe="")
)


@dataclass(frozen=True, kw_only=True)
class Visitor:
    """Alice, at one browser, where she stays signed in."""

    send: Callable[[str, Mapping[str, str]], httpx.Response]
    approve: Callable[[str], str]
    go_on: Callable[[str], str]
    """Say yes without a password."""

    def open(self, url: str) -> httpx.Response:
        return self.send(url, COMING_BACK)


@dataclass(kw_only=True)
class Peer:
    """A network: where it is, who is there, and what only its owner can do."""

    issuer: str
    pds_url: str
    dids: Mapping[str, str]
    send: Callable[..., httpx.Response]
    approve: Callable[[str, str | None], str]
    deny: Callable[[str], str]
    visitor: Callable[[], Visitor]
    sessions: Callable[[], list[dict[str, Any]]]
    revoke: Callable[[], int]
    rotate_nonces: Callable[[], None]
    set_token_lifetime_s: Callable[[int], None]
    forget_clients: Callable[[], None]


def in_process(network: AtprotoNetwork) -> Peer:
    def visitor() -> Visitor:
        browser = BrowserInProcess()
        return Visitor(
            send=lambda url, headers: browser.request(
                network, "GET", url=url, headers=headers
            ),
            approve=lambda url: approve_in_process(url, "alice.test", browser=browser),
            go_on=lambda url: approve_in_process(
                url, "alice.test", browser=browser, password=""
            ),
        )

    return Peer(
        issuer=network.issuer,
        pds_url=network.pds_url,
        dids={handle: each.did for handle, each in network.accounts.items()},
        send=network.request,
        approve=lambda url, scope: approve_in_process(url, "alice.test", scope=scope),
        deny=deny_in_process,
        visitor=visitor,
        sessions=network.sessions,
        revoke=network.revoke,
        rotate_nonces=network.rotate_nonces,
        set_token_lifetime_s=network.set_token_lifetime,
        forget_clients=network.forget_clients,
    )


def reference(network: ReferenceNetwork, http: httpx.Client) -> Peer:
    alice = network.accounts["alice.test"]
    return Peer(
        issuer=network.issuer,
        pds_url=network.pds_url,
        dids={handle: each.did for handle, each in network.accounts.items()},
        send=http.request,
        approve=lambda url, scope: approve(
            url, alice, scope=scope, browser=Browser(http)
        ),
        deny=lambda url: deny(url, browser=Browser(http)),
        visitor=lambda: _visitor(alice, http),
        sessions=network.sessions,
        revoke=network.revoke,
        rotate_nonces=network.rotate_nonces,
        set_token_lifetime_s=lambda s: network.set_token_lifetime(s * 1000),
        forget_clients=network.forget_clients,
    )


def _visitor(alice: Account, http: httpx.Client) -> Visitor:
    browser = Browser(http)
    return Visitor(
        send=lambda url, headers: browser.navigate(url, headers=headers),
        approve=lambda url: approve(url, alice, browser=browser, remember=True),
        go_on=lambda url: go_on(url, alice, browser=browser),
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
        more = options.pop("headers", {})

        def send() -> httpx.Response:
            proof = self.proof(method, url, token)
            headers = {"Authorization": f"DPoP {token}", "DPoP": proof, **more}
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


class Loopback:
    """The client that needs no address."""

    redirect_uri = REDIRECT_URI
    scope = SCOPE
    client_id = CLIENT_ID

    def credentials(self) -> dict[str, str]:
        return {"client_id": self.client_id}


class Side(Protocol):
    """A client: what it is called, and how it shows that it is the one."""

    redirect_uri: str
    scope: str

    def credentials(self) -> dict[str, str]: ...


@dataclass
class Login:
    """One login, step by step."""

    teller: Teller
    side: Side = field(default_factory=Loopback)
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    state: str = field(default_factory=lambda: secrets.token_urlsafe(16))

    def form(self, **changes: str | None) -> dict[str, str]:
        challenge = b64url(hashlib.sha256(self.verifier.encode()).digest())
        fields = {
            **self.side.credentials(),
            "response_type": "code",
            "redirect_uri": self.side.redirect_uri,
            "scope": self.side.scope,
            "state": self.state,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            "login_hint": "alice.test",
            **changes,
        }
        return {name: text for name, text in fields.items() if text is not None}

    def push(self, **changes: str | None) -> httpx.Response:
        return self.teller.post_twice("/oauth/par", self.form(**changes))

    def auth_url(self, client_id: str | None = None, **changes: str | None) -> str:
        pushed = self.push(**changes)
        assert pushed.status_code == 201, pushed.text
        client_id = client_id or self.side.credentials()["client_id"]
        query = {"client_id": client_id, "request_uri": pushed.json()["request_uri"]}
        url = httpx.URL(f"{self.teller.peer.issuer}/oauth/authorize", params=query)
        return str(url)

    def approve(self, scope: str | None = None) -> dict[str, str]:
        return answer_in(self.teller.peer.approve(self.auth_url(), scope))

    def redeem(self, code: str, **changes: str | None) -> httpx.Response:
        fields = {
            **self.side.credentials(),
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.side.redirect_uri,
            "code_verifier": self.verifier,
            **changes,
        }
        form = {name: text for name, text in fields.items() if text is not None}
        return self.teller.post_twice("/oauth/token", form)

    def refresh(self, refresh_token: str, **changes: str | None) -> httpx.Response:
        fields = {
            **self.side.credentials(),
            "grant_type": "refresh_token",
            "refresh_token": refresh_token,
            **changes,
        }
        form = {name: text for name, text in fields.items() if text is not None}
        return self.teller.post_twice("/oauth/token", form)

    def revoke(self, token: str) -> httpx.Response:
        form = {**self.side.credentials(), "token": token}
        return self.teller.post_twice("/oauth/revoke", form)

    def tokens(self, scope: str | None = None) -> dict[str, Any]:
        answer = self.redeem(self.approve(scope)["code"])
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


def answer_in(redirect_url: str) -> dict[str, str]:
    url = urlsplit(redirect_url)
    assert url.path == urlsplit(REDIRECT_URI).path
    return dict(parse_qsl(url.query or url.fragment))


def outcome(answer: httpx.Response) -> tuple[int, Any]:
    return answer.status_code, answer.json().get("error")
