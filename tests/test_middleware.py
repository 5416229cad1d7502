"""The middleware as a guest in somebody else's ASGI application."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import anyio
import anyio.to_thread
import pytest

from atproto_oauth_asgi import (
    ATProtoAuth,
    ATProtoOAuthMiddleware,
    ConfigurationError,
    current_auth,
)
from atproto_oauth_asgi.exceptions import (
    OAuthError,
    RefreshUnavailable,
)
from atproto_oauth_asgi.network_options import Network
from atproto_oauth_asgi.sessions.lifecycle import OpenedSession
from tests.sessions.making import ALICE, NOW, make_session
from tests.web.desk import HELLO, LATER, Desk, noise
from tests.web.driving import (
    Message,
    Sent,
    answering,
    ask,
    http_scope,
    make_middleware,
)

pytestmark = pytest.mark.anyio


@pytest.mark.covers("ASGI-03", "ASG-10")
async def test_scope_when_it_passes_then_one_key_is_set_in_place() -> None:
    """The application sees the server's own scope, with one key more."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)
        await HELLO(scope, receive, send)

    scope = http_scope("/x")
    before = dict(scope)
    await ask(make_middleware(app), scope)
    assert seen[0] is scope
    assert isinstance(scope.pop("atproto"), ATProtoAuth)
    assert scope == before


async def test_scope_when_another_key_is_chosen_then_that_one() -> None:
    """The key in the scope is an option."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["who"])
        assert "atproto" not in scope

    await ask(make_middleware(app, scope_key="who"), http_scope())
    assert isinstance(seen[0], ATProtoAuth)


@pytest.mark.covers("ASGI-02")
async def test_scope_when_its_type_is_unknown_then_passes_untouched() -> None:
    """What ASGI may bring one day is not ours to look at."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.extend((scope, receive, send))

    async def receive() -> None: ...

    async def send(_: Any) -> None: ...

    scope = {"type": "carrier-pigeon"}
    await make_middleware(app)(scope, receive, send)
    assert seen == [scope, receive, send]
    assert scope == {"type": "carrier-pigeon"}


@pytest.mark.covers("ASGI-09", "SESS-08")
async def test_messages_when_anonymous_then_nothing_stands_between() -> None:
    """For a visitor without session the server's own callables are handed on."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.extend((receive, send))

    async def receive() -> None: ...

    async def send(_: Any) -> None: ...

    other = ("cookie", "theme=dark; other=__Host-")
    for headers in ((), (other,)):
        seen.clear()
        await make_middleware(app)(http_scope(headers=headers), receive, send)
        assert seen[0] is receive
        assert seen[1] is send


@pytest.mark.covers("SESS-08", "COOKIE-16")
async def test_response_when_anonymous_then_unchanged() -> None:
    """No cookie, no cache header, no record: nobody was here."""
    headers = [(b"cache-control", b"public, max-age=60"), (b"Vary", b"Accept")]
    desk = Desk(answering(headers=headers))
    for _ in range(10):
        sent = await desk.get()
        assert sent.start["headers"] == headers
    assert desk.site.store._rows.items() == []  # type: ignore[attr-defined]


@pytest.mark.covers("COOKIE-16", "COOKIE-17", "COOKIE-18")
async def test_response_when_logged_in_then_private_and_no_cookie_is_written() -> None:
    """What was made for somebody says so, and plain requests set nothing of ours."""
    own = [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
    desk = Desk(answering(headers=[*own, (b"cache-control", b"public")]))
    cookie = desk.cookie()
    for _ in range(10):
        sent = await desk.get("/", cookie)
        assert sent.body == ALICE.encode()
        assert sent.header("set-cookie") == ["a=1", "b=2"]
        assert sent.header("cache-control") == ["private"]
        assert sent.header("vary") == ["Cookie"]


@pytest.mark.covers("ASGI-08", "ASGI-18")
async def test_messages_when_they_stream_then_pass_one_by_one() -> None:
    """Parts, files, trailers and hints go through as they are, when they come."""
    others: list[Message] = [
        {"type": "http.response.push", "path": "/x", "headers": []},
        {"type": "http.response.body", "body": b"1", "more_body": True},
        {"type": "http.response.body", "body": b"", "more_body": True},
        {"type": "http.response.zerocopysend", "file": 3},
        {"type": "http.response.pathsend", "path": "/tmp/x"},  # noqa: S108
        {"type": "http.response.body", "body": b"2"},
        {"type": "http.response.trailers", "headers": [(b"x", b"y")]},
    ]
    start = {"type": "http.response.start", "status": 200, "trailers": True}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in (start, *others):
            await send(message)
            assert sent.messages[-1]["type"] == message["type"]

    desk = Desk(app)
    sent = Sent()

    async def send(message: Message) -> None:
        sent.messages.append(message)

    async def receive() -> None: ...

    await desk.app(http_scope(headers=[desk.cookie()]), receive, send)
    assert all(
        got is given for got, given in zip(sent.messages[1:], others, strict=True)
    )
    assert sent.start["trailers"] is True
    assert "headers" not in start


@pytest.mark.covers("ASGI-09")
async def test_body_when_the_app_reads_it_then_all_of_it_is_there() -> None:
    """Only our own POST routes read a body."""
    read = bytearray()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while True:
            message = await receive()
            read.extend(message["body"])
            if not message["more_body"]:
                return

    desk = Desk(app)
    parts = [
        {"type": "http.request", "body": b"x" * 65536, "more_body": more}
        for more in (True, True, False)
    ]
    scope = http_scope("/upload", headers=[desk.cookie()], method="POST")
    await ask(desk.app, scope, received=parts)
    assert len(read) == 3 * 65536


class Oops(Exception):
    """An exception of the application's own."""


