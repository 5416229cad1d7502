from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx
import pytest
from joserfc import jws, jwt
from joserfc.jwk import ECKey
from typing_extensions import override

from atproto_oauth_asgi.crypto.keys import generate_private_key
from atproto_oauth_asgi.dpop import NonceCache
from atproto_oauth_asgi.exceptions import (
    AuthorizationServerError,
    Blocked,
    ConfigurationError,
    RefreshUnavailable,
    ScopeMissingError,
    SessionRevoked,
)
from atproto_oauth_asgi.models import OAuthSession
from atproto_oauth_asgi.network.pds import (
    PDSClient,
    SessionTransport,
    raise_for_xrpc,
)
from tests.network.atproto import (
    ALICE,
    ISSUER,
    PDS,
    PDS2,
)
from tests.sessions.making import Clock

pytestmark = pytest.mark.anyio
SESSION = OAuthSession(
    did=ALICE,
    pds_url=PDS,
    authserver_iss=ISSUER,
    access_token="token-1",
    refresh_token="refresh-1",
    dpop_private_key=generate_private_key(),
    scope="atproto",
)


class Streamed(httpx.AsyncByteStream):
    """A body that has not been read, as answers from the network are."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.is_closed = False

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self.body

    @override
    async def aclose(self) -> None:
        self.is_closed = True


def answer(
    status: int = 200,
    members: Any = None,
    *,
    headers: dict[str, str] | list[tuple[str, str]] | None = None,
) -> httpx.Response:
    """An answer with a JSON body, or raw bytes."""
    body = members if isinstance(members, bytes) else json.dumps(members).encode()
    response = httpx.Response(status, headers=headers, stream=Streamed(body))
    response.headers.setdefault("Content-Type", "application/json")
    return response


class Pds(httpx.AsyncBaseTransport):
    """Whatever is connected to; it takes proofs apart and wants nonce and token."""

    def __init__(self) -> None:
        self.nonce: str | None = None
        self.token = "token-1"
        self.answers: list[httpx.Response] = []
        self.requests: list[httpx.Request] = []
        self.proofs: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []
        self.given: list[httpx.Response] = []
        self.closed = 0

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.AsyncByteStream)
        self.bodies.append(b"".join([part async for part in request.stream]))
        self.requests.append(request)
        proof = request.headers["dpop"].encode()
        key = ECKey.import_key(jws.extract_compact(proof).headers()["jwk"])
        claims = dict(jwt.decode(proof.decode(), key, algorithms=["ES256"]).claims)
        self.proofs.append(claims)
        self.given.append(self.answer(request, claims))
        return self.given[-1]

    def answer(self, request: httpx.Request, claims: dict[str, Any]) -> httpx.Response:
        if self.answers:
            return self.answers.pop(0)
        if self.nonce is not None and claims.get("nonce") != self.nonce:
            return challenge(self.nonce)
        if request.headers["authorization"] != f"DPoP {self.token}":
            return refusal()
        return answer(200, {"ok": True})

    @override
    async def aclose(self) -> None:
        self.closed += 1


def challenge(nonce: str) -> httpx.Response:
    fields = {"WWW-Authenticate": 'DPoP error="use_dpop_nonce"', "DPoP-Nonce": nonce}
    return answer(401, {"error": "use_dpop_nonce"}, headers=fields)


def refusal(scheme: str = "DPoP") -> httpx.Response:
    fields = {"WWW-Authenticate": f'{scheme} error="invalid_token"'}
    return answer(401, {"error": "invalid_token"}, headers=fields)


class Tokens:
    """The newest tokens, and what a renewal brings."""

    def __init__(self, session: OAuthSession = SESSION) -> None:
        self.session = session
        self.renewals: list[OAuthSession | Exception] = []
        self.asked: list[OAuthSession] = []

    async def current(self) -> OAuthSession:
        return self.session

    async def renew(self, stale: OAuthSession) -> OAuthSession:
        self.asked.append(stale)
        renewed = self.renewals.pop(0)
        if isinstance(renewed, Exception):
            raise renewed
        self.session = renewed
        return renewed


class Fixture:
    """A client, what it speaks to, and what it knows."""

    def __init__(self, session: OAuthSession = SESSION) -> None:
        self.pds = Pds()
        self.tokens = Tokens(session)
        self.nonces = NonceCache()
        self.clock = Clock()
        transport = SessionTransport(
            self.tokens,
            pds_url=session.pds_url,
            inner=self.pds,
            nonces=self.nonces,
            clock=self.clock,
        )
        self.client = PDSClient(transport)

    def know_nonce(self, nonce: str = "n-1") -> None:
        self.nonces.learn(PDS, httpx.Headers({"DPoP-Nonce": nonce}))


@pytest.fixture
def at() -> Fixture:
    return Fixture()


# --- where requests go -------------------------------------------------------------


async def test_request_when_relative_then_goes_to_the_pds_signed(at: Fixture) -> None:
    """A path is enough; token and proof are put on."""
    response = await at.client.get("/xrpc/com.example.get?a=b")
    assert response.json() == {"ok": True}
    [request], [proof] = at.pds.requests, at.pds.proofs
    assert str(request.url) == f"{PDS}/xrpc/com.example.get?a=b"
    assert (proof["htm"], proof["htu"]) == ("GET", f"{PDS}/xrpc/com.example.get")
    assert proof["iat"] == int(at.clock())
    assert "ath" in proof


AWAY = [
    "https://evil.example/",
    "https://pds.example.com.evil.example/",
    "https://x.pds.example.com/",
    "https://example.com/",
    "http://pds.example.com/",
    "https://pds.example.com:8443/",
    "https://pds.example.com@evil.example/",
    "https://user:pass@pds.example.com/",
    "https://user@pds.example.com/",
]


@pytest.mark.covers("RES-02", "DPO-13")
@pytest.mark.parametrize("url", AWAY)
async def test_request_when_url_leads_away_then_is_blocked(
    at: Fixture, url: str
) -> None:
    """Another host, port or scheme never sees anything."""
    with pytest.raises(Blocked):
        await at.client.get(url)
    assert at.pds.requests == []


@pytest.mark.covers("RES-03", "DPO-13", "DPO-09")
@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("//evil.example/x", b"/x"),
        ("///evil.example/x", b"/evil.example/x"),
        ("/\\evil.example", b"/\\evil.example"),
        ("/../x", b"/x"),
        ("x", b"/x"),
        ("https:x", b"/x"),
        ("https:/x", b"/x"),
        ("https:///x", b"/x"),
        ("", b"/"),
        ("?a=b", b"/?a=b"),
        (f"{PDS}/x", b"/x"),
        (f"{PDS}:443/x", b"/x"),
        ("https://PDS.example.com/x", b"/x"),
        (PDS, b"/"),
        (f"{PDS}?a=b", b"/?a=b"),
        ("/a%2Fb/%7e?c#d", b"/a%2Fb/%7e?c"),
        ("/é x", b"/%C3%A9%20x"),
    ],
)
async def test_request_when_form_is_odd_then_stays_and_htu_is_true(
    at: Fixture, url: str, path: bytes
) -> None:
    """Odd relative forms stay at the PDS, and the proof names what is on the wire."""
    await at.client.get(url)
    [request], [proof] = at.pds.requests, at.pds.proofs
    assert (request.url.scheme, request.url.host) == ("https", "pds.example.com")
    assert request.url.raw_path == path
    assert proof["htu"] == PDS + path.partition(b"?")[0].decode()


@pytest.mark.covers("RES-03")
@pytest.mark.parametrize("url", ["ftp://x/", "\tx", "/x\n", "https://[/"])
async def test_request_when_url_is_no_url_then_nothing_is_sent(
    at: Fixture, url: str
) -> None:
    """What cannot be understood is refused, by httpx or by us."""
    with pytest.raises((Blocked, httpx.InvalidURL, httpx.UnsupportedProtocol)):
        await at.client.get(url)
    assert at.pds.requests == []


@pytest.mark.covers("RES-05")
async def test_request_when_base_url_was_changed_then_is_blocked(at: Fixture) -> None:
    """The guard does not ask the client where it should go."""
    at.client.base_url = "https://evil.example"
    with pytest.raises(Blocked):
        await at.client.get("/x")
    assert at.pds.requests == []


@pytest.mark.covers("RES-05")
@pytest.mark.parametrize("url", AWAY)
async def test_send_when_request_is_foreign_then_is_blocked(
    at: Fixture, url: str
) -> None:
    """A request that was built elsewhere passes the same guard."""
    with pytest.raises(Blocked):
        await at.client.send(httpx.Request("GET", url))
    assert at.pds.requests == []


@pytest.mark.covers("RES-05", "DPOP-21", "DPO-15")
@pytest.mark.parametrize("url", AWAY)
async def test_stream_when_url_leads_away_then_is_blocked(
    at: Fixture, url: str
) -> None:
    """Streaming is no way round."""
    with pytest.raises(Blocked):
        async with at.client.stream("POST", url, content=stream()):
            pass
    assert at.pds.requests == []


@pytest.mark.covers("RES-02")
@pytest.mark.parametrize(
    "pds_url", ["http://[::1]:2583", "https://xn--fiqs8s.example.com", f"{PDS}/"]
)
async def test_request_when_pds_has_an_odd_address_then_reaches_it(
    pds_url: str,
) -> None:
    """IPv6 addresses, international names and a trailing slash are at home too."""
    at = Fixture(SESSION.replace(pds_url=pds_url))
    assert (await at.client.get("/x")).status_code == 200
    with pytest.raises(Blocked):
        await at.client.get("https://other.example/")


@pytest.mark.covers("RES-04", "DPO-14")
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "location", ["https://evil.example/", f"{PDS}/other", "/other"]
)
async def test_redirect_when_answered_then_is_given_back(
    at: Fixture, status: int, location: str
) -> None:
    """No redirect is followed, whatever the caller wishes."""
    at.client.follow_redirects = True
    for _ in range(2):
        at.pds.answers.append(answer(status, {}, headers={"Location": location}))
    posted = await at.client.post("/x", content=b"a", follow_redirects=True)
    sent = await at.client.send(httpx.Request("GET", f"{PDS}/x"), follow_redirects=True)
    assert (posted.status_code, sent.status_code) == (status, status)
    assert [request.url.path for request in at.pds.requests] == ["/x", "/x"]


@pytest.mark.covers("RES-04")
async def test_redirect_when_followed_by_hand_then_is_blocked(at: Fixture) -> None:
    """The next request that httpx offers passes the guard as well."""
    location = {"Location": "https://evil.example/"}
    at.pds.answers.append(answer(307, {}, headers=location))
    response = await at.client.post("/x", content=b"a")
    assert response.next_request is not None
    with pytest.raises(Blocked):
        await at.client.send(response.next_request)


# --- what goes along ---------------------------------------------------------------


@pytest.mark.covers("DPOP-21", "RES-01", "RES-05", "DPO-15")
async def test_headers_when_caller_sets_ours_then_are_replaced(at: Fixture) -> None:
    """One Authorization and one DPoP field, ours; no cookie, no Host."""
    at.client.cookies.set("a", "b")
    own = [
        ("AUTHORIZATION", "Bearer evil"),
        ("authorization", "Basic evil"),
        ("dPoP", "evil"),
        ("Host", "evil.example"),
        ("Cookie", "c=d"),
        ("Proxy-Authorization", "Basic evil"),
        ("X-Own", "kept"),
    ]
    await at.client.get("/x", headers=own)
    headers = at.pds.requests[0].headers
    assert headers.get_list("authorization") == ["DPoP token-1"]
    assert len(headers.get_list("dpop")) == 1
    assert not {"host", "cookie", "proxy-authorization"} & set(headers)
    assert headers["x-own"] == "kept"
    assert "evil" not in str(headers.raw)


@pytest.mark.covers("RES-05", "DPO-15")
async def test_auth_when_given_then_has_no_effect(at: Fixture) -> None:
    """Neither per call nor on the client can another way of signing be put in."""
    at.client.auth = ("user", "pass")
    await at.client.get("/x", auth=("user", "pass"))
    await at.client.send(at.client.build_request("GET", "/x"), auth=("user", "pass"))
    for request in at.pds.requests:
        assert request.headers.get_list("authorization") == ["DPoP token-1"]


@pytest.mark.covers("RES-05", "DPO-15")
async def test_extensions_when_given_then_only_the_timeout_passes(at: Fixture) -> None:
    """No extension can point the connection elsewhere."""
    extensions = {"sni_hostname": "evil.example", "target": b"/evil"}
    await at.client.get("/x", extensions=extensions, timeout=7)
    assert at.pds.requests[0].extensions == {
        "timeout": {"connect": 7, "read": 7, "write": 7, "pool": 7}
    }


@pytest.mark.covers("RES-15")
async def test_headers_when_for_services_then_pass_through(at: Fixture) -> None:
    """Proxy and labeler headers reach the PDS unchanged."""
    labelers = "did:plc:x;redact, did:plc:y"
    await at.client.get("/x", headers={"atproto-accept-labelers": labelers})
    assert at.pds.requests[0].headers["atproto-accept-labelers"] == labelers


@pytest.mark.covers("LOG-02", "RES-05")
async def test_hooks_when_set_then_see_no_secret(at: Fixture) -> None:
    """What hooks and callers get to see are the requests before they are signed."""
    seen: list[httpx.Request] = []

    async def on_request(request: httpx.Request) -> None:
        seen.append(request)

    async def on_response(response: httpx.Response) -> None:
        seen.append(response.request)

    at.client.event_hooks = {"request": [on_request], "response": [on_response]}
    response = await at.client.get("/x")
    assert len(seen) == 2
    for request in [*seen, response.request]:
        assert not {"authorization", "dpop"} & set(request.headers)


@pytest.mark.covers("RES-06", "DPO-16")
async def test_cookies_when_pds_sets_them_then_are_dropped(at: Fixture) -> None:
    """No cookie is kept, sent again, or shown."""
    cookies = [("Set-Cookie", "a=b"), ("Set-Cookie", "c=d; Path=/")]
    at.pds.answers.append(answer(200, {}, headers=cookies))
    response = await at.client.get("/x")
    await at.client.get("/x")
    assert "set-cookie" not in response.headers
    assert dict(response.cookies) == {}
    assert dict(at.client.cookies) == {}
    assert "cookie" not in at.pds.requests[1].headers


@pytest.mark.covers("RES-07", "DPO-17")
async def test_environment_when_it_names_a_proxy_then_is_ignored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither proxies nor .netrc of the environment play a part."""
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://evil.example:1")
    at = Fixture()
    assert at.client.trust_env is False
    assert (await at.client.get("/x")).status_code == 200
    assert len(at.pds.requests) == 1


