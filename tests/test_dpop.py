from __future__ import annotations

import hashlib
import json
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from joserfc import jws, jwt
from joserfc.jwk import ECKey
from typing_extensions import override

from atproto_oauth_asgi.crypto.keys import generate_private_key, public_jwk
from atproto_oauth_asgi.dpop import (
    DPoPAuth,
    DPoPManager,
    NonceCache,
    ProofSigner,
    origin_of,
    read_nonce,
    send_with_nonce_retry,
)

KEY = generate_private_key()
URL = "https://pds.example.com/xrpc/com.example.get"
CHALLENGE = 'DPoP error="use_dpop_nonce"'


def claims_of(proof: str) -> dict[str, Any]:
    """What a proof says, verified by another library with the key it shows."""
    header = jws.extract_compact(proof.encode()).headers()
    key = ECKey.import_key(header["jwk"])
    return dict(jwt.decode(proof, key, algorithms=["ES256"]).claims)


def sign(url: str = URL, **options: Any) -> dict[str, Any]:
    return claims_of(ProofSigner(KEY).sign("GET", url, now=1000.9, **options))


# --- proofs ------------------------------------------------------------------------


@pytest.mark.covers("DPOP-02", "DPO-11")
def test_proof_when_made_then_header_holds_the_bare_public_key() -> None:
    """Type, algorithm, and the four public members; nothing private."""
    proof = ProofSigner(KEY).sign("GET", URL, now=0)
    assert jws.extract_compact(proof.encode()).headers() == {
        "typ": "dpop+jwt",
        "alg": "ES256",
        "jwk": public_jwk(KEY),
    }


@pytest.mark.covers("DPOP-04", "DPOP-06", "DPOP-08")
def test_proof_when_for_an_authorization_server_then_has_no_ath() -> None:
    """Method, URL and whole seconds; no hash where there is no token."""
    claims = sign()
    assert len(claims.pop("jti")) >= 16
    assert claims == {"htm": "GET", "htu": URL, "iat": 1000}


@pytest.mark.covers("DPOP-08", "DPOP-09")
def test_proof_when_for_a_pds_then_holds_hash_and_nonce() -> None:
    """The token is bound by its SHA-256; the nonce goes along."""
    claims = sign(access_token="token-1", nonce="n-1")
    digest = urlsafe_b64encode(hashlib.sha256(b"token-1").digest())
    assert claims["ath"] == digest.decode().rstrip("=")
    assert claims["nonce"] == "n-1"


def test_proof_when_token_changes_then_so_does_the_hash() -> None:
    """A signer that served one token serves the next one rightly."""
    signer = ProofSigner(KEY)
    hashes = {
        claims_of(signer.sign("GET", URL, now=0, access_token=token))["ath"]
        for token in ("a", "b")
    }
    assert len(hashes) == 2


@pytest.mark.covers("DPOP-06", "DPOP-07", "DPO-08")
def test_proofs_when_many_then_no_two_are_alike() -> None:
    """Every proof has an identifier of its own, of at least 96 bits."""
    signer = ProofSigner(KEY)
    jtis = {claims_of(signer.sign("GET", URL, now=0))["jti"] for _ in range(300)}
    assert len(jtis) == 300
    # 128 random bits.
    assert min(len(jti) for jti in jtis) >= 22


@pytest.mark.covers("DPOP-05", "DPO-09")
@pytest.mark.parametrize(
    ("url", "htu"),
    [
        (f"{URL}?a=b&c=d#e", URL),
        (f"{URL}#a?b", URL),
        (f"{URL}?", URL),
        ("https://pds.example.com", "https://pds.example.com/"),
        ("https://pds.example.com?a=/b", "https://pds.example.com/"),
        ("https://pds.example.com#/a", "https://pds.example.com/"),
        ("https://pds.example.com/a://b", "https://pds.example.com/a://b"),
        ("https://pds.example.com/X?X", "https://pds.example.com/X"),
        ("https://pds.example.com:8443/a%2Fb", "https://pds.example.com:8443/a%2Fb"),
    ],
)
def test_proof_when_url_has_more_then_htu_is_what_counts(url: str, htu: str) -> None:
    """No query, no fragment; an empty path is a slash, as on the wire."""
    assert sign(url)["htu"] == htu