@pytest.mark.covers("ASGI-16", "ASGI-06", "ASG-11")
@pytest.mark.parametrize("is_due", [False, True])
@pytest.mark.parametrize("is_known", [False, True])
async def test_exception_when_the_app_raises_then_passes_unchanged(
    is_known: bool, is_due: bool
) -> None:
    """The very same object arrives, with its cause, and no response is invented."""
    cause = ValueError("the reason")
    error = Oops("broken")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise error from cause

    desk = Desk(app)
    session = make_session(expires_at=NOW if is_due else LATER)
    headers = [desk.cookie(session)] if is_known else []
    sent = Sent()
    with pytest.raises(Oops) as caught:
        sent = await ask(desk.app, http_scope(headers=headers))
    assert caught.value is error
    assert error.__cause__ is cause
    assert sent.messages == []


@pytest.mark.covers("ASGI-16")
async def test_exception_when_the_app_raises_a_group_while_renewing_then_unchanged() -> (
    None
):
    """A group of the application's own is not taken apart."""
    error = ExceptionGroup("mine", [Oops("one"), Oops("two")])

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise error

    desk = Desk(app)
    with pytest.raises(ExceptionGroup) as caught:
        await desk.get("/", desk.cookie(make_session()))
    # Trio gives another group, with the same exceptions in it.
    assert caught.value.message == error.message
    assert all(map(operator.is_, caught.value.exceptions, error.exceptions))


@pytest.mark.covers("ASGI-16")
@pytest.mark.parametrize("expires_at", [NOW, LATER])
async def test_cancellation_when_the_server_cancels_then_the_app_is_cancelled(
    expires_at: float,
) -> None:
    """Nothing swallows a cancellation, also while tokens are renewed."""
    ended: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            ended.append("cancelled")
            raise

    desk = Desk(app)
    with anyio.move_on_after(0.05) as scope:
        await desk.get("/", desk.cookie(make_session(expires_at=expires_at)))
    assert scope.cancelled_caught
    assert ended == ["cancelled"]