# --- nonces ------------------------------------------------------------------------


@pytest.mark.covers("DPOP-13", "DPOP-18", "DPOP-06")
async def test_nonce_when_wanted_then_is_given_at_once(at: Fixture) -> None:
    """One more request with the same body; the next one has the nonce already."""
    at.pds.nonce = "n-1"
    assert (await at.client.post("/x", content=b"body")).status_code == 200
    assert (await at.client.get("/x")).status_code == 200
    assert at.pds.bodies == [b"body", b"body", b""]
    assert [proof.get("nonce") for proof in at.pds.proofs] == [None, "n-1", "n-1"]
    assert len({proof["jti"] for proof in at.pds.proofs}) == 3
    assert at.pds.given[0].is_closed


@pytest.mark.covers("DPOP-14", "DPO-01", "DOS-08")
async def test_nonce_when_wanted_for_ever_then_two_requests_are_sent(
    at: Fixture,
) -> None:
    """The second challenge is given back."""
    at.pds.answers = [challenge(f"n-{number}") for number in range(5)]
    assert (await at.client.get("/x")).status_code == 401
    assert len(at.pds.requests) == 2


@pytest.mark.covers("DPOP-19")
async def test_nonce_when_it_changes_under_load_then_all_succeed(at: Fixture) -> None:
    """Fifty at once: each is sent again once at most."""
    at.know_nonce("n-0")
    at.pds.nonce = "n-1"
    statuses: list[int] = []

    async def ask() -> None:
        statuses.append((await at.client.get("/x")).status_code)

    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(ask)
    assert statuses == [200] * 50
    assert 50 < len(at.pds.requests) <= 100


