from __future__ import annotations

from email.utils import formatdate

import httpx
import pytest

from atproto_oauth_asgi.exceptions import AuthorizationServerError, OAuthTokenError
from atproto_oauth_asgi.network.server_clocks import ServerClocks

ISSUER, OTHER = "https://as.example.com", "https://as.example.net"
NOW = 1_790_000_000.0


def told(*dates: str) -> ServerClocks:
    """The clocks after answers of one server."""
    clocks = ServerClocks(lambda: NOW)
    for date in dates:
        clocks.learn(ISSUER, httpx.Headers({"Date": date}))
    return clocks


def date_of(seconds: float) -> str:
    return formatdate(seconds, usegmt=True)


@pytest.mark.covers("DPOP-23")
@pytest.mark.parametrize(
    ("apart_s", "taken_s"),
    [(0, 0), (5, 0), (-5, 0), (30, 30), (-120, -120), (300, 300), (301, 0), (-3600, 0)],
)
def test_clock_when_it_differs_then_is_followed_within_reason(
    apart_s: int, taken_s: int
) -> None:
    """Minutes are evened out; seconds do not matter, and hours are not believed."""
    clocks = told(date_of(NOW + apart_s))
    assert clocks.ahead_s(ISSUER) == taken_s
    assert clocks.ahead_s(OTHER) == 0


def test_clock_when_it_was_put_right_then_is_followed_no_more() -> None:
    """The newest answer counts."""
    assert told(date_of(NOW + 60), date_of(NOW)).ahead_s(ISSUER) == 0


@pytest.mark.parametrize(
    "date",
    [
        "",
        "now",
        "1790000060",
        "Mon, 99 Sep 2026 17:33:20 GMT",
        "Mon, 30 Feb 2026 17:33:20 GMT",
        "Mon, 21 Sep 2026 25:61:61 GMT",
        "Mon, 21 Xyz 2026 17:33:20 GMT",
        "Monday, 21-Sep-26 17:33:20 GMT",
        f"{date_of(NOW + 60)}, {date_of(NOW + 90)}",
        f"{date_of(NOW + 60)}\u0660",
    ],
)
def test_clock_when_the_date_is_none_then_the_one_before_counts(date: str) -> None:
    """What is no date of RFC 9110 teaches nothing, and breaks nothing."""
    clocks = told(date_of(NOW + 90))
    field = (b"date", date.encode("utf-8"))
    clocks.learn(ISSUER, httpx.Headers([field]))
    assert clocks.ahead_s(ISSUER) == 90


def test_clocks_when_many_servers_answer_then_the_oldest_is_forgotten() -> None:
    """Strangers cannot fill the memory."""
    clocks = told(date_of(NOW + 90))
    headers = httpx.Headers({"Date": date_of(NOW + 60)})
    for number in range(1024):
        clocks.learn(f"https://{number}.example", headers)
    assert clocks.ahead_s(ISSUER) == 0
    assert clocks.ahead_s("https://0.example") == 60


@pytest.mark.covers("DPOP-23")
@pytest.mark.parametrize("error", ["invalid_dpop_proof", "invalid_client"])
def test_refusal_when_clocks_are_an_hour_apart_then_says_so(error: str) -> None:
    """Whoever reads the message knows what to look at."""
    clocks = told(date_of(NOW - 3600))
    with (
        pytest.raises(OAuthTokenError, match=r"refused; .* 3600 seconds apart") as seen,
        clocks.named_in_refusals(ISSUER),
    ):
        raise OAuthTokenError("refused", error=error, error_description="why")
    assert (seen.value.error, seen.value.error_description) == (error, "why")


@pytest.mark.parametrize(
    ("issuer", "apart_s", "error"),
    [
        (ISSUER, 3600, "invalid_scope"),
        (ISSUER, 120, "invalid_client"),
        (OTHER, 3600, "invalid_client"),
    ],
)
def test_refusal_when_no_clock_is_to_blame_then_stays_as_it_is(
    issuer: str, apart_s: int, error: str
) -> None:
    """A hint that is not true costs an operator an hour."""
    clocks = told(date_of(NOW + apart_s))
    refusal = AuthorizationServerError("refused", error=error)
    with (
        pytest.raises(AuthorizationServerError) as seen,
        clocks.named_in_refusals(issuer),
    ):
        raise refusal
    assert seen.value is refusal


class Server:
    """It refuses what its clock does not like, and notes what it got."""

    def __init__(self, ahead_s: float, *, error: str = "invalid_client") -> None:
        self.ahead_s = ahead_s
        self.error = error
        self.got: list[float] = []

    async def answer(self, ahead_s: float) -> httpx.Response:
        self.got.append(ahead_s)
        status = 200 if ahead_s == self.ahead_s else 400
        headers = {"Date": date_of(NOW + self.ahead_s)}
        return httpx.Response(status, headers=headers, json={"error": self.error})


@pytest.mark.anyio
async def test_request_when_refused_for_the_clock_then_is_sent_once_more() -> None:
    """By the time that the refusal told; from then on at once."""
    clocks, server = told(), Server(60)
    for _ in range(2):
        assert (await clocks.send_dated(ISSUER, server.answer)).is_success
    assert server.got == [0, 60, 60]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("error", "ahead_s"),
    [("invalid_grant", 60), ("invalid_client", 3600), ("invalid_client", 2)],
)
async def test_request_when_another_time_would_not_help_then_is_sent_once(
    error: str, ahead_s: float
) -> None:
    """Codes and refresh tokens are not shown again for nothing."""
    server = Server(ahead_s, error=error)
    response = await told().send_dated(ISSUER, server.answer)
    assert response.status_code == 400
    assert server.got == [0]


@pytest.mark.anyio
async def test_request_when_it_succeeded_then_is_not_sent_again() -> None:
    """Whatever stands in the answer: a token request must not come twice."""
    server, sent = Server(60), []

    async def accept(ahead_s: float) -> httpx.Response:
        sent.append(ahead_s)
        refusal = await server.answer(ahead_s)
        return httpx.Response(200, headers=refusal.headers, content=refusal.content)

    assert (await told().send_dated(ISSUER, accept)).is_success
    assert sent == [0]