@pytest.mark.covers("DPOP-03", "DPO-12")
def test_proof_when_a_coordinate_begins_with_zeros_then_verifies() -> None:
    """Coordinates and signatures keep their length."""
    key = next(
        key
        for key in iter(generate_private_key, None)
        if key.public_key().public_numbers().x < 1 << 248
    )
    for _ in range(20):
        claims_of(ProofSigner(key).sign("GET", URL, now=0))
    assert len(public_jwk(key)["x"]) == 43


@pytest.mark.covers("DPOP-01", "DPO-10")
def test_keypair_when_generated_then_is_new() -> None:
    """No two logins share a key."""
    shown = {public_jwk(DPoPManager.generate_keypair())["x"] for _ in range(20)}
    assert len(shown) == 20


def test_create_proof_when_called_as_documented_then_gives_a_proof() -> None:
    """The signature that people know: method, URL, key, nonce, token."""
    claims = claims_of(DPoPManager.create_proof("POST", f"{URL}?x=y", KEY, "n", "t"))
    assert (claims["htm"], claims["htu"], claims["nonce"]) == ("POST", URL, "n")
    assert claims["iat"] > 1_700_000_000
    assert "ath" in claims


# --- nonces ------------------------------------------------------------------------


def headers(*nonces: str) -> httpx.Headers:
    return httpx.Headers([("DPoP-Nonce", nonce) for nonce in nonces])


@pytest.mark.covers("DPOP-16")
def test_nonce_when_proper_then_is_read() -> None:
    """Up to 512 characters of NQCHAR."""
    assert read_nonce(headers("aB3._~-!#")) == "aB3._~-!#"
    assert read_nonce(headers("n" * 512)) == "n" * 512
    assert DPoPManager.extract_nonce_from_response(answer(200, "n")) == "n"


@pytest.mark.parametrize("nonce", [None, "", "with blank", "n" * 513])
def test_recall_when_it_is_no_nonce_then_is_not_remembered(nonce: str | None) -> None:
    """What a pending login brings is checked like what a server says."""
    cache = NonceCache()
    cache.recall(URL, nonce)
    assert cache.get(URL) is None


def test_recall_when_a_nonce_is_known_then_the_known_one_stays() -> None:
    """What was kept with a login is older than what the server said since."""
    cache = NonceCache()
    cache.recall(URL, "n-1")
    assert cache.get(URL) == "n-1"
    cache.learn(URL, headers("n-2"))
    cache.recall(URL, "n-1")
    assert cache.get(URL) == "n-2"


def test_recall_when_there_are_many_origins_then_the_oldest_makes_room() -> None:
    """The cache stays bounded, whoever fills it."""
    cache = NonceCache()
    for number in range(1025):
        cache.recall(f"https://pds{number}.example.com", "n-1")
    assert cache.get("https://pds0.example.com") is None
    assert cache.get("https://pds1024.example.com") == "n-1"


@pytest.mark.covers("DPOP-15", "DPOP-16", "DPO-03", "DOS-04")
@pytest.mark.parametrize(
    "nonces",
    [(), ("",), ("a b",), ('a"b',), ("a\\b",), ("a\tb",), ("n" * 513,), ("a", "b")],
)
def test_nonce_when_improper_then_is_none(nonces: tuple[str, ...]) -> None:
    """Anything else, or more than one, is no nonce and is not kept."""
    cache = NonceCache()
    assert cache.learn(URL, headers(*nonces)) is None
    assert cache.get(URL) is None