@pytest.mark.covers("DPOP-25")
@pytest.mark.parametrize("status", [400, 403, 429, 500, 503])
async def test_answer_when_it_is_no_challenge_then_is_given_back(
    at: Fixture, status: int
) -> None:
    """Refusals reach the application untouched, and nothing waits or retries."""
    fields = {"DPoP-Nonce": "n-9", "Retry-After": "60"}
    at.pds.answers = [answer(status, {"error": "x"}, headers=fields)]
    response = await at.client.get("/x")
    assert response.status_code == status
    assert response.headers["retry-after"] == "60"
    assert len(at.pds.requests) == 1
    assert at.nonces.get(PDS) == "n-9"


# --- tokens that are refused -------------------------------------------------------


@pytest.mark.covers("RES-09")
@pytest.mark.parametrize("scheme", ["DPoP", "Bearer", "Basic realm=x, DPoP"])
async def test_token_when_refused_then_is_renewed_once(
    at: Fixture, scheme: str
) -> None:
    """The same request goes out again with the new token, and its body."""
    at.pds.token = "token-2"
    at.pds.answers = [refusal(scheme)]
    at.tokens.renewals = [SESSION.replace(access_token="token-2")]
    assert (await at.client.post("/x", content=b"body")).status_code == 200
    assert at.tokens.asked == [SESSION]
    assert at.pds.bodies == [b"body", b"body"]
    assert at.pds.proofs[0]["ath"] != at.pds.proofs[1]["ath"]
    assert at.pds.given[0].is_closed


