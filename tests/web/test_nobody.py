"""A request of nobody costs nothing, and leaves nothing behind."""

from __future__ import annotations

from typing import Any

import pytest

from atproto_oauth_asgi import ATProtoAuth, NotAuthenticatedError, current_auth
from atproto_oauth_asgi.web import visits
from tests.web.desk import Desk
from tests.web.driving import ask, http_scope, make_middleware

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("cookie", [None, "theme=dark; consent=yes"])
async def test_request_when_nobody_is_there_then_nothing_stands_between(
    cookie: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The application gets the server's own callables, and no cookie is parsed."""

    def parse(*_: object) -> Any:
        raise AssertionError

    monkeypatch.setattr(visits, "parse_cookie_header", parse)
    given: list[Any] = []

    async def app(*call: Any) -> None:
        given.append(call)

    async def receive() -> Any: ...
    async def send(_: Any) -> None: ...

    headers = [("cookie", cookie)] if cookie else []
    scope = http_scope(headers=headers)
    before = dict(scope)
    await make_middleware(app)(scope, receive, send)
    [(seen, seen_receive, seen_send)] = given
    assert seen is scope
    assert (seen_receive, seen_send) == (receive, send)
    assert {key: seen[key] for key in before} == before
    assert seen.keys() - before.keys() == {"atproto"}


async def test_nobody_when_an_application_uses_it_then_the_next_is_nobody_too() -> None:
    """What all of them share cannot be changed by any of them."""
    auths: list[ATProtoAuth] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        auth: ATProtoAuth = scope["atproto"]
        assert auth is current_auth()
        assert (auth.did, auth.reason, auth.login_hint) == (None, None, None)
        with pytest.raises(NotAuthenticatedError):
            _ = auth.client
        await auth.logout()
        await auth.logout(everywhere=True)
        with pytest.raises(AttributeError):
            auth.did = "did:plc:eve"  # type: ignore[misc]
        with pytest.raises(AttributeError):
            auth.note = "x"  # type: ignore[attr-defined]
        auths.append(auth)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    desk = Desk(app)
    for _ in range(2):
        sent = await ask(desk.app, http_scope())
        assert sent.header("set-cookie") == []
    assert len(auths) == 2