@pytest.mark.covers("ASGI-17", "ASG-05")
async def test_current_auth_when_many_ask_at_once_then_everybody_sees_themselves() -> (
    None
):
    """In tasks and in threads, 200 people at once: nobody is somebody else."""

    def look() -> str | None:
        return current_auth().did

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found = [look()]
        await anyio.sleep(0.001)
        found.append(await anyio.to_thread.run_sync(look))
        async with anyio.create_task_group() as group:

            async def later() -> None:
                await anyio.lowlevel.checkpoint()
                found.append(look())

            group.start_soon(later)
        assert {scope["atproto"].did} == set(found)
        await HELLO(scope, receive, send)

    desk = Desk(app)
    answers: dict[str, str] = {}
    dids = [f"did:plc:{number:024d}" for number in range(200)]

    async def visit(did: str) -> None:
        cookie = desk.cookie(make_session(did=did, expires_at=LATER))
        answers[did] = (await desk.get("/", cookie)).body.decode()

    async with anyio.create_task_group() as group:
        for did in dids:
            group.start_soon(visit, did)
    assert answers == {did: did for did in dids}


@pytest.mark.covers("ASGI-17")
async def test_current_auth_when_the_request_is_over_then_nobody_is_there() -> None:
    """What was asked outside of a request has no answer, and says why."""
    desk = Desk()
    await desk.get("/", desk.cookie())
    with pytest.raises(ConfigurationError, match="ATProtoOAuthMiddleware"):
        current_auth()


@pytest.mark.covers(
    "SESS-04", "COOKIE-11", "COOKIE-21", "CKE-11", "SES-02", "COOKIE-22"
)
@pytest.mark.parametrize(
    "spoil",
    [
        lambda name, value: f"{name}={value[:-1]}",
        lambda name, value: f'{name}="{value}"',
        lambda name, value: f"{name}={value}=",
        lambda name, value: f"{name}={value}; {name}=other",
        lambda name, value: f"{name}=other; {name}={value}",
        lambda name, value: f"{name}.0={value}",
        lambda name, value: f"{name}.1={value}",
        lambda name, value: f"{name}={value}; {name}.1=x",
        lambda name, value: f"{name}-login={value}",
        lambda name, _: f"{name}=",
        lambda name, _: f"{name}",
        lambda name, _: f"{name}=\xff\xfe",
        lambda name, _: f"{name}={'x' * 60_000}",
        lambda name, _: "; ".join(f"{name}.{n}=x" for n in range(500)),
    ],
)
async def test_cookie_when_it_is_not_as_written_then_anonymous(
    spoil: Callable[[str, str], str],
) -> None:
    """Anything but the one right value is nobody; it is left alone, and no error."""
    desk = Desk()
    name, _, value = desk.cookie()[1].partition("=")
    sent = await desk.get("/", ("cookie", spoil(name, value)))
    assert (sent.status, sent.body) == (200, b"nobody")
    assert sent.header("set-cookie") == []


@pytest.mark.covers("COOKIE-05", "CKE-01")
async def test_cookie_when_any_bit_is_flipped_then_anonymous() -> None:
    """Every bit counts, and none makes an error."""
    desk = Desk()
    name, _, value = desk.cookie()[1].partition("=")
    for index in range(0, len(value), 7):
        for bit in range(7):
            flipped = chr(ord(value[index]) ^ 1 << bit)
            spoilt = f"{name}={value[:index]}{flipped}{value[index + 1 :]}"
            sent = await desk.get("/", ("cookie", spoilt))
            assert (sent.status, sent.body) == (200, b"nobody"), (index, bit)


@pytest.mark.covers("COOKIE-12", "CKE-18")
async def test_cookie_when_it_is_in_several_fields_then_found() -> None:
    """HTTP/2 sends cookies one by one, chunks too."""
    desk = Desk()
    session = make_session(expires_at=LATER, access_token="".join(noise(6000)))
    pairs = desk.cookie(session)[1].split("; ")
    assert len(pairs) > 1
    sent = await desk.get("/", *(("cookie", pair) for pair in reversed(pairs)))
    assert sent.body == ALICE.encode()