@pytest.mark.covers("RES-09", "RES-11")
@pytest.mark.parametrize(
    "refused",
    [
        answer(401, {"error": "invalid_token"}),
        answer(401, {}, headers={"WWW-Authenticate": 'DPoP error="other"'}),
        answer(401, {}, headers={"WWW-Authenticate": 'Basic error="invalid_token"'}),
        answer(403, {}, headers={"WWW-Authenticate": 'DPoP error="invalid_token"'}),
    ],
    ids=range(4),
)
async def test_token_when_it_is_not_the_reason_then_is_not_renewed(
    at: Fixture, refused: httpx.Response
) -> None:
    """Only the proper challenge brings a refresh."""
    at.pds.answers = [refused]
    assert (await at.client.get("/x")).status_code == refused.status_code
    assert at.tokens.asked == []


@pytest.mark.covers("RES-10", "DPO-18")
async def test_attempts_when_pds_is_nasty_then_are_four_at_most(at: Fixture) -> None:
    """Nonce, refresh, nonce: then it is over."""
    at.pds.answers = [
        answer_ for n in range(9) for answer_ in (challenge(f"n-{n}"), refusal())
    ]
    at.tokens.renewals = [SESSION.replace(access_token="token-2")]
    assert (await at.client.get("/x")).status_code == 401
    assert len(at.pds.requests) == 4
    assert len(at.tokens.asked) == 1