@pytest.mark.covers("DPOP-10", "DPOP-11", "DPO-04", "DPO-05")
@pytest.mark.parametrize(
    "other",
    [
        "http://pds.example.com/",
        "https://pds.example.com:8443/",
        "https://x.pds.example.com/",
        "https://example.com/",
    ],
)
def test_nonces_when_from_one_origin_then_go_to_no_other(other: str) -> None:
    """Scheme, host and port must be the same."""
    cache = NonceCache()
    cache.learn(URL, headers("n-1"))
    assert cache.get("https://PDS.example.com:443/other?path") == "n-1"
    assert cache.get(other) is None


@pytest.mark.covers("DPOP-11")
def test_nonces_when_a_newer_one_comes_then_it_replaces() -> None:
    """The newest nonce counts; an answer without one changes nothing."""
    cache = NonceCache()
    for nonces in (("n-1",), ("n-2",), ()):
        cache.learn(URL, headers(*nonces))
    assert cache.get(URL) == "n-2"


@pytest.mark.covers("DOS-04")
def test_nonces_when_many_origins_then_the_oldest_go() -> None:
    """Hostile origins cannot fill the memory."""
    cache = NonceCache()
    for number in range(1500):
        cache.learn(f"https://h{number}.example.com/", headers("n"))
    assert cache.get("https://h0.example.com/") is None
    assert cache.get("https://h1499.example.com/") == "n"
    assert len(cache._nonces) == 1024


@pytest.mark.covers("DOS-04")
def test_nonces_when_an_origin_is_heard_again_then_others_go_first() -> None:
    """A server in use does not lose its nonce to strangers."""
    cache = NonceCache()
    for number in range(1500):
        cache.learn(URL, headers(f"n-{number}"))
        cache.learn(f"https://h{number}.example.com/", headers("n"))
        assert cache.get(URL) == f"n-{number}"
    assert cache.get("https://h476.example.com/") is None
    assert cache.get("https://h477.example.com/") == "n"


@pytest.mark.covers("RES-02")
@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://PDS.Example.com:443/a?b#c", "https://pds.example.com"),
        ("http://localhost:2583/", "http://localhost:2583"),
        ("http://[::1]:2583/a", "http://[::1]:2583"),
        ("https://xn--fiqs8s.example.com/", "https://xn--fiqs8s.example.com"),
        ("https://user:pass@pds.example.com/", "https://pds.example.com"),
    ],
)
def test_origin_when_asked_then_is_scheme_host_and_port(url: str, origin: str) -> None:
    """As it is written in DID documents: encoded names, bracketed addresses."""
    assert origin_of(url) == origin


# --- the retry ---------------------------------------------------------------------


def answer(
    status: int, nonce: str | None = None, *, challenge: str = "", body: Any = None
) -> httpx.Response:
    fields = [("WWW-Authenticate", challenge)] if challenge else []
    if nonce is not None:
        fields.append(("DPoP-Nonce", nonce))
    return httpx.Response(status, headers=fields, json=body)


class Attempts:
    """Answers in order, and a record of the nonces that were used."""

    def __init__(self, *answers: httpx.Response) -> None:
        self.answers = list(answers)
        self.used: list[str | None] = []

    async def __call__(self, nonce: str | None) -> httpx.Response:
        self.used.append(nonce)
        return self.answers.pop(0)


AS_CHALLENGE = {"error": "use_dpop_nonce"}
RETRIED = [
    answer(400, "n-1", body=AS_CHALLENGE),
    answer(401, "n-1", body=AS_CHALLENGE),
    answer(401, "n-1", challenge=CHALLENGE),
    answer(401, "n-1", challenge=f"Bearer, {CHALLENGE}"),
]


