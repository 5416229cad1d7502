"""The lifespan of the server reaches the application, or is spoken in its place."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from atproto_oauth_asgi.web.lifespan import run_lifespan
from tests.web.driving import App, ask, make_middleware

pytestmark = pytest.mark.anyio

SCOPE = {"type": "lifespan", "asgi": {"version": "3.0"}}
MESSAGES = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
COMPLETE = ["lifespan.startup.complete", "lifespan.shutdown.complete"]


class Closing:
    """Counts how often it was asked to close."""

    def __init__(self) -> None:
        self.times = 0

    async def __call__(self) -> None:
        self.times += 1


async def speak(app: App, closing: Closing) -> list[str]:
    """The types of what the server hears."""

    async def behind(scope: Any, receive: Any, send: Any) -> None:
        await run_lifespan(app, scope, receive, send, on_shutdown=closing)

    return types((await ask(behind, SCOPE, received=MESSAGES)).messages)


def types(messages: Iterable[Any]) -> list[str]:
    return [message["type"] for message in messages]


async def speaks_it(scope: Any, receive: Any, send: Any) -> None:
    assert (await receive())["type"] == "lifespan.startup"
    await send({"type": "lifespan.startup.complete"})
    assert (await receive())["type"] == "lifespan.shutdown"
    await send({"type": "lifespan.shutdown.complete"})


async def ignores_it(scope: Any, receive: Any, send: Any) -> None:
    return


async def refuses_it(scope: Any, receive: Any, send: Any) -> None:
    message = "only http here"
    raise RuntimeError(message)


async def fails_to_start(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})


async def breaks_while_starting(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    message = "no database"
    raise RuntimeError(message)


@pytest.mark.covers("ASGI-01", "ASG-09")
@pytest.mark.parametrize("app", [speaks_it, ignores_it, refuses_it])
async def test_lifespan_when_the_app_speaks_it_or_not_then_the_server_hears_it(
    app: App,
) -> None:
    """An application without lifespan is no reason for the server to give up."""
    closing = Closing()
    assert await speak(app, closing) == COMPLETE
    assert closing.times == 1


@pytest.mark.covers("ASGI-01", "ASG-09")
async def test_lifespan_when_startup_fails_then_the_server_hears_that() -> None:
    """A failed start stays one, and what is ours is closed."""
    closing = Closing()
    assert await speak(fails_to_start, closing) == ["lifespan.startup.failed"]
    assert closing.times == 1


@pytest.mark.covers("ASGI-01", "ASGI-16")
async def test_lifespan_when_startup_raises_then_the_exception_passes() -> None:
    """An exception of the application's start is not taken for "no lifespan"."""
    closing = Closing()
    with pytest.raises(RuntimeError, match="no database"):
        await speak(breaks_while_starting, closing)
    assert closing.times == 1


@pytest.mark.covers("ASGI-01")
@pytest.mark.parametrize("app", [speaks_it, ignores_it, refuses_it])
async def test_middleware_when_the_server_speaks_lifespan_then_it_is_passed_on(
    app: App,
) -> None:
    """The same holds through the middleware, also when it comes twice."""
    middleware = make_middleware(app)
    for _ in range(2):
        sent = await ask(middleware, SCOPE, received=MESSAGES)
        assert types(sent.messages) == COMPLETE