@pytest.mark.covers("RES-16", "REF-13", "RFR-09")
@pytest.mark.parametrize("url", ["/x?a=b", f"{PDS}/x?a=b", f"{PDS2}/x?a=b"])
async def test_token_when_account_has_moved_then_requests_follow_it(
    at: Fixture, url: str
) -> None:
    """The new token never goes to the old host; relative URLs lead to the new one."""
    at.pds.answers = [refusal()]
    at.pds.token = "token-2"
    at.tokens.renewals = [SESSION.replace(access_token="token-2", pds_url=PDS2)]
    assert (await at.client.get("/x?a=b")).status_code == 200
    assert (await at.client.get(url)).status_code == 200
    assert [str(request.url) for request in at.pds.requests] == [
        f"{PDS}/x?a=b",
        f"{PDS2}/x?a=b",
        f"{PDS2}/x?a=b",
    ]
    assert [proof["htu"] for proof in at.pds.proofs[1:]] == [f"{PDS2}/x"] * 2
    with pytest.raises(Blocked):
        await at.client.get("https://evil.example/")


@pytest.mark.covers("REF-14")
@pytest.mark.parametrize("error", [RefreshUnavailable("x"), SessionRevoked("x")])
async def test_token_when_renewal_fails_then_its_error_is_raised(
    at: Fixture, error: Exception
) -> None:
    """The application learns what happened to the session."""
    at.pds.answers = [refusal()]
    at.tokens.renewals = [error]
    with pytest.raises(type(error)):
        await at.client.get("/x")
    assert len(at.pds.requests) == 1