@pytest.mark.anyio
@pytest.mark.covers("DPOP-12", "DPOP-13", "DPOP-18")
@pytest.mark.parametrize("first", RETRIED)
async def test_retry_when_challenged_then_sends_once_more(
    first: httpx.Response,
) -> None:
    """Both kinds of challenge bring a second attempt with the nonce on offer."""
    attempt, nonces = Attempts(first, answer(200, "n-2")), NonceCache()
    response = await send_with_nonce_retry(attempt, url=URL, nonces=nonces)
    assert response.status_code == 200
    assert attempt.used == [None, "n-1"]
    assert nonces.get(URL) == "n-2"


class Unread(httpx.AsyncByteStream):
    """A body that nobody has read yet."""

    def __init__(self) -> None:
        self.is_read = self.is_closed = False

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.is_read = True
        yield b'{"error": "use_dpop_nonce"}'

    @override
    async def aclose(self) -> None:
        self.is_closed = True


@pytest.mark.anyio
@pytest.mark.covers("DPOP-18")
async def test_retry_when_challenged_then_the_first_answer_is_closed_unread() -> None:
    """A refused attempt gives back its connection before the next one is made."""
    body = Unread()
    fields = {"DPoP-Nonce": "n-1", "WWW-Authenticate": CHALLENGE}
    first = httpx.Response(401, headers=fields, stream=body)
    attempt, closed = Attempts(first, answer(200)), []

    async def send(nonce: str | None) -> httpx.Response:
        closed.append(body.is_closed)
        return await attempt(nonce)

    await send_with_nonce_retry(send, url=URL, nonces=NonceCache())
    assert (closed, body.is_read) == ([False, True], False)


@pytest.mark.anyio
@pytest.mark.covers("DPOP-13")
async def test_retry_when_no_header_challenges_then_an_unread_body_stays_unread() -> (
    None
):
    """The body of a resource server is its client's; only a read one is looked at."""
    first = httpx.Response(401, headers={"DPoP-Nonce": "n-1"}, stream=Unread())
    attempt = Attempts(first)
    response = await send_with_nonce_retry(attempt, url=URL, nonces=NonceCache())
    assert (response, response.is_closed) == (first, False)


@pytest.mark.anyio
@pytest.mark.covers("DPOP-14", "DPO-01", "DOS-08")
async def test_retry_when_challenged_again_then_gives_up() -> None:
    """Two attempts, whatever the server wants; the newest nonce is kept."""
    answers = [answer(401, f"n-{n}", challenge=CHALLENGE) for n in range(3)]
    attempt, nonces = Attempts(*answers), NonceCache()
    response = await send_with_nonce_retry(attempt, url=URL, nonces=nonces)
    assert response.status_code == 401
    assert attempt.used == [None, "n-0"]
    assert nonces.get(URL) == "n-1"


@pytest.mark.anyio
@pytest.mark.covers("DPOP-09", "DPOP-14", "DPO-02")
async def test_retry_when_offered_the_nonce_just_used_then_gives_up() -> None:
    """The same nonce again would be refused again."""
    attempt, nonces = Attempts(answer(401, "n-1", challenge=CHALLENGE)), NonceCache()
    nonces.learn(URL, headers("n-1"))
    response = await send_with_nonce_retry(attempt, url=URL, nonces=nonces)
    assert (response.status_code, attempt.used) == (401, ["n-1"])


@pytest.mark.anyio
@pytest.mark.covers("DPOP-15", "DPO-03")
@pytest.mark.parametrize("nonce", [None, "", "a b"])
async def test_retry_when_known_nonce_is_refused_without_another_then_gives_up(
    nonce: str | None,
) -> None:
    """A server that wants another nonce has to name it."""
    attempt, nonces = Attempts(answer(401, nonce, challenge=CHALLENGE)), NonceCache()
    nonces.learn(URL, headers("n-1"))
    response = await send_with_nonce_retry(attempt, url=URL, nonces=nonces)
    assert (response.status_code, attempt.used) == (401, ["n-1"])
    assert nonces.get(URL) == "n-1"