@pytest.mark.covers("COOKIE-04", "ASGI-13", "ASG-07", "CKE-07")
@pytest.mark.parametrize(
    "other",
    [
        {"public_url": "https://other.example.com"},
        {"cookie_name": "mine"},
        {"metadata_path": "/other.json"},
        {"secret_key": b"quite another secret of 32 bytes or more"},
    ],
)
async def test_cookie_when_it_is_another_instance_s_then_anonymous(other: Any) -> None:
    """Two middlewares in one process do not take each other's cookies."""
    desk, elsewhere = Desk(), Desk(**other)
    value = desk.cookie()[1].partition("=")[2]
    name = elsewhere.site.session_cookie(None)
    for header in (desk.cookie()[1], f"{name}={value}"):
        assert (await elsewhere.get("/", ("cookie", header))).body == b"nobody"
    assert (await desk.get("/", desk.cookie())).body == ALICE.encode()


@pytest.mark.covers("SESS-14", "CKE-09", "SES-06")
async def test_session_when_logged_out_then_a_copy_of_its_cookie_is_nobody() -> None:
    """The tombstone counts at once, and the application learns the reason."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["atproto"].did, scope["atproto"].reason))
        await HELLO(scope, receive, send)

    desk = Desk(app)
    cookie = desk.cookie()
    await desk.get("/", cookie)
    opened = await desk.site.sessions.open(cookie[1].partition("=")[2])
    assert isinstance(opened, OpenedSession)
    await desk.site.sessions.end(opened)
    await desk.get("/", cookie)
    assert seen == [(ALICE, None), (None, "revoked")]


@pytest.mark.covers("LOGOUT-06", "COOKIE-15")
async def test_logout_when_the_app_does_it_then_the_cookie_goes_with_the_answer() -> (
    None
):
    """``auth.logout()`` ends the session here and at its server."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await scope["atproto"].logout()
        await scope["atproto"].logout()
        await HELLO(scope, receive, send)

    desk = Desk(app)
    session = make_session(expires_at=LATER)
    sent = await desk.get("/", desk.cookie(session))
    assert sent.body == b"nobody"
    [line] = sent.header("set-cookie")
    assert line.startswith(f"{desk.site.session_cookie(None)}=;")
    assert "Max-Age=0" in line
    assert "Secure" in line
    assert desk.server.revoked == [session.refresh_token]


@pytest.mark.covers("ASGI-07", "ASG-03")
async def test_logout_when_the_response_has_begun_then_refused() -> None:
    """A cookie that can no longer be deleted is told, not kept in silence."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await HELLO(scope, receive, send)
        with pytest.raises(RefreshUnavailable):
            await scope["atproto"].logout()
        assert scope["atproto"].is_authenticated

    desk = Desk(app)
    await desk.get("/", desk.cookie())
    assert desk.server.revoked == []


async def test_middleware_when_an_option_is_wrong_then_all_problems_at_once() -> None:
    """The mistake is told where it was made, at the start."""
    with pytest.raises(ConfigurationError) as caught:
        ATProtoOAuthMiddleware(HELLO, secret_key="short", public_url="http://x.test")
    assert len(caught.value.problems) == 2
    assert isinstance(caught.value, OAuthError)


@pytest.mark.covers("ASGI-15")
def test_middleware_when_used_in_several_event_loops_then_works() -> None:
    """Nothing of it belongs to the loop in which it was first used."""
    desk = Desk()
    cookie = desk.cookie(make_session())

    async def visit() -> bytes:
        return (await desk.get("/", cookie)).body

    for backend in ("asyncio", "trio", "asyncio"):
        assert anyio.run(visit, backend=backend) == ALICE.encode()
    assert len(desk.server.sent) == 1


@pytest.mark.covers("NET-20", "ASG-16")
async def test_middleware_when_private_hosts_are_open_then_warns(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A public application that reaches private addresses says so at its start."""
    network = Network(unsafe_private_hosts=("pds.example.com",))
    make_middleware(nobody, network=network)
    assert "pds.example.com" in caplog.text


async def nobody(scope: Any, receive: Any, send: Any) -> None:
    """An application that is never called."""


@pytest.mark.parametrize("path", ["/oauth/login", "/oauth-client-metadata.json"])
async def test_answers_of_ours_when_sent_then_say_whether_more_follows(
    path: str,
) -> None:
    """What ASGI lets one leave out is said: the test client of Quart 0.23 needs it."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    await make_middleware(HELLO)(http_scope(path), receive, send)
    assert [message.get("more_body", "left out") for message in sent[1:]] == [False]