# --- streams -----------------------------------------------------------------------


async def stream() -> AsyncIterator[bytes]:
    yield b"a"
    yield b"b"


@pytest.mark.covers("DPOP-20", "DPO-19")
async def test_upload_when_no_nonce_is_known_then_is_spared_by_a_probe(
    at: Fixture,
) -> None:
    """A nonce is fetched first, by a request that changes nothing."""
    at.pds.nonce = "n-1"
    response = await at.client.post("/xrpc/com.example.upload", content=stream())
    assert response.status_code == 200
    sent = [(request.method, request.url.path) for request in at.pds.requests]
    probe = ("GET", "/xrpc/com.atproto.server.getSession")
    assert sent == [probe, probe, ("POST", "/xrpc/com.example.upload")]
    assert at.pds.bodies == [b"", b"", b"ab"]
    assert all(response.is_closed for response in at.pds.given)


@pytest.mark.covers("DPOP-20", "DPO-19")
async def test_upload_when_nonce_is_stale_then_probe_learns_the_new_one(
    at: Fixture,
) -> None:
    """The stream is sent once, with what the probe has brought."""
    at.know_nonce("n-0")
    at.pds.nonce = "n-1"
    assert (await at.client.post("/x", content=stream())).status_code == 200
    assert at.pds.bodies == [b"", b"", b"ab"]
    assert [proof["nonce"] for proof in at.pds.proofs] == ["n-0", "n-1", "n-1"]


@pytest.mark.covers("DPOP-20", "RES-09")
async def test_upload_when_token_has_ended_then_is_renewed_before(at: Fixture) -> None:
    """The probe finds it out, and the stream goes with the new token."""
    at.pds.token = "token-2"
    at.tokens.renewals = [SESSION.replace(access_token="token-2")]
    assert (await at.client.post("/x", content=stream())).status_code == 200
    assert at.pds.bodies == [b"", b"ab"]
    assert len(at.tokens.asked) == 1


@pytest.mark.covers("DPOP-20", "DPO-19")
@pytest.mark.parametrize(
    "refused", [challenge("n-2"), refusal()], ids=["nonce", "token"]
)
async def test_upload_when_challenged_then_is_not_sent_again(
    at: Fixture, refused: httpx.Response
) -> None:
    """A stream that is spent is never sent empty; the answer is given back."""
    at.pds.answers = [answer(401, {}), refused]
    response = await at.client.post("/x", content=stream())
    assert response.status_code == 401
    assert at.pds.bodies == [b"", b"ab"]
    assert at.tokens.asked == []


@pytest.mark.covers("RES-12", "DPO-21")
async def test_download_when_streamed_then_is_not_read_ahead(at: Fixture) -> None:
    """The application reads as much as it likes, and closing ends it."""

    class Parts(httpx.AsyncByteStream):
        made, is_closed = 0, False

        @override
        async def __aiter__(self) -> AsyncIterator[bytes]:
            for _ in range(3):
                self.made += 1
                yield b"x" * 1000

        @override
        async def aclose(self) -> None:
            self.is_closed = True

    parts = Parts()
    at.pds.answers = [httpx.Response(200, stream=parts)]
    async with at.client.stream("GET", "/x") as response:
        assert parts.made == 0
        made = [parts.made async for _ in response.aiter_raw()]
    assert (made, parts.is_closed) == ([1, 2, 3], True)


# --- the client --------------------------------------------------------------------


async def test_close_when_called_then_leaves_the_pool_open(at: Fixture) -> None:
    """A client is cheap to drop: what is shared stays open."""
    async with at.client as client:
        await client.get("/x")
    assert at.client.is_closed
    assert at.pds.closed == 0


async def test_query_when_called_then_is_a_get_with_parameters(at: Fixture) -> None:
    """Parameters are encoded; lists are repeated."""
    await at.client.query(
        "com.example.get", {"uri": "at://x/y", "n": [1, 2]}, headers={"X-A": "b"}
    )
    [request] = at.pds.requests
    assert request.method == "GET"
    assert request.url.path == "/xrpc/com.example.get"
    assert request.url.params.multi_items() == [
        ("uri", "at://x/y"),
        ("n", "1"),
        ("n", "2"),
    ]
    assert request.headers["x-a"] == "b"