def sized(size: int) -> httpx.Response:
    """A challenge in a body of this many bytes."""
    body = json.dumps(AS_CHALLENGE).encode().ljust(size)
    return httpx.Response(400, headers={"DPoP-Nonce": "n-1"}, content=body)


RETRIED.append(sized(10_000))
DEEP = httpx.Response(400, headers={"DPoP-Nonce": "n-1"}, content=b"[" * 10_000)
NOT_RETRIED = [
    answer(400, None, body=AS_CHALLENGE),
    answer(401, "", challenge=CHALLENGE),
    answer(401, "a b", challenge=CHALLENGE),
    answer(400, "n-1", body={"error": "invalid_request"}),
    answer(400, "n-1", body=["use_dpop_nonce"]),
    sized(10_001),
    DEEP,
    answer(400, "n-1", challenge=CHALLENGE),
    answer(401, "n-1", challenge='DPoP error="invalid_token"'),
    answer(401, "n-1", challenge='Bearer error="use_dpop_nonce"'),
    answer(
        401,
        "n-1",
        challenge='Bearer error_description="DPoP error=\\"use_dpop_nonce\\""',
    ),
    answer(403, "n-1", body=AS_CHALLENGE),
    answer(429, "n-1", challenge=CHALLENGE),
    answer(200, "n-1", body=AS_CHALLENGE),
]


@pytest.mark.anyio
@pytest.mark.covers("DPOP-13", "DPOP-15", "DPOP-16", "DPOP-25", "DPO-03", "DPO-06")
@pytest.mark.parametrize("first", NOT_RETRIED)
async def test_retry_when_it_is_no_challenge_then_sends_once(
    first: httpx.Response,
) -> None:
    """Everything but a proper challenge is given back; a proper nonce is kept."""
    attempt, nonces = Attempts(first), NonceCache()
    response = await send_with_nonce_retry(attempt, url=URL, nonces=nonces)
    assert response is first
    assert attempt.used == [None]
    assert nonces.get(URL) == read_nonce(first.headers)


@pytest.mark.covers("DPOP-12", "DPOP-13")
def test_nonce_error_when_asked_then_tells_challenges_apart() -> None:
    """The same judgement, for people who send by themselves."""
    others = [each for each in NOT_RETRIED if read_nonce(each.headers)]
    assert {DPoPManager.is_dpop_nonce_error(each) for each in RETRIED} == {True}
    assert {DPoPManager.is_dpop_nonce_error(each) for each in others} == {False}


# --- DPoPAuth ----------------------------------------------------------------------


class Server(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """A resource server that wants a nonce, and asks for it."""

    def __init__(self, nonce: str = "n-1") -> None:
        self.nonce = nonce
        self.requests: list[httpx.Request] = []
        self.proofs: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []

    @override
    def handle_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.SyncByteStream)
        return self.answer(request, b"".join(request.stream))

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.AsyncByteStream)
        return self.answer(request, b"".join([part async for part in request.stream]))

    def answer(self, request: httpx.Request, body: bytes) -> httpx.Response:
        claims = claims_of(request.headers["dpop"])
        self.requests.append(request)
        self.proofs.append(claims)
        self.bodies.append(body)
        is_right = claims.get("nonce") == self.nonce
        challenge = "" if is_right else CHALLENGE
        return answer(200 if is_right else 401, self.nonce, challenge=challenge)


def open_http(server: httpx.BaseTransport) -> httpx.Client:
    return httpx.Client(auth=DPoPAuth("token-1", KEY), transport=server)


@pytest.mark.covers("DPOP-18", "RES-01")
def test_auth_when_server_wants_a_nonce_then_gives_it() -> None:
    """Two requests at first, one from then on; every proof is new."""
    server = Server()
    with open_http(server) as http:
        assert http.post(URL, content=b"body").status_code == 200
        assert http.get(f"{URL}?a=b").status_code == 200
    assert server.bodies == [b"body", b"body", b""]
    assert [claims.get("nonce") for claims in server.proofs] == [None, "n-1", "n-1"]
    assert len({claims["jti"] for claims in server.proofs}) == 3
    for request, claims in zip(server.requests, server.proofs, strict=True):
        assert request.headers.get_list("authorization") == ["DPoP token-1"]
        assert (claims["htm"], claims["htu"]) == (request.method, URL)
        assert "ath" in claims


