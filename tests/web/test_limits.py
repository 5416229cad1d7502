"""How many logins may begin: the options, the counting, and what a refusal says."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from starlette.requests import Request

from atproto_oauth_asgi import ConfigurationError, LoginLimits, OAuthConfig
from atproto_oauth_asgi.exceptions import TooManyLogins
from atproto_oauth_asgi.network.admission import check_admitted, check_origin_admitted
from atproto_oauth_asgi.web.answers import answer_failure
from atproto_oauth_asgi.web.limits import LoginGate, MinuteCount
from atproto_oauth_asgi.web.site import Site
from tests.sessions.making import SECRET, Clock


def request_from(address: str | None = "198.51.100.7", **headers: str) -> Request:
    fields = [(name.encode(), value.encode()) for name, value in headers.items()]
    client = None if address is None else (address, 50000)
    return Request({"type": "http", "headers": fields, "client": client})


def make_gate(clock: Clock | None = None, **limits: Any) -> LoginGate:
    return LoginGate(LoginLimits(**limits), clock=clock or Clock())


@contextmanager
def refused(seconds: int) -> Iterator[None]:
    """What happens inside is refused, for so many seconds."""
    with pytest.raises(TooManyLogins) as caught:
        yield
    assert caught.value.retry_after_s == seconds


def begin(gate: LoginGate, *hosts: str, address: str = "198.51.100.7") -> None:
    """A login that leads to some hosts."""
    with gate.admit(request_from(address)):
        for host in hosts:
            check_admitted(host)


# --- Options -------------------------------------------------------------------------


def test_limits_when_none_are_given_then_those_of_the_documentation() -> None:
    """32 at once, 60 a minute to one host, no limit for clients."""
    limits = OAuthConfig(secret_key=SECRET).limits
    assert limits == LoginLimits(
        concurrent=32,
        per_target_host_per_minute=60,
        per_client_per_minute=None,
        client_key=None,
    )


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"concurrent": 0}, ["concurrent"]),
        ({"concurrent": True}, ["concurrent"]),
        ({"per_target_host_per_minute": -1}, ["per_target_host_per_minute"]),
        ({"per_client_per_minute": 1.5}, ["per_client_per_minute"]),
        ({"client_key": str}, ["client_key"]),
        ({"client_key": "ip", "per_client_per_minute": 1}, ["client_key"]),
        ({"concurrent": "8", "per_client_per_minute": 0},
         ["concurrent", "per_client_per_minute"]),
    ],
)  # fmt: skip
def test_limits_when_they_make_no_sense_then_all_problems_are_named(
    options: dict[str, Any], named: list[str]
) -> None:
    """A limit that cannot hold is an error at the desk, not an open door."""
    with pytest.raises(ConfigurationError) as caught:
        LoginLimits(**options)
    found = [problem.partition(":")[0] for problem in caught.value.problems]
    assert found == [f"limits.{name}" for name in named]


def test_config_when_limits_are_something_else_then_that_is_a_problem() -> None:
    """It stands beside the other problems of the configuration."""
    wrong: Any = {"concurrent": 8}
    with pytest.raises(ConfigurationError) as caught:
        OAuthConfig(secret_key=SECRET, limits=wrong, max_age_s=0)
    assert "limits: it is a LoginLimits" in caught.value.problems
    assert len(caught.value.problems) == 2


# --- Counting ------------------------------------------------------------------------


@pytest.mark.covers("LOGIN-09")
def test_count_when_a_minute_is_full_then_tells_when_there_is_room() -> None:
    """In no sixty seconds are there more; what is refused is not counted."""
    clock = Clock()
    counter = MinuteCount(2, clock=clock)
    assert counter.count("a") == 0
    clock.now += 20
    assert counter.count("a") == 0
    clock.now += 30
    assert [counter.count("a"), counter.count("a")] == [10, 10]
    assert counter.count("b") == 0
    clock.now += 10
    assert [counter.count("a"), counter.count("a")] == [0, 20]


def test_count_when_the_clock_is_set_back_then_nobody_is_locked_out_for_long() -> None:
    """Times of the future count for nothing."""
    clock = Clock()
    counter = MinuteCount(1, clock=clock)
    assert counter.count("a") == 0
    clock.now -= 3600
    assert counter.count("a") == 0
    assert counter.count("a") == 60


@pytest.mark.covers("DOS-07", "DOS-A07")
def test_count_when_names_are_many_then_memory_is_bounded() -> None:
    """Names of strangers push each other out, not the one that is in use."""
    counter = MinuteCount(1, clock=Clock())
    for number in range(12_000):
        assert counter.count(f"{number}.example.com") == 0
        assert (counter.count("victim.example.com") > 0) == (number > 0)
    assert len(counter._times) <= 10_000


def test_count_when_there_is_no_limit_then_nothing_is_kept() -> None:
    """A limit that is off costs no memory."""
    counter = MinuteCount(None, clock=Clock())
    assert {counter.count(str(number)) for number in range(100)} == {0}
    assert len(counter._times) == 0


# --- The gate ------------------------------------------------------------------------


@pytest.mark.covers("LOGIN-09", "DOS-06")
def test_gate_when_places_are_taken_then_refuses_until_one_is_free() -> None:
    """Nobody waits; a login that fails gives its place back as well."""
    gate = make_gate(concurrent=2)
    with ExitStack() as others:
        for _ in range(2):
            others.enter_context(gate.admit(request_from()))
        with refused(5):
            begin(gate)
        with refused(5):
            begin(gate)
    for _ in range(3):
        with pytest.raises(KeyError), gate.admit(request_from()):
            raise KeyError
    begin(gate)


@pytest.mark.covers("LOGIN-09", "DOS-07")
def test_gate_when_a_host_is_over_its_limit_then_other_hosts_are_not() -> None:
    """Each login counts once for a host, however often it leads there."""
    clock = Clock()
    gate = make_gate(clock, per_target_host_per_minute=2)
    for _ in range(2):
        begin(gate, "pds.example.com", "pds.example.com", "as.example.com")
    with refused(60):
        begin(gate, "pds.example.com")
    begin(gate, "other.example.com")
    clock.now += 59.5
    with refused(1):
        begin(gate, "as.example.com")
    clock.now += 0.5
    begin(gate, "pds.example.com")


@pytest.mark.covers("LOGIN-09")
def test_gate_when_a_client_is_over_its_limit_then_uses_up_nothing_of_others() -> None:
    """Its further logins take no place, and count for no host."""
    gate = make_gate(per_client_per_minute=1, per_target_host_per_minute=2)
    begin(gate, "pds.example.com", address="198.51.100.7")
    for _ in range(5):
        with refused(60):
            begin(gate, "pds.example.com", address="198.51.100.7")
    begin(gate, "pds.example.com", address="198.51.100.8")
    with refused(60):
        begin(gate, "pds.example.com", address="198.51.100.9")


@pytest.mark.covers("LOGIN-09")
@pytest.mark.parametrize(
    ("one", "other", "are_one"),
    [
        ("198.51.100.7", "198.51.100.8", False),
        ("2001:db8::1", "2001:db8::ffff:1:2:3", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:198.51.100.7", "::ffff:198.51.100.8", False),
        ("::ffff:198.51.100.7", "198.51.100.7", True),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        (None, "", True),
        ("a-socket", "another", False),
    ],
)
def test_gate_when_no_key_is_given_then_the_connection_tells_clients_apart(
    one: str | None, other: str, *, are_one: bool
) -> None:
    """One address; for IPv6 the network that a household has."""
    gate = make_gate(per_client_per_minute=1)
    with gate.admit(request_from(one)):
        pass
    with ExitStack() as expected:
        if are_one:
            expected.enter_context(refused(60))
        with gate.admit(request_from(other)):
            pass


def test_gate_when_keys_are_the_applications_then_only_hashes_are_kept() -> None:
    """A key of any length takes the same room, and no address lies in memory."""

    def key(request: Request) -> str:
        return request.headers["x-client"]

    gate = make_gate(per_client_per_minute=1, client_key=key)
    long = "198.51.100.7, " * 1000
    with gate.admit(request_from("192.0.2.1", **{"x-client": long})):
        pass
    with refused(60), gate.admit(request_from("192.0.2.2", **{"x-client": long})):
        pass
    with gate.admit(request_from("192.0.2.1", **{"x-client": "other"})):
        pass
    assert {len(name) for name in gate._clients._times} == {64}


def test_gate_when_limits_are_off_then_all_may_begin() -> None:
    """None is no limit."""
    gate = make_gate(concurrent=None, per_target_host_per_minute=None)
    with ExitStack() as others:
        for _ in range(100):
            others.enter_context(gate.admit(request_from()))
            check_admitted("pds.example.com")


def test_admission_when_no_login_is_being_begun_then_no_host_is_counted() -> None:
    """What comes after a login, and a client without a middleware, has no limit."""
    gate = make_gate(per_target_host_per_minute=1)
    begin(gate, "as.example.com")
    check_admitted("pds.example.com")
    check_origin_admitted("https://pds.example.com")
    begin(gate, "pds.example.com")
    with gate.admit(request_from()), refused(60):
        check_origin_admitted("https://pds.example.com:8443")


def test_gate_when_a_flood_comes_then_one_line_a_minute_tells(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each limit that is hit is named; the log is no target of the flood."""
    clock = Clock()
    gate = make_gate(clock, per_client_per_minute=1, per_target_host_per_minute=1)
    begin(gate, "pds.example.com", address="198.51.100.1")
    for number in range(200):
        with refused(60):
            begin(gate, "pds.example.com", address=f"198.51.100.{number}")
        with refused(60):
            begin(gate, "pds.example.com", address="198.51.100.1")
    clock.now += 60
    begin(gate, "pds.example.com", address="198.51.100.1")
    with refused(60):
        begin(gate, "pds.example.com", address="198.51.100.1")
    lines = [record.getMessage() for record in caplog.records]
    start = "logins are being refused: limit="
    assert lines == [
        f"{start}per_target_host_per_minute host=pds.example.com",
        f"{start}per_client_per_minute host=-",
        f"{start}per_client_per_minute host=-",
    ]
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


# --- What is answered ----------------------------------------------------------------


@pytest.mark.covers("LOGIN-09", "ERR-04")
@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_answer_when_logins_are_too_many_then_says_when_to_come_back(
    accept: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A page for people, a problem document for programs; no line in the log."""
    site = Site(OAuthConfig(secret_key=SECRET))
    error = TooManyLogins("internal detail", retry_after_s=17)
    response = answer_failure(site, request_from(accept=accept), error)
    assert response.status_code == 429
    assert response.headers["Retry-After"] == "17"
    assert b"Too many logins" in response.body
    assert b"internal detail" not in response.body
    assert {record.levelno for record in caplog.records} <= {logging.DEBUG}
    other = answer_failure(site, request_from(accept=accept), "csrf")
    assert "Retry-After" not in other.headers