async def test_procedure_when_json_then_is_a_post(at: Fixture) -> None:
    """The body is JSON, and parameters are possible."""
    await at.client.procedure("com.example.do", json={"a": 1}, params={"b": "c"})
    [request] = at.pds.requests
    assert (request.method, str(request.url)) == (
        "POST",
        f"{PDS}/xrpc/com.example.do?b=c",
    )
    assert request.headers["content-type"] == "application/json"
    assert at.pds.bodies == [b'{"a":1}']


async def test_procedure_when_raw_then_sends_the_bytes(at: Fixture) -> None:
    """A blob goes as it is."""
    fields = {"Content-Type": "image/png"}
    await at.client.procedure("com.example.upload", content=b"\x89PNG", headers=fields)
    assert at.pds.bodies == [b"\x89PNG"]
    assert at.pds.requests[0].headers["content-type"] == "image/png"


@pytest.mark.covers("RES-15")
async def test_proxied_when_called_then_names_the_service(at: Fixture) -> None:
    """The new client names it on every call and is otherwise the same."""
    at.client.headers["X-Own"] = "kept"
    at.client.timeout = httpx.Timeout(42)
    view = at.client.proxied("did:web:api.example.com#view")
    await view.query("com.example.get")
    await at.client.query("com.example.get")
    first, second = at.pds.requests
    assert first.headers["atproto-proxy"] == "did:web:api.example.com#view"
    assert first.headers["x-own"] == "kept"
    assert first.extensions["timeout"]["read"] == 42
    assert "atproto-proxy" not in second.headers
    with pytest.raises(Blocked):
        await view.get("https://evil.example/")


async def test_proxied_when_transport_was_replaced_then_is_refused(at: Fixture) -> None:
    """A client without its guard makes no further clients."""
    at.client._transport = at.pds
    with pytest.raises(Blocked):
        at.client.proxied("did:web:x#y")


@pytest.mark.covers("LOG-01")
async def test_client_when_shown_then_hides_the_tokens(at: Fixture) -> None:
    """Neither client nor transport shows what it holds."""
    await at.client.get("/x")
    for value in (at.client, at.client._transport):
        assert "token-1" not in repr(value) + str(value)


# --- raise_for_xrpc ----------------------------------------------------------------


def test_xrpc_when_success_then_gives_the_response() -> None:
    """It can stand in a chain."""
    response = httpx.Response(200, json={})
    assert raise_for_xrpc(response) is response


@pytest.mark.covers("RES-11")
def test_xrpc_when_permission_is_missing_then_says_so() -> None:
    """The one refusal that the person can do something about."""
    with pytest.raises(ScopeMissingError):
        raise_for_xrpc(httpx.Response(403, json={"error": "ScopeMissingError"}))


@pytest.mark.covers("TOK-16", "LOG-02")
@pytest.mark.parametrize(
    ("response", "error"),
    [
        (httpx.Response(400, json={"error": "InvalidRequest"}), "InvalidRequest"),
        (httpx.Response(403, json={"error": "Forbidden"}), "Forbidden"),
        (httpx.Response(400, json={"error": "ScopeMissingError"}), "ScopeMissingError"),
        (httpx.Response(502, content=b"<html>"), "http_502"),
        (httpx.Response(302), "http_302"),
    ],
    ids=range(5),
)
def test_xrpc_when_refused_then_raises_with_the_error(
    response: httpx.Response, error: str
) -> None:
    """Whatever is no success is an error with a code."""
    with pytest.raises(AuthorizationServerError) as caught:
        raise_for_xrpc(response)
    assert caught.value.error == error


@pytest.mark.covers("RES-03")
@pytest.mark.parametrize(
    "nsid",
    ["", "get", "x.get", "../admin", "com.example.get?x=y", "com.example/get", "*"],
)
async def test_method_when_it_is_no_name_then_is_refused(
    at: Fixture, nsid: str
) -> None:
    """What an application got from a stranger does not choose the path."""
    for call in (at.client.query, at.client.procedure):
        with pytest.raises(ConfigurationError, match="nsid"):
            await call(nsid)
    assert at.pds.requests == []