@pytest.mark.covers("DPOP-14")
def test_auth_when_challenged_for_ever_then_gives_up() -> None:
    """At most one more request."""
    sent: list[httpx.Request] = []

    def refuse(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return answer(401, f"n-{len(sent)}", challenge=CHALLENGE)

    with open_http(httpx.MockTransport(refuse)) as http:
        assert http.get(URL).status_code == 401
    assert len(sent) == 2


@pytest.mark.covers("DPOP-13", "DPOP-25", "DPO-06")
@pytest.mark.parametrize(
    "first",
    [
        answer(401, "n-1"),
        answer(401, "n-1", challenge='DPoP error="invalid_token"'),
        answer(400, "n-1", challenge=CHALLENGE),
        answer(429, "n-1", challenge=CHALLENGE),
        answer(200, "n-1", challenge=CHALLENGE),
    ],
)
def test_auth_when_it_is_no_challenge_then_sends_once(first: httpx.Response) -> None:
    """A request is never repeated because a nonce came along with another answer."""
    answers = [first]
    with open_http(httpx.MockTransport(lambda _: answers.pop())) as http:
        assert http.post(URL).status_code == first.status_code


def stream() -> Iterator[bytes]:
    yield from (b"a", b"b")


async def async_stream() -> AsyncIterator[bytes]:
    for part in stream():
        yield part


@pytest.mark.covers("DPOP-20", "DPO-19")
def test_auth_when_body_streams_then_is_never_sent_half() -> None:
    """Where no nonce is known the body is read; else a challenge is given back."""
    server = Server()
    with open_http(server) as http:
        assert http.post(URL, content=stream()).status_code == 200
        server.nonce = "n-2"
        assert http.post(URL, content=stream()).status_code == 401
        assert http.post(URL, content=stream()).status_code == 200
    assert server.bodies == [b"ab"] * 4


@pytest.mark.anyio
@pytest.mark.covers("DPOP-20", "DPO-19")
async def test_auth_when_body_streams_asynchronously_then_the_same_holds() -> None:
    """The asynchronous client sends whole bodies too."""
    server = Server()
    auth = DPoPAuth("token-1", KEY)
    async with httpx.AsyncClient(auth=auth, transport=server) as http:
        assert (await http.post(URL, content=async_stream())).status_code == 200
        server.nonce = "n-2"
        assert (await http.post(URL, content=async_stream())).status_code == 401
        assert (await http.post(URL, content=async_stream())).status_code == 200
    assert server.bodies == [b"ab"] * 4


@pytest.mark.covers("DPOP-11", "DPO-04")
def test_auth_when_redirected_away_then_learns_nothing_from_there() -> None:
    """Another host's nonce is not used here, not even for a retry."""
    server = Server()

    def redirect(request: httpx.Request) -> httpx.Response:
        if request.url.host == "evil.example":
            return answer(401, "evil-nonce", challenge=CHALLENGE)
        server.answer(request, b"")
        return httpx.Response(307, headers={"Location": "https://evil.example/"})

    with open_http(httpx.MockTransport(redirect)) as http:
        http.get(URL, follow_redirects=True)
        http.get(URL)
    assert [claims.get("nonce") for claims in server.proofs] == [None, None]


@pytest.mark.covers("LOG-01")
def test_auth_when_shown_then_hides_the_token() -> None:
    """Neither the auth object nor the signer shows what it holds."""
    auth = DPoPAuth("token-1", KEY)
    assert "token-1" not in repr(auth) + str(auth) + f"{auth!s}{auth._signer!r}"
